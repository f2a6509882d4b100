"""Batches of rows of like length, as large as the device takes. They change speed, never scores."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

from ptft.core.errors import RunError

# Tokens of a forward pass. A CPU gains nothing beyond 512 to 1024 (measured: MiniLM, SmolLM2-135M); larger batches only pad more.
TOKENS = {"cpu": 1024, "cuda": 32_768}
LOGITS = {"cpu": 2**27, "cuda": 2**29}  # logits of a forward pass: 0.5 GB and 2 GB in fp32


@dataclass
class Room:
    """What a device takes at once. It is made smaller when memory does not suffice, and stays so.

    tokens: of a forward pass, where no number of rows is given. logits: of a forward pass. rows: the largest batch so far.
    """

    tokens: int = TOKENS["cpu"]
    logits: int = LOGITS["cpu"]
    rows: int = 0


_ROOMS: WeakKeyDictionary[Any, Room] = WeakKeyDictionary()


def room_for(model: Any) -> Room:
    """The room of a model on its device: the same one however often it is asked for."""
    kind = getattr(getattr(model, "device", None), "type", "cpu")
    try:
        return _ROOMS.setdefault(model, _room_on(kind))
    except TypeError:  # a model of another runtime that cannot be a key
        return _room_on(kind)


def _room_on(kind: str) -> Room:
    return Room(TOKENS.get(kind, TOKENS["cuda"]), LOGITS.get(kind, LOGITS["cuda"]))


class Batches:
    """Indices of rows in batches, longest first, so that little is padding and memory fails at once or never.

    size: rows a batch; 0: as many as the room's tokens allow. logits: that each row makes; a batch is made smaller to stay under
    the room's. What may not fit runs inside `fitting`:

        for chosen in batches:
            with batches.fitting(chosen):
                done = compute(chosen)

    A batch that does not fit comes again in smaller ones; what follows inside the `with` is skipped.
    """

    def __init__(
        self, lengths: Sequence[int], size: int, room: Room | None = None, logits: Sequence[int] | None = None
    ) -> None:
        self._lengths, self._size, self._logits = lengths, size, logits
        self._order = sorted(range(len(lengths)), key=lambda index: -lengths[index])
        self._start = 0
        self.room = room or Room()

    def __iter__(self) -> Iterator[list[int]]:
        while self._start < len(self._order):
            chosen = self._order[self._start : self._start + self._rows()]
            self._start += len(chosen)
            yield chosen

    def _rows(self) -> int:
        wanted = max(1, self._size or self.room.tokens // max(1, self._lengths[self._order[self._start]]))
        if self._logits is None:
            return wanted
        made = 0
        for rows, index in enumerate(self._order[self._start : self._start + wanted]):
            made += self._logits[index]
            if made > self.room.logits:
                return max(1, rows)
        return wanted

    @contextmanager
    def fitting(self, chosen: Sequence[int]) -> Iterator[None]:
        """Raises `RunError` where a given number of rows does not fit, or a single row."""
        try:
            yield
            self.room.rows = max(self.room.rows, len(chosen))
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            self._halve(chosen, error)

    def _halve(self, chosen: Sequence[int], error: BaseException) -> None:
        longest = max(1, *(self._lengths[index] for index in chosen))
        if self._size and len(chosen) > 1:
            remedy = f"--batch-size {len(chosen) // 2}, or 0, which finds one that fits"
            raise RunError(f"out of memory with {len(chosen)} rows a forward pass", remedy=remedy) from error
        if len(chosen) == 1:
            remedy = f"--set max_seq_len={max(1, longest // 2)}, or a smaller model"
            raise RunError(f"out of memory with one row of {longest:,} tokens", remedy=remedy) from error
        self.room.tokens = len(chosen) // 2 * longest
        self._start -= len(chosen)
        _free()


def is_out_of_memory(error: BaseException) -> bool:
    """A GPU's error has a class of its own; a CPU's is a `RuntimeError` in words."""
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or "can't allocate memory" in str(error)
    )


def _free() -> None:
    import torch

    if torch.cuda.is_available():
        torch.cuda.empty_cache()
