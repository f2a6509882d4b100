"""Writing token shards: appended to in order, closed when full, and able to go back to any journalled point."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from ptft.core.files import write_json
from ptft.core.tokens import HEADER_BYTES, Packed, Shard, header


class Documents(Protocol):
    """Some documents of one split. lengths: in tokens; sizes: bytes of text."""

    @property
    def tokens(self) -> npt.NDArray[Any]: ...

    @property
    def lengths(self) -> npt.NDArray[np.int64]: ...

    @property
    def sizes(self) -> npt.NDArray[np.int64]: ...


@dataclass(frozen=True)
class State:
    """What the journal holds: how far the input was read, and what is on disk of it."""

    rows: int = 0
    bad: int = 0
    reject_bytes: int = 0
    empty: int = 0
    shards: Mapping[str, Sequence[Shard]] = field(default_factory=dict)

    @staticmethod
    def of(raw: dict[str, Any]) -> State:
        shards = {name: [Shard(**shard) for shard in each] for name, each in raw.pop("shards").items()}
        return State(**raw, shards=shards)


class Splits:
    """The shards of every split. onto: finished folders whose shards come first; their files are linked."""

    def __init__(
        self,
        folder: Path,
        names: Sequence[str],
        dtype: str,
        shard_tokens: int,
        state: State,
        onto: Sequence[Packed],
    ) -> None:
        self.empty = state.empty or sum(packed.meta.empty for packed in onto)
        self._written = time.monotonic()
        self._splits = {
            name: _Split(folder, name, dtype, shard_tokens, _linked(folder, name, onto), state.shards.get(name, ()))
            for name in names
        }

    def append(self, parts: Mapping[str, Documents], empty: int) -> None:
        self.empty += empty
        for name, split in self._splits.items():
            split.append(parts[name])

    def journal(self, path: Path, state: State, seconds: float) -> None:
        """Note that all up to here is on disk, unless that was done less than so many seconds ago."""
        if time.monotonic() - self._written < seconds:
            return
        for split in self._splits.values():
            split.sync()
        shards = {name: split.own for name, split in self._splits.items()}
        write_json(path, asdict(replace(state, empty=self.empty, shards=shards)))
        self._written = time.monotonic()

    def close(self) -> dict[str, tuple[Shard, ...]]:
        for split in self._splits.values():
            split.close()
        return {name: (*split.linked, *split.own) for name, split in self._splits.items()}


class _Split:
    """Appends the documents of one split to its last shard, or a new one. linked: shards of others, never written to."""

    def __init__(
        self,
        folder: Path,
        name: str,
        dtype: str,
        shard_tokens: int,
        linked: Sequence[Shard],
        own: Sequence[Shard],
    ) -> None:
        self.folder, self.name, self.dtype, self.shard_tokens = folder, name, np.dtype(dtype), shard_tokens
        self.linked, self.own = tuple(linked), list(own)
        self._unsynced = max(len(self.own) - 1, 0)  # the first shard that may not be on disk yet
        known = {file for shard in (*self.linked, *self.own) for file in (shard.file, shard.ends)}
        for stray in folder.glob(f"{name}-*.npy"):
            if stray.name not in known:
                stray.unlink()
        for shard in self.own:  # what a kill left behind the last journal entry is cut off
            os.truncate(folder / shard.file, HEADER_BYTES + shard.tokens * self.dtype.itemsize)
            os.truncate(folder / shard.ends, HEADER_BYTES + shard.documents * 8)

    def append(self, documents: Documents) -> None:
        """Documents go to a shard until it has `shard_tokens`; none is cut."""
        stops = np.cumsum(documents.lengths)
        done = 0
        while done < len(stops):
            if not self.own or self.own[-1].tokens >= self.shard_tokens:
                self.own.append(self._begun())
            before = int(stops[done - 1]) if done else 0
            room = self.shard_tokens - self.own[-1].tokens
            last = min(
                int(np.searchsorted(stops, before + room)) + 1, len(stops)
            )  # the one that fills it still goes in
            self._write(documents, stops, done, last)
            done = last

    def _begun(self) -> Shard:
        shard = Shard(f"{self.name}-{len(self.linked) + len(self.own):05d}.npy", 0, 0, 0)
        self._head(shard)
        return shard

    def _write(self, documents: Documents, stops: npt.NDArray[np.int64], first: int, last: int) -> None:
        shard, before = self.own[-1], int(stops[first - 1]) if first else 0
        with (self.folder / shard.file).open("ab") as file:
            file.write(documents.tokens[before : int(stops[last - 1])].astype(self.dtype, copy=False).data)
        with (self.folder / shard.ends).open("ab") as file:
            file.write((stops[first:last] - before + shard.tokens).astype("<u8").data)
        self.own[-1] = replace(
            shard,
            tokens=shard.tokens + int(stops[last - 1]) - before,
            documents=shard.documents + last - first,
            bytes=shard.bytes + int(documents.sizes[first:last].sum()),
        )

    def _head(self, shard: Shard) -> None:
        """Write the headers: in front of what is there, or of what will be."""
        for name, dtype, length in (
            (shard.file, self.dtype.str, shard.tokens),
            (shard.ends, "<u8", shard.documents),
        ):
            path = self.folder / name
            with path.open("r+b" if path.exists() else "wb") as file:
                file.write(header(dtype, length))

    def sync(self) -> None:
        for shard in self.own[self._unsynced :]:
            for name in (shard.file, shard.ends):
                with (self.folder / name).open("rb") as file:
                    os.fsync(file.fileno())
        self._unsynced = max(len(self.own) - 1, 0)

    def close(self) -> None:
        for shard in self.own:
            self._head(shard)


def _linked(folder: Path, name: str, onto: Sequence[Packed]) -> list[Shard]:
    """The shards of other folders under new numbers in this one: hard links, or copies where the file system has none."""
    found: list[Shard] = []
    for packed in onto:
        for old in packed.meta.shards.get(name, ()):
            shard = replace(old, file=f"{name}-{len(found):05d}.npy")
            _link(packed.folder / old.file, folder / shard.file)
            _link(packed.folder / old.ends, folder / shard.ends)
            found.append(shard)
    return found


def _link(source: Path, target: Path) -> None:
    if target.exists() and target.samefile(source):
        return
    source = source.resolve()  # a link to a symbolic link would break with it
    target.unlink(missing_ok=True)
    with suppress(OSError):
        os.link(source, target)
        return
    part = target.with_name(f".{target.name}.part")
    shutil.copyfile(source, part)
    part.replace(target)
