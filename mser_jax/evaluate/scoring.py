"""All scores of one table of held-out predictions: the content of metrics.json."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from data_prep.common.errors import UserError
from mser_jax.evaluate import calibration, failures, hardest, metrics, selection
from mser_jax.evaluate.metrics import Groups
from mser_jax.evaluate.predictions import Predictions


def score(predictions: Predictions, rule: str) -> dict:
    """Compute all scores of a table: the content of metrics.json.

    The scores come from one confusion matrix pooled over all folds. With several seeds they are
    the mean of the seeds' scores, `seed_std` is the standard deviation over the seeds (n - 1), and
    the confusion matrix and the per-class scores are those of all seeds together.

    A failed fold has no answers. No score counts its clips, neither as right nor as wrong: `failed`
    lists such folds, and unless it is empty the scores do not cover the whole set.

    Args:
      predictions: Table of held-out predictions.
      rule: One of `selection.RULES`, used for all scores except `rules`, which has every rule.

    Returns:
      A dict of plain Python values; None stands for an undefined score. `clips` counts the clips
      that have an answer, `tested` those of the table.

    Raises:
      UserError: A class has no answered clip (UF1 and UAR are undefined then), every fold failed,
        or the rule does not exist.
    """
    all_rows, predictions = predictions, failures.drop_failed(predictions)
    _check_all_classes_answered(all_rows)
    groups = Groups(predictions)
    pooled = groups.counts(rule)
    by_seed = pooled.sum(axis=1)
    return {
        "rule": rule,
        "upper_bound": rule == selection.UPPER_BOUND,
        "failed": failures.failed_trainings(all_rows),
        "trainings": len(failures.rows_per_training(all_rows)),
        "tested": metrics.count_clips(all_rows),
        "clips": metrics.count_clips(predictions),
        "subjects": len(groups.people),
        "folds": len(np.unique(all_rows.fold)),
        "heads": predictions.train_loss.shape[1],
        "seeds": np.unique(all_rows.seed).tolist(),
        "class_names": list(predictions.class_names),
        **metrics.mean_scores(by_seed),
        "accuracy_fold_mean": _fold_mean(predictions, rule),
        "interval": metrics.bootstrap(pooled),
        "seed_std": metrics.seed_std(by_seed),
        "rules": [_rule_row(predictions, groups, name) for name in selection.RULES],
        "majority": _majority(predictions),
        "chance": _chance(predictions),
        "confusion": by_seed.sum(axis=0).tolist(),
        "per_class": _class_rows(predictions, by_seed.sum(axis=0)),
        "per_seed": _seed_rows(all_rows, dict(zip(groups.seeds.tolist(), by_seed))),
        "per_dataset": _dataset_rows(predictions, rule),
        "per_subject": _subject_rows(predictions, groups, pooled),
        "hardest": hardest.clips(predictions, rule),
        "calibration": _calibration(predictions, rule),
    }


def _check_all_classes_answered(predictions: Predictions) -> None:
    """Raise UserError if a class has no answered clip of some seed.

    Every seed is checked because the scores are means over the seeds.
    """
    metrics.check_all_classes_present(predictions)
    answered = predictions.take(~predictions.failed)
    for seed in np.unique(answered.seed).tolist():
        if absent := metrics.absent_classes(answered.take(answered.seed == seed)):
            raise UserError(
                f"{len(failures.failed_trainings(predictions))} of "
                f"{len(failures.rows_per_training(predictions))} trainings diverged, and no clip "
                f"of class {absent} has an answer of seed {seed}: UF1 and UAR are undefined. "
                f"{failures.REMEDY}"
            )


def _fold_mean(predictions: Predictions, rule: str) -> float:
    """Average the accuracies of the folds, as the paper averages its trainings (4.2)."""
    correct = selection.choose(predictions, rule)[0].argmax(axis=1) == predictions.label
    keys = [f"{seed} {fold}" for seed, fold in zip(predictions.seed, predictions.fold)]
    _, fold = np.unique(keys, return_inverse=True)
    return float((np.bincount(fold, weights=correct) / np.bincount(fold)).mean())


def _rule_row(predictions: Predictions, groups: Groups, rule: str) -> dict:
    return {
        "rule": rule,
        "upper_bound": rule == selection.UPPER_BOUND,
        **metrics.mean_scores(groups.counts(rule).sum(axis=1)),
        "accuracy_fold_mean": _fold_mean(predictions, rule),
    }


def _majority(predictions: Predictions) -> dict:
    """Score a model that always answers with the most frequent class of the table."""
    true = np.bincount(predictions.label, minlength=len(predictions.class_names))
    counts = np.zeros((len(true), len(true)))
    counts[:, true.argmax()] = true
    return {"class": predictions.class_names[true.argmax()], **metrics.mean_scores(counts[None])}


def _chance(predictions: Predictions) -> dict:
    """Score random answers: every class equally often.

    The scores are those of the expected confusion matrix.
    """
    true = np.bincount(predictions.label, minlength=len(predictions.class_names))
    return metrics.mean_scores(np.repeat(true[:, None], len(true), axis=1)[None] / len(true))


def _seed_rows(predictions: Predictions, counts: Mapping[int, np.ndarray]) -> list[dict]:
    """Return a row for every seed, also if none of its clips is answered."""
    no_answers = np.zeros((len(predictions.class_names),) * 2, int)
    return [
        {
            "seed": seed,
            "unanswered": int(predictions.failed[predictions.seed == seed].sum()),
            **metrics.mean_scores(counts.get(seed, no_answers)[None]),
        }
        for seed in np.unique(predictions.seed).tolist()
    ]


def _class_rows(predictions: Predictions, counts: np.ndarray) -> list[dict]:
    """Return a row for every class.

    Recall and F1 are None if the class has no clip, as UF1 and UAR are.
    """
    precision, recall, f1 = metrics.per_class(counts)
    has_clips = counts.sum(axis=-1) > 0
    return [
        {
            "class": name,
            "clips": metrics.count_clips(predictions.take(predictions.label == index)),
            "precision": float(precision[index]),
            "recall": float(recall[index]) if has_clips[index] else None,
            "f1": float(f1[index]) if has_clips[index] else None,
        }
        for index, name in enumerate(predictions.class_names)
    ]


def _dataset_rows(predictions: Predictions, rule: str) -> list[dict]:
    return [
        _dataset_row(dataset, predictions.take(predictions.dataset == dataset), rule)
        for dataset in np.unique(predictions.dataset).tolist()
    ]


def _dataset_row(dataset: str, predictions: Predictions, rule: str) -> dict:
    groups = Groups(predictions)
    pooled = groups.counts(rule)
    by_seed = pooled.sum(axis=1)
    return {
        "dataset": dataset,
        "clips": metrics.count_clips(predictions),
        "subjects": len(groups.people),
        **metrics.mean_scores(by_seed),
        "interval": metrics.bootstrap(pooled),
        "accuracy_fold_mean": _fold_mean(predictions, rule),
        "confusion": by_seed.sum(axis=0).tolist(),
        "per_class": _class_rows(predictions, by_seed.sum(axis=0)),
    }


def _calibration(predictions: Predictions, rule: str) -> dict | None:
    """Fit the temperature; return None for the upper bound, which has no confidence."""
    return (
        None
        if rule == selection.UPPER_BOUND
        else calibration.fit_temperature(predictions, rule).to_dict()
    )


def _subject_rows(predictions: Predictions, groups: Groups, pooled: np.ndarray) -> list[dict]:
    """Return the accuracy of every subject, who seldom shows every class."""
    return [
        {
            "dataset": dataset,
            "subject": subject,
            "clips": metrics.count_clips(predictions.take(groups.rows(person))),
            "accuracy": metrics.mean_scores(pooled[:, person].sum(axis=0)[None])["accuracy"],
        }
        for person, (dataset, subject) in enumerate(groups.people)
    ]
