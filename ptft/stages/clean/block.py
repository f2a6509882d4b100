"""One block of rows: checked, edited, measured, judged, fingerprinted, and committed to the state as a folder.

    block-00012/rows.jsonl      every good row, in order, as it will be in the corpus
    block-00012/reasons.jsonl   why rows are dropped by what was found in them: {"row", "reasons"}
    block-00012/rejected.jsonl  rows that cannot be used, each with its place in the block
    block-00012/facts.npy       what is known of each good row
    block-00012/measures.npy    what was measured of it
    block-00012/notes.json      edits made, and which evaluation rows the rows share text with
    block-00012/*.npy, *.u32    fingerprints of the rows that no rule dropped

The folder takes its name once it is whole, so a block is there or it is not.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson
import xxhash

from ptft.core.blocks import committed, folder_of
from ptft.core.dedup import fingerprints
from ptft.core.examples import Shape, row_text
from ptft.core.files import json_line, write_json
from ptft.core.language import LANGUAGES
from ptft.core.minhash import Scheme, scheme
from ptft.core.rows import Rejected, Row
from ptft.stages.clean.edits import Editor, without_parts
from ptft.stages.clean.judge import Measured, judge, measured, problem_of, quality
from ptft.stages.clean.protect import Protected
from ptft.stages.clean.recipe import CleanRecipe
from ptft.stages.clean.rules import Reason

FACTS = np.dtype(
    [
        ("dropped", "?"), ("language", "u1"), ("score", "f4"), ("bytes_in", "u4"), ("bytes_out", "u4"), ("tokens", "u4"),
        ("quality", "f4"), ("id", "u8"),
    ]
)  # fmt: skip  # the id as a hash, to count equal ones
Facts = npt.NDArray[np.void]
Item = tuple[bytes, str, int] | Rejected


@dataclass(frozen=True)
class Job:
    """What every block is cleaned with. expected: the shape of the first row, to say what another one lacks."""

    recipe: CleanRecipe
    scheme: Scheme
    expected: Shape
    state: Path
    words: tuple[Path, ...] = ()
    protects: bool = False
    parts: bool = False  # parts of texts that were seen before are noted in the state

    def editor(self) -> Editor:
        return Editor(self.recipe, self.words)


def scheme_of(recipe: CleanRecipe) -> Scheme:
    options = recipe.duplicates
    return scheme(options.shingle, options.permutations, options.threshold, recipe.seed)


@dataclass(frozen=True)
class Block:
    """One block's rows, or why one is none. Rows are JSON lines with their source and line: cheap to send to a process."""

    number: int
    items: tuple[Item, ...]


def clean_block(job: Job, block: Block) -> int:
    """Clean one block and commit it; returns its number. Safe to repeat, and to run twice at once."""
    rows, rejected = sorted_out(block.items, job.expected)
    protected = Protected.load(job.state) if job.protects else None
    found = measured(rows, job.recipe, job.editor(), protected, _without(job, block.number, len(rows)))
    commit(job, block.number, found, sizes_of(rows), rejected)
    return block.number


def commit(
    job: Job, number: int, found: Measured, bytes_in: npt.NDArray[np.uint32], rejected: Sequence[dict[str, Any]] = ()
) -> None:
    """Judge measured rows and put all of them on disk."""
    reasons = judge(job.recipe, found)
    kept = [row for row, why in enumerate(reasons) if not why]
    with committed(folder_of(job.state, number)) as part:
        _write_lines(part / "rows.jsonl", found.data)
        _write_lines(part / "reasons.jsonl", _dropped(reasons))
        _write_lines(part / "rejected.jsonl", rejected)
        np.save(part / "facts.npy", facts_of(found, reasons, bytes_in))
        np.save(part / "measures.npy", found.table)
        shared = {str(row): name for row, name in enumerate(found.protected) if name}
        write_json(part / "notes.json", {"edits": dict(found.edits), "protected": shared})
        if job.recipe.duplicates.enabled:
            fingerprints([found.texts[row] for row in kept], job.scheme, found.tokens.take(kept)).save(part)


def sorted_out(items: Sequence[Item], expected: Shape) -> tuple[list[Row], list[dict[str, Any]]]:
    """The good rows, and the others as dicts that `rejected_of` reads; "place" is where each was in the block."""
    rows: list[Row] = []
    rejected: list[dict[str, Any]] = []
    for place, item in enumerate(items):
        read = item if isinstance(item, Rejected) else Row(orjson.loads(item[0]), item[1], item[2])
        problem = read if isinstance(read, Rejected) else problem_of(read, expected)
        if problem is not None:
            rejected.append({"place": place, **dataclasses.asdict(problem)})
        elif isinstance(read, Row):
            rows.append(read)
    return rows, rejected


def _without(job: Job, number: int, rows: int) -> list[Callable[[str], str]] | None:
    """For each row, what drops the parts of its text that were seen before."""
    if not job.parts:
        return None
    from ptft.stages.clean.parts import seen_before

    gone = seen_before(job.state, number)
    assert len(gone) == rows
    return [partial(without_parts, unit=job.recipe.duplicates.parts, gone=marks) for marks in gone]


def sizes_of(rows: Sequence[Row]) -> npt.NDArray[np.uint32]:
    """Bytes of each row's text (n,)."""
    return np.array([_size(row_text(row.data)) for row in rows], np.uint32)


def facts_of(found: Measured, reasons: Sequence[Sequence[Reason]], bytes_in: npt.NDArray[np.uint32]) -> Facts:
    """What is known of n rows (n,), as `FACTS`. bytes_in: of their texts before any edit."""
    facts = np.zeros(len(found.data), FACTS)
    facts["dropped"] = [bool(why) for why in reasons]
    facts["language"] = [LANGUAGES.index(lang) for lang in found.languages]
    facts["score"], facts["quality"] = found.scores, quality(found)
    facts["bytes_in"], facts["bytes_out"] = bytes_in, [_size(text) for text in found.texts]
    facts["tokens"] = np.diff(found.tokens.offsets)
    facts["id"] = [_id_hash(row["id"]) for row in found.data]
    return facts


def _dropped(reasons: Sequence[Sequence[Reason]]) -> Iterable[Mapping[str, Any]]:
    for row, why in enumerate(reasons):
        if why:
            yield {"row": row, "reasons": [dataclasses.asdict(reason) for reason in why]}


def _id_hash(name: str) -> int:
    return xxhash.xxh3_64_intdigest(name.encode("utf-8", "surrogatepass"))


def _size(text: str) -> int:
    return len(text.encode("utf-8", "surrogatepass"))


def _write_lines(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    with path.open("wb") as file:
        file.writelines(map(json_line, rows))
