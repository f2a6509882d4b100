"""Which documents are learnt from: all, or so many that their text stays under the cap.

A document is chosen by a hash of its id, so the choice depends neither on the order of files nor on what else is in them, and it
is even: a language has the share in the sample that it has in the corpus.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import xxhash

from ptft.core.contracts import Inputs
from ptft.core.errors import UsageError
from ptft.core.files import Source
from ptft.core.formats import read_rows
from ptft.core.progress import Progress
from ptft.core.rows import RejectLog, Row, accepted, lacks
from ptft.stages.tokenizer.recipe import TokenizerRecipe

BUCKET_BITS = 20  # the share of documents that are chosen is known to a millionth
BATCH = 256  # texts handed to `tokenizers` at once


@dataclass(frozen=True)
class Sample:
    """chosen: hash buckets, of 2**20, that are learnt from. share: of the text. bytes: of the chosen text, an upper bound if all."""

    chosen: int
    share: float
    bytes: int

    def has(self, ident: str, seed: int) -> bool:
        return self.chosen == 2**BUCKET_BITS or _bucket(ident, seed) < self.chosen


def _bucket(ident: str, seed: int) -> int:
    # salted: `pack` chooses its validation documents by a hash of seed and id, and these must not be those
    return xxhash.xxh3_64_intdigest(f"tokenizer:{seed}:{ident}".encode()) >> (64 - BUCKET_BITS)


def clipped(text: str, recipe: TokenizerRecipe) -> str:
    return text[: recipe.max_characters]


def choose(recipe: TokenizerRecipe, inputs: Inputs, progress: Progress) -> Sample:
    """Files that together are under the cap are taken whole unread; others are read once, to count their text."""
    most = text_at_most(inputs.data)
    if most is not None and most <= recipe.max_bytes:
        return Sample(2**BUCKET_BITS, 1.0, most)
    sizes = np.zeros(2**BUCKET_BITS, np.int64)
    with progress.step("counting text", unit="documents") as step:
        for row in read_rows(inputs.data, columns=recipe.columns):
            if isinstance(row, Row) and not lacks(row, ("text",)):
                sizes[_bucket(row.data["id"], recipe.seed)] += len(clipped(row.data["text"], recipe).encode())
                step.advance()
    return _under(np.cumsum(sizes), recipe.max_bytes)


def text_at_most(sources: tuple[Source, ...]) -> int | None:
    """Bytes that the text of plain files cannot exceed: those of the files. None where some are compressed, or parquet."""
    if any(source.compression or source.form == "parquet" for source in sources):
        return None
    return sum(source.path.stat().st_size for source in sources)


def _under(sums: np.ndarray[tuple[int], np.dtype[np.int64]], cap: int) -> Sample:
    total = int(sums[-1])
    chosen = int(np.searchsorted(sums, cap, side="right"))
    kept = int(sums[chosen - 1]) if chosen else 0
    if total and not kept:
        remedy = "raise max_bytes, or lower max_characters"
        raise UsageError(f"max_bytes = {cap:,} is less than one document", remedy=remedy)
    return Sample(chosen, kept / max(total, 1) if chosen < len(sums) else 1.0, kept)


def batches(recipe: TokenizerRecipe, inputs: Inputs, log: RejectLog, sample: Sample) -> Iterator[list[str]]:
    """The chosen texts, a few hundred at a time."""
    batch: list[str] = []
    for row in accepted(read_rows(inputs.data, columns=recipe.columns), log, ("text",)):
        if sample.has(row.data["id"], recipe.seed):
            batch.append(clipped(row.data["text"], recipe))
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch
