"""The table of held-out predictions as a CSV file."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from data_prep.common import files
from data_prep.common.errors import UserError
from mser_jax.evaluate import selection
from mser_jax.evaluate.predictions import Predictions

_FIXED_COLUMNS = ("dataset", "subject", "clip", "seed", "fold", "label", "prediction", "head")


_FAILED = "failed"  # in the columns of the answer and its head


_REMEDY = "Fix: write it again with --mode=evaluate."


def write_csv(path: Path, predictions: Predictions, rule: str) -> None:
    """Write one line for each row, with the answer of `rule`.

    Floats keep the full precision of float32.

    Args:
      path: Output file; an existing one is replaced.
      predictions: Table to write.
      rule: One of `selection.RULES`. It fills the columns `prediction` and `head` ('all' if the
        answer is the mean of the heads). For a failed fold both are 'failed', and the columns of
        probabilities and losses are empty.
    """
    chosen, head = selection.choose(predictions, rule)
    answers = chosen.argmax(axis=1)
    with (
        files.atomic_file(path, alternative="another --workdir") as part,
        part.open("w", newline="", encoding="utf-8") as file,
    ):
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(_header(predictions.class_names, predictions.train_loss.shape[1]))
        for row, failed in enumerate(predictions.failed):
            format_cells = _failed_cells if failed else _answer_cells
            writer.writerow(
                [
                    *_key_cells(predictions, row),
                    *format_cells(predictions, row, answers[row], head[row]),
                ]
            )


def read_csv(path: Path) -> Predictions:
    """Read a table that `write_csv` wrote.

    Args:
      path: Input file.

    Returns:
      The table. The columns `prediction` and `head` are not stored in it: they follow from the
      others.

    Raises:
      UserError: The file is missing, or a line is malformed; the message names it.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path}: no such file. {_REMEDY}")
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.reader(file)
            names, heads = _parse_header(path, next(reader, []))
            rows = [(reader.line_num, cells) for cells in reader]
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path}: not a table of predictions ({error}). {_REMEDY}") from error
    if not rows:
        raise UserError(f"{path}: the file has no predictions. {_REMEDY}")
    return _parse_rows(path, rows, names, heads)


def _header(class_names: tuple[str, ...], heads: int) -> list[str]:
    numbers = range(1, heads + 1)
    probabilities = [f"head{head}_{name}" for head in numbers for name in class_names]
    return [*_FIXED_COLUMNS, *probabilities, *(f"train_loss_head{head}" for head in numbers)]


def _key_cells(predictions: Predictions, row: int) -> list[object]:
    """Return the cells that identify a row, and its label."""
    columns = ("dataset", "subject", "clip", "seed", "fold")
    label = predictions.class_names[predictions.label[row]]
    return [*(getattr(predictions, column)[row] for column in columns), label]


def _answer_cells(predictions: Predictions, row: int, answer: int, head: int) -> list[object]:
    figures = (*predictions.probabilities[row].ravel(), *predictions.train_loss[row])
    return [
        predictions.class_names[answer],
        "all" if head == selection.ALL_HEADS else head + 1,
        *map(_format_float, figures),
    ]


def _failed_cells(predictions: Predictions, row: int, *_: int) -> list[object]:
    figures = predictions.probabilities[row].size + predictions.train_loss[row].size
    return [_FAILED, _FAILED, *[""] * figures]


def _format_float(value: np.floating) -> str:
    """Format nine significant digits: enough to restore every float32 exactly."""
    return f"{value:.9g}"


def _parse_header(path: Path, header: list[str]) -> tuple[tuple[str, ...], int]:
    prefix = "head1_"
    names = tuple(cell[len(prefix) :] for cell in header if cell.startswith(prefix))
    heads = sum(cell.startswith("train_loss_head") for cell in header)
    if not names or header != _header(names, heads):
        raise _malformed(
            path, 1, f"the columns should be {', '.join(_FIXED_COLUMNS)}, head1_<class> ..."
        )
    return names, heads


def _parse_rows(
    path: Path, rows: list[tuple[int, list[str]]], class_names: tuple[str, ...], heads: int
) -> Predictions:
    keys, labels, figures = {}, [], []
    for line, cells in rows:
        try:
            key, fold, label = _parse_names(cells, class_names, heads)
            figures.append(_parse_figures(cells, heads))
        except ValueError as error:
            raise _malformed(path, line, str(error)) from error
        if key in keys:
            raise _malformed(path, line, f"clip {key[2]!r} of {key[1]!r} appears twice")
        keys[key] = fold
        labels.append(label)
    dataset, subject, clip, seed = (np.array(column) for column in zip(*keys, strict=True))
    probabilities, losses = np.split(np.stack(figures), [heads * len(class_names)], axis=1)
    return Predictions(
        dataset=dataset,
        subject=subject,
        clip=clip,
        seed=seed,
        fold=np.array(list(keys.values())),
        label=np.array(labels),
        probabilities=probabilities.reshape(-1, heads, len(class_names)),
        train_loss=losses,
        class_names=class_names,
    )


def _parse_names(
    cells: list[str], class_names: tuple[str, ...], heads: int
) -> tuple[tuple[str, str, str, int], str, int]:
    """Parse (dataset, subject, clip, seed), fold and label of a line.

    Raises ValueError with what is wrong.
    """
    width = len(_header(class_names, heads))
    if len(cells) != width:
        raise ValueError(f"the line has {len(cells)} columns, the header has {width}")
    dataset, subject, clip, seed, fold, label = cells[:6]
    if label not in class_names:
        raise ValueError(f"the label {label!r} is none of {', '.join(class_names)}")
    return (dataset, subject, clip, int(seed)), fold, class_names.index(label)


def _parse_figures(cells: list[str], heads: int) -> np.ndarray:
    """Parse the probabilities and training losses of a line, `[k * c + k]` float32.

    They are NaN if the fold failed.
    """
    head, figures = cells[_FIXED_COLUMNS.index("head")], cells[len(_FIXED_COLUMNS) :]
    if head == _FAILED and not any(figures):
        return np.full(len(figures), np.nan, np.float32)
    numbers = np.array([float(cell) for cell in figures], np.float32)
    probabilities, losses = np.split(numbers, [-heads])
    total = probabilities.reshape(heads, -1).sum(axis=-1)
    # The tolerance allows for the rounding of bfloat16.
    if not (probabilities.min() >= 0 and np.abs(total - 1).max() < 0.02):
        raise ValueError("a head's probabilities are not a distribution")
    if not np.isfinite(losses).all():
        raise ValueError("a training loss is not finite")
    return numbers


def _malformed(path: Path, line: int, problem: str) -> UserError:
    return UserError(f"{path}, line {line}: {problem}. {_REMEDY}")
