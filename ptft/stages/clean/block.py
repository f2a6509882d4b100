"""One block of rows: checked, normalised, judged, fingerprinted, and committed to the state as a folder.

    block-00012/rows.jsonl      every good row, in order: as it will be in the corpus, or with its reasons if dropped
    block-00012/rejected.jsonl  rows that cannot be used, each with its place in the block
    block-00012/facts.npy       a number or two for each good row
    block-00012/*.npy, *.u32    fingerprints of the rows that no rule dropped

The folder takes its name once it is whole, so a block is there or it is not.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson
import xxhash

from ptft.core.blocks import committed, folder_of
from ptft.core.dedup import fingerprints
from ptft.core.examples import Shape, row_text
from ptft.core.files import json_line
from ptft.core.minhash import Scheme
from ptft.core.rows import Rejected, Row
from ptft.core.text import LANGUAGES
from ptft.stages.clean.judge import Judged, judge, problem_of
from ptft.stages.clean.recipe import CleanRecipe
from ptft.stages.clean.rules import Reason

FACTS = np.dtype(
    [("dropped", "?"), ("language", "u1"), ("bytes_in", "u4"), ("bytes_out", "u4"), ("id", "u8")]
)  # the id as a hash, to count equal ones


@dataclass(frozen=True)
class Job:
    """What every block is cleaned with. expected: the shape of the first row, to say what another one lacks."""

    recipe: CleanRecipe
    scheme: Scheme
    expected: Shape
    state: Path


@dataclass(frozen=True)
class Block:
    """One block's rows, or why one is none. Rows are JSON lines with their source and line: cheap to send to a process."""

    number: int
    items: tuple[tuple[bytes, str, int] | Rejected, ...]


def clean_block(job: Job, block: Block) -> int:
    """Clean one block and commit it; returns its number. Safe to repeat, and to run twice at once."""
    rows, rejected = _sorted_out(block.items, job.expected)
    judged = judge(job.recipe, rows)
    kept = [number for number, reasons in enumerate(judged.reasons) if not reasons]
    with committed(folder_of(job.state, block.number)) as part:
        _write_lines(part / "rows.jsonl", map(_as_written, judged.data, judged.reasons))
        _write_lines(part / "rejected.jsonl", rejected)
        np.save(part / "facts.npy", _facts(rows, judged))
        if job.recipe.duplicates.enabled:
            texts = [judged.texts[number] for number in kept]
            fingerprints(texts, job.scheme, judged.tokens.take(kept)).save(part)
    return block.number


def _sorted_out(
    items: Sequence[tuple[bytes, str, int] | Rejected], expected: Shape
) -> tuple[list[Row], list[dict[str, Any]]]:
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


def _facts(rows: Sequence[Row], judged: Judged) -> npt.NDArray[np.void]:
    return np.array(
        [
            (bool(reasons), LANGUAGES.index(lang), _size(row_text(row.data)), _size(text), _id_hash(row.data["id"]))
            for row, text, lang, reasons in zip(rows, judged.texts, judged.languages, judged.reasons, strict=True)
        ],
        FACTS,
    )


def _as_written(data: Mapping[str, Any], reasons: Sequence[Reason]) -> Mapping[str, Any]:
    return {**data, "reasons": [dataclasses.asdict(reason) for reason in reasons]} if reasons else data


def _id_hash(name: str) -> int:
    return xxhash.xxh3_64_intdigest(name.encode("utf-8", "surrogatepass"))


def _size(text: str) -> int:
    return len(text.encode("utf-8", "surrogatepass"))


# ---------------------------------------------------------------- on disk


def _write_lines(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    with path.open("wb") as file:
        file.writelines(map(json_line, rows))
