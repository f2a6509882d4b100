"""The rows of the input as `ptft clean` reads them."""

from __future__ import annotations

import itertools
from collections.abc import Generator, Iterable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

from ptft.core.errors import InputError
from ptft.core.examples import Shape, shape_of
from ptft.core.files import Source
from ptft.core.formats import ANY_SIZE, read_rows
from ptft.core.rows import Rejected, RejectLog, Row
from ptft.stages.clean.judge import ACCEPTED_SHAPES
from ptft.stages.clean.recipe import CleanRecipe

TEXT = next(shape for shape in ACCEPTED_SHAPES if shape.name == "text")


def read_items(recipe: CleanRecipe, sources: Iterable[Source]) -> Generator[Row | Rejected, None, None]:
    columns = dict(recipe.columns)
    if recipe.text_field != "text":
        columns["text"] = recipe.text_field
    options = recipe.normalise
    if options.html == "off":
        sources = [replace(source, form="text") if source.form == "html" else source for source in sources]
    yield from read_rows(
        sources,
        columns=columns,
        max_row_bytes=recipe.max_row_bytes,
        encoding=options.encoding,
        content="all" if options.html == "all" else "main",
    )


def rows_of_result(path: Path) -> Generator[dict[str, Any], None, None]:
    """The rows of a file that clean wrote, of any size. Raises `InputError` where one cannot be read."""
    source = Source(path, path.name, "jsonl", path.suffix if path.suffix != ".jsonl" else "")
    for item in read_rows([source], max_row_bytes=ANY_SIZE):
        if isinstance(item, Rejected):
            raise InputError(item.reason, where=f"{path}:{item.line}", remedy="clean the input again")
        yield item.data


def first_shape(items: Generator[Row | Rejected, None, None]) -> Shape:
    """The shape of the first row: what the others are expected to be. Closes the stream."""
    with closing(items):
        seen: list[Row | Rejected] = []
        for item in itertools.islice(items, RejectLog.FIRST_LOOK):
            seen.append(item)
            if isinstance(item, Row):
                break
    return expected_shape(seen)


def expected_shape(items: Iterable[Row | Rejected]) -> Shape:
    """The shape of the first good row; text where it has none."""
    first = next((item for item in items if isinstance(item, Row)), None)
    shape = shape_of(first.data) if first is not None else None
    return shape if shape is not None and shape in ACCEPTED_SHAPES else TEXT
