"""Rows of examples, read, checked, and divided into those to learn from and those to measure on."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from typing import TypeVar

from ptft.core.contracts import Inputs
from ptft.core.errors import InputError
from ptft.core.examples import Shape, detect, misshapen
from ptft.core.files import Source
from ptft.core.formats import read_rows
from ptft.core.rows import Rejected, RejectLog, Row, accepted

Item = TypeVar("Item")


def read_shaped(
    sources: Iterable[Source], wanted: tuple[str, ...], columns: dict[str, str], log: RejectLog
) -> tuple[list[Row], Shape]:
    """All rows of one of the wanted shapes; misshapen ones go to the log."""
    sources = tuple(sources)
    _refuse_unreadable(sources, columns)
    shape = detect((row for row in read_rows(sources, columns=columns) if isinstance(row, Row)), wanted)
    rows = (
        misshapen(item, shape) or _empty(item, shape) or item if isinstance(item, Row) else item
        for item in read_rows(sources, columns=columns)
    )
    return list(accepted(rows, log)), shape


def _refuse_unreadable(sources: Sequence[Source], columns: dict[str, str]) -> None:
    """Raise `InputError` where there are lines and not one of them is a row: with the first, and what is wrong with it."""
    first: Rejected | None = None
    for item in read_rows(sources, columns=columns):
        if isinstance(item, Row):
            return
        first = first or item
    if first is not None:
        where = f"{first.source}:{first.line}" if first.line else first.source
        raise InputError(f"no line can be read; the first: {first.reason}", where=where, remedy="mend the file")
    named = ", ".join(str(source.path) for source in sources)
    raise InputError("the input holds no rows", where=named, remedy="check that the files are not empty")


def _empty(row: Row, shape: Shape) -> Rejected | None:
    if "label" in shape.needs and not row.data["text"].strip():
        return Rejected(row.source, row.line, "an empty text", str(row.data)[:500])
    return None


def read_held_out(
    inputs: Inputs, wanted: tuple[str, ...], columns: dict[str, str], log: RejectLog
) -> tuple[list[Row], Shape] | None:
    """The rows of --eval-data, if it was given."""
    return read_shaped(inputs.rows["eval_data"], wanted, columns, log) if "eval_data" in inputs.rows else None


def divided(rows: Sequence[Item], share: float, seed: int) -> tuple[list[Item], list[Item]]:
    """(to learn from, to measure on), each in the order of the input. Drawn with the seed: the same for whoever asks.

    Copies of a text on both sides would flatter the figures: `ptft split` keeps near-duplicates together, this does not.
    """
    count = round(share * len(rows))
    drawn = set(random.Random(f"{seed}:held out").sample(range(len(rows)), count))
    return (
        [row for index, row in enumerate(rows) if index not in drawn],
        [row for index, row in enumerate(rows) if index in drawn],
    )
