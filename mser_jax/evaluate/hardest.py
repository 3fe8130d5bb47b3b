"""The hardest clips: wrong answers whose true class got the lowest probability."""

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
FOLDER = "hardest"  # folder of the pictures, beside the page
FACES, FLOW, IMAGE = "faces", "flow", "image"  # content of a picture; FACES includes the flow
_MAX_NAME_LENGTH = 60  # characters of a clip's name in its file's name


@dataclasses.dataclass(frozen=True)
class Pictures:
    """Pictures of the hardest clips, in `FOLDER`.

    Attributes:
      kind: `FACES`, `FLOW` or `IMAGE`.
      files: Name of a clip (see `clip_name`) -> name of its file.
      missing_reason: Sentence that says why some clips have no picture; '' if all have one.
      legend: PNG file that explains the colours of the flow; b'' without one.
    """

    kind: str = FACES
    files: Mapping[str, str] = dataclasses.field(default_factory=dict)
    missing_reason: str = ""
    legend: bytes = b""


def clips(predictions: Predictions, rule: str, count: int = COUNT) -> dict[str, Any]:
    """Return the wrong answers with the lowest probability of the true class.

    With several seeds, the probabilities of a clip are the means over the seeds that answered it,
    and its answer is the class with the highest mean.

    Args:
      predictions: Table of held-out predictions. Rows of failed folds are left out.
      rule: One of `selection.RULES`.
      count: Maximum number of clips.

    Returns:
      wrong: number of clips answered wrongly;
      clips: the hardest first: dataset, subject, clip, true and answer (class names), and the
        probabilities of these two classes, p_true and p_answer.

    Raises:
      UserError: Every fold failed, or the rule does not exist.
    """
    table = ensemble.average_seeds(failures.drop_failed(predictions), rule)
    probabilities = table.probabilities[:, 0]
    answer, p_true = probabilities.argmax(axis=1), probabilities[np.arange(len(table)), table.label]
    wrong = np.flatnonzero(answer != table.label)
    hardest = wrong[np.argsort(p_true[wrong], kind="stable")][:count]
    return {
        "wrong": len(wrong),
        "clips": [
            {
                "dataset": str(table.dataset[row]),
                "subject": str(table.subject[row]),
                "clip": str(table.clip[row]),
                "true": table.class_names[table.label[row]],
                "answer": table.class_names[answer[row]],
                "p_true": float(p_true[row]),
                "p_answer": float(probabilities[row, answer[row]]),
            }
            for row in hardest
        ],
    }


def clip_name(dataset: str, subject: str, clip: str) -> str:
    """Return 'dataset/subject/clip'."""
    return f"{dataset}/{subject}/{clip}"


def clip_names(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return the `clip_name` of each row of `clips`."""
    return [clip_name(row["dataset"], row["subject"], row["clip"]) for row in rows]


def file_name(clip: str, kind: str) -> str:
    """Return the name of a clip's picture file.

    Special characters of the clip's name are replaced by '-'. A checksum keeps apart names that
    become equal this way.

    Args:
      clip: Name of the clip, as `clip_name` returns it.
      kind: `FACES`, `FLOW` or `IMAGE`.
    """
    plain = re.sub(r"[^A-Za-z0-9.-]+", "-", clip).strip("-.")[:_MAX_NAME_LENGTH]
    return f"{plain}-{zlib.crc32(clip.encode()):08x}-{kind}.png"
