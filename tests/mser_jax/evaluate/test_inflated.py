"""What the best epoch on the test clips would have claimed, worked by hand and read from files."""

import dataclasses
import html
import json
import shutil

import numpy as np
import pytest

from data_prep.common.errors import UserError
from helpers.made_report import EVENTS, config
from helpers.made_report import made as four_heads
from helpers.made_tables import fail, made
from mser_jax.evaluate import inflated, scoring
from mser_jax.report.run import page as report

LABEL = [0, 1, 2, 0, 1, 2]
# What each epoch answers; right are of subject x (the first three clips) and y, of 3 each:
ANSWERS = [
    [0, 1, 2, 1, 2, 0],  # 3 and 0
    [0, 1, 0, 0, 1, 0],  # 2 and 2: the best for all
    [0, 0, 0, 0, 1, 2],  # 1 and 3
    [0, 1, 0, 0, 1, 0],  # as good as the second, and later
    [0, 1, 2, 0, 2, 0],  # 3 and 1: as good for x as the first; as good for all as the second
    [0, 0, 0, 0, 1, 1],  # 1 and 2: the last
]
PEOPLE = list("xxxyyy")


def of_epochs(answers=ANSWERS, seeds=1):
    """The table of the last epoch, and `[epoch, n, k, c]`."""
    seed = np.repeat(np.arange(seeds), len(LABEL))
    tables = [
        made(LABEL * seeds, answer * seeds, subject=PEOPLE * seeds, seed=seed) for answer in answers
    ]
    return tables[-1], np.stack([table.probabilities for table in tables])


def scored(answer):
    scores = scoring.score(made(LABEL, answer, subject=PEOPLE), "mean")
    return {name: scores[name] for name in ("accuracy", "uf1", "uar")}


def above(answer):
    last, scores = scored(ANSWERS[-1]), scored(answer)
    difference = {name: pytest.approx(scores[name] - last[name]) for name in scores}
    return {**scores, "difference": difference}


@pytest.mark.parametrize("seeds", [1, 2])
def test_the_epochs_are_chosen_and_scored_as_by_hand(seeds):
    results = inflated.results(*of_epochs(seeds=seeds), "confidence")
    assert results["last_epoch"] == scored(ANSWERS[-1])
    assert results["last_epoch"]["accuracy"] == 0.5
    assert results["one_epoch"] == {**above(ANSWERS[1]), "epoch": 2}
    each = [
        {"fold": f"made/{subject}", "seed": seed, "epoch": epoch}
        for seed in range(seeds)
        for subject, epoch in (("x", 1), ("y", 3))
    ]
    assert results["each_fold"] == {**above(LABEL), "chosen": each}
    assert results["each_fold"]["accuracy"] == 1
    assert "not a result" in results["not_a_result"].lower()
    assert json.loads(json.dumps(results, allow_nan=False)) == results


def test_each_rule_chooses_by_its_own_answers_and_train_loss_by_the_last_losses():
    one, probabilities = of_epochs([LABEL, [(label + 2) % 3 for label in LABEL]])
    other = np.roll(probabilities, 1, axis=-1)  # a second head, right in the second epoch alone
    table = dataclasses.replace(
        one,
        probabilities=np.concatenate([probabilities, other], axis=2)[-1],
        train_loss=np.tile(np.array([2.0, 1.0], np.float32), (6, 1)),
    )
    both = np.concatenate([probabilities, other], axis=2)
    assert inflated.results(table, both, "confidence")["one_epoch"]["epoch"] == 1
    by_loss = inflated.results(table, both, "train_loss")
    assert by_loss["one_epoch"]["epoch"] == 2
    assert "training losses after the last epoch" in by_loss["chosen_by"]
    assert "losses" not in inflated.results(table, both, "mean")["chosen_by"]


def test_the_clips_of_a_fold_that_failed_are_left_out():
    table, probabilities = of_epochs([*ANSWERS[:2], LABEL], seeds=2)
    failed = (table.subject == "y") & (table.seed == 1)
    probabilities[:, failed] = np.nan
    results = inflated.results(fail(table, failed), probabilities, "mean")
    chosen = [(each["fold"], each["seed"]) for each in results["each_fold"]["chosen"]]
    assert chosen == [("made/x", 0), ("made/y", 0), ("made/x", 1)]
    assert results["last_epoch"]["accuracy"] == 1


def keep(workdir, table, epochs, rounds=(5, 32)):
    """Files as the training leaves them, each round's rows in their own; the last is the table."""
    folder = workdir / "inflated"
    folder.mkdir()
    random = np.random.default_rng(0)
    for epoch in range(1, epochs + 1):
        raw = random.random(table.probabilities.shape).astype(np.float32)
        each = raw / raw.sum(axis=-1, keepdims=True) if epoch < epochs else table.probabilities
        for number, part in enumerate(np.split(each, rounds[:-1]), 1):
            np.save(folder / f"round-{number}-epoch-{epoch}.npy", part)
    return folder


def test_the_files_of_the_rounds_are_read_in_the_order_of_the_table(tmp_path):
    folder = keep(tmp_path, four_heads(), epochs=11)
    read = inflated.read(tmp_path, four_heads(), epochs=11)
    assert read.shape == (11, *four_heads().probabilities.shape)
    np.testing.assert_array_equal(read[-1], four_heads().probabilities)
    np.testing.assert_array_equal(read[1, :5], np.load(folder / "round-1-epoch-2.npy"))
    np.testing.assert_array_equal(read[9, 5:], np.load(folder / "round-2-epoch-10.npy"))


def test_what_an_earlier_training_in_more_rounds_left_is_not_read(tmp_path):
    folder = keep(tmp_path, four_heads(), epochs=2)
    read = inflated.read(tmp_path, four_heads(), epochs=2)
    for epoch in (1, 2):
        shutil.copy(folder / f"round-1-epoch-{epoch}.npy", folder / f"round-3-epoch-{epoch}.npy")
    np.testing.assert_array_equal(inflated.read(tmp_path, four_heads(), epochs=2), read)


@pytest.mark.parametrize(
    "gone", ["round-1-epoch-1", "round-2-epoch-2", "round-1-epoch-*", "round-2-epoch-*"]
)
def test_a_file_that_is_not_there_is_named_with_what_makes_it(tmp_path, gone):
    folder = keep(tmp_path, four_heads(), epochs=3)
    for path in folder.glob(f"{gone}.npy"):
        path.unlink()
    told = rf"{gone.replace('*', '1')}\.npy: No such file.*report\.inflated=True from the start"
    with pytest.raises(UserError, match=told):
        inflated.read(tmp_path, four_heads(), epochs=3)


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(UserError, match=r"inflated/round-1-epoch-1\.npy: No such file.*Fix"):
        inflated.read(tmp_path, four_heads(), epochs=3)


def spoiled(folder, what):
    path = folder / "round-2-epoch-3.npy"
    if what == "half":
        path.write_bytes(path.read_bytes()[:200])
    else:
        whole = np.load(path)
        changed = {
            "other": np.roll(whole, 1, axis=0),
            "nan": whole * np.nan,
            "of more clips": np.concatenate([whole, whole]),
            "of no clip": whole[:0],
            "of fewer heads": whole[:, :1],
        }
        np.save(path, changed[what])


@pytest.mark.parametrize(
    ("what", "told"),
    [
        ("half", r"round-2-epoch-3\.npy: the file is incomplete"),
        *(
            (what, r"inflated: the files do not match predictions\.csv")
            for what in ("other", "nan", "of more clips", "of no clip", "of fewer heads")
        ),
    ],
)
def test_files_of_another_training_are_refused(tmp_path, what, told):
    spoiled(keep(tmp_path, four_heads(), epochs=3), what)
    with pytest.raises(UserError, match=f"{told}.*Fix: train again"):
        inflated.read(tmp_path, four_heads(), epochs=3)


def test_the_page_has_it_only_when_asked_for_and_marked_as_no_result(tmp_path):
    page = report.write(tmp_path, four_heads(), config(), EVENTS).read_text()
    assert "no held-out clip was looked at before the end" in page
    keep(tmp_path, four_heads(), epochs=2)
    page = report.write(tmp_path, four_heads(), config(), EVENTS).read_text()
    assert "Not a result" not in page
    assert "no held-out clip was looked at before the end" not in page  # whatever is asked for now
    assert not (tmp_path / "metrics_inflated.json").exists()

    asked = config() | {"report": {"inflated": True}}
    page = html.unescape(report.write(tmp_path, four_heads(), asked, EVENTS).read_text())
    written = json.loads((tmp_path / "metrics_inflated.json").read_text())
    probabilities = inflated.read(tmp_path, four_heads(), 2)
    assert written == inflated.results(four_heads(), probabilities, "confidence")
    assert "no held-out clip was looked at before the end" not in page
    assert f'<p class="note">{inflated.NOT_A_RESULT}</p>' in page
    raised = written["each_fold"]["difference"]["uf1"]
    assert f'{written["each_fold"]["uf1"]:.3f}<small class="under">{raised:+.3f}' in page
    scores = json.loads((tmp_path / "metrics.json").read_text())
    assert scores == scoring.score(four_heads(), "confidence"), "the result is what it was"
