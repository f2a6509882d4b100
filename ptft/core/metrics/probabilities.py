"""Scores of the probabilities of labels: how well they rank, what they cost, and whether they can be believed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ptft.core.metrics.blocks import Ids, Order, by_parts
from ptft.core.metrics.classification import positive_of
from ptft.core.metrics.label_sums import numbered
from ptft.core.metrics.measure import RESAMPLES, Floats, Measure, Score, Statistic, of_mean, of_sums, ratio, scores

BINS = 15  # of confidence, equally wide, as in Guo et al. 2017
SUM_IS_OFF = 0.01  # from 1; rounding to four digits, as other tools write, stays below
Flags = npt.NDArray[np.bool_]


def probabilities(
    references: Sequence[str],
    labels: Sequence[str],
    chances: Floats,
    names: Sequence[str],
    *,
    resamples: int = RESAMPLES,
) -> dict[str, Score]:
    """The scores `names` with their intervals; see `probability_measures`."""
    return scores(probability_measures(references, labels, chances, names), resamples)


def probability_measures(
    references: Sequence[str],
    labels: Sequence[str],
    chances: npt.ArrayLike,
    names: Sequence[str],
    *,
    positive: str = "",
) -> list[Measure]:
    """The metrics `names` (of names.PROBABILITIES). chances: each row's probability of each label, shape (rows, labels).

    auroc and average_precision are of the positive label (`positive_of`) where there are two labels or one was asked for;
    else the mean over the labels that occur as references, each against the rest. log_loss is in nats, a chance of 0 taken
    as 2.2e-16 (scikit-learn). brier: of two labels the positive one's squared error, 0-1, else the sum over labels, 0-2.
    ece is that of the likeliest label (Guo et al. 2017). A reference that has no probability has the chance 0.
    Raises `ValueError` for what is no probability (see `problem`) and `UsageError` for a positive label that does not occur.
    """
    given = _checked(references, labels, chances)
    every = sorted({*labels, *references})
    table = np.zeros((len(references), len(every)))
    table[:, numbered(every, labels)] = given
    truth = numbered(every, references)
    chosen = positive_of(every, positive) if positive or len(every) <= 2 else ""
    return [_MEASURES[name](name, truth, table, every, chosen) for name in names]


def problem(chances: Floats) -> str:
    """Why these are no probabilities, shape (rows, labels), in words with the first row's number; "" where they are."""
    wrong = ~np.isfinite(chances) | (chances < 0) | (chances > 1)
    if len(rows := np.flatnonzero(wrong.any(axis=1))):
        return f"row {rows[0] + 1:,}: {chances[rows[0]][wrong[rows[0]]][0]} is no probability"
    sums = chances.sum(axis=1)
    if len(rows := np.flatnonzero(np.abs(sums - 1) > SUM_IS_OFF)):
        return f"row {rows[0] + 1:,}: the probabilities sum to {sums[rows[0]]:.4g}, not to 1"
    return ""


def calibration_figure(references: Sequence[str], labels: Sequence[str], chances: npt.ArrayLike) -> dict[str, Any]:
    """How often the likeliest label is right, by its probability; bins that no row falls into are left out."""
    sure, right = _top(references, labels, _checked(references, labels, chances))
    places = _bins(sure)
    filled = [(place, places == place) for place in np.unique(places)]
    bins = [
        {
            "low": place / BINS, "high": (place + 1) / BINS, "n": int(rows.sum()),
            "confidence": float(sure[rows].mean()), "accuracy": float(right[rows].mean()),
        }
        for place, rows in filled
    ]  # fmt: skip
    return {"bins": bins} if bins else {}


def _checked(references: Sequence[str], labels: Sequence[str], chances: npt.ArrayLike) -> Floats:
    found = np.asarray(chances, dtype=np.float64)
    found = found.reshape(len(found), len(labels))  # of no rows, there is nothing to tell the labels by
    if len(found) != len(references):
        raise ValueError(f"{len(references):,} references, and probabilities of {len(found):,} rows")
    if wrong := problem(found):
        raise ValueError(wrong)
    return found


# ---------------------------------------------------------------- ranking


def _ranked(name: str, truth: Ids, chances: Floats, labels: Sequence[str], positive: str) -> Measure:
    """One label's statistic, or the mean of those of every label that occurs."""
    make = {"auroc": _auroc, "average_precision": _average_precision}[name]
    of = [labels.index(positive)] if positive in labels else np.unique(truth).tolist()
    each = [make(truth == label, chances[:, label]) for label in of]
    detail: dict[str, Any] = {"positive": positive} if positive else {"average": "macro", "labels": len(of)}
    if len(truth) and len(np.unique(truth)) == 1:
        detail["why"] = f"every reference is {labels[int(truth[0])]!r}: there is nothing to rank it against"
    return Measure(
        name, len(truth), lambda draws: _mean_of_values([one(draws) for one in each], len(draws)), None, detail
    )


def _mean_of_values(values: Sequence[Floats], count: int) -> Floats:
    """The mean over those that have one in each resample. values: each of shape (resamples,)."""
    table = np.array(values).reshape(-1, count)
    has = np.isfinite(table)
    return ratio(np.where(has, table, 0.0).sum(axis=0), has.sum(axis=0).astype(np.float64))


def _auroc(is_it: Flags, chances: Floats) -> Statistic:
    """The share of pairs, one row of the label and one not, that are ranked right; ties count half (Mann and Whitney 1947).

    By the ranks of the label's rows: they outrank each other as often as there are pairs of them, whatever the order.
    """
    order = Order.of(chances)
    mine = np.flatnonzero(is_it[order.rows])
    first, last = order.starts[mine], order.ends[mine] - 1

    def statistic(draws: Floats) -> Floats:
        counts = order.counts(draws)
        upto = np.cumsum(counts, axis=1)
        own = np.take(counts, mine, axis=1)
        total = own.sum(axis=1)
        below = np.take(upto, first, axis=1) - np.take(counts, first, axis=1)
        ranked = np.einsum("br,br->b", own, below + np.take(upto, last, axis=1))
        return ratio(ranked - total**2, 2 * total * (draws.sum(axis=1) - total))

    return by_parts(statistic)


def _average_precision(is_it: Flags, chances: Floats) -> Statistic:
    """The mean over the label's rows of the precision down to and with each; rows that tie are taken together."""
    order = Order.of(-chances)
    mine = np.flatnonzero(is_it[order.rows])
    last = order.ends[mine] - 1
    among = np.searchsorted(mine, last, side="right") - 1  # of the label's rows, the last one within each tie

    def statistic(draws: Floats) -> Floats:
        counts = order.counts(draws)
        own = np.take(counts, mine, axis=1)
        taken = np.take(np.cumsum(counts, axis=1), last, axis=1)
        precision = np.take(np.cumsum(own, axis=1), among, axis=1) / np.maximum(taken, 1)
        total = own.sum(axis=1)
        found = ratio(np.einsum("br,br->b", own, precision), total)
        return np.where(total < draws.sum(axis=1), found, np.nan)  # every row is of the label: nothing to rank

    return by_parts(statistic)


# ---------------------------------------------------------------- costs and belief


def _log_loss(name: str, truth: Ids, chances: Floats, labels: Sequence[str], positive: str) -> Measure:
    own = chances[np.arange(len(truth)), truth]
    return of_mean(name, -np.log(np.maximum(own, np.finfo(np.float64).eps)))


def _brier(name: str, truth: Ids, chances: Floats, labels: Sequence[str], positive: str) -> Measure:
    if len(labels) <= 2 and positive in labels:
        place = labels.index(positive)
        return of_mean(
            name, (chances[:, place] - (truth == place)) ** 2, positive=positive, of="the positive label, 0 to 1"
        )
    wrong = np.square(chances).sum(axis=1) - 2 * chances[np.arange(len(truth)), truth] + 1
    return of_mean(name, wrong, of="the sum over labels, 0 to 2")


def _ece(name: str, truth: Ids, chances: Floats, labels: Sequence[str], positive: str) -> Measure:
    sure, right = _top([labels[place] for place in truth], labels, chances)
    off = np.zeros((len(truth), BINS + 1))
    off[np.arange(len(truth)), _bins(sure)] = sure - right
    off[:, BINS] = 1
    return of_sums(name, off, lambda sums: ratio(np.abs(sums[:, :BINS]).sum(axis=1), sums[:, BINS]), None, bins=BINS)


def _top(references: Sequence[str], labels: Sequence[str], chances: Floats) -> tuple[Floats, Flags]:
    """The likeliest label's probability, and whether it is right; of several alike the first."""
    top = chances.argmax(axis=1) if chances.size else np.zeros(len(chances), dtype=np.int64)
    right = np.array([labels[place] == wanted for place, wanted in zip(top, references, strict=True)], dtype=bool)
    return chances[np.arange(len(top)), top], right


def _bins(sure: Floats) -> Ids:
    """The bin of each confidence; an edge belongs to the bin below it."""
    return np.searchsorted(np.linspace(0, 1, BINS + 1)[1:-1], sure, side="left")


_MEASURES = {
    "auroc": _ranked, "average_precision": _ranked, "log_loss": _log_loss, "brier": _brier, "ece": _ece,
}  # fmt: skip
