import csv
import dataclasses
import pickle

import numpy as np
import pytest
from sklearn.linear_model import Ridge
from sklearn.preprocessing import StandardScaler

from data_prep import config
from data_prep.clip import Clip
from data_prep.common.cv import cv2
from data_prep.common.errors import UserError
from data_prep.synthetic import clips as synthetic
from data_prep.synthetic import motion as synthetic_motion
from data_prep.synthetic import subject as synthetic_subject
from data_prep.synthetic.clips import CLASSES, Entry, SyntheticSource

LEFT_BROW, RIGHT_BROW = slice(17, 22), slice(22, 27)


def source(**changes) -> SyntheticSource:
    spec = config.synthetic()
    spec.update({"subjects": 2, "clips_per_subject": 4, "size": 96, **changes})
    return SyntheticSource(spec)


def at_points(field: np.ndarray, points: np.ndarray) -> np.ndarray:
    columns, rows = np.rint(points).astype(int).T
    return field[rows, columns].astype(np.float32)


def peak(clip: Clip) -> int:
    assert clip.apex is not None
    return clip.apex


# ------------------------------------------------------------------------------ the clips


def test_a_clip_is_whole():
    made = source(size=112, fps=200.0)
    for entry in made.entries():
        clip = made.load(entry)
        assert np.asarray(clip.frames).dtype == np.uint8
        assert np.asarray(clip.frames).shape[1:] == (112, 112, 3)
        assert clip.apex is not None
        assert 0 < clip.onset < clip.apex < clip.offset < len(clip.frames) - 1
        assert 0.2 <= (clip.offset - clip.onset + 0.5) / clip.fps <= 0.51
        assert clip.landmarks is not None
        assert clip.landmarks.shape == (68, 2)
        assert ((clip.landmarks > 0) & (clip.landmarks < 111)).all()
        assert clip.name == entry.name


def test_landmarks_lie_on_the_features():
    """The teeth are lighter than the lips around them, the pupils darker than the cheeks below."""
    made = source(size=160, subjects=6, clips_per_subject=1)
    for entry in made.entries():
        clip = made.load(entry)
        grey = cv2.blur(clip.frames[clip.onset].mean(-1), (3, 3))
        points = np.asarray(clip.landmarks)
        teeth, lips = points[[62, 66]].mean(0, keepdims=True), points[[50, 52, 56, 58]]
        assert at_points(grey, teeth).mean() > 1.1 * at_points(grey, lips).mean(), entry.name
        for lids, cheek in ((slice(36, 42), (41, 48)), (slice(42, 48), (46, 54))):
            pupil = at_points(grey, points[lids].mean(0, keepdims=True))
            below = at_points(grey, points[list(cheek)].mean(0, keepdims=True))
            assert pupil < 0.9 * below, entry.name


def test_the_same_bytes_in_any_order_and_process():
    first, second = source(), pickle.loads(pickle.dumps(source()))
    entries = first.entries()
    forward = [np.asarray(first.load(entry).frames).tobytes() for entry in entries]
    synthetic_subject.subject.cache_clear()
    backward = [second.load(entry).frames.tobytes() for entry in reversed(second.entries())]
    assert forward == backward[::-1]
    assert len(set(forward)) == len(forward)
    assert (
        np.asarray(first.load(entries[0]).frames).tobytes()
        != np.asarray(source(seed=1).load(source(seed=1).entries()[0]).frames).tobytes()
    )


def test_more_subjects_leave_the_first_ones_as_they_are():
    few, many = source().entries(), source(subjects=5).entries()
    assert [entry.key for entry in few] == [entry.key for entry in many[: len(few)]]
    assert len({entry.key for entry in many}) == len(many)


def test_the_key_follows_the_spec():
    keys = {
        source(**changes).entries()[0].key
        for changes in ({}, {"seed": 3}, {"size": 100}, {"fps": 50.0}, {"amplitude": (1.0, 2.0)})
    }
    assert len(keys) == 5


@pytest.mark.parametrize("count", [4, 8, 6])
def test_labels_are_balanced(count: int):
    entries = source(subjects=6, clips_per_subject=count).entries()
    for subject in range(6):
        labels = [entry.label for entry in entries if entry.subject == subject]
        tally = [labels.count(label) for label in CLASSES]
        assert max(tally) - min(tally) == (count % 4 > 0)
    orders = {tuple(e.label for e in entries if e.subject == subject) for subject in range(6)}
    assert len(orders) > 1


@pytest.mark.parametrize(
    "changes",
    [
        {"amplitude": (2.0, 1.0)},
        {"amplitude": (-1.0, 1.0)},
        {"size": 20},
        {"subjects": 0},
        {"fps": 1.0},
        {"seed": -1},
    ],
)
def test_an_impossible_spec_is_the_users_to_mend(changes: dict):
    with pytest.raises(UserError, match=next(iter(changes)) + "|one clip"):
        source(**changes)


# ------------------------------------------------------------------------------ the true motion


def test_motion_describes_the_frames():
    """Each frame, fetched back along the motion, is the onset frame again; unfetched it is not."""
    made = source(size=160, subjects=3, amplitude=(3.0, 3.0))
    grid = synthetic_motion.pixels(160)
    for entry in made.entries()[::2]:
        clip, motion = made.load(entry), made.motion(entry).astype(np.float32)
        smooth = [cv2.GaussianBlur(frame.mean(-1), (0, 0), 1) for frame in clip.frames]
        smooth = [(frame / frame.mean()).astype(np.float32) for frame in smooth]
        first = smooth[clip.onset]
        for frame in (peak(clip), clip.offset):
            back = synthetic_subject.sample(smooth[frame], grid + motion[frame])
            inside = slice(8, -8)
            fetched = np.abs(back - first)[inside, inside].mean()
            plain = np.abs(smooth[frame] - first)[inside, inside].mean()
            moved = np.abs(motion[frame]).mean()
            assert fetched < 0.02
            assert fetched < 0.75 * plain or moved < 0.25, (entry.name, frame, fetched, plain)


def test_motion_rests_at_the_onset_and_keeps_to_the_amplitude():
    made = source(size=160, amplitude=(3.0, 3.0))
    reached = []
    for entry in made.entries():
        clip = made.load(entry)
        alone = made.action_unit_motion(entry).astype(np.float32)
        length = np.sqrt(np.square(alone).sum(-1)).max(axis=(1, 2))
        assert length.argmax() == clip.apex
        reached.append(length.max())
        np.testing.assert_array_equal(made.motion(entry)[clip.onset], 0)
        np.testing.assert_array_equal(length[[*range(clip.onset + 1), -1]], 0)
        assert np.abs(np.diff(length)).max() < 3.0 * 0.6  # no jump
    assert max(reached) <= 3.01
    assert np.median(reached) > 2.9  # the guard against folding seldom bites


def test_no_face_folds():
    made = source(size=160, subjects=3, clips_per_subject=8, amplitude=(3.0, 3.0))
    for entry in made.entries():
        for moved in made.motion(entry)[::4].astype(np.float32):
            across, along = np.gradient(moved, axis=1), np.gradient(moved, axis=0)
            area = (1 + across[..., 0]) * (1 + along[..., 1]) - across[..., 1] * along[..., 0]
            assert area.min() > 0.05, entry.name


def test_inverse_leads_back():
    made = source(size=160, amplitude=(3.0, 3.0))
    grid = synthetic_motion.pixels(160)
    for entry in made.entries():
        scene = synthetic._scene(entry)
        forth = scene.motion.displacement(scene.timing.apex).astype(np.float32)
        back = synthetic.invert_displacement(forth, grid, np.zeros_like(grid))
        there = synthetic_subject.sample(forth, grid + back, cv2.INTER_LINEAR)
        assert np.abs(there + back)[4:-4, 4:-4].max() < 0.03


def test_drift_is_a_similarity_about_the_centre():
    still = np.zeros((1, 40, 40, 2), np.float32)
    motion = synthetic_motion.Motion(
        fields=still,
        courses=np.zeros((1, 1)),
        lids=still[0],
        blink=np.zeros(1),
        drift=np.array([[1.0, 2.0, np.pi / 2, 0.5]]),
        centre=np.array([20.0, 10.0]),
    )
    moved = synthetic_motion.pixels(40) + motion.displacement(0)
    np.testing.assert_allclose(moved[10, 20], [21, 12], atol=1e-4)
    np.testing.assert_allclose(moved[10, 22], [21, 15], atol=1e-4)  # right turns to down, grown
    np.testing.assert_allclose(moved[12, 20], [18, 12], atol=1e-4)  # down turns to left


# Where each unit must move which landmarks: (landmarks, axis 0 right or 1 down, sign).
SIGNS = {
    1: [((20, 21, 22, 23), 1, -1)],
    2: [((17, 18, 25, 26), 1, -1)],
    4: [((19, 20, 21, 22, 23, 24), 1, 1), ((20, 21), 0, 1), ((22, 23), 0, -1)],
    6: [((40, 41, 46, 47), 1, -1)],
    7: [((40, 41, 46, 47), 1, -1), ((37, 38, 43, 44), 1, 1)],
    9: [((31, 29, 35), 1, -1), ((21, 22), 1, 1)],
    10: [((50, 51, 52), 1, -1)],
    12: [((48, 54), 1, -1), ((48,), 0, -1), ((54,), 0, 1)],
    14: [((48,), 0, -1), ((54,), 0, 1)],
    15: [((48, 54), 1, 1)],
    17: [((57, 8), 1, -1)],
    25: [((57, 66), 1, 1), ((51,), 1, -1)],
    26: [((8, 57), 1, 1)],
}


@pytest.mark.parametrize("unit", sorted(synthetic_motion.ACTION_UNITS))
def test_units_move_what_they_are_named_for(unit: int):
    points = synthetic_subject.LANDMARKS - [145, 20]
    pushes = synthetic_motion.ACTION_UNITS[unit]
    field = synthetic_motion.push_field(points, pushes, (1.0, 1.0), 170)
    for marks, axis, sign in SIGNS[unit]:
        assert (sign * at_points(field, points[list(marks)])[:, axis] > 0.08).all()
    far = at_points(field, np.array([[2.0, 2.0], [167.0, 2.0]]))
    assert np.abs(far).max() < 0.01


def test_a_side_without_strength_stays():
    points = synthetic_subject.LANDMARKS - [145, 20]
    field = synthetic_motion.push_field(points, synthetic_motion.ACTION_UNITS[2], (1.0, 0.0), 170)
    assert at_points(field, points[LEFT_BROW])[:, 1].min() < -0.5
    assert np.abs(at_points(field, points[RIGHT_BROW])).max() < 0.05


def test_mirror_is_its_own_inverse():
    mirror = synthetic_subject.MIRROR
    np.testing.assert_array_equal(mirror[mirror], np.arange(68))
    flipped = synthetic_subject.LANDMARKS[mirror] * [-1, 1]
    flipped += synthetic_subject.LANDMARKS.mean(0) - flipped.mean(0)
    assert np.abs(flipped - synthetic_subject.LANDMARKS).max() < 12  # the face is nearly frontal


# ------------------------------------------------------------------------------ the classes


def test_classes_overlap():
    rng = np.random.default_rng(0)
    seen = {
        label: [set(synthetic_motion.draw_units(rng, label)) for _ in range(400)]
        for label in CLASSES
    }
    for unit in synthetic_motion.ACTION_UNITS:
        share = [np.mean([unit in units for units in seen[label]]) for label in CLASSES]
        assert sum(part > 0 for part in share) > 1, f"AU{unit} gives its class away"
        assert max(share) < 0.97
    for label, draws in seen.items():
        keys = set(synthetic_motion.CLASS_KEYS[label])
        assert all(units & keys for units in draws)
        assert len({frozenset(units) for units in draws}) > 15


def relabelled(entry: Entry, label: str) -> Entry:
    return dataclasses.replace(entry, label=label)


def test_without_amplitude_the_label_changes_no_byte():
    made = source(amplitude=(0.0, 0.0))
    for entry in made.entries()[::3]:
        clips = [made.load(relabelled(entry, label)) for label in CLASSES]
        assert len({np.asarray(clip.frames).tobytes() for clip in clips}) == 1
        assert len({(clip.onset, clip.apex, clip.offset) for clip in clips}) == 1


def test_the_label_moves_nothing_but_the_expression():
    """Timing, pose, drift, blinks, distractions and length of movement are the same for all."""
    made = source(amplitude=(1.0, 1.0))
    for entry in made.entries()[::3]:
        scenes = [synthetic._scene(relabelled(entry, label)) for label in CLASSES]
        for scene in scenes[1:]:
            assert scene.timing == scenes[0].timing
            np.testing.assert_array_equal(scene.pose, scenes[0].pose)
            np.testing.assert_array_equal(scene.motion.drift, scenes[0].motion.drift)
            np.testing.assert_array_equal(scene.motion.courses, scenes[0].motion.courses)
            np.testing.assert_array_equal(scene.motion.fields[1:], scenes[0].motion.fields[1:])
            np.testing.assert_array_equal(scene.motion.lids, scenes[0].motion.lids)
            np.testing.assert_array_equal(scene.motion.blink, scenes[0].motion.blink)
            assert not np.array_equal(scene.motion.fields[0], scenes[0].motion.fields[0])


def test_distractors_come_and_go():
    made = source(subjects=8, clips_per_subject=8, size=64)
    scenes = [synthetic._scene(entry) for entry in made.entries()]
    blinks = [np.abs(scene.motion.lids).max() > 0 for scene in scenes]
    strays = [np.abs(scene.motion.fields[-1]).max() > 0 for scene in scenes]
    assert 0.15 < np.mean(blinks) < 0.45
    assert 0.35 < np.mean(strays) < 0.65
    assert all(np.abs(scene.motion.drift).max() > 0 for scene in scenes)


def loso_accuracies(features: np.ndarray, labels: np.ndarray, subjects: np.ndarray) -> np.ndarray:
    """Leave-one-subject-out accuracies `[r]` of a linear classifier for labels `[r, n]`."""
    wanted = (labels[..., None] == np.array(CLASSES)).astype(float)  # r, n, class
    hits = np.zeros(len(labels))
    for subject in np.unique(subjects):
        test = subjects == subject
        scaler = StandardScaler().fit(features[~test])
        targets = wanted[:, ~test].swapaxes(0, 1).reshape((~test).sum(), -1)
        model = Ridge(alpha=10.0).fit(scaler.transform(features[~test]), targets)
        scores = model.predict(scaler.transform(features[test]))
        guess = scores.reshape(test.sum(), len(labels), len(CLASSES)).argmax(-1).T
        hits += (guess == wanted[:, test].argmax(-1)).sum(-1)
    return hits / len(subjects)


def accuracy_and_interval(
    features: np.ndarray, entries: list[Entry], rounds: int = 500
) -> tuple[float, float, float]:
    """Accuracy for the true labels, and the middle 99 % of it for labels permuted in subjects."""
    labels = np.array([entry.label for entry in entries])
    subjects = np.array([entry.subject for entry in entries])
    rng, mixed = np.random.default_rng(0), np.tile(labels, (rounds + 1, 1))
    for row in mixed[1:]:
        for subject in np.unique(subjects):
            row[subjects == subject] = rng.permutation(row[subjects == subject])
    scores = loso_accuracies(features, mixed, subjects)
    low, high = np.quantile(scores[1:], [0.005, 0.995])
    return scores[0], low, high


def test_appearance_does_not_tell_the_class():
    made = source(subjects=8, clips_per_subject=8, amplitude=(0.0, 0.0), size=80)
    entries, onsets, apexes = made.entries(), [], []
    for entry in entries:
        clip = made.load(entry)
        for frame, features in ((clip.onset, onsets), (peak(clip), apexes)):
            features.append(cv2.resize(clip.frames[frame].mean(-1), (20, 20)).ravel())
    for features in (onsets, apexes):
        accuracy, low, high = accuracy_and_interval(np.array(features), entries)
        assert low <= accuracy <= high


def face_motion(made: SyntheticSource, entry: Entry) -> np.ndarray:
    """The motion at the apex, a mean at every inner landmark, less the head's."""
    scene = synthetic._scene(entry)
    moved = cv2.blur(scene.motion.displacement(scene.timing.apex), (5, 5))
    sampled = at_points(moved, scene.landmarks[17:])
    return (sampled - np.median(sampled, axis=0)).ravel()


def test_true_motion_tells_the_class():
    """The positive control: linear, across subjects, well above chance and below certainty."""
    made = source(subjects=12, clips_per_subject=8, amplitude=(0.5, 3.0), size=96)
    entries = made.entries()
    features = np.array([face_motion(made, entry) for entry in entries])
    accuracy, _, high = accuracy_and_interval(features, entries)
    assert high + 0.1 < accuracy < 0.97


def test_no_frame_up_to_the_onset_knows_the_label():
    made = source(amplitude=(3.0, 3.0))
    entry = made.entries()[0]
    clips = [made.load(relabelled(entry, label)) for label in CLASSES]
    assert len({np.asarray(clip.frames)[: clip.onset + 1].tobytes() for clip in clips}) == 1
    assert len({clip.frames[peak(clip)].tobytes() for clip in clips}) == len(CLASSES)


# ------------------------------------------------------------------------------ the subjects


def test_subjects_differ():
    people = [synthetic_subject.subject(0, number, 96) for number in range(6)]
    shapes = [person.landmarks - person.landmarks.mean(0) for person in people]
    for one in range(6):
        for other in range(one):
            assert np.abs(shapes[one] - shapes[other]).max() > 3  # canvas px of about 90 a face
            difference = np.abs(people[one].canvas - people[other].canvas).mean()
            assert difference > 10


# ------------------------------------------------------------------------------ the files


def test_written_clips_hold_the_truth(tmp_path):
    arguments = ["--out", str(tmp_path), "--subjects", "1", "--clips_per_subject", "2"]
    assert synthetic.main([*arguments, "--size", "64", "--amplitude", "1", "2"]) == 0
    made = source(subjects=1, clips_per_subject=2, size=64, amplitude=(1.0, 2.0))
    with open(tmp_path / synthetic.SHEET, newline="") as sheet:
        rows = list(csv.DictReader(sheet))
    assert tuple(rows[0]) == synthetic.COLUMNS
    for row, entry in zip(rows, made.entries(), strict=True):
        clip, folder = made.load(entry), tmp_path / row["path"]
        assert (row["subject"], row["label"], int(row["apex"])) == (
            clip.subject,
            clip.label,
            clip.apex,
        )
        files = sorted(folder.glob("*.png"))
        assert len(files) == len(clip.frames)
        read = np.asarray(cv2.imread(str(files[-1])))[..., ::-1]
        np.testing.assert_array_equal(read, clip.frames[-1])
        with np.load(folder / "truth.npz") as truth:
            np.testing.assert_array_equal(truth["motion"], made.motion(entry))
            np.testing.assert_array_equal(truth["landmarks"], clip.landmarks)


def test_a_bad_command_leaves_with_status_2(tmp_path, capsys):
    assert synthetic.main(["--out", str(tmp_path), "--size", "10"]) == 2
    assert "size" in capsys.readouterr().err
