"""Decontamination: rows that share n-grams with an evaluation set (Brown et al. 2020, appendix C: 13-grams)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from ptft.core.errors import InputError
from ptft.core.examples import row_text, shape_of
from ptft.core.files import Source, write_json
from ptft.core.formats import ANY_SIZE, read_rows
from ptft.core.minhash import I64, U64, ngrams, tokenise
from ptft.core.ngrams import Known, of_sizes, strings
from ptft.core.rows import Rejected, Row
from ptft.stages.clean.recipe import Protect

BATCH = 2000  # evaluation rows tokenised at a time
FILE = "protected"


@dataclass(frozen=True)
class Protected:
    """The n-grams of evaluation sets. Of each size: their hashes in order (grams,), and the row each comes from."""

    grams: dict[int, tuple[U64, I64]]
    names: list[str]
    too_short: int = 0

    def save(self, folder: Path) -> None:
        arrays: dict[str, Any] = {
            f"{part}{size}": values
            for size, pair in self.grams.items()
            for part, values in zip("hr", pair, strict=True)
        }
        np.savez(folder / f"{FILE}.npz", **arrays)
        write_json(folder / f"{FILE}.json", {"names": self.names, "too_short": self.too_short})

    @classmethod
    def load(cls, folder: Path) -> Protected:
        return _loaded(folder)

    def find(self, hashes: U64) -> list[tuple[int, int, str]]:
        """The spans of a text's tokens that an evaluation set has too: (first token, end, the evaluation row)."""
        spans: list[tuple[int, int, str]] = []
        for size, found in of_sizes(hashes, self.grams):
            hits, numbers = self._known[size].find(found)
            names = self.grams[size][1][numbers].tolist()
            spans += [(hit, hit + size, self.names[row]) for hit, row in zip(hits.tolist(), names, strict=True)]
        return _joined(sorted(spans))

    @cached_property
    def _known(self) -> dict[int, Known]:
        return {size: Known(hashes) for size, (hashes, _) in self.grams.items()}


def _joined(spans: Sequence[tuple[int, int, str]]) -> list[tuple[int, int, str]]:
    """Spans that overlap as one, under the name of the first."""
    joined: list[tuple[int, int, str]] = []
    for start, end, name in spans:
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]), joined[-1][2])
        else:
            joined.append((start, end, name))
    return joined


@lru_cache(maxsize=1)
def _loaded(folder: Path) -> Protected:
    arrays = np.load(folder / f"{FILE}.npz")
    notes = orjson.loads((folder / f"{FILE}.json").read_bytes())
    sizes = sorted(int(name[1:]) for name in arrays.files if name.startswith("h"))
    return Protected(
        {size: (arrays[f"h{size}"], arrays[f"r{size}"]) for size in sizes}, notes["names"], notes["too_short"]
    )


# ---------------------------------------------------------------- of evaluation sets


def protected(sources: Iterable[Source], recipe: Protect, written: Callable[[str], str] = str) -> Protected:
    """The n-grams of every text of every evaluation row. Raises `InputError` where there is none, or one cannot be read.

    written: normalises a text as the rows' are, so that both meet.
    """
    names: list[str] = []
    grams: dict[int, list[tuple[U64, int]]] = {}
    too_short = 0
    for batch in _batches(sources):
        texts = [(len(names) + number, written(text)) for number, row in enumerate(batch) for text in _texts(row.data)]
        names += [f"{row.source}:{row.data['id']}" for row in batch]
        tokens = tokenise([text for _, text in texts])
        for number, (row_number, _) in enumerate(texts):
            hashes, _lengths = tokens.of(number)
            size = min(recipe.ngram, len(hashes))
            if size < min(recipe.min_tokens, recipe.ngram):
                too_short += 1
            else:
                grams.setdefault(size, []).append((ngrams(hashes, size), row_number))
    if not names:
        raise InputError("the evaluation set holds no rows", remedy="check the files that --protect names")
    return Protected({size: _merged(parts) for size, parts in sorted(grams.items())}, names, too_short)


def _batches(sources: Iterable[Source]) -> Iterable[list[Row]]:
    batch: list[Row] = []
    for item in read_rows(sources, max_row_bytes=ANY_SIZE):
        if isinstance(item, Rejected):  # left out, its text would leak into the training rows unseen
            remedy = "mend the row: each of an evaluation set has to be read to be protected"
            raise InputError(
                f"an evaluation row cannot be read: {item.reason}", where=f"{item.source}:{item.line}", remedy=remedy
            )
        batch.append(item)
        if len(batch) == BATCH:
            yield batch
            batch = []
    yield batch


def _texts(data: dict[str, Any]) -> list[str]:
    """What training rows must not share: all text of the row as one, and each of its texts alone, however deep."""
    whole = [row_text(data)] if shape_of(data) is not None else []
    return [text for text in dict.fromkeys([*whole, *strings(data)]) if text.strip()]


def _merged(parts: Sequence[tuple[U64, int]]) -> tuple[U64, I64]:
    hashes = np.concatenate([part for part, _ in parts])
    rows = np.concatenate([np.full(len(part), row, np.int64) for part, row in parts])
    unique, first = np.unique(hashes, return_index=True)
    return unique, rows[first]


# ---------------------------------------------------------------- in a training row


def cut(text: str, spans: Sequence[tuple[int, int, str]], places: Sequence[tuple[int, int]]) -> str:
    """The text without some spans of its tokens. places: where each token starts and ends, in characters."""
    kept, last = [], 0
    for first, end, _ in spans:
        kept.append(text[last : places[first][0]])
        last = places[end - 1][1]
    return "".join([*kept, text[last:]]).strip()
