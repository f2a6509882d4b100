"""Work in blocks that outlive a kill: each is a folder that takes its name once it is whole, so it is there or it is not."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import orjson

from ptft.core.files import write_json

BLOCK_BYTES = 32 * 2**20  # a block ends here too: rows may be long, and every worker holds one block
Item = TypeVar("Item")


def folder_of(state: Path, number: int) -> Path:
    return state / f"block-{number:05d}"


def begin(state: Path, block_rows: int) -> int:
    """Clear what a killed process was writing; return the rows a block has in this state, which an earlier try decided."""
    for part in state.glob(".block-*"):
        shutil.rmtree(part, ignore_errors=True)
    state.mkdir(parents=True, exist_ok=True)
    settings = state / "blocks.json"
    if not settings.exists():
        write_json(settings, block_rows)
    return int(orjson.loads(settings.read_bytes()))


def cut(items: Iterable[tuple[Item, int]], rows: int) -> Iterator[tuple[int, tuple[Item, ...]]]:
    """Numbered blocks of items, which come with their sizes in bytes: `rows` of them, or `BLOCK_BYTES`."""
    number, size = 0, 0
    held: list[Item] = []
    for item, item_size in items:
        held.append(item)
        size += item_size
        if len(held) == rows or size >= BLOCK_BYTES:
            yield number, tuple(held)
            number, size, held = number + 1, 0, []
    if held:
        yield number, tuple(held)


@contextmanager
def committed(folder: Path) -> Iterator[Path]:
    """A folder to write a block in, which becomes `folder` when all of it is on disk. Safe to repeat, or to do twice at once."""
    part = folder.with_name(f".{folder.name}.{os.getpid()}")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    yield part
    for path in part.iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())
    try:
        part.rename(folder)
    except OSError:
        if not folder.is_dir():
            raise
        shutil.rmtree(part)  # another process was first, with the same content
