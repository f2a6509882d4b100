"""Which rows of a cluster of near-duplicates stay, and which of them each dropped row repeats."""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ptft.core.dedup import Store, first_of_equal
from ptft.core.minhash import I64, U32

MANY = 64  # of so many rows, those are compared with the one that stays that share a band key with it


@dataclass(frozen=True)
class Repeat:
    """Why a duplicate goes: the row that stays instead, how similar they are, and how many rows the kept one stands for."""

    of: int
    similarity: float
    exact: bool
    cluster_size: int


def repeats(
    store: Store,
    roots: I64,
    bands: int,
    threshold: float,
    rank: Sequence[npt.NDArray[np.generic]] = (),
    without: Set[int] = frozenset(),
) -> dict[int, Repeat]:
    """The rows to drop. Each is at least `threshold` similar to the row that stays for it. without: rows that are gone already.

    rank: arrays (n,) by which a cluster's rows are compared, the first decides; the greatest stays, of equals the first row.

    Components are chains: their ends may be far apart. So one row is kept, the rows similar to that very row go, and what
    is left of the component does the same again.
    """
    first = first_of_equal(store)
    found: dict[int, Repeat] = {}
    left = [_ranked(members, rank, without) for members in _components(roots)]
    keys = _KeysOf(store, bands)
    while left := [members for members in left if len(members) > 1]:  # each round takes one row and more from each
        left = [
            _without_repeats(members, similar, threshold, first, found)
            for members, similar in zip(left, _similar_to_first(store, first, left, keys), strict=True)
        ]
    return found


def _ranked(members: Sequence[int], rank: Sequence[npt.NDArray[np.generic]], without: Set[int]) -> Sequence[int]:
    """The rows of a component that are still there, the one to keep first."""
    members = [row for row in members if row not in without] if without else members
    return sorted(members, key=lambda row: tuple(values[row] for values in rank), reverse=True) if rank else members


class _KeysOf:
    """The band keys of rows of large components: (bands, rows), read once."""

    def __init__(self, store: Store, bands: int) -> None:
        self._store, self._bands = store, bands
        self._keys: U32 | None = None

    def sharing(self, kept: int, others: Sequence[int]) -> npt.NDArray[np.bool_]:
        """Which of the others share a key with the kept row."""
        if self._keys is None:
            self._keys = np.stack([self._store.band(band) for band in range(self._bands)])
        return np.asarray((self._keys[:, others] == self._keys[:, [kept]]).any(axis=0))


def _similar_to_first(
    store: Store, first: I64, groups: Sequence[Sequence[int]], keys: _KeysOf
) -> Iterator[list[float]]:
    """How similar each group's other rows are to its first one. Equal texts need no look; in a large group, nor do
    rows that share no band key with it, as nearly all that are similar do."""
    asked: list[list[tuple[int, int] | None]] = []
    for kept, *others in groups:
        near = keys.sharing(kept, others).tolist() if len(others) > MANY else [True] * len(others)
        asked.append(
            [(int(first[kept]), int(first[row])) if look else None for row, look in zip(others, near, strict=True)]
        )
    pairs = dict.fromkeys(pair for group in asked for pair in group if pair is not None and pair[0] != pair[1])
    known = store.similarities(list(pairs))
    return ([0.0 if pair is None else known.get(pair, 1.0) for pair in group] for group in asked)


def _without_repeats(
    members: Sequence[int], similar: Sequence[float], threshold: float, first: I64, found: dict[int, Repeat]
) -> list[int]:
    """Note what repeats the first of the members; return what is left of the others."""
    kept, *others = members
    gone = [row for row, similarity in zip(others, similar, strict=True) if similarity >= threshold]
    for row, similarity in zip(others, similar, strict=True):
        if similarity >= threshold:
            found[row] = Repeat(kept, similarity, bool(first[row] == first[kept]), len(gone) + 1)
    return [row for row, similarity in zip(others, similar, strict=True) if similarity < threshold]


def _components(roots: I64) -> Iterator[Sequence[int]]:
    """The components of two rows and more, each in the rows' order."""
    order = np.argsort(roots, kind="stable")
    starts = np.flatnonzero(np.append(True, roots[order[1:]] != roots[order[:-1]])[: len(order)])
    ends = np.append(starts[1:], len(order))
    for which in np.flatnonzero(ends - starts > 1):
        yield order[starts[which] : ends[which]].tolist()
