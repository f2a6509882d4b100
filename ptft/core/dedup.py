"""Near-duplicates among any number of rows: fingerprints a block, kept on disk; candidates by LSH; exact verification.

What stays in memory is a few numbers a row: 2 million rows need about 200 MB, whatever their length.
"""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import IO

import numpy as np
import xxhash

from ptft.core.minhash import I64, U32, U64, Scheme, Tokens, band_keys, jaccard, offsets, shingles, signatures, tokenise

ALL_COMPARED = 16  # rows of a bucket that are compared with all earlier ones
LEADERS = 32  # beyond those, a bucket's rows are compared with at most this many: linear, however large the bucket
CACHED_SHINGLES = 1 << 14  # a longer row is read again each time it is compared
COMPARED_SHINGLES = 1 << 16  # shingles of pairs that are compared at a time
BUCKETS = 4096  # whose first comparisons are done together
CLOSEST, LOOKED_AT = 2048, 4096  # rows a crowded row is compared with, and of each bucket looked at to find them
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
    used = scheme.permutations[:, : scheme.bands * scheme.rows]
    keys = band_keys(signatures(shingled, bounds, used), scheme.bands, scheme.rows)
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
        self._blocks = self.blocks.tolist()
        self._small = lru_cache(1024)(self._read)
        self._file = lru_cache(64)(self._opened)  # a file that falls out is closed

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

    def similarities(self, pairs: Sequence[tuple[int, int]]) -> dict[tuple[int, int], float]:
        """The same of many pairs at once: a third of the time."""
        sizes = [int(self._counts[left]) + int(self._counts[right]) for left, right in pairs]
        found: dict[tuple[int, int], float] = {}
        start, held = 0, 0
        for end, size in enumerate(sizes):
            if held and held + size > COMPARED_SHINGLES:
                found |= self._similarities(pairs[start:end])
                start, held = end, 0
            held += size
        return found | self._similarities(pairs[start:])

    def _similarities(self, pairs: Sequence[tuple[int, int]]) -> dict[tuple[int, int], float]:
        if not pairs:
            return {}
        rows = {row: self._raw(row) for row in sorted({row for pair in pairs for row in pair})}
        parts = [rows[row] for pair in pairs for row in pair]
        sides = np.repeat(np.arange(len(parts), dtype=np.uint64), [len(part) for part in parts])
        shingled = np.concatenate(parts).astype(np.uint64) << np.uint64(1)
        # the pair's number, the shingle, the side: sorted, a shared shingle is two neighbours that differ in the last bit
        keys = np.sort((sides >> np.uint64(1)) << np.uint64(33) | shingled | sides & np.uint64(1))
        keys = keys[np.append(True, keys[1:] != keys[:-1])]
        shared = offsets(np.append(keys[1:] ^ keys[:-1] == 1, False))
        bounds = np.searchsorted(keys, np.arange(len(pairs) + 1, dtype=np.uint64) << np.uint64(33))
        both = np.diff(shared[bounds])
        return dict(zip(pairs, (both / (np.diff(bounds) - both)).tolist(), strict=True))

    def shingles(self, row: int) -> U32:
        """A row's shingles, in order and each once."""
        return self._small(row) if self._counts[row] <= CACHED_SHINGLES else self._read(row)

    def _read(self, row: int) -> U32:
        return np.unique(self._raw(row))

    def _raw(self, row: int) -> U32:
        # read, not memory-mapped: pages of a map count as memory of ours
        file = self._file(bisect_right(self._blocks, row) - 1)
        count, start = int(self._counts[row]), int(self._within[row])
        return np.frombuffer(os.pread(file.fileno(), 4 * count, 4 * start), np.uint32)

    def _opened(self, block: int) -> IO[bytes]:
        return (self.folders[block] / "shingles.u32").open("rb", buffering=0)


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
    crowded: set[int] = set()
    for band in range(bands):
        buckets = _buckets(store.band(band), unique, joined)
        while some := list(islice(buckets, BUCKETS)):
            known = store.similarities(list(_first_pairs(some, joined, failed)))
            for bucket in some:
                _join(bucket, store, threshold, joined, failed, known)
                if len(bucket) > ALL_COMPARED:
                    crowded.update(bucket)
        advance()
    _join_crowded(store, bands, unique, crowded, threshold, joined)
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


def _first_pairs(
    buckets: Iterable[Sequence[int]], joined: Components, failed: set[tuple[int, int]]
) -> Iterator[tuple[int, int]]:
    """What `_join` will compare before all else: each row with the first of its bucket. Most buckets have no more."""
    for first, *others in buckets:
        for row in others:
            if (first, row) not in failed and joined.find(first) != joined.find(row):
                yield first, row


def _join(
    bucket: Sequence[int],
    store: Store,
    threshold: float,
    joined: Components,
    failed: set[tuple[int, int]],
    known: Mapping[tuple[int, int], float],
) -> None:
    leaders: list[int] = []
    for row in bucket:
        alone = True
        for leader in leaders:
            if joined.find(leader) == joined.find(row):
                alone = False
            elif (leader, row) not in failed:
                similarity = known.get((leader, row))
                if (store.similarity(leader, row) if similarity is None else similarity) >= threshold:
                    joined.unite(leader, row)
                    alone = False
                elif len(failed) < FAILED_KEPT:
                    failed.add((leader, row))
        if len(leaders) < ALL_COMPARED or (alone and len(leaders) < LEADERS):
            leaders.append(row)


# ---------------------------------------------------------------- rows among many that are nearly like them


def _join_crowded(store: Store, bands: int, rows: I64, crowded: Set[int], threshold: float, joined: Components) -> None:
    """Compare rows of large buckets that were not found alike to anything with the rows that share most bands with them.

    Documents of one template, each a little below the threshold, fill buckets in which few are compared: two of them that are
    truly alike would not meet.
    """
    roots = joined.roots()
    sizes = np.bincount(roots, minlength=len(roots))
    alone = np.array([row for row in sorted(crowded) if sizes[roots[row]] == 1], np.int64)
    if not len(alone):
        return
    keys = [store.band(band) for band in range(bands)]
    for row, others in most_shared([band[rows] for band in keys], keys, alone):
        pairs = [(row, other) for other in rows[others].tolist() if other != row]
        for (_, other), similarity in store.similarities(pairs).items():
            if similarity >= threshold:
                joined.unite(row, other)


def most_shared(known: Sequence[U32], keys: Sequence[U32], rows: I64) -> Iterator[tuple[int, I64]]:
    """For each of `rows` that shares a band key with known ones: the places of those that share most bands, at most `CLOSEST`.

    known, keys: the band keys of the known rows, and of all rows; each a sequence of bands.
    """
    orders, bounds = [], []
    for held, band in zip(known, keys, strict=True):
        order = np.argsort(held, kind="stable")
        ordered, wanted = held[order], band[rows]
        orders.append(order.astype(np.uint32))
        bounds.append(
            np.stack([np.searchsorted(ordered, wanted, side) for side in ("left", "right")], axis=1).astype(np.uint32)
        )
    ranges = np.stack(bounds, axis=1)  # (rows, bands, 2)
    for number in np.flatnonzero((ranges[:, :, 1] > ranges[:, :, 0]).any(axis=1)).tolist():
        slices = zip(orders, ranges[number].tolist(), strict=True)
        found = np.concatenate([order[start : min(end, start + LOOKED_AT)] for order, (start, end) in slices])
        places, shared = np.unique(found, return_counts=True)
        if len(places) > CLOSEST:
            places = places[np.argsort(-shared, kind="stable")[:CLOSEST]]
        yield int(rows[number]), places
