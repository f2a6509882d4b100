"""Which part each row goes to: whole clusters, shares kept as closely as they allow, within every stratum."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np

from ptft.core.minhash import I64, U8

ALL = -1  # the stratum that every row is in: shares hold over all rows, however small the others are


class _Needs:
    """How many rows of each stratum every part still wants: (parts,) for each stratum. Negative: it has too many."""

    def __init__(self, shares: Sequence[float], strata: Sequence[int]) -> None:
        self.shares = np.array(shares)
        counts = Counter(strata)
        self.of = {stratum: self.shares * count for stratum, count in counts.items()}
        self.of[ALL] = self.shares * len(strata)

    def take(self, part: int, counts: Counter[int]) -> None:
        for stratum, count in counts.items():
            self.of[stratum][part] -= count

    def best(self, counts: Counter[int]) -> int:
        """The part whose squared error, over its share, falls most when it takes these rows."""
        gains = sum((self.of[stratum] ** 2 - (self.of[stratum] - count) ** 2) for stratum, count in counts.items())
        with np.errstate(divide="ignore"):
            return int(np.argmax(np.where(self.shares > 0, gains / self.shares, -np.inf)))


def assign(roots: I64, strata: Sequence[int], shares: Sequence[float], seed: int) -> U8:
    """The part of each row (n,). roots: (n,), equal within a cluster; strata: a number for each row's value.

    Clusters of several rows are placed first, the largest first; single rows then fill what is missing.
    """
    parts = np.zeros(len(roots), np.uint8)
    needs = _Needs(shares, strata)
    singles: defaultdict[int, list[int]] = defaultdict(list)
    for cluster in _shuffled_clusters(roots, seed):
        if len(cluster) == 1:
            singles[strata[cluster[0]]].append(cluster[0])
            continue
        counts = Counter(strata[row] for row in cluster)
        counts[ALL] = len(cluster)
        part = needs.best(counts)
        needs.take(part, counts)
        parts[cluster] = part
    _fill(singles, needs, parts)
    return parts


def _shuffled_clusters(roots: I64, seed: int) -> list[list[int]]:
    """Clusters in an order of the seed's, the largest first."""
    members: defaultdict[int, list[int]] = defaultdict(list)
    for row, root in enumerate(roots.tolist()):
        members[root].append(row)
    clusters = list(members.values())
    random.Random(seed).shuffle(clusters)
    return sorted(clusters, key=len, reverse=True)


def _fill(singles: dict[int, list[int]], needs: _Needs, parts: U8) -> None:
    """Whole numbers first, in every stratum; then the rows that rounding left over go where all strata together lack them."""
    left: list[tuple[int, int]] = []
    room: dict[int, np.ndarray] = {}
    for stratum, rows in sorted(singles.items()):
        wanted = np.maximum(needs.of[stratum], 0)
        quota = wanted * (len(rows) / wanted.sum()) if wanted.sum() else needs.shares * len(rows)
        whole = np.floor(quota + 1e-9).astype(int)
        room[stratum] = quota - whole > 1e-9
        ends = np.cumsum(whole)
        for part, end in enumerate(ends.tolist()):
            for row in rows[end - whole[part] : end]:
                parts[row] = part
                needs.take(part, Counter({stratum: 1, ALL: 1}))
        left += [(stratum, row) for row in rows[ends[-1] :]]
    for stratum, row in left:
        part = int(np.argmax(np.where(room[stratum], needs.of[ALL], -np.inf)))
        room[stratum][part] = False
        parts[row] = part
        needs.take(part, Counter({stratum: 1, ALL: 1}))
