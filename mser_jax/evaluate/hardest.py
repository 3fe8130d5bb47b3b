"""The clips that were answered most wrongly: those whose true class got the least probability."""

from __future__ import annotations

import dataclasses
import re
import zlib
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from mser_jax.evaluate import ensemble, failures
from mser_jax.evaluate.predictions import Predictions

COUNT = 12
FOLDER = "hardest"  # of their pictures, beside the page
FACES, FLOW, IMAGE = "faces", "flow", "image"  # what a picture shows; FACES has the flow too
_MAX_NAME_LENGTH = 60  # characters of a clip's name in that of its file


@dataclasses.dataclass(frozen=True)
class Pictures:
    """What there is of pictures of clips, in `FOLDER`.

    Attributes:
      kind: `FACES`, `FLOW` or `IMAGE`.
      files: a clip's `name` -> the file's name.
      missing_reason: why there are none of some clips, in a sentence; '' where there are all.
      legend: a PNG file, what the colours of the flow mean; b'' without one.
    """

    kind: str = FACES
    files: Mapping[str, str] = dataclasses.field(default_factory=dict)
    missing_reason: str = ""
    legend: bytes = b""


def clips(predictions: Predictions, rule: str, count: int = COUNT) -> dict[str, Any]:
    """The surest wrong answers.

    With several seeds a clip's probabilities are the means over those that answered it, and its
    answer is theirs.

    Args:
      predictions: the table. Rows of a fold that failed are left out.
      rule: one of `selection.RULES`.
      count: how many at most.

    Returns:
      wrong: how many clips were answered wrongly;
      clips: the hardest first: dataset, subject, clip, true and answer (names of classes), and the
        probability of each of these two, p_true and p_answer.

    Raises:
      UserError: every fold failed, or there is no such rule.
    """
    table = ensemble.average_seeds(failures.drop_failed(predictions), rule)
    each = table.probabilities[:, 0]
    answer, true = each.argmax(axis=1), each[np.arange(len(table)), table.label]
    wrong = np.flatnonzero(answer != table.label)
    hardest = wrong[np.argsort(true[wrong], kind="stable")][:count]
    return {
        "wrong": len(wrong),
        "clips": [
            {
                "dataset": str(table.dataset[row]),
                "subject": str(table.subject[row]),
                "clip": str(table.clip[row]),
                "true": table.class_names[table.label[row]],
                "answer": table.class_names[answer[row]],
                "p_true": float(true[row]),
                "p_answer": float(each[row, answer[row]]),
            }
            for row in hardest
        ],
    }


def clip_name(dataset: str, subject: str, clip: str) -> str:
    """'dataset/subject/clip'."""
    return f"{dataset}/{subject}/{clip}"


def clip_names(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """Of each row of `clips`."""
    return [clip_name(row["dataset"], row["subject"], row["clip"]) for row in rows]


def file_name(clip: str, kind: str) -> str:
    """A clip's file, whatever the letters of its name; the digits keep like names apart.

    Args:
      clip: its `name`.
      kind: what the picture shows.
    """
    plain = re.sub(r"[^A-Za-z0-9.-]+", "-", clip).strip("-.")[:_MAX_NAME_LENGTH]
    return f"{plain}-{zlib.crc32(clip.encode()):08x}-{kind}.png"
