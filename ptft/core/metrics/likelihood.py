"""Perplexity and bits per byte, from total negative log likelihood: never an average of per-text perplexities.

`evaluate`'s own perplexity averages over texts and gives 60.98 where papers have 6 (huggingface/evaluate#560).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ptft.core.metrics.measure import RESAMPLES, Floats, Measure, Score, of_sums, ratio, scores


def likelihood(
    nll: Sequence[float],
    tokens: Sequence[int],
    sizes: Sequence[int],
    names: Sequence[str],
    *,
    resamples: int = RESAMPLES,
) -> dict[str, Score]:
    """The scores `names` with their intervals; see `likelihood_measures`."""
    return scores(likelihood_measures(nll, tokens, sizes, names), resamples)


def likelihood_measures(
    nll: Sequence[float], tokens: Sequence[int], sizes: Sequence[int], names: Sequence[str]
) -> list[Measure]:
    """Metrics of texts from their sums. nll: nats a text; tokens, sizes: tokens and UTF-8 bytes that it covers.

    perplexity = exp(sum nll / sum tokens); bits_per_byte = sum nll / ln 2 / sum bytes, which compares models across
    tokenizers. A text with nothing to score (one token, no BOS) adds nothing to either sum.
    """
    rows = np.column_stack([np.asarray(nll, float), np.asarray(tokens, float), np.asarray(sizes, float)])
    rows[rows[:, 1] <= 0] = 0.0
    total = rows.sum(axis=0)
    detail = {"nll": float(total[0]), "tokens": int(total[1]), "bytes": int(total[2])}
    return [of_sums(name, rows, _STATISTICS[name], _STATISTICS[name](rows), **detail) for name in names]


def _perplexity(sums: Floats) -> Floats:
    with np.errstate(over="ignore"):  # infinity is the right answer
        return np.exp(ratio(sums[:, 0], sums[:, 1]))


def _bits_per_byte(sums: Floats) -> Floats:
    return ratio(sums[:, 0], sums[:, 2]) / math.log(2)


_STATISTICS = {"perplexity": _perplexity, "bits_per_byte": _bits_per_byte}
