import csv
import dataclasses

import numpy as np
import pytest

from data_prep.common.errors import UserError
from mser_jax.evaluate.predictions import Predictions
from mser_jax.evaluate.predictions_csv import read_csv, write_csv


def made():
    random = np.random.default_rng(7)
    raw = random.random((6, 2, 3)).astype(np.float32)
    probabilities = (raw / raw.sum(axis=-1, keepdims=True)).astype(np.float32)
    probabilities[0, 0] = [1e-30, 1.0, np.float32(1e-8)]
    return Predictions(
        dataset=np.array(["smic", "smic", "samm"] * 2),
        subject=np.array(["s1", "s,2", "006"] * 2),
        clip=np.array(["s1_ne_01", 's2 "x"', "006_1_2"] * 2),
        seed=np.array([0, 0, 0, 1, 1, 1]),
        fold=np.array(["smic/s1", "smic/s,2", "samm/006"] * 2),
        label=np.array([0, 1, 2, 0, 1, 2]),
        probabilities=probabilities,
        train_loss=random.random((6, 2)).astype(np.float32),
        class_names=("negative", "positive", "very_surprised"),
    )


@pytest.fixture
def path(tmp_path):
    return tmp_path / "predictions.csv"


def lines_of(path):
    with path.open(newline="") as file:
        return list(csv.reader(file))


def spoil(path, line, column, cell, table=None):
    """Write the made table with one cell changed; `line` as an editor counts them."""
    write_csv(path, table or made(), "confidence")
    lines = lines_of(path)
    lines[line - 1][column] = cell
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(lines)


@pytest.mark.parametrize("rule", ["confidence", "mean"])
def test_round_trip_keeps_every_bit(path, rule):
    write_csv(path, made(), rule)
    back = read_csv(path)
    for field in dataclasses.fields(Predictions):
        before, after = getattr(made(), field.name), getattr(back, field.name)
        np.testing.assert_array_equal(before, after)
    assert back.probabilities.dtype == back.train_loss.dtype == np.float32


def test_the_columns_and_the_answer_are_the_documented_ones(path):
    write_csv(path, made(), "confidence")
    header, first = lines_of(path)[:2]
    assert header[:8] == [
        *("dataset", "subject", "clip", "seed", "fold", "label", "prediction", "head"),
    ]
    assert header[8:11] == ["head1_negative", "head1_positive", "head1_very_surprised"]
    assert header[-2:] == ["train_loss_head1", "train_loss_head2"]
    assert first[5:8] == ["negative", "positive", "1"]


def failed_table():
    """Of two seeds of three folds, in which the second fold of the first seed failed."""
    probabilities, loss = made().probabilities.copy(), made().train_loss.copy()
    probabilities[1], loss[1] = np.nan, np.nan
    return dataclasses.replace(made(), probabilities=probabilities, train_loss=loss)


@pytest.mark.parametrize("rule", ["confidence", "mean", "train_loss", "oracle"])
def test_a_row_of_a_failed_fold_says_so_and_comes_back_as_one(path, rule):
    write_csv(path, failed_table(), rule)
    told = [line[6:] for line in lines_of(path)[1:]]
    assert told[1] == ["failed", "failed", *[""] * 8]
    assert not {"failed", ""} & {cell for at, line in enumerate(told) if at != 1 for cell in line}
    back = read_csv(path)
    assert back.failed.tolist() == [False, True, False, False, False, False]
    for field in dataclasses.fields(Predictions):
        before, after = getattr(failed_table(), field.name), getattr(back, field.name)
        np.testing.assert_array_equal(before, after)


@pytest.mark.parametrize(("line", "column", "cell"), [(3, 7, "1"), (3, 9, "0.5"), (2, 9, "")])
def test_a_row_that_failed_in_part_is_malformed(path, line, column, cell):
    spoil(path, line, column, cell, failed_table())
    with pytest.raises(UserError, match=f"line {line}: could not convert string to float: ''"):
        read_csv(path)


def test_the_mean_of_the_heads_is_written_as_all(path):
    write_csv(path, made(), "mean")
    assert {line[7] for line in lines_of(path)[1:]} == {"all"}


@pytest.mark.parametrize(
    ("line", "column", "cell", "what"),
    [
        (3, 5, "joy", "label 'joy' is none of"),
        (4, 9, "half", "half"),
        (2, 3, "one", "one"),
        (5, 8, "nan", "not a distribution"),
        (5, 8, "1.5", "not a distribution"),
        (6, -1, "inf", "not finite"),
        (1, 8, "first", "columns should be"),
    ],
)
def test_a_malformed_line_is_named(path, line, column, cell, what):
    spoil(path, line, column, cell)
    with pytest.raises(UserError, match=f"line {line}: .*{what}"):
        read_csv(path)


def test_a_short_line_is_named(path):
    write_csv(path, made(), "confidence")
    text = path.read_text().splitlines()
    text[2] = text[2].rsplit(",", 1)[0]
    path.write_text("\n".join(text))
    with pytest.raises(UserError, match=r"line 3: the line has 15 columns, the header has 16"):
        read_csv(path)


def test_a_row_that_is_there_twice_is_named(path):
    write_csv(path, made(), "confidence")
    text = path.read_text().splitlines()
    path.write_text("\n".join([*text, text[1]]))
    with pytest.raises(UserError, match=r"line 8: .* twice"):
        read_csv(path)


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00", b"a,b\n1,2\n"])
def test_another_file_is_refused_with_its_name(path, content):
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"predictions\.csv.*--mode=evaluate"):
        read_csv(path)


def test_an_absent_and_an_empty_table_are_refused(path):
    with pytest.raises(UserError, match=r"predictions\.csv: no such file"):
        read_csv(path)
    write_csv(path, made(), "confidence")
    path.write_text(path.read_text().splitlines()[0])
    with pytest.raises(UserError, match="no predictions"):
        read_csv(path)


@pytest.mark.parametrize(
    "change",
    [
        {"label": np.array([0, 1, 3, 0, 1, 2])},
        {"train_loss": np.zeros((6, 3), np.float32)},
        {"class_names": ("negative", "positive")},
        {"probabilities": np.full((6, 2, 3), np.nan, np.float32)},  # but not the losses
        {"train_loss": np.full((6, 2), np.nan, np.float32)},
        {"seed": np.zeros(5, int)},
    ],
)
def test_a_table_that_cannot_be_is_never_made(change):
    with pytest.raises(ValueError, match=r".+"):
        dataclasses.replace(made(), **change)
