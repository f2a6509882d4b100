"""The page's sections about one result: scores, labels, slices, the worst rows, overlap, settings."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from ptft.stages.eval.page import figures, plots, shown
from ptft.stages.eval.page.figures import Scores
from ptft.stages.eval.page.markup import (
    Html,
    Section,
    joined,
    keep,
    name,
    note,
    section,
    short,
    table,
    tag,
)
from ptft.stages.eval.page.worst import worst

MOST_CLASSES, MOST_SLICES, MOST_SETTINGS = 200, 51, 200


# ---------------------------------------------------------------- scores


def metrics(scores: Scores) -> Section:
    settings = scores.get("settings") or {}
    rows = [_metric(metric, score, settings) for metric, score in figures.metrics(scores).items()]
    resamples = figures.number(settings.get("bootstrap"))
    how = f" Intervals are from {resamples:,.0f} bootstrap resamples of the rows." if resamples else ""
    text = "The bar is the 95 % interval, on the metric's own scale." + how
    head = ("metric", "score", "95 % interval", "", "better")
    return section("metrics", "Metrics", table("Scores of all rows", head, rows), note(text), _details(scores))


def _metric(metric: str, score: Scores, settings: Scores) -> tuple[str, ...]:
    why = figures.why_missing(score, settings)
    value = figures.shown(metric, score.get("score"))
    between = figures.interval_text(metric, score)
    ends = tag("small", why) if why else keep(between)
    better = figures.better(metric)
    arrow = {"higher": " ↑", "lower": " ↓"}.get(better, "")
    return tag("code", metric), tag("strong", value), ends, dot(metric, score), keep(f"{better}{arrow}")


def _details(scores: Scores) -> Html:
    """What each score says of itself: signatures, tokenizers, averages. Metrics that say the same are together."""
    said: dict[tuple[tuple[str, str], ...], list[str]] = {}
    for metric, score in figures.metrics(scores).items():
        said.setdefault(tuple(figures.detail(score)), []).append(metric)
    lines = [
        joined([tag("dt", tag("code", ", ".join(which))), tag("dd", joined(map(_detail, parts), "; "))])
        for parts, which in said.items()
        if parts
    ]
    return tag("dl", *lines, class_="detail") if lines else Html("")


def _detail(part: tuple[str, str]) -> Html:
    key, value = part
    return joined([key.replace("_", " "), " ", tag("code", value) if key == "signature" else value])


def dot(metric: str, score: Scores, axis: tuple[float, float] | None = None, mark: float | None = None) -> Html:
    """A score and its interval as a picture. mark: the score of all rows."""
    value, ends = figures.number(score.get("score")), figures.interval(score)
    known = [one for one in (value, *(ends or ())) if one is not None]
    axis = axis or figures.span(metric, *known)
    told = f"{metric} {figures.shown(metric, value)}, 95 % interval {figures.interval_text(metric, score, ' to ')}"
    return plots.interval(value, ends, axis, f"{told}; axis from {axis[0]:g} to {axis[1]:g}", mark)


def classes(scores: Scores) -> Section | None:
    columns, found = figures.classes(scores)
    if not found:
        return None
    judged = "f1" if "f1" in columns else columns[0]
    ordered = sorted(found.items(), key=lambda item: figures.number(item[1].get(judged)) or 0.0)
    rows = [
        (name(label), *figures.class_cells(columns, score), dot(judged, {"score": score.get(judged)}, (0.0, 1.0)))
        for label, score in ordered[:MOST_CLASSES]
    ]
    left = len(found) - MOST_CLASSES
    more = [note(f"{left:,} more labels are in scores.json.")] if left > 0 else []
    head = ("label", *columns, f"{judged}, 0 to 1")
    return section("classes", "Labels", table(f"Each label, the lowest {judged} first", head, rows), *more)


# ---------------------------------------------------------------- slices


def slices(scores: Scores) -> Section | None:
    tables = [_slice(str(field), values, scores) for field, values in (scores.get("slices") or {}).items() if values]
    return section("slices", "Slices", *tables) if tables else None


def _slice(field: str, values: Mapping[str, Any], scores: Scores) -> Html:
    shown_metrics = list(figures.metrics(scores))
    first = shown_metrics[0] if shown_metrics else ""
    whole = figures.number(figures.metrics(scores).get(first, {}).get("score"))
    held = list(values.items())[:MOST_SLICES]
    parts = [value["metrics"].get(first, {}) for _, value in held]
    known = [
        one
        for part in parts
        for one in (figures.number(part.get("score")), *(figures.interval(part) or ()))
        if one is not None
    ]
    axis = figures.span(first, *known, *([] if whole is None else [whole]))
    rows = [
        (
            name(str(label)),
            f"{value['n']:,}",
            dot(first, part, axis, whole),
            *(_sliced(metric, value) for metric in shown_metrics),
        )
        for (label, value), part in zip(held, parts, strict=True)
    ]
    left = len(values) - MOST_SLICES
    more = [note(f"{left:,} more values are in scores.json.")] if left > 0 else []
    head = ("value", "rows", f"{first}; dashed: all rows", *shown_metrics)
    return joined([tag("h3", "By ", name(field)), table(f"Scores by {short(field, 60)}", head, rows), *more])


def _sliced(metric: str, value: Mapping[str, Any]) -> Html:
    score = value["metrics"].get(metric) or {}
    between = figures.interval_text(metric, score, " – ")
    small = [] if between == figures.NO_INTERVAL else [tag("br"), tag("small", between, class_="keep")]
    return joined([figures.shown(metric, score.get("score")), *small])


# ---------------------------------------------------------------- rows, settings


def worst_rows(scores: Scores, rows: Sequence[Mapping[str, Any]], count: int) -> Section | None:
    found = worst(scores, rows, count) if count else None
    if found is None:
        return None
    if not found.rows:
        return section("worst", "Worst rows", tag("p", "No row has a fault that can be ranked."))
    intro = f"{len(found.rows):,} of {figures.rows(found.faulty)}: {found.title}."
    blocks = [shown.row(row, str(scores.get("kind")), said) for row, said in found.rows]
    marks = any("<ins>" in block or "<del>" in block for block in blocks)
    key = [
        note(
            "Marked: what the reference has and the prediction lacks (",
            tag("del", "lacking"),
            "), and what it adds (",
            tag("ins", "added"),
            ").",
        )
    ]
    return section("worst", "Worst rows", tag("p", intro), *(key if marks else []), *blocks)


def overlap(scores: Scores) -> Section | None:
    found = scores.get("overlap") or {}
    if not found:
        return None
    facts = [
        f"{key.replace('_', ' ')} {figures.flat(value)}"
        for key, value in found.items()
        if key not in ("examples", "warning", "share")
    ]
    said = figures.overlap_sentence(scores) or "No row was found in the training text that was looked at."
    examples = [
        (
            name(str(item.get("id"))),
            name(str(item.get("file") or "-")),
            shown.plain(item.get("text", "")),
            figures.flat(item.get("share")),
        )
        for item in list(found.get("examples") or [])[:20]
        if isinstance(item, Mapping)
    ]
    head = ("id", "training text", "words in both", "share of the row")
    listed = [table("Rows found in training text", head, examples)] if examples else []
    return section("overlap", "Overlap with training data", tag("p", said), note("; ".join(facts)), *listed)


def settings(scores: Scores) -> Section | None:
    rows = [(short(key, 80), shown.plain(value)) for key, value in figures.settings(scores)[:MOST_SETTINGS]]
    return (
        section(
            "settings", "Settings", table("What must be equal for scores to be compared", ("setting", "value"), rows)
        )
        if rows
        else None
    )


def reproduce(scores: Scores, command: Sequence[str], versions: Mapping[str, str]) -> Section:
    command = command or list(scores.get("command") or [])
    versions = versions or scores.get("versions") or {}
    shown_command = [tag("pre", tag("code", short(shlex.join(command), 4000)))] if command else []
    text = "The same model, data (hashes above), settings and versions give the same scores, whatever the batch size."
    where = " The whole recipe, seed, inputs and versions are in run.json beside this page: ptft show prints it."
    rows = [(short(key, 60), tag("code", str(value))) for key, value in versions.items()]
    listed = [table("Versions", ("package", "version"), rows)] if rows else []
    return section("reproduce", "How to reproduce", *shown_command, tag("p", text, where), *listed)
