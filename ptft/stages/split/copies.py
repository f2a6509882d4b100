"""Augmented rows: copies follow their source to train, and go nowhere else. Nothing is tested on what was made from it."""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import xxhash

from ptft.core.examples import row_text
from ptft.core.minhash import I64, U8, U64
from ptft.core.origin import source_id

TRAIN, LEFT_OUT = 0, 255  # the part of a copy: train, or none
_TEXT = np.dtype([("high", np.uint64), ("low", np.uint64)])  # a 128-bit hash, as one value


@dataclass
class Rows:
    """What the first pass notes of each row, in order: 16 bytes a row, 32 a copy. ids: hashes; sources: 0 for an original."""

    _ids: array[int] = field(default_factory=lambda: array("Q"))
    _sources: array[int] = field(default_factory=lambda: array("Q"))
    _texts: bytearray = field(default_factory=bytearray)  # of the copies

    def note(self, data: dict[str, Any]) -> bool:
        """Take note of a row; returns whether it is an original."""
        source = source_id(data)
        self._ids.append(_hash(str(data["id"])))
        self._sources.append(0 if source is None else _hash(source))
        if source is not None:
            self._texts += xxhash.xxh3_128_digest(row_text(data).encode("utf-8", "surrogatepass"))
        return source is None

    def __len__(self) -> int:
        return len(self._ids)

    @property
    def ids(self) -> U64:
        return np.array(self._ids, np.uint64)

    @property
    def sources(self) -> U64:
        return np.array(self._sources, np.uint64)

    def originals(self) -> npt.NDArray[np.bool_]:
        return np.equal(self.sources, 0)

    def equal_to(self, exact: U64) -> I64:
        """Copies (their row numbers) whose text is, to the letter, one of these. exact: (n, 2), as in `Fingerprints`."""
        texts = np.frombuffer(bytes(self._texts), _TEXT)
        wanted = np.frombuffer(np.ascontiguousarray(exact).tobytes(), _TEXT)
        return np.flatnonzero(~self.originals())[np.isin(texts, wanted)]

    def orphans(self) -> I64:
        """Copies (their row numbers) whose source is not among the originals."""
        known = np.isin(self.sources, self.ids[self.originals()])
        return np.flatnonzero(~known & ~self.originals())


def _hash(ident: str) -> int:
    return xxhash.xxh3_64_intdigest(ident.encode("utf-8", "surrogatepass")) or 1


def all_parts(rows: Rows, of_originals: U8, lost: I64) -> U8:
    """The part of every row (n,), from that of the originals in their order.

    A copy is in train where every row with its source's id is; else it is `LEFT_OUT`. lost: orphans near a row of val or
    test, and copies equal to one.
    """
    originals = rows.originals()
    parts = np.zeros(len(rows), np.uint8)
    parts[originals] = of_originals
    held_out = rows.ids[originals & (parts != TRAIN)]
    parts[~originals & np.isin(rows.sources, held_out)] = LEFT_OUT
    parts[lost] = LEFT_OUT
    return parts


def near_held_out(roots: I64, of_originals: U8, orphans: I64) -> I64:
    """The orphans that share a cluster with a row of val or test. roots: of the originals, then of the orphans."""
    count = len(of_originals)
    bad = np.unique(roots[:count][of_originals != TRAIN])
    return orphans[np.isin(roots[count:], bad)]


def numbers_of(parts: U8, rows: Rows) -> dict[str, int]:
    """Copies in train and left out, for the record; nothing where there are none."""
    copies = parts[~rows.originals()]
    if not len(copies):
        return {}
    left_out = int(np.sum(copies == LEFT_OUT))
    return {"augmented_train": len(copies) - left_out, "augmented_left_out": left_out}
