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
from ptft.core.files import Source
from ptft.core.formats import read_rows
from ptft.core.minhash import tokenise
from ptft.core.rows import Row
from ptft.stages.clean.block import Job, commit
from ptft.stages.clean.judge import Measured
from ptft.stages.clean.output import DROPPED
from ptft.stages.clean.recipe import RULES, CleanRecipe, listed
from ptft.stages.clean.signals.table import Signals, read_signals

ADDED = ("reasons", "similarity", "duplicate_of", "duplicate_in", "cluster_size")  # to rows, by clean
MEASURING = (  # knobs that decide what is measured, by their beginnings
    "columns", "text_field", "normalise.", "sensitive.lists", "sensitive.action", "personal", "duplicates.parts",
    "duplicates.scope", "duplicates.min_part_characters", "protect.", "c4.terminal_punctuation", "c4.min_line_words",
    "c4.max_word_characters", "c4.javascript_lines", "c4.policy_lines", "c4.citations", "max_row_bytes",
)  # fmt: skip


@dataclass(frozen=True)
class Rejudged:
    """A block of an earlier result's rows, with what was measured of them."""

    number: int
    lines: tuple[bytes, ...]
    signals: Signals


def refuse_other_measures(recipe: CleanRecipe, folder: Path) -> None:
    """Raise `UsageError` where this recipe asks for what the earlier result did not measure; `InputError` where it is none."""
    made = record.made(folder)
    if made is None or made.stage != "clean":
        remedy = "name a folder that `ptft clean` made"
        raise InputError("not a result of ptft clean", where=str(folder), remedy=remedy)
    problems = [
        f"{leaf.name} is {earlier!r} there, and {now!r} here"
        for leaf in recipes.knobs(CleanRecipe)
        if leaf.name.startswith(MEASURING) or leaf.name in MEASURING
        for now, earlier in [(recipes.plain(_of(recipe, leaf.name)), _earlier(made.recipe, leaf.name, leaf.default))]
        if now not in (recipes.plain(leaf.default), earlier)
    ]
    rules = str(made.recipe.get("rules", "auto"))
    if "c4" in recipe.rule_sets and "c4" not in (RULES[rules] if rules in RULES else listed(rules)):
        problems.append("c4 drops lines, and it was not among the rules there")
    keep = made.recipe.get("duplicates", {}).get("keep")
    if recipe.measures and rules == "off" and keep != "best":
        problems.append("nothing was measured there, as rules was off")
    if problems:
        remedy = "clean the input again; --reapply only holds what was measured to other limits"
        raise UsageError("; ".join(problems), where=str(folder), remedy=remedy)


def _earlier(plain: Any, dotted: str, default: Any) -> Any:
    for part in dotted.split("."):
        plain = plain.get(part) if isinstance(plain, dict) else None
    return recipes.plain(default) if plain is None else plain


def _of(recipe: Any, dotted: str) -> Any:
    for part in dotted.split("."):
        recipe = getattr(recipe, part)
    return recipe


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
        source = Source(path, path.name, "jsonl", path.suffix if path.suffix != ".jsonl" else "")
        for item in read_rows([source]):
            if isinstance(item, Row):
                yield orjson.dumps({name: value for name, value in item.data.items() if name not in ADDED})


def rows_in(folder: Path) -> int:
    made = record.made(folder)
    return int(made.counts.get("kept", 0) + made.counts.get("dropped", 0)) if made else 0


def rejudge_block(job: Job, block: Rejudged) -> int:
    """Judge one block again and commit it; returns its number."""
    commit(job, block.number, measured_of(block), np.asarray(block.signals.bytes_in, np.uint32))
    return block.number


def measured_of(block: Rejudged) -> Measured:
    data = [orjson.loads(line) for line in block.lines]
    texts = [row_text(row) for row in data]
    found = block.signals
    return Measured(
        data, texts, tokenise(texts), found.languages, found.scores, found.measures, found.protected, Counter()
    )
