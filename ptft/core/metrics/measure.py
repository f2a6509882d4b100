"""A metric as a statistic of any resample of its rows: from that follow scores, intervals, slices and paired comparisons alike."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Score = dict[str, Any]
# how often each row counts, shape (resamples, rows), to values, shape (resamples,); NaN where a resample has no value
Statistic = Callable[[Floats], Floats]

RESAMPLES, SEED = 1000, 12345
_BLOCK_BYTES = 64 * 2**20  # of drawn counts held at once


@dataclass(frozen=True)
class Measure:
    """One metric over `rows` rows, not computed yet.

    own: each row's own score, shape (rows,), where the metric has one. detail: JSON that stands beside the score. part: the same
    metric of the rows with these numbers alone, where it can be had without looking at all rows: slices are then cheap.
    """

    name: str
    rows: int
    statistic: Statistic
    own: Floats | None = None
    detail: Mapping[str, Any] = field(default_factory=dict)
    part: Callable[[npt.NDArray[np.int64]], Measure] | None = None

    def score(self) -> float:
        """The value over all rows, each counted once; NaN where there is none."""
        return float(self.statistic(np.ones((1, self.rows)))[0]) if self.rows else float("nan")


def of_sums(
    name: str, sums: Floats, statistic: Callable[[Floats], Floats], own: Floats | None = None, **detail: Any
) -> Measure:
    """A statistic of sums over rows. sums: a row's part, shape (rows, figures); statistic: (resamples, figures) to values."""
    return Measure(
        name, len(sums), lambda draws: statistic(draws @ sums), own, detail,
        lambda rows: of_sums(name, sums[rows], statistic),
    )  # fmt: skip


def of_mean(name: str, own: Floats, **detail: Any) -> Measure:
    """The mean of each row's own score; rows whose own is NaN do not count."""
    counted = np.isfinite(own)
    sums = np.column_stack([np.where(counted, own, 0.0), counted.astype(np.float64)])
    return of_sums(name, sums, lambda totals: ratio(totals[:, 0], totals[:, 1]), own, **detail)


def ratio(parts: Floats, wholes: Floats) -> Floats:
    """parts / wholes; NaN where the whole is nothing."""
    return np.divide(parts, wholes, out=np.full(np.shape(parts), np.nan), where=wholes != 0)


# ---------------------------------------------------------------- resampling


def draws(count: int, resamples: int, seed: int = SEED, among: npt.NDArray[np.bool_] | None = None) -> Iterator[Floats]:
    """How often each of `count` rows was drawn, in blocks of resamples: shape (resamples of the block, count).

    Efron's bootstrap (1979): as many rows as there are, drawn with replacement. among: a flag a row; only those are drawn.
    """
    rows = np.arange(count) if among is None else np.flatnonzero(among)
    random = np.random.default_rng(seed)
    block = max(1, _BLOCK_BYTES // (8 * max(count, 1)))
    for start in range(0, resamples, block):
        found = np.zeros((min(block, resamples - start), count))
        for line in found:
            line[rows] = np.bincount(random.integers(len(rows), size=len(rows)), minlength=len(rows))
        yield found


def scores(
    measures: Sequence[Measure],
    resamples: int = RESAMPLES,
    seed: int = SEED,
    among: npt.NDArray[np.bool_] | None = None,
) -> dict[str, Score]:
    """{name: {"score", "ci95", ...detail}}; ci95 is the 95 % percentile interval, None where there is none.

    among: a flag a row; the scores are of those rows alone, without detail.
    """
    if not measures:
        return {}
    count = measures[0].rows
    once = np.ones((1, count)) if among is None else among.astype(np.float64)[None]
    values = resampled(measures, resamples, seed, among)
    return {
        measure.name: {
            "score": float(measure.statistic(once)[0]) if once.any() else float("nan"),
            "ci95": percentiles(values[measure.name]),
            **(measure.detail if among is None else {}),
        }
        for measure in measures
    }


def resampled(
    measures: Sequence[Measure],
    resamples: int = RESAMPLES,
    seed: int = SEED,
    among: npt.NDArray[np.bool_] | None = None,
) -> dict[str, Floats]:
    """Each measure's values over the same resamples, shape (resamples,); none at all where there is nothing to draw."""
    count = measures[0].rows if measures else 0
    if any(measure.rows != count for measure in measures):
        raise ValueError("measures of different rows cannot share resamples")
    found: dict[str, list[Floats]] = {measure.name: [np.empty(0)] for measure in measures}
    if (count if among is None else int(among.sum())) > 1:  # of one row every resample is the same
        for block in draws(count, resamples, seed, among):
            for measure in measures:
                found[measure.name].append(measure.statistic(block))
    return {name: np.concatenate(values) for name, values in found.items()}


def percentiles(values: Floats) -> list[float] | None:
    """The middle 95 % of those that have a value; None where fewer than half have one."""
    finite = values[np.isfinite(values)]
    if not len(finite) or 2 * len(finite) < len(values):
        return None
    low, high = np.percentile(finite, [2.5, 97.5])
    return [float(low), float(high)]
