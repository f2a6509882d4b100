"""Predictions of all rows, a block at a time; what is done outlives an interruption."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import orjson

from ptft.core.files import json_line
from ptft.core.progress import Progress
from ptft.core.rows import Row
from ptft.stages.eval.way import Way

Labelled = Callable[[Sequence[Row]], list[dict[str, str]]]  # the slices that each row of a block belongs to


def predictions_of(
    way: Way, rows: Iterator[Row], slices: Labelled | None, kept: Path, progress: Progress
) -> list[dict[str, Any]]:
    """A row of predictions.jsonl for each row, in order, with its id and, where asked for, its slices ("by").

    kept: a file that finished blocks are written to; those that an interrupted run left there are not computed again.
    """
    found = _whole_blocks(kept, way.block)
    with progress.step(way.title) as step, kept.open("ab") as file:
        for number, block in enumerate(_blocks(rows, way.block)):
            if number * way.block >= len(found):
                made = _labelled(way.predict(block), block, slices)
                file.write(b"".join(map(json_line, made)))
                file.flush()
                os.fsync(file.fileno())
                found += made
            step.advance(len(block))
    return found


def _labelled(
    predictions: Sequence[dict[str, Any]], block: Sequence[Row], slices: Labelled | None
) -> list[dict[str, Any]]:
    by = [{"by": values} for values in slices(block)] if slices else [{} for _ in block]
    return [
        {"id": row.data["id"], **prediction, **more}
        for row, prediction, more in zip(block, predictions, by, strict=True)
    ]


def _whole_blocks(kept: Path, size: int) -> list[dict[str, Any]]:
    """What an interrupted run finished; what it did not is cut off the file."""
    if not kept.exists():
        return []
    lines = kept.read_bytes().split(b"\n")[:-1]
    lines = lines[: len(lines) // size * size]
    with kept.open("ab") as file:
        file.truncate(sum(len(line) + 1 for line in lines))
    return [orjson.loads(line) for line in lines]


def _blocks(rows: Iterator[Row], size: int) -> Iterator[list[Row]]:
    while block := list(islice(rows, size)):
        yield block


def repeated(rows: Sequence[dict[str, Any]]) -> list[str]:
    """The ids that several rows have."""
    return [str(name) for name, count in Counter(row["id"] for row in rows).items() if count > 1]
