"""Runs of tokens that texts have in common, found by 64-bit hashes as arrays: `clean` keeps evaluation sets out, `eval` looks for them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from ptft.core.minhash import I64, U64, Tokens, multipliers

CHUNK = 1 << 16  # tokens hashed at a time: what is worked on stays in the cache
_NOT_TEXT = ("id", "label", "role", "from")  # fields of a row


def of_sizes(hashes: U64, sizes: Iterable[int]) -> Iterator[tuple[int, U64]]:
    """Hashes of every run of `size` tokens, for each size in rising order, equal to `minhash.ngrams`: (tokens - size + 1,).

    The hash of a run goes on from that of the shorter one, so many sizes cost no more than the longest. What is yielded is
    overwritten by the next.
    """
    ordered = sorted(set(sizes))
    factors = multipliers(max(ordered, default=1))
    total, done = np.zeros(len(hashes), np.uint64), 0
    for size in ordered:
        for place in range(done, min(size, len(hashes))):
            total[: len(hashes) - place] += hashes[place:] * factors[place]
        done = size
        yield size, total[: max(0, len(hashes) - size + 1)]


class Known:
    """A set of hashes that many others are looked up in.

    Nearly none is known, so a table by their first bits says no to most; the rest are searched for. hashes: (known,), in order.
    """

    def __init__(self, hashes: U64) -> None:
        self.hashes = hashes
        bits = min(24, max(10, int(len(hashes) * 16).bit_length()))
        self._shift = np.uint64(64 - bits)
        self._table = np.zeros(1 << bits, bool)
        self._table[hashes >> self._shift] = True

    def find(self, hashes: U64) -> tuple[I64, I64]:
        """The places of known ones among `hashes`, in order, and their numbers in `self.hashes`."""
        perhaps = np.flatnonzero(self._table[hashes >> self._shift])
        if not len(perhaps):
            return perhaps, perhaps
        numbers = np.minimum(np.searchsorted(self.hashes, hashes[perhaps]), len(self.hashes) - 1)
        same = self.hashes[numbers] == hashes[perhaps]
        return perhaps[same], numbers[same]


@dataclass(frozen=True)
class Hits:
    """Known runs of one size in a batch of texts. starts: their first tokens (hits,). numbers: which known ones they are (hits,)."""

    size: int
    starts: I64
    numbers: I64


def hits(tokens: Tokens, known: dict[int, Known]) -> Iterator[Hits]:
    """The known runs, by size, in texts of which none reaches into the next."""
    longest = max(known, default=1)
    for start in range(0, len(tokens.hashes), CHUNK):
        piece = tokens.hashes[start : start + CHUNK + longest - 1]
        for size, found in of_sizes(piece, known):
            places, numbers = known[size].find(found[:CHUNK])
            if len(places):
                places = places + start
                texts = np.searchsorted(tokens.offsets, places, "right")
                inside = places + size <= tokens.offsets[texts]
                yield Hits(size, places[inside], numbers[inside])


def wholes(tokens: Tokens, known: dict[int, Known]) -> Iterator[tuple[int, I64, I64]]:
    """Of each size, the texts that are a known run and nothing else, and which one it is."""
    counts = np.diff(tokens.offsets)
    for size, of_size in known.items():
        texts = np.flatnonzero(counts == size)
        total = np.zeros(len(texts), np.uint64)
        for place, factor in enumerate(multipliers(size)[:size]):
            total += tokens.hashes[tokens.offsets[texts] + place] * factor
        places, numbers = of_size.find(total)
        yield size, texts[places], numbers


def strings(value: Any) -> Iterator[str]:
    """Every text of a row, however deep, but its name, labels and roles."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for item in value:
            yield from strings(item)
    elif isinstance(value, dict):
        for name, item in value.items():
            if name not in _NOT_TEXT:
                yield from strings(item)
