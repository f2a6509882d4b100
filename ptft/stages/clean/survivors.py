"""Which rows of a cluster of near-duplicates stay, and which of them each dropped row repeats."""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ptft.core.dedup import Store, first_of_equal
from ptft.core.minhash import I64

ROUNDS = 64  # a component is taken apart in at most this many rounds; what is left then stays


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
    for component in _components(roots):
        members = [row for row in component if row not in without] if without else component
        left = sorted(members, key=lambda row: tuple(values[row] for values in rank), reverse=True) if rank else members
        for _ in range(ROUNDS):
            if len(left) < 2:
                break
            kept = left[0]
            similar = {row: _similarity(store, first, kept, row) for row in left[1:]}
            gone = [row for row in left[1:] if similar[row] >= threshold]
            for row in gone:
                found[row] = Repeat(kept, similar[row], bool(first[row] == first[kept]), len(gone) + 1)
            left = [row for row in left[1:] if similar[row] < threshold]
    return found


def _similarity(store: Store, first: I64, kept: int, row: int) -> float:
    return 1.0 if first[kept] == first[row] else store.similarity(int(first[kept]), int(first[row]))


def _components(roots: I64) -> Iterator[Sequence[int]]:
    """The components of two rows and more, each in the rows' order."""
    order = np.argsort(roots, kind="stable")
    starts = np.flatnonzero(np.append(True, roots[order[1:]] != roots[order[:-1]])[: len(order)])
    ends = np.append(starts[1:], len(order))
    for which in np.flatnonzero(ends - starts > 1):
        yield order[starts[which] : ends[which]].tolist()
