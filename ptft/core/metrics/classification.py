"""Accuracy, F1, precision and recall (scikit-learn), with intervals from the confusion matrix."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ptft.core.metrics.bootstrap import RESAMPLES, Floats, over_cells

Score = dict[str, Any]
MOST_SHOWN = 200  # labels; a larger confusion matrix is left out of scores.json


def classification(
    references: Sequence[str], predictions: Sequence[str], names: Sequence[str], *, resamples: int = RESAMPLES
) -> dict[str, Score]:
    """The scores `names` (of accuracy, f1, precision, recall) of predicted labels.

    f1, precision and recall are macro averages over the labels that occur in either list, as in scikit-learn; a label
    that is never predicted (or never right) counts 0. Micro and weighted averages and every label's own are in the detail.
    """
    labels, table = confusion(references, predictions)
    scores = {name: _score(name, references, predictions, labels, table, resamples) for name in names}
    shown = len(labels) <= MOST_SHOWN
    if scores and shown:
        first = next(iter(scores.values()))
        first["confusion"] = {"labels": labels, "rows_are": "references", "counts": table.tolist()}
    return scores


def confusion(references: Sequence[str], predictions: Sequence[str]) -> tuple[list[str], npt.NDArray[np.int64]]:
    """The labels that occur, in order, and counts of shape (labels, labels): a row a reference, a column a prediction."""
    labels, ids = np.unique(np.array([*references, *predictions], dtype=object).astype(str), return_inverse=True)
    count = len(references)
    table = np.zeros((len(labels), len(labels)), dtype=np.int64)
    np.add.at(table, (ids[:count], ids[count:]), 1)
    return labels.tolist(), table


def _score(
    name: str, references: Sequence[str], predictions: Sequence[str], labels: list[str], table: Any, resamples: int
) -> Score:
    if name == "accuracy":
        from sklearn.metrics import accuracy_score

        right = float(accuracy_score(references, predictions))
        return {"score": right, "ci95": over_cells(table, _accuracy, resamples), "n": len(references)}
    column = ("precision", "recall", "f1").index(name)

    def macro(tables: Floats) -> Floats:
        return _macro(tables, column)

    averages = {kind: _averaged(references, predictions, kind)[column] for kind in ("macro", "micro", "weighted")}
    detail: Score = {"average": "macro", "micro": averages["micro"], "weighted": averages["weighted"]}
    if len(labels) <= MOST_SHOWN:
        detail["per_class"] = _per_class(references, predictions, labels)
    return {"score": averages["macro"], "ci95": over_cells(table, macro, resamples), **detail}


def _averaged(references: Sequence[str], predictions: Sequence[str], average: str | None) -> Any:
    from sklearn.metrics import precision_recall_fscore_support

    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore"
        )  # "the number of unique classes is greater than half the samples": true, and fine
        return precision_recall_fscore_support(references, predictions, average=average, zero_division=0.0)


def _per_class(references: Sequence[str], predictions: Sequence[str], labels: list[str]) -> dict[str, dict[str, Any]]:
    precision, recall, f1, support = _averaged(references, predictions, None)
    return {
        label: {"precision": float(p), "recall": float(r), "f1": float(f), "support": int(s)}
        for label, p, r, f, s in zip(labels, precision, recall, f1, support, strict=True)
    }


def _accuracy(tables: Floats) -> Floats:
    return np.trace(tables, axis1=1, axis2=2) / tables.sum(axis=(1, 2))


def _macro(tables: Floats, column: int) -> Floats:
    """Macro precision (0), recall (1) or F1 (2) of many confusion matrices, over the labels that occur in each."""
    right = np.diagonal(tables, axis1=1, axis2=2)
    predicted, actual = tables.sum(axis=1), tables.sum(axis=2)
    share = (
        right / np.maximum(predicted, 1),
        right / np.maximum(actual, 1),
        2 * right / np.maximum(predicted + actual, 1),
    )[column]
    occurs = (predicted + actual) > 0
    return (share * occurs).sum(axis=1) / occurs.sum(axis=1)
