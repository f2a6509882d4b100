"""Correlations and errors of predicted numbers, as scipy and scikit-learn define them, with intervals over the rows."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ptft.core.metrics.bootstrap import RESAMPLES, Floats, over_draws

Score = dict[str, Any]
Statistic = Callable[[Floats], Floats]  # how often each row counts (resamples, rows), to values (resamples,)


def number_of(value: object) -> float | None:
    """A finite number, also one written as text, as tables (CSV) have it; None where it is none."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def numbers(
    references: npt.ArrayLike, predictions: npt.ArrayLike, names: Sequence[str], *, resamples: int = RESAMPLES
) -> dict[str, Score]:
    """The scores `names` (of pearson, spearman, mse, mae) of numbers, both of shape (rows,).

    A correlation with something constant, which has no value, is 0: nothing was told apart.
    """
    x, y = np.asarray(references, dtype=np.float64), np.asarray(predictions, dtype=np.float64)
    made: dict[str, Callable[[Floats, Floats], Statistic]] = {
        "pearson": _pearson, "spearman": _spearman, "mse": _mse, "mae": _mae,
    }  # fmt: skip
    found = {}
    for name in names:
        statistic = made[name](x, y)
        score = float(statistic(np.ones((1, len(x))))[0])
        found[name] = {"score": score, "ci95": over_draws(len(x), statistic, resamples), "n": len(x)}
    return found


def _mse(x: Floats, y: Floats) -> Statistic:
    return _mean((x - y) ** 2)


def _mae(x: Floats, y: Floats) -> Statistic:
    return _mean(np.abs(x - y))


def _mean(values: Floats) -> Statistic:
    return lambda draws: (draws @ values) / draws.sum(axis=1)


def _pearson(x: Floats, y: Floats) -> Statistic:
    x, y = _standard(x), _standard(y)

    def statistic(draws: Floats) -> Floats:
        count = draws.sum(axis=1)
        mean_x, mean_y = draws @ x / count, draws @ y / count
        return _ratio(
            draws @ (x * y) / count - mean_x * mean_y,
            draws @ (x * x) / count - mean_x**2,
            draws @ (y * y) / count - mean_y**2,
        )

    return statistic


def _standard(values: Floats) -> Floats:
    """Centred and of spread 1, which changes no correlation and loses no digits where the mean is far from 0."""
    centred = values - values.mean() if len(values) else values
    spread = np.abs(centred).max(initial=0.0)
    return centred / spread if spread > 0 else centred


def _spearman(x: Floats, y: Floats) -> Statistic:
    """Pearson's of the ranks within each resample, ties at their mean rank; exactly that of the rows drawn out one by one."""

    def statistic(draws: Floats) -> Floats:
        ranks_x, ranks_y = _ranks(x, draws), _ranks(y, draws)
        count = draws.sum(axis=1, keepdims=True)
        ranks_x -= (draws * ranks_x).sum(axis=1, keepdims=True) / count
        ranks_y -= (draws * ranks_y).sum(axis=1, keepdims=True) / count
        return _ratio(
            (draws * ranks_x * ranks_y).sum(axis=1),
            (draws * ranks_x**2).sum(axis=1),
            (draws * ranks_y**2).sum(axis=1),
        )

    return statistic


def _ranks(values: Floats, draws: Floats) -> Floats:
    """The mean rank of each row's value among the rows drawn, shape (resamples, rows)."""
    _, group = np.unique(values, return_inverse=True)
    order = np.argsort(group, kind="stable")
    starts = np.flatnonzero(np.diff(group[order], prepend=-1))
    sizes = np.add.reduceat(draws[:, order], starts, axis=1)
    mean_rank = np.cumsum(sizes, axis=1) - (sizes - 1) / 2
    return mean_rank[:, group]


def _ratio(together: Floats, one: Floats, other: Floats) -> Floats:
    """Covariance over the product of the deviations; 0 where either does not vary (beyond rounding)."""
    product = np.maximum(one, 0.0) * np.maximum(other, 0.0)
    varies = product > 1e-24
    return np.where(varies, together / np.sqrt(np.where(varies, product, 1.0)), 0.0).clip(-1.0, 1.0)
