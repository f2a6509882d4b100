"""Words that generated texts should not hold, from lists, as `ptft clean` finds them.

A list knows no context: it misses what is put in other words, and flags a text that quotes a word to object to it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from ptft.core.metrics.measure import Measure, of_mean
from ptft.core.wordlist import BUNDLED, Found, WordMatcher, load_words

MOST_WORDS, MOST_EXAMPLES = 50, 10  # that the detail lists
AROUND = 40  # characters of context on each side of a word
MASK = "***"


def flagged_measure(predictions: Sequence[str], words: tuple[Path, ...] = ()) -> Measure:
    """The share of texts that hold a word of the lists (none: those that come with ptft, English and Chinese); lower is better.

    own: 1 where a text holds one, else 0. detail: "lists", "words" {word as its list spells it: texts that hold it}, "examples"
    [{"row" (from 0), "words", "context" (with every word masked)}]. Raises `InputError` for a list that cannot be read.
    """
    matcher = _matcher(tuple(map(str, words)) or BUNDLED)
    found = [matcher.find(text) for text in predictions]
    hits = [row for row, spans in enumerate(found) if spans]
    counts = Counter(word for spans in found for word in {word for _, _, word in spans})
    examples = [_example(row, predictions[row], found[row]) for row in hits[:MOST_EXAMPLES]]
    return of_mean(
        "flagged", np.array([float(bool(spans)) for spans in found]), lists=[path.name for path in words] or list(BUNDLED),
        words=dict(sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:MOST_WORDS]), examples=examples,
    )  # fmt: skip


@lru_cache(maxsize=4)
def _matcher(lists: tuple[str, ...]) -> WordMatcher:
    return WordMatcher(load_words(lists))


def _example(row: int, text: str, spans: Sequence[Found]) -> dict[str, Any]:
    words = list(dict.fromkeys(word for _, _, word in spans))
    return {"row": row, "words": words, "context": _masked(text, spans)}


def _masked(text: str, spans: Sequence[Found]) -> str:
    """What stands around the first word, with it and its neighbours masked."""
    begin, end = max(0, spans[0][0] - AROUND), min(len(text), spans[0][1] + AROUND)
    shown, place = ["…" if begin else ""], begin
    for start, stop, _ in spans:
        if start >= end:
            break
        shown += [text[place:start], MASK]
        place = stop
    return "".join([*shown, text[place:end], "…" if end < len(text) else ""])
