"""Each protocol from the names of the clips to the table, the scores and the report's words."""

import dataclasses
import html

import numpy as np
import pytest
from sklearn.metrics import f1_score

from data_prep.common.errors import UserError
from helpers.toy import trainer
from mser_jax.config import defaults
from mser_jax.data import protocols
from mser_jax.data.augment import Clips
from mser_jax.data.dataset import Dataset
from mser_jax.data.protocols import PROTOCOLS
from mser_jax.evaluate import scoring
from mser_jax.experiments import held_out as evaluate
from mser_jax.experiments import setup
from mser_jax.report.run import page as report

CLASSES = ("negative", "positive", "surprise")
# database -> clips of its subjects; the subject s1 of each is another person
SIZES = {"casme2": (4, 3, 5), "samm": (2, 6), "smic": (7, 1, 2, 2)}


def made() -> Dataset:
    """Clips of three databases, mixed."""
    named = [
        (database, f"s{person}", f"c{clip}")
        for database, sizes in SIZES.items()
        for person, size in enumerate(sizes, 1)
        for clip in range(size)
    ]
    order = np.random.default_rng(4).permutation(len(named))
    dataset, subject, clip = np.array(named)[order].T
    labels = np.arange(len(named), dtype=np.int32)[order] % 3
    pixels = np.zeros((len(named), 1, 1, 1, 2), np.float16)
    return Dataset(
        clips=Clips(pixels, np.ones(len(named), np.float32), labels),
        dataset=dataset,
        subject=subject,
        clip=clip,
        class_names=CLASSES,
        digest="made",
        dropped={},
        release={},
        repaired={},
    )


DATASET = made()
OF_SAMM = DATASET.dataset == "samm"


def folds_of(protocol, dataset=DATASET, parts=3, held_out="samm", seed=0):
    return protocols.make_folds(protocol, dataset, parts=parts, held_out=held_out, seed=seed)


def only(dataset: Dataset, rows: np.ndarray) -> Dataset:
    columns = {name: getattr(dataset, name)[rows] for name in ("dataset", "subject", "clip")}
    clips = Clips(*(array[rows] for array in dataset.clips))
    return dataclasses.replace(dataset, clips=clips, **columns)


@pytest.mark.parametrize(
    ("protocol", "names"),
    [
        ("loso", sorted(set(DATASET.groups))),
        ("leave_one_sample_out", DATASET.names),
        ("k_fold", ["k_fold/0", "k_fold/1", "k_fold/2"]),
        ("hold_out", ["database/samm"]),
        ("cross_database", ["database/casme2", "database/samm", "database/smic"]),
    ],
)
def test_a_protocol_names_its_folds_by_what_they_leave_out(protocol, names):
    assert [fold.name for fold in folds_of(protocol)] == names
    assert len({fold.key for fold in folds_of(protocol)}) == len(names)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_protocol_keeps_its_unit_on_one_side_and_uses_every_clip(protocol):
    units = {"subjects": DATASET.groups, "clips": DATASET.names, "databases": DATASET.dataset}
    of_clip = np.array(units[protocols.UNITS[protocol]])
    for fold in folds_of(protocol):
        assert not set(of_clip[fold.train]) & set(of_clip[fold.test])
        assert sorted([*fold.train, *fold.test]) == list(range(len(DATASET.clip)))
    tested = np.sort(np.concatenate([fold.test for fold in folds_of(protocol)]))
    expected = OF_SAMM if protocol == "hold_out" else np.full(len(OF_SAMM), True)
    np.testing.assert_array_equal(tested, np.flatnonzero(expected))


def test_every_protocol_but_leave_one_sample_out_leaves_whole_people_out():
    groups = np.array(DATASET.groups)
    for protocol in PROTOCOLS:
        leaks = [set(groups[fold.train]) & set(groups[fold.test]) for fold in folds_of(protocol)]
        assert any(leaks) == (protocol == "leave_one_sample_out")


def test_a_database_is_held_out_alone_as_it_is_in_turn():
    (alone,) = folds_of("hold_out")
    (in_turn,) = (fold for fold in folds_of("cross_database") if fold.name == alone.name)
    assert alone.key == in_turn.key
    np.testing.assert_array_equal(alone.train, in_turn.train)


@pytest.mark.parametrize(
    ("protocol", "rows", "changes", "told"),
    [
        (
            "hold_out",
            None,
            {"held_out": "sam"},
            r"'sam'\. Did you mean 'samm'\? One of: casme2, samm",
        ),
        (
            "hold_out",
            OF_SAMM,
            {},
            r"hold_out needs at least 2 databases, but the data set has 1 \(samm\)",
        ),
        (
            "cross_database",
            OF_SAMM,
            {},
            r"cross_database needs at least 2 databases, .* 1 \(samm\)",
        ),
        (
            "k_fold",
            None,
            {"parts": 10},
            "folds 10 needs at least 10 subjects, but the data set has 9",
        ),
        ("loso", OF_SAMM & (DATASET.subject == "s1"), {}, "loso needs at least 2 subjects, .* 1"),
        ("leave_one_sample_out", np.arange(len(OF_SAMM)) < 1, {}, "at least 2 clips, .* has 1"),
    ],
)
def test_what_a_protocol_lacks_is_said_with_what_there_is(protocol, rows, changes, told):
    dataset = DATASET if rows is None else only(DATASET, rows)
    with pytest.raises(UserError, match=told):
        folds_of(protocol, dataset, **changes)


def table(protocol):
    """The predictions of folds that nothing has trained: each guesses, mostly right."""
    of = trainer(folds_of(protocol))
    logits = np.random.default_rng(2).normal(size=(len(of.folds), len(DATASET.clip), 2, 3))
    logits[:, np.arange(len(DATASET.clip)), :, DATASET.clips.labels] += 1.5
    return evaluate.predictions_from_logits(of.folds, logits.astype(np.float32), DATASET)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_table_and_its_scores_are_of_the_clips_that_are_tested(protocol):
    predictions = table(protocol)
    tested = OF_SAMM if protocol == "hold_out" else np.full(len(OF_SAMM), True)
    names = zip(predictions.dataset, predictions.subject, predictions.clip)
    expected = [name for name, is_tested in zip(DATASET.names, tested) if is_tested]
    assert sorted(map("/".join, names)) == sorted(expected)
    assert set(predictions.fold) == {fold.name for fold in folds_of(protocol)}

    scores = scoring.score(predictions, "mean")
    answer = predictions.probabilities.mean(axis=1).argmax(axis=1)
    assert scores["uf1"] == pytest.approx(f1_score(predictions.label, answer, average="macro"))
    assert (scores["clips"], scores["folds"]) == (tested.sum(), len(folds_of(protocol)))
    databases = ["samm"] if protocol == "hold_out" else sorted(SIZES)
    assert [row["dataset"] for row in scores["per_dataset"]] == databases


def words(protocol):
    scores = scoring.score(table(protocol), "mean")
    config = defaults.get_config().to_dict()
    config["evaluation"] |= {"protocol": protocol, "select": "mean", "held_out": "samm"}
    events = [{"event": "data", "clips": len(DATASET.clip), "dropped": {}}]
    return scores, report.render(scores, config, events)


@pytest.mark.parametrize(
    ("protocol", "told"),
    [
        ("loso", "Leave one subject out, 9 folds: every clip is answered by a network that never"),
        ("leave_one_sample_out", "32 folds: the subject's other clips were in the training"),
        ("k_fold", "Subjects divided into 3 folds, whole"),
        ("hold_out", "Hold out the database samm: each of its clips is answered by a network that"),
        ("cross_database", "Leave one database out, 3 folds: every clip is answered by a network"),
    ],
)
def test_the_report_names_the_protocol(protocol, told):
    assert told in html.unescape(words(protocol)[1])


def test_the_report_counts_the_clips_that_were_only_trained_on():
    scores, text = words("hold_out")
    assert "8 clips, 2 subjects, 1 fold, seed" in text
    assert ">trained on and not tested</th><td>24</td>" in text
    assert "trained on and not tested" not in words("cross_database")[1]
    assert "by database" not in report.text_table(scores)


def test_the_tables_show_every_database_and_the_terminals_fits_80_columns():
    scores, text = words("cross_database")
    lines = report.text_table(scores).splitlines()
    assert max(map(len, lines)) <= 80
    for row in scores["per_dataset"]:
        (line,) = (line for line in lines if line.startswith(row["dataset"]))
        assert line.split()[1:3] == [f"{row['accuracy']:.3f}", f"{row['uf1']:.3f}"]
        for each in row["per_class"]:
            cells = f"<td>{each['clips']}</td><td>{each['precision']:.3f}</td>"
            assert f"{row['dataset']}: {each['class']}</th>{cells}" in text


def test_a_class_that_the_held_out_database_lacks_is_an_error_before_the_training():
    setup.check_classes(DATASET, folds_of("hold_out"))
    lacks = only(DATASET, ~(OF_SAMM & (DATASET.clips.labels == 1)))
    setup.check_classes(lacks, folds_of("cross_database", lacks))
    with pytest.raises(UserError, match="No tested clip has the class positive"):
        setup.check_classes(lacks, folds_of("hold_out", lacks))
    scores = scoring.score(table("cross_database"), "mean")
    assert all(row["uf1"] is not None for row in scores["per_dataset"])
