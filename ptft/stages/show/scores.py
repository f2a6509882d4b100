"""`ptft show SCORES...`: one result's scores and weak sides; several side by side, each compared with the first."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ptft.core import results
from ptft.core.errors import PtftError
from ptft.core.metrics.comparison import Comparison
from ptft.core.metrics.names import LOWER_IS_BETTER
from ptft.core.progress import Table, cell, table_of
from ptft.core.results import Stored

WORST, MOST_VALUES, MOST_METRICS = 5, 20, 3  # slices of one result; of several, rows and metrics a field
BEST = " *"


# ---------------------------------------------------------------- one


def one(folder: Path) -> tuple[list[Table], dict[str, Any]]:
    """Metrics with their intervals, the slices with the lowest scores, the comparison and the overlap that the run wrote."""
    scores = results.load_scores(folder)
    metrics = [(name, value["score"], _interval(value)) for name, value in scores["metrics"].items()]
    title = f"scores of {cell(scores.get('n'))} rows"
    tables = [
        table_of("what was measured", ("", ""), _about(scores)),
        table_of(title, ("metric", "score", "95 % interval"), metrics),
    ]
    return [*tables, *_worst_slices(scores), *_compared(scores)], scores


def _about(scores: Mapping[str, Any]) -> list[tuple[str, object]]:
    found: list[tuple[str, object]] = [
        ("predictions", scores.get("kind") or scores.get("task")),
        ("model", _model(scores)),
    ]
    found += [("data", _data(scores)), ("rows", scores.get("n")), ("rejected", scores.get("rejected"))]
    if warning := (scores.get("overlap") or {}).get("warning"):
        found.append(("overlap with training data", warning))
    return found


def _worst_slices(scores: Mapping[str, Any]) -> Iterator[Table]:
    metric = next(iter(scores["metrics"]), "")
    found = [
        (f"{field} = {value}", slice_["n"], slice_["metrics"][metric]["score"], _interval(slice_["metrics"][metric]))
        for field, values in (scores.get("slices") or {}).items()
        for value, slice_ in values.items()
        if slice_["n"] != scores.get("n") and slice_["metrics"].get(metric, {}).get("score") is not None
    ]
    found.sort(key=lambda row: -row[2] if metric in LOWER_IS_BETTER else row[2])
    if found:
        yield table_of(f"worst slices by {metric}", ("slice", "rows", metric, "95 % interval"), found[:WORST])


def _compared(scores: Mapping[str, Any]) -> Iterator[Table]:
    found = scores.get("comparison")
    if not found:
        return
    rows = [
        (name, value["score"], value["other"], value["difference"], _interval(value), value["p"])
        for name, value in found["metrics"].items()
    ]
    title = f"compared with {found['with'].get('name') or 'another run'} on {found['n']:,} rows"
    if flips := found.get("flips"):
        title += f"; by {flips['metric']} {flips['gained']:,} rows gained, {flips['lost']:,} lost"
    if test := found.get("mcnemar"):
        title += f" (McNemar's test: p = {test['p']:.3g})"
    yield table_of(title, ("metric", "this run", "the other", "difference", "95 % interval", "p"), rows)


# ---------------------------------------------------------------- several


@dataclass(frozen=True)
class Beside:
    """A result beside the first. comparison: None where its rows are not those of the first, and why not."""

    name: str
    stored: Stored
    comparison: Comparison | None = None
    why: str | None = None


def compared(folders: Sequence[Path]) -> tuple[list[Table], list[dict[str, Any]]]:
    """A column each; every metric's difference to the first, paired row by row. The best of a metric has a star."""
    first, *others = [Beside(str(folder), results.load(folder)) for folder in folders]
    columns = [first, *(_beside(first, other) for other in others)]
    rows = [*_heads(columns), *_scores(columns), *_differences(columns)]
    tables = [
        table_of(
            "scores (* the best; differences to the first, paired by row)", ("", *(one.name for one in columns)), rows
        )
    ]
    return [*tables, *_not_aligned(columns), *_slices(columns)], [_facts(one) for one in columns]


def _beside(first: Beside, other: Beside) -> Beside:
    try:
        return Beside(other.name, other.stored, results.comparison(other.stored, first.stored))
    except PtftError as error:
        return Beside(other.name, other.stored, why=str(error))


def _facts(one: Beside) -> dict[str, Any]:
    found: dict[str, Any] = {"scores": one.stored.scores}
    if one.comparison:
        found["comparison_with_first"] = one.comparison.as_json()
    if one.why:
        found["not_compared"] = one.why
    return found


def _heads(columns: Sequence[Beside]) -> Iterator[tuple[object, ...]]:
    all_scores = [one.stored.scores for one in columns]
    yield ("predictions", *(scores.get("kind") or scores.get("task") for scores in all_scores))
    yield ("model", *(_model(scores) for scores in all_scores))
    yield ("rows", *(scores.get("n") for scores in all_scores))
    yield ("data", *(_data(scores) for scores in all_scores))
    yield ("same data as the first", None, *(_same_data(scores, all_scores[0]) for scores in all_scores[1:]))


def _scores(columns: Sequence[Beside]) -> Iterator[tuple[object, ...]]:
    for name in _all_metrics(columns):
        found = [one.stored.scores["metrics"].get(name) for one in columns]
        best = _best(name, [value["score"] if value else None for value in found])
        yield (name, *(_scored(value, number in best) for number, value in enumerate(found)))


def _all_metrics(columns: Sequence[Beside]) -> list[str]:
    return list(dict.fromkeys(name for one in columns for name in one.stored.scores["metrics"]))


def _best(name: str, values: Sequence[float | None]) -> set[int]:
    """Which columns have the best value; none where one lacks it, or all are equal."""
    known = [value for value in values if value is not None]
    if len(known) < len(values) or len(set(known)) < 2:
        return set()
    best = min(known) if name in LOWER_IS_BETTER else max(known)
    return {number for number, value in enumerate(values) if value == best}


def _scored(value: Mapping[str, Any] | None, is_best: bool) -> str | None:
    if value is None or value["score"] is None:
        return None
    return f"{value['score']:.4g}{f' ({shown})' if (shown := _interval(value)) else ''}{BEST if is_best else ''}"


def _differences(columns: Sequence[Beside]) -> Iterator[tuple[object, ...]]:
    measured = [one.comparison.metrics for one in columns if one.comparison]
    for name in _all_metrics(columns):
        if any(name in metrics for metrics in measured):
            yield (f"{name}, difference", None, *(_difference(one, name) for one in columns[1:]))
    yield ("rows compared", None, *(one.comparison.n if one.comparison else "not aligned" for one in columns[1:]))


def _not_aligned(columns: Sequence[Beside]) -> Iterator[Table]:
    reasons = [(one.name, one.why) for one in columns if one.why]
    if reasons:
        yield table_of(f"not aligned with {columns[0].name}", ("", ""), reasons)
    for one in columns:
        if one.comparison and one.comparison.warnings:
            said = [(warning,) for warning in one.comparison.warnings]
            yield table_of(f"{columns[0].name} and {one.name}", ("",), said)


def _difference(one: Beside, name: str) -> str | None:
    found = one.comparison.metrics.get(name) if one.comparison else None
    if found is None:
        return None
    return f"{found.difference:+.4g}" + (f" (p {found.p:.3g})" if found.p is not None else "")


def _slices(columns: Sequence[Beside]) -> Iterator[Table]:
    """Of the fields that all were sliced by, the values that all have."""
    sliced = [one.stored.scores.get("slices") or {} for one in columns]
    shared = [name for name in _all_metrics(columns) if all(name in one.stored.scores["metrics"] for one in columns)]
    for field in (name for name in sliced[0] if all(name in one for one in sliced)):
        values = [value for value in sliced[0][field] if all(value in one[field] for one in sliced)][:MOST_VALUES]
        rows = [
            (value, name, *(_scored(one[field][value]["metrics"].get(name), False) for one in sliced))
            for value in values
            for name in shared[:MOST_METRICS]
        ]
        if rows:
            yield table_of(f"by {field}", (field, "metric", *(one.name for one in columns)), rows)


# ---------------------------------------------------------------- in words


def _model(scores: Mapping[str, Any]) -> str | None:
    model = scores.get("model")
    return f"{model.get('name')} ({model.get('run') or 'not of ptft'})" if model else None


def _data(scores: Mapping[str, Any]) -> str | None:
    return ", ".join(str(item.get("name")) for item in scores.get("data") or ()) or None


def _same_data(scores: Mapping[str, Any], first: Mapping[str, Any]) -> bool | None:
    """By content; None where a result does not say it, or is of another tool's predictions."""
    one, other = ([item.get("hash") for item in side.get("data") or ()] for side in (scores, first))
    told = all([*one, *other]) and one and other and scores.get("model") and first.get("model")
    return one == other if told else None


def _interval(score: Mapping[str, Any]) -> str | None:
    ends = score.get("ci95")
    return f"{ends[0]:.4g} - {ends[1]:.4g}" if ends else None
