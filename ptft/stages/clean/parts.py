"""Lines or paragraphs seen before: a pass over the rows that hashes every part, and then which of them are repeats.

parts/block-00012/hashes.npy    the hash of every part of the block's texts, one text after another
parts/block-00012/counts.npy    how many parts each good row has
parts/block-00012.repeated.npy  which parts occurred before, in the corpus or in the same text
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ptft.core.blocks import committed, folder_of
from ptft.core.examples import shape_of
from ptft.core.minhash import I64, U64, offsets
from ptft.stages.clean.block import Block, Job, sorted_out
from ptft.stages.clean.edits import TEXT_SHAPES, part_hash, parts_of

NEVER = 0  # the hash of a part too short to count


def folder(state: Path) -> Path:
    return state / "parts"


def hash_block(job: Job, block: Block) -> int:
    """Hash the parts of one block's texts and commit them; returns the block's number."""
    rows, _ = sorted_out(block.items, job.expected)
    editor, options = job.editor(), job.recipe.duplicates
    hashes: list[int] = []
    counts: list[int] = []
    for row in rows:
        shape = shape_of(row.data)
        parts = parts_of(editor.text_of(row.data), options.parts) if shape and shape.name in TEXT_SHAPES else []
        hashes += [
            part_hash(part) if len(part.strip()) >= max(1, options.min_part_characters) else NEVER for part in parts
        ]
        counts.append(len(parts))
    with committed(folder_of(folder(job.state), block.number)) as part:
        np.save(part / "hashes.npy", np.array(hashes, np.uint64))
        np.save(part / "counts.npy", np.array(counts, np.uint32))
    return block.number


def mark_repeats(state: Path, blocks: int, scope: str) -> int:
    """Note for every part whether it occurred before; returns how many did. 16 bytes of memory a part of the corpus."""
    found = [np.load(folder_of(folder(state), number) / "hashes.npy") for number in range(blocks)]
    counts = [np.load(folder_of(folder(state), number) / "counts.npy") for number in range(blocks)]
    hashes = np.concatenate(found) if found else np.empty(0, np.uint64)
    if scope == "document":
        owner = (
            np.repeat(np.arange(sum(map(len, counts)), dtype=np.uint64), np.concatenate(counts)) if counts else hashes
        )
        repeated = _repeated(
            np.where(hashes == NEVER, hashes, hashes ^ (owner << np.uint64(20)) * np.uint64(0x9E3779B97F4A7C15))
        )
    else:
        repeated = _repeated(hashes)
    repeated &= hashes != NEVER
    bounds = offsets([len(part) for part in found])
    for number in range(blocks):
        np.save(folder(state) / f"block-{number:05d}.repeated.npy", repeated[bounds[number] : bounds[number + 1]])
    return int(repeated.sum())


def _repeated(hashes: U64) -> np.ndarray:
    order: I64 = np.argsort(hashes, kind="stable")
    again = np.zeros(len(hashes), bool)
    again[order[1:]] = hashes[order[1:]] == hashes[order[:-1]]
    return again


def seen_before(state: Path, number: int) -> list[Sequence[bool]]:
    """For each good row of a block, which of its parts go."""
    marks = np.load(folder(state) / f"block-{number:05d}.repeated.npy")
    bounds = offsets(np.load(folder_of(folder(state), number) / "counts.npy"))
    return [marks[start:end].tolist() for start, end in itertools.pairwise(bounds)]
