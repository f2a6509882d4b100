"""Correlations and errors of predicted numbers, as scipy and scikit-learn define them, with intervals over the rows."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ptft.core.metrics.blocks import Order, by_parts
from ptft.core.metrics.measure import RESAMPLES, Floats, Measure, Score, Statistic, of_mean, of_sums, scores


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
    """The scores `names` with their intervals; see `number_measures`."""
    return scores(number_measures(references, predictions, names), resamples)


def number_measures(references: npt.ArrayLike, predictions: npt.ArrayLike, names: Sequence[str]) -> list[Measure]:
    """The metrics `names` (of names.NUMBERS) of numbers, both of shape (rows,).

    A correlation with something constant, which has no value, is 0: nothing was told apart. r2 of references that are all
    one number is 1 where every prediction is that number, else 0, as in scikit-learn; of a single row it has no value.
    """
    x, y = np.asarray(references, dtype=np.float64), np.asarray(predictions, dtype=np.float64)
    if x.shape != y.shape:
        raise ValueError(f"{len(x):,} references, and {len(y):,} predictions")
    return [_MEASURES[name](name, x, y) for name in names]


def _mse(name: str, x: Floats, y: Floats) -> Measure:
    return of_mean(name, (x - y) ** 2, n=len(x))


def _mae(name: str, x: Floats, y: Floats) -> Measure:
    return of_mean(name, np.abs(x - y), n=len(x))


def _rmse(name: str, x: Floats, y: Floats) -> Measure:
    squared = of_mean(name, (x - y) ** 2)
    return Measure(name, len(x), lambda draws: np.sqrt(squared.statistic(draws)), np.abs(x - y), {"n": len(x)})


def _r2(name: str, x: Floats, y: Floats) -> Measure:
    spread = np.abs(x - x.mean()).max(initial=0.0) if len(x) else 0.0
    sums = np.column_stack([((x - y) / (spread or 1.0)) ** 2, _standard(x), _standard(x) ** 2, np.ones(len(x))])
    why = {"why": "of a single row nothing varies"} if len(x) == 1 else {}
    return of_sums(name, sums, _explained, None, n=len(x), **why)


def _explained(sums: Floats) -> Floats:
    """sums: (resamples, 4), of the squared error, the reference (centred), its square, and the rows."""
    wrong, first, second, count = sums.T
    varied = second - first**2 / np.maximum(count, 1)
    constant = np.where(wrong > 0, 0.0, 1.0)
    found = np.where(varied > 1e-12 * np.maximum(second, 1e-300), 1 - wrong / np.where(varied > 0, varied, 1), constant)
    return np.where(count > 1, found, np.nan)


def _pearson_measure(name: str, x: Floats, y: Floats) -> Measure:
    return Measure(name, len(x), _pearson(x, y), None, {"n": len(x)})


def _spearman_measure(name: str, x: Floats, y: Floats) -> Measure:
    return Measure(name, len(x), _spearman(x, y), None, {"n": len(x)})


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
    by_x = Order.of(x)
    by_y = Order.of(y[by_x.rows])  # from the order by x to that by y
    back = np.argsort(by_y.rows)

    def statistic(draws: Floats) -> Floats:
        counts = by_x.counts(draws)
        counts_y = by_y.counts(counts)
        middle = (counts.sum(axis=1, keepdims=True) + 1) / 2  # the mean of all ranks
        ranks, ranks_y = by_x.midranks(counts) - middle, by_y.midranks(counts_y) - middle
        weighted = counts * ranks
        return _ratio(
            _dot(weighted, np.take(ranks_y, back, axis=1)),
            _dot(weighted, ranks),
            _dot(counts_y * ranks_y, ranks_y),
        )

    return by_parts(statistic)


def _dot(one: Floats, other: Floats) -> Floats:
    """Of each resample, shape (resamples,)."""
    return np.asarray(np.einsum("br,br->b", one, other))


def _ratio(together: Floats, one: Floats, other: Floats) -> Floats:
    """Covariance over the product of the deviations; 0 where either does not vary (beyond rounding)."""
    product = np.maximum(one, 0.0) * np.maximum(other, 0.0)
    varies = product > 1e-24
    return np.where(varies, together / np.sqrt(np.where(varies, product, 1.0)), 0.0).clip(-1.0, 1.0)


_MEASURES = {
    "pearson": _pearson_measure, "spearman": _spearman_measure, "mse": _mse, "rmse": _rmse, "mae": _mae, "r2": _r2,
}  # fmt: skip
