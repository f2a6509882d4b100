"""Scores by slice: of the rows of each language, each length, or each value of a field."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

from ptft.core.errors import UsageError
from ptft.core.language import identify
from ptft.core.metrics.measure import RESAMPLES, Measure, Score, scores
from ptft.core.rows import Row
from ptft.stages.eval.question import question

LANG, LENGTH = "lang", "length"
NONE, OTHER, EMPTY = "(none)", "(other)", "(empty)"
MOST_VALUES = 50  # of a field; the rest are one slice
LONGEST_VALUE = 80  # characters of a value's name
EDGES = (100, 300, 1000, 3000, 10_000)  # characters of the input: fixed, so that slices of different runs are the same


def values_of(rows: Sequence[Row], by: Sequence[str]) -> list[dict[str, str]]:
    """For each row the slice of each field that it belongs to; it follows from the row alone.

    A field may be in another ("meta.source"); one that a row lacks is "(none)". `lang` is found where a row has none, and
    `length` is always that of the input.
    """
    texts = [question(row.data) for row in rows] if {LANG, LENGTH} & set(by) else [""] * len(rows)
    columns = {field: _column(field, rows, texts) for field in by}
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def _column(field: str, rows: Sequence[Row], texts: Sequence[str]) -> list[str]:
    if field == LENGTH:
        return [length_bin(len(text)) for text in texts]
    found = [shown(_value(row.data, field)) for row in rows]
    if field == LANG:
        lacking = [number for number, value in enumerate(found) if value in (NONE, EMPTY)]
        for number, code in zip(lacking, identify([texts[number] for number in lacking])[0], strict=True):
            found[number] = code
    return found


def length_bin(characters: int) -> str:
    """ "0-99", "100-299", ..., "10000+": characters of the input."""
    below = sum(characters >= edge for edge in EDGES)
    low = EDGES[below - 1] if below else 0
    return f"{low}-{EDGES[below] - 1}" if below < len(EDGES) else f"{low}+"


def shown(value: Any) -> str:
    """A field's value as the name of a slice."""
    if value is None:
        return NONE
    text = value if isinstance(value, str) else orjson.dumps(value, default=str).decode()
    text = " ".join(text.split())
    return f"{text[:LONGEST_VALUE]}..." if len(text) > LONGEST_VALUE else text or EMPTY


def _value(data: Mapping[str, Any], field: str) -> Any:
    if field in data:
        return data[field]
    outer, _, inner = field.partition(".")
    return _value(data[outer], inner) if inner and isinstance(data.get(outer), dict) else None


def require(rows: Iterable[Row], by: Sequence[str]) -> None:
    """Raise `UsageError` for a field that no row has, with the nearest name. Reads on only while one has not been seen."""
    missing, seen = [field for field in by if field not in (LANG, LENGTH)], set[str]()
    for row in rows if missing else ():
        names = set(_names(row.data))
        seen |= names
        missing = [field for field in missing if field not in names]
        if not missing:
            return
    if missing:
        known = sorted(seen - {"id"})
        near = [close[0] for field in missing if (close := difflib.get_close_matches(field, [*known, LANG, LENGTH], 1))]
        hint = f"did you mean {', '.join(near)}? " if near else ""
        listed = ", ".join(known[:20]) or "none"
        what = f"no row has the field {', '.join(map(repr, missing))} to slice by"
        raise UsageError(what, remedy=f"{hint}--by takes fields of the rows ({listed}), lang and length")


def _names(data: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for key, value in data.items():
        yield prefix + key
        if isinstance(value, dict):
            yield from _names(value, f"{prefix}{key}.")


# ---------------------------------------------------------------- scores


def scores_by(
    measures: Sequence[Measure], predictions: Sequence[Mapping[str, Any]], by: Sequence[str], resamples: int = RESAMPLES
) -> dict[str, dict[str, Any]]:
    """{field: {value: {"n", "metrics": {name: {"score", "ci95"}}}}}, from the predictions' "by".

    Every slice is scored with the settings of the whole (its tokenizer, its labels). Lengths are in their order, other values
    by how many rows they have; beyond the 50 most frequent all are "(other)".
    """
    return {field: _of_field(measures, [row["by"][field] for row in predictions], resamples) for field in by}


def _of_field(measures: Sequence[Measure], values: Sequence[str], resamples: int) -> dict[str, Any]:
    counts = Counter(values)
    kept = [value for value, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:MOST_VALUES]]
    column = np.array(
        [value if value in set(kept) else OTHER for value in values] if len(counts) > len(kept) else values
    )
    names = [*kept, *([OTHER] if len(counts) > len(kept) else [])]
    found = {}
    for value in sorted(names, key=_order) if all(_order(name) for name in kept) else names:
        among = column == value
        found[value] = {"n": int(among.sum()), "metrics": _of_slice(measures, among, resamples)}
    return found


def _order(value: str) -> int:
    """The place of a bin of lengths, 1 for the first; 0 for what is none."""
    bins = [length_bin(low) for low in (0, *EDGES)]
    return bins.index(value) + 1 if value in bins else 0


def _of_slice(measures: Sequence[Measure], among: npt.NDArray[np.bool_], resamples: int) -> dict[str, Score]:
    """Scores of the flagged rows alone, in the order of the measures. among: (rows,) flags."""
    rows = np.flatnonzero(among)
    parts = [measure.part(rows) for measure in measures if measure.part]
    found = {name: {"score": one["score"], "ci95": one["ci95"]} for name, one in scores(parts, resamples).items()}
    found |= scores([measure for measure in measures if not measure.part], resamples, among=among)
    return {measure.name: found[measure.name] for measure in measures}
