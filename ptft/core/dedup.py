"""Near-duplicates among any number of rows: fingerprints a block, kept on disk; candidates by LSH; exact verification.

What stays in memory is a few numbers a row: 2 million rows need about 200 MB, whatever their length.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import xxhash

from ptft.core.minhash import I64, U32, U64, Scheme, Tokens, band_keys, jaccard, offsets, shingles, signatures, tokenise

ALL_COMPARED = 16  # rows of a bucket that are compared with all earlier ones
LEADERS = 32  # beyond those, a bucket's rows are compared with at most this many: linear, however large the bucket
CACHED_SHINGLES = 1 << 14  # a longer row is read again each time it is compared
FAILED_KEPT = 1 << 20  # pairs remembered as not similar, so that no later band compares them again


@dataclass(frozen=True)
class Fingerprints:
    """All that finding duplicates among n rows needs to know of them.

    exact: (n, 2), the text's 128-bit hash. keys: (bands, n). shingles: (sum of counts,), counts: (n,). sizes: (n,), characters.
    """

    exact: U64
    keys: U32
    shingles: U32
    counts: U32
    sizes: U32

    def save(self, folder: Path) -> None:
        for name in ("exact", "keys", "counts", "sizes"):
            np.save(folder / f"{name}.npy", getattr(self, name))
        self.shingles.tofile(folder / "shingles.u32")


def fingerprints(texts: Sequence[str], scheme: Scheme, tokens: Tokens | None = None) -> Fingerprints:
    """tokens: of these texts, where they are known already."""
    tokens = tokens or tokenise(texts)
    shingled, bounds = shingles(texts, tokens, scheme.shingle)
    keys = band_keys(signatures(shingled, bounds, scheme.permutations), scheme.bands, scheme.rows)
    digests = b"".join(xxhash.xxh3_128_digest(text.encode("utf-8", "surrogatepass")) for text in texts)
    exact = np.frombuffer(digests, np.uint64).reshape(-1, 2)
    sizes = np.array([len(text) for text in texts], np.uint32)
    return Fingerprints(exact, keys, shingled, np.diff(bounds).astype(np.uint32), sizes)


class Store:
    """The fingerprints of all blocks, read back as they are needed. Rows are numbered across blocks."""

    def __init__(self, folders: Sequence[Path]) -> None:
        self.folders = folders
        counts = [np.load(folder / "counts.npy") for folder in folders]
        self.blocks = offsets([len(count) for count in counts])  # the first row of each block
        self._within = np.concatenate([offsets(count)[:-1] for count in counts]) if counts else np.empty(0, np.int64)
        self._counts = np.concatenate(counts) if counts else np.empty(0, np.uint32)
        self._small = lru_cache(1024)(self._read)

    def __len__(self) -> int:
        return int(self.blocks[-1])

    def exact(self) -> U64:
        return np.concatenate([np.load(folder / "exact.npy") for folder in self.folders])

    def sizes(self) -> U32:
        return np.concatenate([np.load(folder / "sizes.npy") for folder in self.folders])

    def band(self, band: int) -> U32:
        return np.concatenate([np.load(folder / "keys.npy", mmap_mode="r")[band] for folder in self.folders])

    def similarity(self, left: int, right: int) -> float:
        """Exact Jaccard similarity of two rows' shingles."""
        return jaccard(self.shingles(left), self.shingles(right))

    def shingles(self, row: int) -> U32:
        """A row's shingles, in order and each once."""
        return self._small(row) if self._counts[row] <= CACHED_SHINGLES else self._read(row)

    def _read(self, row: int) -> U32:
        # read, not memory-mapped: pages of a map count as memory of ours
        folder = self.folders[int(np.searchsorted(self.blocks, row, "right")) - 1]
        count, start = int(self._counts[row]), int(self._within[row])
        return np.unique(np.fromfile(folder / "shingles.u32", np.uint32, count, offset=4 * start))


class Components:
    """Union-find over n rows; a component's root is its first row."""

    def __init__(self, rows: int) -> None:
        self.parent: I64 = np.arange(rows, dtype=np.int64)
        self._quick = memoryview(self.parent)  # type: ignore[arg-type]  # indexing it is three times faster than numpy

    def find(self, row: int) -> int:
        parent = self._quick
        while parent[row] != row:
            parent[row] = parent[parent[row]]
            row = parent[row]
        return row

    def unite(self, left: int, right: int) -> None:
        left, right = self.find(left), self.find(right)
        self._quick[max(left, right)] = min(left, right)

    def roots(self) -> I64:
        """The root of every row (n,); a view that later unions change."""
        while not np.array_equal(hops := self.parent[self.parent], self.parent):
            self.parent[:] = hops
        return self.parent


def first_of_equal(store: Store) -> I64:
    """For each row (n,) the first row with the same text."""
    exact = store.exact()
    order = np.lexsort((exact[:, 1], exact[:, 0]))  # stable: equal rows stay in their order
    different = np.any(exact[order[1:]] != exact[order[:-1]], axis=1)
    starts = np.concatenate([[0], np.flatnonzero(different) + 1])[: len(order)]
    first = np.empty(len(order), np.int64)
    first[order] = np.repeat(order[starts], np.diff(np.append(starts, len(order))))
    return first


def components(store: Store, bands: int, threshold: float, advance: Callable[[], None] = lambda: None) -> I64:
    """For each row (n,) the first row of its component: rows joined by chains of pairs with Jaccard >= threshold.

    Depends on the rows alone, not on how they were cut into blocks. advance: called once a band.
    """
    first = first_of_equal(store)
    joined = Components(len(store))
    joined.parent[:] = first
    unique = np.flatnonzero(first == np.arange(len(store)))
    failed: set[tuple[int, int]] = set()
    for band in range(bands):
        for bucket in _buckets(store.band(band), unique, joined):
            _join(bucket, store, threshold, joined, failed)
        advance()
    return joined.roots()


def _buckets(keys: U32, rows: I64, joined: Components) -> Iterator[list[int]]:
    """Rows that share a key, in order, but for those that are in one component already."""
    tagged = np.sort(keys[rows].astype(np.uint64) << np.uint64(32) | rows.astype(np.uint64))
    order = (tagged & np.uint64(0xFFFFFFFF)).astype(np.int64)
    key = tagged >> np.uint64(32)
    starts = np.concatenate([[0], np.flatnonzero(key[1:] != key[:-1]) + 1])
    roots = joined.roots()[order]
    apart = np.minimum.reduceat(roots, starts) != np.maximum.reduceat(roots, starts) if len(order) else starts[:0]
    ends = np.append(starts[1:], len(order))
    for bucket in np.flatnonzero(apart):
        yield order[starts[bucket] : ends[bucket]].tolist()


def _join(
    bucket: Sequence[int], store: Store, threshold: float, joined: Components, failed: set[tuple[int, int]]
) -> None:
    leaders: list[int] = []
    for row in bucket:
        alone = True
        for leader in leaders:
            if joined.find(leader) == joined.find(row):
                alone = False
            elif (leader, row) not in failed:
                if store.similarity(leader, row) >= threshold:
                    joined.unite(leader, row)
                    alone = False
                elif len(failed) < FAILED_KEPT:
                    failed.add((leader, row))
        if len(leaders) < ALL_COMPARED or (alone and len(leaders) < LEADERS):
            leaders.append(row)
