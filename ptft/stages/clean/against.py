"""Rows like those of earlier results: candidates by the earlier results' saved index, verified by exact Jaccard.

    index/keys.u32   band keys of the corpus's rows, a band after another: (bands, rows) uint32
    index/exact.u64  each text's 128-bit hash: (rows, 2) uint64
    index/index.json what the keys were made with, and of which file

Texts are not kept twice: a candidate's is read from the corpus itself, in one pass over it. Rows that come with no index,
or with one of another scheme, are fingerprinted anew.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from ptft.core.dedup import Store, fingerprints, most_shared
from ptft.core.errors import InputError
from ptft.core.examples import row_text, shape_of
from ptft.core.files import Source, write_json
from ptft.core.formats import ANY_SIZE
from ptft.core.minhash import I64, U32, U64, Scheme, jaccard, shingles, tokenise
from ptft.core.rows import Row
from ptft.stages.clean import reapply
from ptft.stages.clean.edits import Editor, Edits
from ptft.stages.clean.items import read_items
from ptft.stages.clean.recipe import CleanRecipe

FOLDER = "index"
BATCH = 1000  # earlier rows read at a time


@dataclass(frozen=True)
class Earlier:
    """The row of an earlier result that a row repeats. place: its file."""

    of: str
    place: str
    similarity: float


@dataclass(frozen=True)
class _Index:
    """keys: (bands, rows); exact: (rows, 2)."""

    keys: U32
    exact: U64


# ---------------------------------------------------------------- saved


def save(
    new: Path, corpus: Path, rows: int, store: Store, kept: I64, scheme: Scheme, measuring: Mapping[str, Any]
) -> None:
    """Keep the index of the corpus's rows beside it. kept: their numbers in the store. measuring: how texts were written."""
    folder = new / FOLDER
    folder.mkdir()
    with (folder / "keys.u32").open("wb") as file:
        for band in range(scheme.bands):
            store.band(band)[kept].tofile(file)
    store.exact()[kept].tofile(folder / "exact.u64")
    write_json(
        folder / "index.json",
        {**_described(scheme, measuring), "file": corpus.name, "bytes": corpus.stat().st_size, "rows": rows},
    )


def _described(scheme: Scheme, measuring: Mapping[str, Any]) -> dict[str, Any]:
    """What decides whether two indexes can be compared: the scheme, and how texts are written."""
    writing = {name: value for name, value in measuring.items() if name.startswith(WRITING)}
    return {"shingle": scheme.shingle, "permutations": scheme.permutations.shape[1], "bands": scheme.bands, "band_rows": scheme.rows,
            "first": scheme.permutations[:, 0].tolist(), "writing": writing}  # fmt: skip  # first: tells seeds apart


WRITING = (
    "normalise.",
    "personal",
    "sensitive.",
    "duplicates.parts",
    "duplicates.scope",
    "protect.action",
    reapply.LINES,
)


@dataclass(frozen=True)
class _Result:
    """An earlier result, or any rows. index: of texts written as the new rows' are."""

    source: Source
    recipe: CleanRecipe
    editor: Editor
    scheme: Scheme
    index: _Index | None = None

    def texts(self) -> Iterator[tuple[list[str], list[str]]]:
        """The ids and texts of its rows, some at a time."""
        items = read_items(replace(self.recipe, max_row_bytes=ANY_SIZE), [self.source])
        rows = (item for item in items if isinstance(item, Row) and shape_of(item.data) is not None)
        while batch := list(itertools.islice(rows, BATCH)):
            yield [row.data["id"] for row in batch], [self._text(row) for row in batch]

    def _text(self, row: Row) -> str:
        if self.index is not None:
            return row_text(row.data)
        written = self.editor.written(row.data, Counter())
        return row_text(self.editor.masked(written, Edits(Counter())) if self.editor.masks else written)

    def made_index(self) -> _Index:
        parts = [fingerprints(texts, self.scheme) for _, texts in self.texts()]
        if not parts:
            remedy = "check --text-field, or that these are rows of text"
            raise InputError("no row to compare with", where=str(self.source.path), remedy=remedy)
        keys = np.concatenate([part.keys for part in parts], axis=1)
        return _Index(keys, np.concatenate([part.exact for part in parts]))


def _saved(source: Source, scheme: Scheme, measuring: Mapping[str, Any]) -> _Index | None:
    """The index beside a corpus, if it is of this very file, scheme and writing."""
    folder = source.path.parent / FOLDER
    try:
        noted = orjson.loads((folder / "index.json").read_bytes())
        rows = noted["rows"]
        wanted = {
            **_described(scheme, measuring),
            "file": source.path.name,
            "bytes": source.path.stat().st_size,
            "rows": rows,
        }
        if noted != wanted:
            return None
        keys = np.fromfile(folder / "keys.u32", np.uint32).reshape(scheme.bands, rows)
        return _Index(keys, np.fromfile(folder / "exact.u64", np.uint64).reshape(rows, 2))
    except (OSError, orjson.JSONDecodeError, KeyError, TypeError, ValueError):
        return None


# ---------------------------------------------------------------- looked up


def repeats_of_earlier(
    recipe: CleanRecipe, editor: Editor, store: Store, sources: Sequence[Source], scheme: Scheme
) -> tuple[dict[int, Earlier], list[str]]:
    """The rows of the store that repeat a row of earlier results, and the files whose index had to be made."""
    found: dict[int, Earlier] = {}
    remade = []
    measuring = reapply.measuring_of(recipe)
    for source in sources:
        result = _Result(source, recipe, editor, scheme, _saved(source, scheme, measuring))
        index = result.index
        if index is None:
            remade.append(str(source.path))
            index = result.made_index()
        _look_up(store, index, result, found)
    return found, remade


def _look_up(store: Store, index: _Index, result: _Result, found: dict[int, Earlier]) -> None:
    """One pass over the earlier rows, in which each candidate is compared by its text."""
    equal = _equal(store.exact(), index.exact)
    pairs = sorted([*_candidates(store, index, equal.keys()), *((old, new) for new, old in equal.items())])
    threshold = result.recipe.duplicates.threshold
    start = at = 0
    for ids, texts in result.texts() if pairs else ():
        end = at
        while end < len(pairs) and pairs[end][0] < start + len(texts):
            end += 1
        old = sorted({row - start for row, _ in pairs[at:end]})
        held = dict(zip(old, _shingle_sets([texts[number] for number in old], result.scheme), strict=True))
        for row, new in pairs[at:end]:
            similarity = jaccard(store.shingles(new), held[row - start])
            best = found.get(new)
            if similarity >= threshold and (best is None or similarity > best.similarity):
                found[new] = Earlier(ids[row - start], result.source.name, similarity)
        start, at = start + len(texts), end


def _equal(new: U64, old: U64) -> dict[int, int]:
    """For each row whose text an earlier row has too, the first such row. new, old: 128-bit hashes (rows, 2)."""
    if not len(old):
        return {}
    order = np.argsort(old[:, 0], kind="stable")
    place = order[np.minimum(np.searchsorted(old[order, 0], new[:, 0]), len(old) - 1)]
    rows = np.flatnonzero((old[place] == new).all(axis=1))
    return dict(zip(rows.tolist(), place[rows].tolist(), strict=True))


def _candidates(store: Store, index: _Index, done: Set[int]) -> Iterator[tuple[int, int]]:
    """Pairs (earlier row, row) that share a band key; of many earlier rows, those that share most bands."""
    rows = np.array([row for row in range(len(store)) if row not in done], np.int64)
    keys = [store.band(band) for band in range(len(index.keys))]
    for row, places in most_shared(list(index.keys), keys, rows):
        yield from ((place, row) for place in places.tolist())


def _shingle_sets(texts: Sequence[str], scheme: Scheme) -> list[U32]:
    shingled, bounds = shingles(texts, tokenise(texts), scheme.shingle)
    return [np.unique(shingled[start:end]) for start, end in itertools.pairwise(bounds)]
