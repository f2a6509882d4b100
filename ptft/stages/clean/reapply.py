"""An earlier result of clean, judged again by other limits: its rows and what was measured of them, nothing measured anew."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from ptft.core import recipes, record
from ptft.core.errors import InputError, UsageError
from ptft.core.examples import row_text
from ptft.core.minhash import tokenise
from ptft.stages.clean.block import Job, commit
from ptft.stages.clean.items import rows_of_result
from ptft.stages.clean.judge import ADDED, CUT_FOR, Measured
from ptft.stages.clean.output import DROPPED
from ptft.stages.clean.recipe import CleanRecipe
from ptft.stages.clean.signals.table import Signals, read_measuring, read_signals

STRIPPED = tuple(name for name in ADDED if name != CUT_FOR)  # what is decided anew
MEASURING = (  # knobs that decide what is measured, by their beginnings
    "columns", "text_field", "normalise.", "sensitive.lists", "sensitive.files", "sensitive.action", "personal", "duplicates.parts",
    "duplicates.scope", "duplicates.min_part_characters", "protect.", "c4.terminal_punctuation", "c4.min_line_words",
    "c4.max_word_characters", "c4.javascript_lines", "c4.policy_lines", "c4.citations", "max_row_bytes",
)  # fmt: skip


@dataclass(frozen=True)
class Rejudged:
    """A block of an earlier result's rows, with what was measured of them."""

    number: int
    lines: tuple[bytes, ...]
    signals: Signals


def measuring_of(recipe: CleanRecipe) -> dict[str, Any]:
    """What of a recipe decides what is measured; kept in signals.parquet."""
    leaves = recipes.flat(recipes.as_dict(recipe))
    knobs = {name: value for name, value in leaves.items() if name.startswith(MEASURING)}
    return {**knobs, LINES: "c4" in recipe.rule_sets, MEASURES: recipe.measures, LANGUAGE: recipe.identifies}


LINES, MEASURES, LANGUAGE = "lines dropped as C4 does", "measures of the rules", "languages identified"


def measuring_at(recipe: CleanRecipe, folder: Path) -> dict[str, Any]:
    """What decided an earlier result's measures. `UsageError` where this recipe asks for others; `InputError` where it is none."""
    made = record.made(folder)
    if made is None or made.stage != "clean":
        remedy = "name a folder that `ptft clean` made"
        raise InputError("not a result of ptft clean", where=str(folder), remedy=remedy)
    earlier, now, default = read_measuring(folder), measuring_of(recipe), measuring_of(CleanRecipe())
    found_out = (LINES, MEASURES, LANGUAGE)
    problems = [f"no {what} there" for what in found_out if now[what] and not earlier[what]]
    problems += [
        f"{name} is {earlier.get(name)!r} there, and {value!r} here"
        for name, value in now.items()
        if name not in found_out and value not in (default[name], earlier.get(name))
    ]
    if problems:
        remedy = "clean the input again; --reapply only holds what was measured to other limits"
        raise UsageError("; ".join(problems), where=str(folder), remedy=remedy)
    return earlier


def blocks_of(folder: Path, rows: int) -> Iterator[Rejudged]:
    """The rows of an earlier result in their first order, `rows` at a time."""
    with closing(_lines(folder, "corpus.*")) as kept, closing(_lines(folder, DROPPED)) as dropped:
        for number, signals in enumerate(read_signals(folder, rows)):
            lines = (itertools.islice(kept if held else dropped, 1) for held in signals.kept)
            found = tuple(itertools.chain.from_iterable(lines))
            if len(found) != len(signals.kept):
                raise InputError(
                    "it has fewer rows than signals.parquet", where=str(folder), remedy="clean the input again"
                )
            yield Rejudged(number, found, signals)


def _lines(folder: Path, pattern: str) -> Generator[bytes, None, None]:
    for path in sorted(folder.glob(pattern)):
        for row in rows_of_result(path):
            yield orjson.dumps({name: value for name, value in row.items() if name not in STRIPPED})


def rows_in(folder: Path) -> int:
    made = record.made(folder)
    return int(made.counts.get("kept", 0) + made.counts.get("dropped", 0)) if made else 0


def rejudge_block(job: Job, block: Rejudged) -> int:
    """Judge one block again and commit it; returns its number."""
    commit(job, block.number, measured_of(block), np.asarray(block.signals.bytes_in, np.uint32))
    return block.number


def measured_of(block: Rejudged) -> Measured:
    data = [orjson.loads(line) for line in block.lines]
    found = block.signals
    texts = ["" if empty else row_text(row) for row, empty in zip(data, found.empty, strict=True)]
    return Measured(
        data, texts, tokenise(texts), found.languages, found.scores, found.measures, found.protected, Counter()
    )
