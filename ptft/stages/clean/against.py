"""Rows like those of earlier results: candidates by the earlier results' saved index, verified by exact Jaccard.

    index/keys.u32   band keys of the corpus's rows, a band after another: (bands, rows) uint32
    index/exact.u64  each text's 128-bit hash: (rows, 2) uint64
    index/index.json what the keys were made with, and of which file

Texts are not kept twice: a candidate's is read from the corpus itself, in one pass over it. Rows that come with no index,
or with one of another scheme, are fingerprinted anew.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import orjson

from ptft.core.dedup import Store, fingerprints
from ptft.core.examples import row_text
from ptft.core.files import Source, write_json
from ptft.core.formats import read_rows
from ptft.core.minhash import I64, U32, U64, Scheme, jaccard, shingles, tokenise
from ptft.core.rows import Row
from ptft.stages.clean.recipe import CleanRecipe

FOLDER = "index"
MOST = 64  # rows of an earlier result that one row is compared with
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


def save(new: Path, corpus: Path, rows: int, store: Store, kept: I64, scheme: Scheme) -> None:
    """Keep the index of the corpus's rows beside it. kept: their numbers in the store."""
    folder = new / FOLDER
    folder.mkdir()
    with (folder / "keys.u32").open("wb") as file:
        for band in range(scheme.bands):
            store.band(band)[kept].tofile(file)
    store.exact()[kept].tofile(folder / "exact.u64")
    write_json(
        folder / "index.json", {**_described(scheme), "file": corpus.name, "bytes": corpus.stat().st_size, "rows": rows}
    )


def _described(scheme: Scheme) -> dict[str, object]:
    return {"shingle": scheme.shingle, "permutations": scheme.permutations.shape[1], "bands": scheme.bands,
            "band_rows": scheme.rows, "first": scheme.permutations[:, 0].tolist()}  # fmt: skip  # first: tells seeds apart


def _saved(source: Source, scheme: Scheme) -> _Index | None:
    """The index beside a corpus, if it is of this very file and scheme."""
    folder = source.path.parent / FOLDER
    try:
        noted = orjson.loads((folder / "index.json").read_bytes())
        rows = noted["rows"]
        wanted = {**_described(scheme), "file": source.path.name, "bytes": source.path.stat().st_size, "rows": rows}
        if noted != wanted:
            return None
        keys = np.fromfile(folder / "keys.u32", np.uint32).reshape(scheme.bands, rows)
        return _Index(keys, np.fromfile(folder / "exact.u64", np.uint64).reshape(rows, 2))
    except (OSError, orjson.JSONDecodeError, KeyError, TypeError, ValueError):
        return None


def _made(source: Source, scheme: Scheme) -> _Index:
    parts = [fingerprints(texts, scheme) for _, texts in _texts(source)]
    bands = np.empty((scheme.bands, 0), np.uint32)
    return _Index(
        np.concatenate([bands, *(part.keys for part in parts)], axis=1),
        np.concatenate([np.empty((0, 2), np.uint64), *(part.exact for part in parts)]),
    )


def _texts(source: Source) -> Iterator[tuple[list[str], list[str]]]:
    """The ids and texts of a corpus's rows, some at a time."""
    rows = (item for item in read_rows([source]) if isinstance(item, Row))
    while batch := list(itertools.islice(rows, BATCH)):
        yield [row.data["id"] for row in batch], [row_text(row.data) for row in batch]


# ---------------------------------------------------------------- looked up


def repeats_of_earlier(
    recipe: CleanRecipe, store: Store, sources: Sequence[Source], scheme: Scheme
) -> tuple[dict[int, Earlier], list[str]]:
    """The rows of the store that repeat a row of earlier results, and the files whose index had to be made."""
    found: dict[int, Earlier] = {}
    remade = []
    for source in sources:
        index = _saved(source, scheme)
        if index is None:
            remade.append(str(source.path))
            index = _made(source, scheme)
        _look_up(store, index, source, scheme, recipe.duplicates.threshold, found)
    return found, remade


def _look_up(
    store: Store, index: _Index, source: Source, scheme: Scheme, threshold: float, found: dict[int, Earlier]
) -> None:
    equal = _equal(store.exact(), index.exact)
    pairs = _candidates(store, index, scheme, set(equal))
    pairs += [(old_row, new_row) for new_row, old_row in equal.items()]
    pairs.sort()
    start = at = 0
    for ids, texts in _texts(source):
        wanted: list[tuple[int, int]] = []
        while at < len(pairs) and pairs[at][0] < start + len(texts):
            wanted.append(pairs[at])
            at += 1
        old = sorted({pair[0] - start for pair in wanted})
        held = dict(zip(old, _shingle_sets([texts[number] for number in old], scheme), strict=True))
        for old_row, new_row in wanted:
            number = old_row - start
            similarity = 1.0 if equal.get(new_row) == old_row else jaccard(store.shingles(new_row), held[number])
            best = found.get(new_row)
            if similarity >= threshold and (best is None or similarity > best.similarity):
                found[new_row] = Earlier(ids[number], source.name, similarity)
        start += len(texts)


def _equal(new: U64, old: U64) -> dict[int, int]:
    """For each row whose text an earlier row has too, the first such row. new, old: 128-bit hashes (rows, 2)."""
    if not len(old):
        return {}
    order = np.argsort(old[:, 0], kind="stable")
    place = order[np.minimum(np.searchsorted(old[order, 0], new[:, 0]), len(old) - 1)]
    rows = np.flatnonzero((old[place] == new).all(axis=1))
    return dict(zip(rows.tolist(), place[rows].tolist(), strict=True))


def _candidates(store: Store, index: _Index, scheme: Scheme, done: set[int]) -> list[tuple[int, int]]:
    """Pairs (earlier row, row) that share a band key; at most `MOST` earlier rows for each."""
    seen: dict[int, set[int]] = {}
    for band in range(scheme.bands):
        old, new = index.keys[band], store.band(band)
        order = np.argsort(old, kind="stable")
        ordered = old[order]
        left, right = np.searchsorted(ordered, new, "left"), np.searchsorted(ordered, new, "right")
        for row in np.flatnonzero(right > left).tolist():
            if row not in done:
                held = seen.setdefault(row, set())
                for place in order[left[row] : right[row]][:MOST].tolist():
                    if len(held) < MOST:
                        held.add(place)
    return [(old_row, row) for row, rows in seen.items() for old_row in rows]


def _shingle_sets(texts: Sequence[str], scheme: Scheme) -> list[U32]:
    shingled, bounds = shingles(texts, tokenise(texts), scheme.shingle)
    return [np.unique(shingled[start:end]) for start, end in itertools.pairwise(bounds)]
