"""Scores of rankings: what was found, best first, against what is relevant."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ptft.core.metrics.measure import RESAMPLES, Floats, Measure, Score, of_mean, scores

Items = Sequence[Sequence[str]]


def rankings(
    predictions: Items, references: Items, names: Sequence[str], *, resamples: int = RESAMPLES
) -> dict[str, Score]:
    """The scores `names` with their intervals; see `ranking_measures`."""
    return scores(ranking_measures(predictions, references, names), resamples)


def ranking_measures(predictions: Items, references: Items, names: Sequence[str]) -> list[Measure]:
    """Means over rows. predictions: items with the best first; references: what is relevant, in any order.

    top1, top5: whether anything relevant is among the first 1 or 5. mrr: 1 / place of the first relevant one. map: the mean
    over the relevant ones of the precision down to each, 0 of one that is not listed; ndcg: gain 1 of a relevant one,
    discounted by log2(place + 1), over that of the best ranking (Jarvelin and Kekalainen 2002). Neither is cut off. An item
    that is listed twice counts where it comes first. A row of which nothing is relevant has no score and does not count.
    """
    rows = [(_hits(made, wanted), len(set(wanted))) for made, wanted in zip(predictions, references, strict=True)]
    left_out = sum(not count for _, count in rows)
    detail = {"rows_without_relevant": left_out} if left_out else {}
    return [of_mean(name, _each(_SCORES[name], rows), **detail) for name in names]


def _each(score: Callable[[Floats, int], float], rows: Sequence[tuple[Floats, int]]) -> Floats:
    return np.array([score(places, count) if count else np.nan for places, count in rows], dtype=np.float64)


def _hits(ranking: Sequence[str], relevant: Sequence[str]) -> Floats:
    """The places, from 1, at which something relevant is listed."""
    wanted = set(relevant)
    found = [place for place, item in enumerate(dict.fromkeys(ranking), 1) if item in wanted]
    return np.array(found, dtype=np.float64)


def _top(places: Floats, within: int) -> float:
    return float(len(places) > 0 and places[0] <= within)


def _reciprocal_rank(places: Floats, relevant: int) -> float:
    return float(1 / places[0]) if len(places) else 0.0


def _average_precision(places: Floats, relevant: int) -> float:
    return float((np.arange(1, len(places) + 1) / places).sum() / relevant)


def _ndcg(places: Floats, relevant: int) -> float:
    best = (1 / np.log2(np.arange(relevant) + 2)).sum()
    return float((1 / np.log2(places + 1)).sum() / best)


_SCORES: dict[str, Callable[[Floats, int], float]] = {
    "top1": lambda places, relevant: _top(places, 1),
    "top5": lambda places, relevant: _top(places, 5),
    "map": _average_precision,
    "mrr": _reciprocal_rank,
    "ndcg": _ndcg,
}
