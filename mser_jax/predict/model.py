"""A trained model in memory: from frames to classes. `mser_jax.load` makes one."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from data_prep.clip import Clip
from data_prep.common import command
from data_prep.common.errors import UserError
from data_prep.config import context_seconds
from data_prep.pipeline import record
from data_prep.pipeline.record import Record
from data_prep.spotting.found import SpottedMovement
from data_prep.stages import identity
from data_prep.stages.identity import Recipe
from mser_jax.config import networks
from mser_jax.models.network import Network
from mser_jax.predict import inputs, model_folder, serving
from mser_jax.predict.answers import Answer, ClassifiedMovement, VideoAnswer
from mser_jax.predict.serving import HeadSelector, Output
from mser_jax.predict.session import Session, classify_marked_clip
from mser_jax.storage import weights

Tree = Any


class Model:
    """A network with its weights, and all that it takes to ask it about a video.

    Attributes:
      description: what model.json says (`mser_jax.predict.model_folder`).
      class_names: that it tells apart.
      calibrated: whether its confidences are.
      network, params, stats: as pure functions, and what they are given.
      digest: stands for the folder that it was read from.
    """

    digest = ""

    def __init__(
        self, description: Mapping[str, Any], network: Network, params: Tree, stats: Tree
    ) -> None:
        self.description = description
        self.class_names: tuple[str, ...] = tuple(description["class_names"])
        self.calibrated = description["calibration"] is not None
        self.network, self.params, self.stats = network, params, stats
        self.config = ConfigDict(description["config"])
        self.recipe: Recipe = identity.without_predictor(description["config"]["prep"])

    @classmethod
    def from_description(cls, description: Mapping[str, Any], file: Path) -> Model:
        """The model that a description and a file of weights make.

        Raises:
          UserError: the weights are of another network.
        """
        try:
            network = networks.network(
                ConfigDict(description["config"]), len(description["class_names"])
            )
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise UserError(
                f"{file.parent}: this program knows no such network ({error}). Fix: load it "
                f"with mser_jax {description['version']}, or export it anew."
            ) from error
        return cls(description, network, *weights.load(file, network))

    @classmethod
    def read(cls, path: Path | str) -> Model:
        """The model in a folder; nothing in it is executed.

        Raises:
          UserError: there is none, or it is refused (`model_folder.read`).
        """
        folder = command.expand_path(path)
        model = cls.from_description(model_folder.read(folder), folder / model_folder.WEIGHTS)
        model.digest = model_folder.digest(folder)
        return model

    def predict(
        self,
        frames: Iterable[np.ndarray],
        fps: float,
        *,
        onset: int | None = None,
        apex: int | None = None,
        offset: int | None = None,
        landmarks: np.ndarray | None = None,
    ) -> VideoAnswer:
        """Find movements in a video and say of which class each is; or say it of a marked one.

        Without marks the frames are gone through once, and no more of them are held than a
        movement needs: a generator will do.

        Args:
          frames: each `[h, w]` grey or `[h, w, 3]` RGB, 0..255, of one size; those that OpenCV
            reads are BGR, `frame[..., ::-1]` is RGB.
          fps: frames a second.
          onset: index of the first frame of the one movement that is there; by default, if `apex`
            or `offset` is given, the first frame.
          apex: index of its peak; by default it is estimated.
          offset: index of its last frame; by default, if another mark is given, the last one.
          landmarks: `[68, 2]` float (x, y) px of the face in the first frame, or with marks in the
            onset frame. By default dlib finds it.

        Returns:
          What was found.

        Raises:
          UserError: what was given are no frames, no face in a marked clip, dlib is not installed,
            marks out of order.
        """
        frames = inputs.checked_frames(frames, fps)
        if (onset, apex, offset) != (None, None, None):
            clip = inputs.marked_clip(
                np.stack([*frames]),
                fps,
                onset,
                apex,
                offset,
                landmarks,
                context_seconds(self.recipe),
            )
            return classify_marked_clip(self, clip)
        session = Session(self, fps, landmarks=landmarks)
        for frame in frames:
            session.update(frame)
        session.end()
        return session.answer()

    def classify(self, movement: Clip | SpottedMovement, first: int = 0) -> ClassifiedMovement:
        """Say of which class a movement is.

        Args:
          movement: a clip as read, or a spotted movement, which the face stage has left behind.
          first: the number of the video's first frame, from which times are counted.

        Raises:
          UserError: the clip cannot be used, or the model is for images of flow.
        """
        self.check_accepts_videos()
        stages, strength = tuple(self.recipe["stages"]), None
        if isinstance(movement, SpottedMovement):
            clip, stages, strength = movement.clip, stages[1:], movement.movement
        else:
            clip = movement
        made, key_frames = record.apply_stages(clip, self.recipe, stages)
        made = record.with_flow(made, key_frames, self.recipe)
        if not np.isfinite(made["flow"]).all():
            raise UserError(f"{clip.name}: the optical flow is not finite: look at the frames.")
        said = self.predict_pixels(self.pixels(made)[None])
        return ClassifiedMovement(self._answer(clip, made, said, first, strength), made)

    def check_accepts_videos(self) -> None:
        """Refuse to see videos with a network for images of flow.

        Raises:
          UserError: the model is of that kind.
        """
        if self.config.input.kind == "images":
            raise UserError(
                f"The model {self.description['name']} sees images of flow that others have made, "
                "and how they were made from videos is not known. Fix: its program.stablehlo "
                "on such images, or a model that was trained on videos."
            )

    def pixels(self, clip_record: Record) -> np.ndarray:
        """What of a record the network sees: float32 `[t, S, S, d]`."""
        kind = self.config.input.kind
        return np.asarray(
            clip_record["flow"] if kind == "flow" else clip_record["frames"][1:], np.float32
        )

    def predict_pixels(self, pixels: np.ndarray) -> Output:
        """What the network says of clips `[b, t, S, S, d]`."""
        return jax.tree.map(np.asarray, self._jitted_predict_fn(self.params, self.stats, pixels))

    def export_stablehlo(self) -> bytes:
        """The model as StableHLO (`serving.program`)."""
        of = functools.partial(self._predict_fn, self.params, self.stats)
        return serving.export_stablehlo(of, tuple(self.description["pixels"]))

    @functools.cached_property
    def _predict_fn(self) -> Any:
        rule = HeadSelector(**self.description["rule"])
        view = networks.view(self.config)
        return serving.make_predict_fn(self.network, view, rule, self.config.input.scale)

    @functools.cached_property
    def _jitted_predict_fn(self) -> Any:
        return jax.jit(self._predict_fn)

    def _answer(
        self, clip: Clip, clip_record: Record, output: Output, first: int, movement: float | None
    ) -> Answer:
        onset, apex, offset = (
            clip.first + at for at in (clip.onset, clip_record["apex"], clip.offset)
        )
        if clip_record["apex"] < 0:  # the recipe estimates none, and nobody gave it
            apex = (onset + offset) // 2
        head, best = int(output.head[0]), int(output.probabilities[0].argmax())
        return Answer(
            onset=onset,
            apex=apex,
            offset=offset,
            times=(
                (onset - first) / clip.fps,
                (apex - first) / clip.fps,
                (offset - first) / clip.fps,
            ),
            label=self.class_names[best],
            confidence=float(output.probabilities[0, best]),
            probabilities=self._by_class(output.probabilities[0]),
            heads=tuple(self._by_class(each) for each in output.heads[0]),
            head=None if head < 0 else head + 1,
            movement=movement,
            apex_estimated=clip_record["apex"] < 0 or bool(clip_record["apex_estimated"]),
            notes=tuple(clip_record["notes"].splitlines()),
        )

    def _by_class(self, values: Any) -> dict[str, float]:
        return dict(zip(self.class_names, map(float, values)))


def load(path: Path | str) -> Model:
    """Load the trained model in a folder that `python -m mser_jax.export` has made.

    `model.predict(frames, fps)` then finds movements and classifies them, as a
    `mser_jax.predict.answers.VideoAnswer`. Nothing in the folder is executed.

    Args:
      path: Folder of the model.

    Returns:
      The model.

    Raises:
      UserError: there is no model, it was changed, or this version of mser_jax cannot use it.
    """
    return Model.read(path)
