"""F1 and subset accuracy of rows with several labels each, as scikit-learn defines them, with intervals over the rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ptft.core.metrics.bootstrap import RESAMPLES, Floats, over_rows
from ptft.core.metrics.classification import MOST_SHOWN

Score = dict[str, Any]
Flags = npt.NDArray[np.bool_]


def multi_label(
    references: Flags, predictions: Flags, labels: Sequence[str], names: Sequence[str], *, resamples: int = RESAMPLES
) -> dict[str, Score]:
    """The scores `names` (of f1, f1_micro, subset_accuracy) of flags, both of shape (rows, labels).

    f1 is the macro average over the labels that occur in either; one that is never right counts 0. f1_micro pools all decisions.
    subset_accuracy is the share of rows of which every label is right. The detail of f1 has each label's own.
    """
    made = {"f1": _macro, "f1_micro": _micro, "subset_accuracy": _subset}
    return {name: made[name](references, predictions, labels, resamples) for name in names}


def _counts(references: Flags, predictions: Flags) -> Floats:
    """By row and label: right, predicted, there. Shape (rows, 3 x labels)."""
    return np.hstack([references & predictions, predictions, references]).astype(np.float64)


def _macro(references: Flags, predictions: Flags, labels: Sequence[str], resamples: int) -> Score:
    counts = _counts(references, predictions)
    score = _scored(counts, _macro_of, resamples)
    if len(labels) > MOST_SHOWN:
        return {**score, "average": "macro"}
    right, predicted, actual = np.split(counts.sum(axis=0), 3)
    each = {
        label: {
            "precision": float(right[i] / max(predicted[i], 1)), "recall": float(right[i] / max(actual[i], 1)),
            "f1": float(2 * right[i] / max(predicted[i] + actual[i], 1)), "support": int(actual[i]),
        }
        for i, label in enumerate(labels)
    }  # fmt: skip
    return {**score, "average": "macro", "per_class": each}


def _micro(references: Flags, predictions: Flags, labels: Sequence[str], resamples: int) -> Score:
    by_row = (references & predictions, predictions, references)
    return _scored(np.stack([flags.sum(axis=1) for flags in by_row], axis=1).astype(np.float64), _micro_of, resamples)


def _subset(references: Flags, predictions: Flags, labels: Sequence[str], resamples: int) -> Score:
    right = (references == predictions).all(axis=1)
    rows = np.stack([right, np.ones(len(right))], axis=1).astype(np.float64)
    return _scored(rows, lambda sums: sums[:, 0] / sums[:, 1], resamples)


def _scored(rows: Floats, statistic: Callable[[Floats], Floats], resamples: int) -> Score:
    score = float(statistic(rows.sum(axis=0, keepdims=True))[0])
    return {"score": score, "ci95": over_rows(rows, statistic, resamples), "n": len(rows)}


def _macro_of(sums: Floats) -> Floats:
    """sums: (resamples, 3 x labels)."""
    right, predicted, actual = np.split(sums, 3, axis=1)
    occurs = (predicted + actual) > 0
    f1 = 2 * right / np.maximum(predicted + actual, 1)
    return (f1 * occurs).sum(axis=1) / np.maximum(occurs.sum(axis=1), 1)


def _micro_of(sums: Floats) -> Floats:
    """sums: (resamples, 3)."""
    return 2 * sums[:, 0] / np.maximum(sums[:, 1] + sums[:, 2], 1)
