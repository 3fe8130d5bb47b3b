"""A session against a watcher and a model that answer as they are told."""

import types
from typing import Any

import numpy as np
import pytest

from data_prep.clip import Clip
from data_prep.common.errors import UserError
from data_prep.spotting.found import Course, SpottedMovement, Stretch
from helpers import made_answers
from mser_jax.predict import session as sessions
from mser_jax.predict.resume import ResumeState

FPS = 30.0


class Watcher:
    """Spots a movement at every tenth frame; one frame later it is settled."""

    notes = ("two faces",)

    def __init__(self, recipe, fps, *, landmarks, name, first):
        self.first, self.frames_seen, self.last_settled = first, 0, first - 1

    def update(self, frame):
        number = self.first + self.frames_seen
        self.frames_seen += 1
        self.last_settled = number - 1
        return [spotted(number)] if number and number % 10 == 0 else []

    def end(self):
        return [spotted(self.first + self.frames_seen - 1)]

    @property
    def stretches(self):
        return [Stretch(self.first, self.first + self.frames_seen - 1, "face")]

    @property
    def course(self):
        frame = np.arange(self.first, self.first + self.frames_seen)
        return Course(frame, frame.astype(np.float32), frame.astype(np.float32))


class Model:
    """Classifies each movement but that at frame 20."""

    recipe, class_names, calibrated = None, made_answers.CLASSES, False

    def classify(self, movement, first=0):
        apex = movement.clip.first + movement.clip.apex
        if apex == 20:
            raise UserError("no flow")
        answer = made_answers.movement(apex - 2, apex, apex + 2, first=first)
        return types.SimpleNamespace(answer=answer)


def spotted(apex):
    fields: dict[str, Any] = {
        **{"frames": np.zeros((5, 8, 8), np.float32), "fps": FPS, "first": apex - 2},
        **{"onset": 0, "apex": 2, "offset": 4, "subject": "s", "clip_id": "c"},
        **{"label": "unknown", "emotion": "unknown", "dataset": "video"},
    }
    return SpottedMovement(Clip(**fields), 0.5)


@pytest.fixture(autouse=True)
def _scripted(monkeypatch):
    monkeypatch.setattr(sessions, "Watcher", Watcher)


def watched(frames, **settings):
    model: Any = Model()
    session = sessions.Session(model, FPS, **settings)
    for _ in range(frames):
        session.update(None)
    return session


def apexes(answer):
    return [movement.apex for movement in answer.answers]


def test_movements_are_classified_and_failures_noted():
    movements: list[Any] = []
    session = watched(
        36, source="face.avi", reader_notes=lambda: ["a gap"], on_movement=movements.append
    )
    session.end()
    answer = session.answer()
    assert apexes(answer) == [10, 30, 35]
    assert [each.answer.apex for each in movements] == [10, 30, 35]
    failure = "The movement at frame 20 has no answer: no flow"
    assert answer.notes == ("a gap", "two faces", failure)
    assert (answer.source, answer.first, answer.frames, answer.fps) == ("face.avi", 0, 36, FPS)


def test_frames_without_a_path_have_the_plain_note():
    assert watched(25).answer().notes == ("two faces", "A movement has no answer: no flow")


def test_what_an_earlier_pass_has_is_not_classified_again():
    known = made_answers.video(41, [made_answers.movement(28, 31, 34)])
    movements: list[Any] = []
    session = watched(
        30, first=25, resume_from=ResumeState(known, 33), on_movement=movements.append
    )  # frame 30 is near 31, 50 is new
    answer = session.answer()
    assert [each.answer.apex for each in movements] == [40, 50]
    assert apexes(answer) == [31, 40, 50]
    assert (answer.first, answer.frames) == (0, 55)
    assert answer.answers[-1].times[1] == 50 / FPS  # from the first frame of the video


def test_nothing_is_saved_before_more_is_settled():
    saved: list[ResumeState] = []
    known = made_answers.video(41)
    session = watched(10, first=25, resume_from=ResumeState(known, 40), on_save=saved.append)
    session.save()
    assert not saved
    for _ in range(10):
        session.update(None)
    session.save()
    (state,) = saved
    assert state.last_settled == 43
    assert state.answer.frames == 45


def test_results_are_saved_now_and_then(monkeypatch):
    monkeypatch.setattr(sessions, "SAVE_INTERVAL", -1.0)
    saved: list[ResumeState] = []
    watched(12, on_save=saved.append)
    assert [state.last_settled for state in saved] == list(range(11))
    assert apexes(saved[-1].answer) == [10]
