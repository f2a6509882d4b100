"""Scores of rows with several labels each, as scikit-learn defines them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ptft.core.metrics.classification import average_detail
from ptft.core.metrics.label_sums import AVERAGES, of_flags, share
from ptft.core.metrics.measure import RESAMPLES, Floats, Measure, Score, of_mean, scores

Flags = npt.NDArray[np.bool_]


def multi_label(
    references: Flags, predictions: Flags, labels: Sequence[str], names: Sequence[str], *, resamples: int = RESAMPLES
) -> dict[str, Score]:
    """The scores `names` with their intervals; see `multi_label_measures`."""
    return scores(multi_label_measures(references, predictions, labels, names), resamples)


def multi_label_measures(
    references: Flags, predictions: Flags, labels: Sequence[str], names: Sequence[str]
) -> list[Measure]:
    """The metrics `names` (of names.MANY_LABELS) of flags, both of shape (rows, labels).

    f1, precision and recall are macro averages over the labels that occur in either; one that is never right counts 0. The
    *_micro ones pool all decisions. f1_samples is the mean of each row's own, 0 of a row without labels on either side.
    subset_accuracy is the share of rows of which every label is right, hamming_loss the share of decisions that are wrong.
    The detail of a macro average has each label's own.
    """
    if references.shape != predictions.shape:
        raise ValueError(f"references of shape {references.shape}, and predictions of shape {predictions.shape}")
    sums = of_flags(references, predictions)
    count = len(references)

    def measure(name: str) -> Measure:
        if name in _OF_ROWS:
            return of_mean(name, _OF_ROWS[name](references, predictions), n=count)
        figure, _, average = name.partition("_")
        averaged = AVERAGES[average or "macro"]
        detail = {} if average else average_detail(sums(np.ones((1, count))), figure, labels)
        return Measure(name, count, lambda draws: averaged(sums(draws), figure), None, {**detail, "n": count})

    return [measure(name) for name in names]


def _samples(references: Flags, predictions: Flags) -> Floats:
    right, made, wanted = ((flags.sum(axis=1)) for flags in (references & predictions, predictions, references))
    return share(2.0 * right, (made + wanted).astype(np.float64))


def _subset(references: Flags, predictions: Flags) -> Floats:
    return (references == predictions).all(axis=1).astype(np.float64)


def _hamming(references: Flags, predictions: Flags) -> Floats:
    wrong = (references != predictions).sum(axis=1)
    return wrong / max(references.shape[1], 1)


_OF_ROWS = {"f1_samples": _samples, "subset_accuracy": _subset, "hamming_loss": _hamming}
