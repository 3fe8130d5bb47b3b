"""The scores of a table from any program: against scikit-learn, by hand, and of a run's table."""

import json

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, balanced_accuracy_score, confusion_matrix, f1_score

from helpers.made_tables import fail
from mser_jax import score
from mser_jax.evaluate import external_csv, predictions_csv, scoring
from mser_jax.evaluate.predictions import Predictions

CLASSES = ("negative", "positive", "surprise")
BY_HAND = """dataset,subject,clip,label,prediction
smic,s1,a,negative,negative
smic,s1,b,positive,negative
samm,s1,a,negative,negative
samm,s1,b,positive,positive
samm,s2,c,positive,positive
"""


@pytest.fixture
def table(tmp_path):
    def write(content, name="answers.csv"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def drawn(clips=60):
    """Label and prediction of clips of six people, right in two of three."""
    rng = np.random.default_rng(0)
    label = rng.integers(0, 3, clips)
    return label, np.where(rng.random(clips) < 0.67, label, rng.integers(0, 3, clips))


def text_of(label, prediction, names=CLASSES, rows_of=lambda row: ""):
    lines = [f"{'smic' if i % 2 else 'samm'},s{i % 6},c{i}" for i in range(len(label))]
    cells = [f"{names[a]},{names[b]}" for a, b in zip(label, prediction)]
    return "".join(
        f"{line},{pair}{rows_of(i)}\n" for i, (line, pair) in enumerate(zip(lines, cells))
    )


HEADER = "dataset,subject,clip,label,prediction"


def scored(path, classes=()):
    return external_csv.score(external_csv.read(path, classes))


def test_scores_are_those_of_scikit_learn(table):
    label, prediction = drawn()
    result = scored(table(f"{HEADER}\n{text_of(label, prediction)}"))
    assert result["accuracy"] == pytest.approx(accuracy_score(label, prediction))
    macro = f1_score(label, prediction, average="macro")
    assert result["uf1"] == result["f1_macro"] == pytest.approx(macro)
    assert result["f1_weighted"] == pytest.approx(f1_score(label, prediction, average="weighted"))
    assert result["uar"] == pytest.approx(balanced_accuracy_score(label, prediction))
    assert np.array_equal(result["confusion"], confusion_matrix(label, prediction))
    for row in result["per_dataset"]:
        rows = np.arange(len(label)) % 2 == (row["dataset"] == "smic")
        expected = balanced_accuracy_score(label[rows], prediction[rows])
        assert row["uar"] == pytest.approx(expected)
    assert (result["clips"], result["subjects"]) == (60, 6)  # s1 of two databases is two people


def test_an_example_by_hand(table, capsys, tmp_path):
    out = tmp_path / "out"
    assert score.main([str(table(BY_HAND)), "--out", str(out)]) == 0
    text = capsys.readouterr().out
    result = json.loads((out / "metrics.json").read_text())
    assert result["confusion"] == [[2, 0], [1, 2]]
    assert result["accuracy"] == pytest.approx(4 / 5)
    assert result["uf1"] == pytest.approx((4 / 5 + 4 / 5) / 2)  # 2 TP / (2 TP + FP + FN)
    assert result["uar"] == pytest.approx((1 + 2 / 3) / 2)
    assert "5 clips, 3 subjects, 2 databases" in text
    assert "predictions         0.800  0.800  0.833" in text
    assert "  95 % from" in text
    assert "negative                2         0" in text
    assert "positive      3      1.000   0.667  0.800" in text
    assert "smic          2         1     0.500  0.333  0.500" in text
    assert "always positive     0.600  0.375  0.500" in text
    assert max(map(len, text.splitlines()[:-1])) <= 80


def test_what_a_table_lacks_has_no_key(table):
    label, prediction = drawn()
    result = scored(table(f"{HEADER}\n{text_of(label, prediction)}"))
    assert not {"calibration", "hardest", "folds", "seeds", "rules", "failed"} & {*result}
    assert "accuracy_fold_mean" not in result["per_dataset"][0]
    names = ",".join(f"p_{name}" for name in CLASSES)
    chances = ["0.5,0.25,0.25", "0.25,0.5,0.25", "0.25,0.25,0.5"]
    text = text_of(label, prediction, rows_of=lambda row: f",{chances[prediction[row]]}")
    result = scored(table(f"{HEADER},{names}\n{text}"))
    assert result["calibration"]["before"]["confidence"] == pytest.approx(0.5)
    assert result["hardest"]["clips"][0]["p_answer"] == pytest.approx(0.5)


@pytest.mark.parametrize("rule", ["confidence", "mean", "train_loss", "oracle"])
def test_the_table_of_a_run_has_the_scores_of_its_run(rule, tmp_path):
    rng = np.random.default_rng(1)
    label, _ = drawn(72)
    logits = rng.normal(size=(72, 2, 3)) + 1.5 * np.eye(3)[label][:, None]
    chances = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
    row = np.arange(72)
    predictions = Predictions(
        dataset=np.where(row % 2, "smic", "samm"),
        subject=np.array([f"s{i % 6}" for i in row]),
        clip=np.array([f"c{i % 36}" for i in row]),
        seed=row // 36,
        fold=np.array([f"f{i % 6}" for i in row]),
        label=np.tile(label[:36], 2),
        probabilities=chances.astype(np.float32),
        train_loss=rng.random((6, 2))[row % 6].astype(np.float32),
        class_names=CLASSES,
    )
    predictions = fail(predictions, row % 6 == 4)
    path = tmp_path / "predictions.csv"
    predictions_csv.write_csv(path, predictions, rule)
    ours, theirs = scored(path), scoring.score(predictions, rule)
    of_heads = {"rule", "upper_bound", "heads", "rules"}
    assert {*theirs} - {*ours} == of_heads
    for name in {*ours} - {"calibration", "hardest"}:
        assert ours[name] == theirs[name], name
    if rule == "confidence":
        assert ours["hardest"] == theirs["hardest"]
        assert ours["calibration"] == theirs["calibration"]


def same_scores(first, second):
    return all(first[name] == second[name] for name in ("accuracy", "uf1", "uar", "confusion"))


def test_classes_may_be_indices_and_files_those_of_a_spreadsheet(table):
    label, prediction = drawn()
    named = f"{HEADER}\n{text_of(label, prediction)}"
    expected = scored(table(named))
    indices = f"{HEADER}\n{text_of(label, prediction, '012')}"
    assert scored(table(indices))["class_names"] == ["0", "1", "2"]
    assert scored(table(indices), CLASSES) == expected
    floats = f"{HEADER}\n{text_of(label, prediction, ['0.0', '1.0', '2.0'])}"
    assert scored(table(floats), CLASSES) == expected
    from_one = f"{HEADER}\n{text_of(label, prediction, '123')}"
    assert scored(table(from_one))["confusion"] == expected["confusion"]
    excel = "\N{BYTE ORDER MARK}" + named.replace(",", ";").replace("\n", "\r\n").title()
    assert same_scores(scored(table(excel)), expected)
    commas = ["0,6;0,1;0,3", "0,1;0,6;0,3", "0,1;0,1;0,8"]  # decimal commas
    text = text_of(label, prediction, "012", lambda row: f";{commas[prediction[row]]}")
    lines = [";".join(line.split(",", 4)) for line in text.splitlines()]
    header = ";".join([*HEADER.split(","), *(f"head1_{name}" for name in CLASSES)])
    assert same_scores(scored(table("\n".join([header, *lines]))), expected)


def test_one_database_is_said(table, capsys):
    lines = [line.partition(",")[2] for line in BY_HAND.replace("samm,s", "samm,t").splitlines()]
    assert score.main([str(table("\n".join(lines)))]) == 0
    text = capsys.readouterr().out
    assert "there is no column dataset, so all clips count as one database" in text
    assert "5 clips, 3 subjects, 1 database\n" in text


def test_a_tie_goes_to_the_stated_prediction(table):
    text = "subject,clip,label,prediction,p_a,p_b\ns1,1,b,b,0.5,0.5\ns2,2,a,a,0.5,0.5\n"
    assert scored(table(text))["accuracy"] == 1


def test_many_long_classes_fit_the_terminal(table, capsys):
    names = [f"emotion number {i}" for i in range(9)]
    rows = "".join(f"s{i},c{j},{name},{name}\n" for i in range(2) for j, name in enumerate(names))
    assert score.main([str(table(f"subject,clip,label,prediction\n{rows}"))]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert any(line.startswith("3 emotion number 2") for line in lines)


GOOD = "subject,clip,label,prediction\ns1,1,a,a\ns2,2,b,b\n"
CHANCES = "subject,clip,label,prediction,p_a,p_b\ns1,1,a,a,0.9,0.1\n"
FAULTS = {
    "empty": ("", "the file is empty. Fix: "),
    "header": ("subject,clip,label,prediction\n", "line 1: there is no row below the header"),
    "column": ("subject,clip,label\n1,2,3\n", "line 1: there is no column 'prediction'"),
    "column twice": (GOOD.replace("clip,", "clip,clip,"), "line 1: the column 'clip' occurs twice"),
    "clip twice": (f"{GOOD}s1,1,b,b\n", "line 4: clip '1' of subject 's1' is in line 2 too. Fix: "),
    "class": (f"{GOOD}s1,3,a,c\n", "line 4: unknown class in the column prediction, 'c'. One of"),
    "index": (f"{GOOD}s1,3,a,2\n", "line 4: unknown class in the column prediction, '2'"),
    "one class": ("subject,clip,label,prediction\ns,1,a,a\n", "'a' is the only label"),
    "blank": (f"{GOOD}s1,3,,b\n", "line 4: the column label is blank"),
    "cells": (f"{GOOD}s1,3,a\n", "line 4: the line has 3 columns, the header has 4"),
    "quotes": (f'{GOOD}s1,"3,a,a\n', "not a line of CSV"),
    "NaN": (f"{CHANCES}s2,2,b,b,nan,nan\n", "line 3: p_a is nan, not a probability"),
    "no number": (f"{CHANCES}s2,2,b,b,,1\n", "line 3: p_a is '', not a number"),
    "logits": (f"{CHANCES}s2,2,b,b,-1.2,2\n", "line 3: p_a is -1.2, not a probability"),
    "sum": (f"{CHANCES}s2,2,b,b,0.4,0.5\n", "line 3: the probabilities sum to 0.9, not to 1"),
    "disagree": (
        f"{CHANCES}s2,2,b,b,0.8,0.2\n",
        "line 3: the prediction is b, but a has the highest probability (0.8 to 0.2)",
    ),
    "no clip of a class": (CHANCES + "s2,2,a,b,0.2,0.8\n", "no answered clip has the label b"),
    "no clip of a seed": (
        f"{GOOD.replace('ion', 'ion,seed', 1).replace('a,a', 'a,a,0').replace('b,b', 'b,b,0')}"
        "s1,3,a,a,1\n",
        "no answered clip of seed 1 has the label b",
    ),
    "Latin-1": (f"{GOOD}s1,3,a,é\n".encode("latin-1"), "line 4: not text in UTF-8 (byte 0xe9)"),
    "UTF-16": (GOOD.encode("utf-16"), "line 1: not text in UTF-8"),
    "sheet": (b"PK\x03\x04", "a spreadsheet or an archive, not text"),
    "seed": (
        "subject,clip,label,prediction,seed\ns,1,a,a,x\ns,2,b,b,0\n",
        "line 2: the seed 'x' is not",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_mistake_is_named_with_file_line_and_fix(fault, table, capsys):
    content, reason = FAULTS[fault]
    path = table(content)
    assert score.main([str(path)]) == 2
    message = capsys.readouterr().err
    assert message.startswith(f"\n{path}")
    assert reason in message
    assert "Fix: " in message


def test_a_mistake_of_the_command_is_named(table, tmp_path, capsys):
    path = table(GOOD, "predictions.csv")
    run = tmp_path / "run"
    run.mkdir()
    (run / "config.json").touch()
    for arguments, reason in (
        ([path, path], "python -m mser_jax.compare RUN_A RUN_B"),
        ([tmp_path], f"a folder, not a table. Fix: give {path}."),
        ([tmp_path / "absent.csv"], "no such file"),
        ([path, "--classes=a"], "--classes is 'a'. Fix: give at least two"),
        ([path, "--classes=a,c"], "line 3: unknown class in the column"),
        ([path, "--out", run], "the folder of a run, whose metrics.json would be replaced"),
    ):
        assert score.main([*map(str, arguments)]) == 2
        assert reason in capsys.readouterr().err
