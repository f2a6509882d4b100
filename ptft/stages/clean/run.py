"""`ptft clean`: blocks of rows through every core, then duplicates among all of them, then the corpus in one pass."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import orjson

from ptft.core.blocks import begin, cut, folder_of
from ptft.core.contracts import Inputs, Output, Plan, Result
from ptft.core.dedup import Store, components
from ptft.core.errors import InputError
from ptft.core.files import json_line
from ptft.core.minhash import Scheme, scheme
from ptft.core.progress import Progress, table_of
from ptft.core.rows import Rejected, RejectLog, Row
from ptft.core.workers import ordered_map
from ptft.stages.clean.block import Block, Job, clean_block
from ptft.stages.clean.items import peek, read_items
from ptft.stages.clean.judge import TEXT_SHAPES
from ptft.stages.clean.output import Tally, write_corpus
from ptft.stages.clean.recipe import CleanRecipe
from ptft.stages.clean.survivors import Repeat, repeats


def run(recipe: CleanRecipe, inputs: Inputs, out: Output, progress: Progress) -> Result:
    """Clean the rows of `inputs.data` into `out.new`; finished blocks wait in `out.state` for a run that was interrupted."""
    options = recipe.duplicates
    bands = scheme(options.shingle, options.permutations, options.threshold, recipe.seed)
    log = RejectLog(out.new / "rejected.jsonl", recipe.max_bad_rows)
    folders = _clean_blocks(recipe, inputs, bands, out.state, log, progress)
    if not log.rows:
        raise InputError("the input holds no rows", remedy="check that the files are not empty")
    log.check()
    gone = _duplicates(recipe, folders, bands, progress)
    tally = write_corpus(folders, gone, out.new, recipe.output, options.threshold)
    if not tally.kept:
        raise InputError(f"every one of the rows is dropped: {tally.reasons()}", remedy=_REMEDY)
    _report(tally, log, progress)
    return Result({"rows_read": log.rows, "rows_rejected": log.bad, **tally.counts()})


_REMEDY = (
    "loosen the rule with --set, for example english.min_words=10 or chinese.min_characters=10, or use --rules off"
)


def plan(recipe: CleanRecipe, inputs: Inputs, progress: Progress) -> Plan:
    """What `run` would read and keep, judged on a sample."""
    from ptft.stages.clean.plan import planned

    return planned(recipe, inputs)


# ---------------------------------------------------------------- blocks


def _clean_blocks(
    recipe: CleanRecipe, inputs: Inputs, bands: Scheme, state: Path, log: RejectLog, progress: Progress
) -> list[Path]:
    """Every block cleaned and committed, its rejected rows logged; the blocks' folders in order."""
    items, expected = peek(read_items(recipe, inputs.data))
    if expected.name not in TEXT_SHAPES and recipe.rules == "auto":
        progress.note(f"the rows are {expected.name}: strings are normalised and duplicates dropped, no quality rules")
    work = partial(clean_block, Job(recipe, bands, expected, state))
    blocks = cut(map(_packed, items), begin(state, recipe.block_rows))
    pending = (Block(number, held) for number, held in blocks if not folder_of(state, number).exists())
    folders: list[Path] = []
    with progress.step("cleaning") as step:
        for _ in itertools.chain(ordered_map(work, pending, recipe.workers), [None]):
            while (folder := folder_of(state, len(folders))).exists():
                step.advance(_log_block(folder, log))
                folders.append(folder)
    return folders


def _packed(item: Row | Rejected) -> tuple[tuple[bytes, str, int] | Rejected, int]:
    """A row as a process is sent it, and its size."""
    if isinstance(item, Rejected):
        return item, len(item.raw)
    line = json_line(item.data)
    return (line, item.source, item.line), len(line)


def _log_block(folder: Path, log: RejectLog) -> int:
    """Tell the log of a block's rows in their order; returns how many they are."""
    good, seen = len(np.load(folder / "facts.npy", mmap_mode="r")), 0
    with (folder / "rejected.jsonl").open("rb") as lines:
        rejected = [orjson.loads(line) for line in lines]
    for entry in rejected:
        place = entry.pop("place")
        log.ok(place - seen)
        log.reject(Rejected(**entry))
        seen = place + 1
    log.ok(good + len(rejected) - seen)
    return good + len(rejected)


# ---------------------------------------------------------------- duplicates and the report


def _duplicates(recipe: CleanRecipe, folders: Sequence[Path], bands: Scheme, progress: Progress) -> dict[int, Repeat]:
    options = recipe.duplicates
    if not options.enabled:
        return {}
    store = Store(folders)
    with progress.step("near-duplicates", total=bands.bands, unit="bands") as step:
        roots = components(store, bands.bands, options.threshold, step.advance)
    return repeats(store, roots, options.threshold, options.keep)


def _report(tally: Tally, log: RejectLog, progress: Progress) -> None:
    if log.bad:
        progress.warn(f"{log.bad:,} of {log.rows:,} rows cannot be used: see rejected.jsonl")
    if tally.same_ids:
        progress.warn(f"{tally.same_ids:,} kept rows have an id that another kept row has too; all are kept")
    if tally.dropped:
        rows = [(rule, count, f"{count / (tally.kept + tally.dropped):.1%}") for rule, count in tally.by_reason()]
        progress.table(
            table_of("dropped, by first reason (all reasons are in dropped.jsonl)", ("rule", "rows", "share"), rows)
        )
