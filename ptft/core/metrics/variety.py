"""How varied generated texts are, without references: distinct n-grams, and repetition inside a text."""

from __future__ import annotations

import re
from array import array
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ptft.core.metrics.measure import Floats, Measure, of_mean, ratio
from ptft.core.metrics.writing import UNSPACED

Integers = npt.NDArray[np.int64]
_TOKEN = re.compile(rf"[{UNSPACED}]|[^\W{UNSPACED}]+|[^\w\s]")
_TOKENS = "words, punctuation marks, and characters where writing has no spaces"
_NO_INTERVAL = (
    "more text has a smaller share of distinct n-grams, so a resample that repeats rows says nothing about this one"
)
SPAN = 4  # tokens: seq-rep-4


def variety_measures(predictions: Sequence[str], names: Sequence[str]) -> list[Measure]:
    """distinct1-3 and repetition, 0-1, of generated texts. Upper and lower case are different words."""
    tokens, lengths = _numbered(predictions)
    return [
        _repetition(tokens, lengths) if name == "repetition" else _distinct(name, tokens, lengths) for name in names
    ]


def _numbered(texts: Sequence[str]) -> tuple[Integers, Integers]:
    """Every token of all texts as a number, one text after the other, and how many each text has."""
    numbers: dict[str, int] = {}
    tokens, lengths = array("q"), array("q")
    for text in texts:
        found = _TOKEN.findall(text)
        tokens.extend(numbers.setdefault(token, len(numbers)) for token in found)
        lengths.append(len(found))
    return np.array(tokens, dtype=np.int64), np.array(lengths, dtype=np.int64)


def _grams(tokens: Integers, lengths: Integers, size: int) -> tuple[Integers, Integers]:
    """The n-grams of all texts as numbers, equal where the n-grams are, and which text each is of."""
    rows = np.repeat(np.arange(len(lengths)), lengths)
    grams = tokens
    for further in range(1, size):
        grams = grams[:-1] * (int(tokens.max(initial=0)) + 1) + tokens[further:]
        grams = np.unique(grams, return_inverse=True)[1]  # small numbers again
    inside = rows[: len(grams)] == rows[size - 1 :]
    return grams[inside], rows[: len(grams)][inside]


def _held(tokens: Integers, lengths: Integers, size: int) -> tuple[Integers, Integers, Floats]:
    """Each text's distinct n-grams, which text each is of, and how many n-grams every text has, distinct or not."""
    grams, rows = _grams(tokens, lengths, size)
    totals = np.bincount(rows, minlength=len(lengths)).astype(np.float64)
    kinds = int(grams.max(initial=0)) + 1
    pairs = np.unique(rows * kinds + grams)
    return pairs % kinds, pairs // kinds, totals


def _repetition(tokens: Integers, lengths: Integers) -> Measure:
    """Mean share of a text's 4-grams that it had before (seq-rep-4, Welleck et al. 2019, section 2.3); none, no share."""
    _, rows, totals = _held(tokens, lengths, SPAN)
    distinct = np.bincount(rows, minlength=len(lengths)).astype(np.float64)
    return of_mean("repetition", 1 - ratio(distinct, totals), of=f"{SPAN}-grams", tokens=_TOKENS)


def _distinct(name: str, tokens: Integers, lengths: Integers) -> Measure:
    """Distinct n-grams over all n-grams (Li et al. 2016, section 5.3), of all texts together; a row's own: of it alone.

    There is no interval: a resample repeats rows, and has fewer distinct n-grams only for that.
    """
    held, rows, totals = _held(tokens, lengths, int(name[-1]))

    def statistic(draws: Floats) -> Floats:
        once = draws.max(axis=1, initial=0) <= 1
        found = np.full(len(draws), np.nan)
        found[once] = [float(_marked(held[line[rows] > 0]).sum()) for line in draws[once]]
        return ratio(found, draws @ totals)

    own = ratio(np.bincount(rows, minlength=len(lengths)).astype(np.float64), totals)
    return Measure(name, len(lengths), statistic, own, {"tokens": _TOKENS, "no_interval": _NO_INTERVAL})


def _marked(numbers: Integers) -> npt.NDArray[np.bool_]:
    seen = np.zeros(int(numbers.max(initial=-1)) + 1, bool)
    seen[numbers] = True
    return seen
