"""Augmented copies of the corpus's rows, in a file of their own beside it, so that they are easy to leave out.

Made block by block in every core, like the corpus itself: `state/augmented/block-00012/rows.jsonl`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import orjson

from ptft.core.blocks import begin, committed, cut, folder_of
from ptft.core.contracts import Inputs, Output
from ptft.core.files import Source, json_line, write_json
from ptft.core.formats import read_rows
from ptft.core.progress import Progress, table_of
from ptft.core.rows import Row, RowWriter
from ptft.core.workers import ordered_map
from ptft.stages.clean.augment.augment import augment_rows, located, ready
from ptft.stages.clean.augment.recipe import Augment
from ptft.stages.clean.recipe import CleanRecipe

FILE = "augmented.jsonl"
BLOCK_ROWS = 200  # back-translation takes seconds a hundred rows: an interrupted run loses no more than that


@dataclass(frozen=True)
class _Job:
    recipe: Augment
    seed: int
    state: Path


def prepared(recipe: CleanRecipe, inputs: Inputs) -> Augment | None:
    """The augmentation asked for, its dictionaries and engines found; `InputError` where one is missing. None: none."""
    if not recipe.augment.kinds:
        return None
    augment = located(recipe.augment, inputs.folders)
    ready(augment)
    return augment


def write(augment: Augment | None, seed: int, workers: int, out: Output, progress: Progress) -> dict[str, Any]:
    """Write the copies that pass the guards; the counts for the run record."""
    if augment is None:
        return {}
    state = out.state / "augmented"
    state.mkdir(exist_ok=True)
    pending = (block for block in _blocks(out.new, state) if not folder_of(state, block[0]).exists())
    with progress.step("augmenting") as step:
        for rows in ordered_map(partial(_augment_block, _Job(augment, seed, state)), pending, workers):
            step.advance(rows)
    notes: dict[str, Counter[str]] = {"refused": Counter(), "sentences": Counter()}
    with RowWriter(out.new / FILE) as writer:
        for folder in sorted(path for path in state.iterdir() if path.is_dir()):
            writer.write_bytes((folder / "rows.jsonl").read_bytes())
            for name, counts in orjson.loads((folder / "notes.json").read_bytes()).items():
                notes[name].update(counts)
    _show("copies that were not made", notes["refused"], progress)
    _show("sentences of back-translation", notes["sentences"], progress)
    return {"augmented": writer.rows, **{f"augmented_{name}": dict(counts) for name, counts in notes.items() if counts}}


def _show(title: str, counts: Counter[str], progress: Progress) -> None:
    if counts:
        rows = [(reason.replace("_", " "), count) for reason, count in counts.most_common()]
        progress.table(table_of(title, ("", "count"), rows))


def _blocks(new: Path, state: Path) -> Iterator[tuple[int, tuple[Mapping[str, Any], ...]]]:
    path = next(iter(new.glob("corpus.*")))
    source = Source(path, path.name, "jsonl", path.suffix if path.suffix != ".jsonl" else "")
    rows = ((item.data, len(json_line(item.data))) for item in read_rows([source]) if isinstance(item, Row))
    return cut(rows, begin(state, BLOCK_ROWS))


def _augment_block(job: _Job, block: tuple[int, tuple[Mapping[str, Any], ...]]) -> int:
    number, rows = block
    made = augment_rows(rows, job.recipe, job.seed)
    with committed(folder_of(job.state, number)) as part:
        (part / "rows.jsonl").write_bytes(b"".join(map(json_line, made.rows)))
        write_json(part / "notes.json", {"refused": dict(made.refused), "sentences": dict(made.sentences)})
    return len(rows)
