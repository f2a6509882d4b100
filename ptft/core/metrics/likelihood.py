"""Perplexity and bits per byte, from total negative log likelihood: never an average of per-text perplexities.

`evaluate`'s own perplexity averages over texts and gives 60.98 where papers have 6 (huggingface/evaluate#560).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ptft.core.metrics.bootstrap import RESAMPLES, Floats, over_rows

Score = dict[str, Any]


def likelihood(
    nll: Sequence[float],
    tokens: Sequence[int],
    sizes: Sequence[int],
    names: Sequence[str],
    *,
    resamples: int = RESAMPLES,
) -> dict[str, Score]:
    """Scores of texts from their sums. nll: nats a text; tokens, sizes: tokens and UTF-8 bytes that it covers.

    perplexity = exp(sum nll / sum tokens); bits_per_byte = sum nll / ln 2 / sum bytes, which compares models across
    tokenizers. A text with nothing to score (one token, no BOS) adds nothing to either sum.
    """
    rows = np.column_stack([np.asarray(nll, float), np.asarray(tokens, float), np.asarray(sizes, float)])
    rows = rows[rows[:, 1] > 0]
    total = rows.sum(axis=0)
    detail = {"nll": float(total[0]), "tokens": int(total[1]), "bytes": int(total[2])}
    return {
        name: {
            "score": float(_STATISTICS[name](total[None])[0]) if len(rows) else math.nan,
            "ci95": over_rows(rows, _STATISTICS[name], resamples),
            **detail,
        }
        for name in names
    }


def _perplexity(sums: Floats) -> npt.NDArray[np.float64]:
    return np.exp(sums[:, 0] / np.maximum(sums[:, 1], 1))


def _bits_per_byte(sums: Floats) -> npt.NDArray[np.float64]:
    return sums[:, 0] / math.log(2) / np.maximum(sums[:, 2], 1)


_STATISTICS = {"perplexity": _perplexity, "bits_per_byte": _bits_per_byte}
