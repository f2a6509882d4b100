"""Best-fit decreasing by counts of lengths: what a bin-packing of a million documents costs is one sort.

Items of one length are alike, and so are bins with the same room left. So lengths are laid from the longest to the shortest, each
as a few moves "so many bins with this room take so many items each", and only then does every item get its bin. The result is that
of best-fit decreasing, item by item.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Move:
    """`bins` bins with this `room` take `each` items of this `length`. New bins have all the room there is."""

    length: int
    room: int
    bins: int
    each: int
    new: bool


@dataclass(frozen=True)
class Bins:
    """Which pieces lie in which bin. places: of each piece's first token; sizes: in tokens; offsets: (bins + 1,) into both."""

    places: Array
    sizes: npt.NDArray[np.int32]
    offsets: Array

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, index: int) -> tuple[Array, npt.NDArray[np.int32]]:
        part = slice(int(self.offsets[index]), int(self.offsets[index + 1]))
        return self.places[part], self.sizes[part]


def moves(counts: Array, capacity: int) -> Iterator[Move]:
    """How items are laid by best-fit decreasing. counts: items of each length, (capacity + 1,)."""
    having: dict[int, int] = {}  # room -> bins
    rooms: list[int] = []  # those of `having`, ascending

    def add(room: int, bins: int) -> None:
        if room and bins:
            if room not in having:
                insort(rooms, room)
            having[room] = having.get(room, 0) + bins

    for length in np.flatnonzero(counts)[::-1].tolist():
        left = int(counts[length])
        while left:
            found = bisect_left(rooms, length)
            new = found == len(rooms)
            room = capacity if new else rooms[found]
            each = min(room // length, left)
            bins = left // each if new else min(left // each, having[room])
            if not new:
                having[room] -= bins
                if not having[room]:
                    del having[room], rooms[found]
            add(room - each * length, bins)
            left -= bins * each
            yield Move(length, room, bins, each, new)


def bins_needed(lengths: Array, capacity: int) -> int:
    """How many bins `bins_of` would fill, without filling them."""
    rests, whole = lengths % capacity, lengths // capacity
    counts = np.bincount(rests, minlength=capacity + 1)
    counts[0] = 0
    return int(whole.sum()) + sum(move.bins for move in moves(counts, capacity) if move.new)


def bins_of(lengths: Array, capacity: int) -> Bins:
    """Documents of these lengths, which lie one after the other, in bins of `capacity` tokens.

    Longer ones are cut into pieces of `capacity` and a rest. Bins are in the order of their first piece, and so are the pieces in a bin.
    """
    places, sizes = _pieces(lengths, capacity)
    full = np.flatnonzero(sizes == capacity)
    rest = np.flatnonzero(sizes < capacity)
    chosen, bins = _assigned(sizes[rest], capacity)
    pieces = np.concatenate([full, rest[chosen]])
    of = np.concatenate([np.arange(len(full)), bins + len(full)])
    return _ordered(places, sizes, pieces, of)


def _pieces(lengths: Array, capacity: int) -> tuple[Array, Array]:
    """Where the pieces of all documents begin, and their sizes, in the order of the stream."""
    each = -(-lengths // capacity)
    firsts = np.cumsum(lengths) - lengths
    number = np.arange(int(each.sum())) - np.repeat(np.cumsum(each) - each, each)
    sizes = np.minimum(np.repeat(lengths, each) - number * capacity, capacity)
    return np.repeat(firsts, each) + number * capacity, sizes


def _assigned(sizes: Array, capacity: int) -> tuple[Array, Array]:
    """Items in the order they were laid, and the bin of each."""
    order = np.argsort(-sizes, kind="stable")  # within a length, the order of the stream
    counts = np.bincount(sizes, minlength=capacity + 1)
    counts[0] = 0
    waiting: dict[int, list[Array]] = {}  # room -> bins, as runs of numbers
    bins = np.empty(len(sizes), np.int64)
    done = opened = 0
    for move in moves(counts, capacity):
        if move.new:
            chosen = np.arange(opened, opened + move.bins)
            opened += move.bins
        else:
            chosen = _taken(waiting[move.room], move.bins)
        bins[done : done + move.bins * move.each] = np.repeat(chosen, move.each)
        done += move.bins * move.each
        waiting.setdefault(move.room - move.each * move.length, []).append(chosen)
    return order, bins


def _taken(runs: list[Array], wanted: int) -> Array:
    """Take so many bins from the end of the runs."""
    taken: list[Array] = []
    while wanted:
        run = runs.pop()
        if len(run) > wanted:
            runs.append(run[:-wanted])
            run = run[-wanted:]
        taken.append(run)
        wanted -= len(run)
    return taken[0] if len(taken) == 1 else np.concatenate(taken)


def _ordered(places: Array, sizes: Array, pieces: Array, bins: Array) -> Bins:
    """Bins numbered anew by their first piece, and pieces by their place."""
    count = int(bins.max()) + 1 if len(bins) else 0
    first = np.full(count, len(places))
    np.minimum.at(first, bins, pieces)
    rank = np.empty(count, np.int64)
    rank[np.argsort(first)] = np.arange(count)
    by_piece = np.empty(len(places), np.int64)
    by_piece[pieces] = rank[bins]
    order = np.argsort(by_piece, kind="stable")
    offsets = np.zeros(count + 1, np.int64)
    np.cumsum(np.bincount(by_piece, minlength=count), out=offsets[1:])
    return Bins(places[order], sizes[order].astype(np.int32), offsets)
