"""95 % intervals by the percentile bootstrap (Efron 1979), vectorised: rows are never copied, only counted.

A resample of n rows is how often each row was drawn: one multinomial draw. A statistic over sums of per-row figures is then
a matrix product, and one over a confusion matrix needs only a draw over its cells.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

RESAMPLES, SEED = 1000, 12345
_BLOCK_BYTES = 64 * 2**20  # of drawn counts held at once

Floats = npt.NDArray[np.float64]


def over_rows(
    rows: Floats, statistic: Callable[[Floats], Floats], resamples: int = RESAMPLES, seed: int = SEED
) -> list[float] | None:
    """The interval of a statistic of per-row sums.

    rows: (rows, figures). statistic: sums over the rows, shape (resamples, figures), to values, shape (resamples,).
    None where there is nothing to resample.
    """
    return over_draws(len(rows), lambda draws: statistic(draws @ rows), resamples, seed)


def over_draws(
    count: int, statistic: Callable[[Floats], Floats], resamples: int = RESAMPLES, seed: int = SEED
) -> list[float] | None:
    """The interval of any statistic of `count` rows.

    statistic: how often each row was drawn, shape (resamples, count), to values, shape (resamples,).
    None where there is nothing to resample.
    """
    if not resamples or not count:
        return None
    random = np.random.default_rng(seed)
    block = max(1, _BLOCK_BYTES // (8 * count))
    chances = np.full(count, 1 / count)
    values = [
        statistic(random.multinomial(count, chances, size=min(block, resamples - start)).astype(np.float64))
        for start in range(0, resamples, block)
    ]
    return percentiles(np.concatenate(values))


def over_cells(
    cells: npt.NDArray[np.int64], statistic: Callable[[Floats], Floats], resamples: int = RESAMPLES, seed: int = SEED
) -> list[float] | None:
    """The interval of a statistic of a table of counts, e.g. a confusion matrix.

    cells: counts, any shape. statistic: tables, shape (resamples, *cells.shape), to values, shape (resamples,).
    """
    total = int(cells.sum())
    if not resamples or not total:
        return None
    random = np.random.default_rng(seed)
    filled = np.flatnonzero(cells)  # a table of many labels is nearly all zeros
    drawn = random.multinomial(total, cells.ravel()[filled] / total, size=resamples)
    block = max(1, _BLOCK_BYTES // (8 * cells.size))
    values = []
    for start in range(0, resamples, block):
        part = drawn[start : start + block]
        tables = np.zeros((len(part), cells.size))
        tables[:, filled] = part
        values.append(statistic(tables.reshape(len(part), *cells.shape)))
    return percentiles(np.concatenate(values))


def percentiles(values: Floats) -> list[float]:
    low, high = np.percentile(values, [2.5, 97.5])
    return [float(low), float(high)]
