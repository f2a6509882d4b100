"""A split's documents by number, memory-mapped: what pairs of passages are drawn from."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ptft.core.sequences import Stream

Array = npt.NDArray[np.int64]


class Documents:
    """Each document's ids without its end-of-text token. lengths: of all, (documents,)."""

    def __init__(self, stream: Stream, lengths: Array) -> None:
        self.stream, self.lengths = stream, lengths - 1
        self._ends = np.cumsum(lengths)

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, index: int) -> Array:
        length = int(self.lengths[index])
        ids = np.empty(length, dtype=np.int64)
        start = int(self._ends[index]) - length - 1
        self.stream.read(start, start + length, ids)
        return ids
