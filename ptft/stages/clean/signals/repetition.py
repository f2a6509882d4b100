"""How much of a text its repeated n-grams make up (Gopher, Rae et al. 2021, table A1), for many texts at once.

Only n-grams that occur twice or more count: else every short clean sentence has one that fills it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ptft.core.minhash import I64, U32, U64, mix, multipliers

TOP, DUPLICATE = (2, 3, 4), (5, 6, 7, 8, 9, 10)
NAMES = (*(f"top_{size}gram" for size in TOP), *(f"duplicate_{size}gram" for size in DUPLICATE))
F64 = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Grams:
    """The n-grams that occur more than once in their text, equal ones side by side.

    places: (grams,), the token each starts at, in no order within a group; starts: (groups,), where each group of equal
    ones starts among them.
    """

    places: I64
    starts: I64

    @property
    def counts(self) -> I64:
        return np.diff(np.append(self.starts, len(self.places)))


def repetition(hashes: U64, lengths: U32, bounds: I64, characters: I64) -> F64:
    """Shares of each text's characters (n, 9): in its most frequent 2, 3 and 4-gram; in 5 to 10-grams seen before.

    hashes, lengths (in characters): (tokens,), of n texts one after another; bounds: (n + 1,).
    characters: of each text, white space aside (n,).
    """
    measured = np.zeros((len(bounds) - 1, len(NAMES)))
    owner = np.repeat(np.arange(len(bounds) - 1), np.diff(bounds))
    ends = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths, dtype=np.int64)])
    totals = np.maximum(characters, 1)
    again = np.ones(
        len(hashes) + 1, bool
    )  # a run of tokens that occurs twice begins and ends with shorter ones that do
    again[-1] = False
    for column, size in enumerate((*TOP, *DUPLICATE)):
        grams = _repeated(hashes, owner, again, size)
        if not len(grams.places):
            break
        if size in TOP:
            measured[:, column] = np.minimum(1, _most_frequent(grams, size, owner, ends, len(measured)) / totals)
        else:
            measured[:, column] = _seen_before(grams, size, ends, bounds) / totals
        again[:] = False
        again[grams.places] = True
    return measured


def _repeated(hashes: U64, owner: I64, again: npt.NDArray[np.bool_], size: int) -> Grams:
    """again: (tokens + 1,), the tokens where an n-gram of size - 1 starts that occurs more than once."""
    places = np.flatnonzero(again[:-1] & again[1:])
    places = places[places + size <= len(hashes)]
    places = places[owner[places + size - 1] == owner[places]]
    keys = mix(owner[places].astype(np.uint64) + np.uint64(1))
    for start in range(size):
        keys += hashes[places + start] * multipliers(size)[start]
    order = np.argsort(keys)
    ordered = keys[order]
    same = ordered[1:] == ordered[:-1]
    held = np.append(same, False) | np.append(False, same) if len(order) else np.zeros(0, bool)
    first = held & ~np.append(False, same)[: len(order)]
    return Grams(places[order[held]], np.flatnonzero(first[held]))


def _most_frequent(grams: Grams, size: int, owner: I64, ends: I64, texts: int) -> I64:
    """Characters in the most frequent n-gram of each text, all its occurrences together; of equally frequent, the longest."""
    place = grams.places[grams.starts]
    length = ends[place + size] - ends[place]
    best = np.zeros(texts, np.int64)
    np.maximum.at(best, owner[place], grams.counts << 32 | length)
    return (best >> 32) * (best & 0xFFFFFFFF)


def _seen_before(grams: Grams, size: int, ends: I64, bounds: I64) -> I64:
    """Characters of each text in n-grams that occurred earlier in it; each counts once, in however many of them it lies."""
    first = np.minimum.reduceat(grams.places, grams.starts)
    places = grams.places[grams.places != np.repeat(first, grams.counts)]
    depth = np.zeros(len(ends), np.int64)
    np.add.at(depth, places, 1)
    np.add.at(depth, places + size, -1)
    covered = np.where(np.cumsum(depth)[:-1] > 0, np.diff(ends), 0)
    so_far = np.concatenate([np.zeros(1, np.int64), np.cumsum(covered)])
    return np.asarray(so_far[bounds[1:]] - so_far[bounds[:-1]])
