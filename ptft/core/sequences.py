"""A split's tokens in sequences of one length, in two ways: one stream cut anywhere, or documents kept whole where they fit."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from collections.abc import Sequence as List
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from ptft.core.best_fit import Bins, bins_of

Array = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Sequence:
    """One training example before the objective.

    ids: (seq_len,), after `length` tokens of text padded with pad_id. starts: where a document, or a piece of one, begins in
    ids; the first is always 0.
    """

    ids: Array
    starts: Array
    length: int


@dataclass(frozen=True)
class Stream:
    """The shards of a split seen as one run of tokens. tokens, ends: of each shard, memory-mapped."""

    tokens: List[npt.NDArray[Any]]
    ends: List[npt.NDArray[np.uint64]]

    @cached_property
    def firsts(self) -> Array:
        """The place of each shard's first token, and after them the number of all (shards + 1,)."""
        return np.cumsum([0, *map(len, self.tokens)], dtype=np.int64)

    def __len__(self) -> int:
        return int(self.firsts[-1])

    def shard_of(self, place: int) -> int:
        return int(np.searchsorted(self.firsts, place, side="right")) - 1

    def read(self, start: int, stop: int, into: Array) -> None:
        """Copy the tokens start..stop to the beginning of `into`."""
        shard, done = self.shard_of(start), 0
        while start + done < stop:
            first = int(self.firsts[shard])
            part = self.tokens[shard][start + done - first : stop - first]
            into[done : done + len(part)] = part
            done, shard = done + len(part), shard + 1

    def ends_between(self, start: int, stop: int) -> Array:
        """The ends of documents with start < end < stop. A binary search in the memory map: it costs no scan."""
        found = []
        for shard in range(self.shard_of(start), len(self.tokens)):
            first, ends = int(self.firsts[shard]), self.ends[shard]
            if first >= stop:
                break
            low, high = _search(ends, max(start - first, 0), "right"), _search(ends, stop - first, "left")
            found.append(ends[low:high].astype(np.int64) + first)
        return np.concatenate(found) if found else np.zeros(0, np.int64)

    def lengths(self) -> Array:
        """Tokens of every document (documents,)."""
        each = [np.diff(shard.astype(np.int64), prepend=0) for shard in self.ends]
        return np.concatenate(each) if each else np.zeros(0, np.int64)


def _search(ends: npt.NDArray[np.uint64], place: int, side: Any) -> int:
    return int(np.searchsorted(ends, np.uint64(place), side=side))  # a signed number would copy the whole map


class Sequences(ABC):
    """Sequences by number. tokens: of text in all of them. waste: share of all places and tokens that is padding or skipped."""

    seq_len: int
    tokens: int
    waste: float

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def _read(self, index: int) -> Sequence: ...

    def __getitem__(self, index: int) -> Sequence:
        """Raises IndexError outside 0..len; -1 is the last."""
        number = int(index) + len(self) if index < 0 else int(index)
        if not 0 <= number < len(self):
            raise IndexError(f"sequence {index} of {len(self)}")
        return self._read(number)

    def __iter__(self) -> Iterator[Sequence]:
        return map(self._read, range(len(self)))


class Concatenated(Sequences):
    """One stream of documents, cut every `seq_len` tokens. What remains at the very end is skipped, or padded: `with_rest`."""

    def __init__(self, stream: Stream, seq_len: int, pad_id: int = 0, with_rest: bool = False) -> None:
        self.stream, self.seq_len, self.pad_id = stream, seq_len, pad_id
        self.tokens = len(stream) if with_rest else len(stream) // seq_len * seq_len
        self.waste = 1 - self.tokens / len(stream) if len(stream) else 0.0

    def __len__(self) -> int:
        return -(-self.tokens // self.seq_len)

    def _read(self, index: int) -> Sequence:
        ids = np.full(self.seq_len, self.pad_id, np.int64)
        first = index * self.seq_len
        last = min(first + self.seq_len, self.tokens)
        self.stream.read(first, last, ids)
        starts = self.stream.ends_between(first, last) - first
        return Sequence(ids, np.concatenate([[0], starts]), last - first)


class BestFit(Sequences):
    """Whole documents where they fit (Ding et al. 2024, "Fewer truncations improve language modeling").

    Documents longer than `seq_len` are cut into pieces of that length and a rest; rests and documents are laid into sequences by
    best-fit decreasing. Sequences are in the order of the first document in them, so the first few are no special ones.
    """

    def __init__(self, stream: Stream, seq_len: int, pad_id: int) -> None:
        self.stream, self.seq_len, self.pad_id = stream, seq_len, pad_id
        self.tokens = len(stream)
        self.bins: Bins = bins_of(stream.lengths(), seq_len)
        self.waste = 1 - self.tokens / (len(self) * seq_len) if self.tokens else 0.0

    def __len__(self) -> int:
        return len(self.bins)

    def _read(self, index: int) -> Sequence:
        places, sizes = self.bins[index]
        ids = np.full(self.seq_len, self.pad_id, np.int64)
        starts = np.cumsum(sizes, dtype=np.int64) - sizes
        for place, size, start in zip(places.tolist(), sizes.tolist(), starts.tolist(), strict=True):
            self.stream.read(place, place + size, ids[start : start + size])
        return Sequence(ids, starts, int(sizes.sum()))


KINDS: dict[str, Any] = {"concat": Concatenated, "best-fit": BestFit}
