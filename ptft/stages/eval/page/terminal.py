"""One result as tables of at most 80 columns for the terminal."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

from ptft.core.progress import Table
from ptft.stages.eval.page import compared, figures
from ptft.stages.eval.page.figures import Scores
from ptft.stages.eval.page.markup import clean

WIDTH = 80  # columns
CLASSES, CONFUSED = 12, 8  # labels that are listed, and that are in the matrix
SLICED, VALUES = 4, 20  # metrics and values of slices


def tables(scores: Scores) -> list[Table]:
    """Scores first; then what there is of the comparison, labels, confusion matrix and slices."""
    found = [metrics(scores), comparison(scores), classes(scores), confusion(scores), *slices(scores)]
    return [table for table in found if table is not None and table.rows]


def metrics(scores: Scores) -> Table:
    settings = scores.get("settings") or {}
    rows = []
    for metric, score in figures.metrics(scores).items():
        why = "" if "no_interval" in score else figures.why_missing(score, settings)  # the page gives that reason
        between = why or figures.interval_text(metric, score)
        rows.append((metric, figures.shown(metric, score.get("score")), between, figures.better(metric)))
    return Table(
        f"scores of {figures.rows(scores.get('n'))}", ("metric", "score", "95 % interval", "better"), tuple(rows)
    )


def comparison(scores: Scores) -> Table | None:
    found = scores.get("comparison") or {}
    if not found:
        return None
    rows = [
        (
            metric, *(figures.shown(metric, score.get(side)) for side in ("score", "other")),
            figures.signed(metric, score.get("difference")), figures.interval_text(metric, score, " to ", sign=True),
            figures.p_text(score.get("p")),
        )
        for metric, score in (found.get("metrics") or {}).items()
    ]  # fmt: skip
    flips = found.get("flips") or {}
    changed = f"; {flips.get('gained') or 0:,} gained, {flips.get('lost') or 0:,} lost" if flips else ""
    if mcnemar := found.get("mcnemar"):
        changed += f", McNemar's p {figures.p_text(mcnemar.get('p'))}"
    title = f"compared with {cut(compared.other_name(found), 30)} on {figures.rows(found.get('n'))}{changed}"
    return Table(title, ("metric", "this run", "other", "difference", "95 % interval", "p"), tuple(rows))


def classes(scores: Scores) -> Table | None:
    columns, found = figures.classes(scores)
    if not 0 < len(found) <= CLASSES:
        return None
    rows = tuple((cut(label, 30), *figures.class_cells(columns, score)) for label, score in found.items())
    return Table("each label", ("label", *columns), rows)


def confusion(scores: Scores) -> Table | None:
    labels, counts = figures.confusion(scores) or ([], [])
    if not 0 < len(labels) <= CONFUSED:
        return None
    room = (WIDTH - 18) // len(labels) - 2
    heads = [cut(label, max(3, min(16, room))) for label in labels]
    rows = tuple(
        (cut(label, 16), *(f"{count:,}" for count in line)) for label, line in zip(labels, counts, strict=True)
    )
    return Table("references down, predictions across", ("", *heads), rows)


def slices(scores: Scores) -> list[Table]:
    return [_slice(str(field), values, scores) for field, values in (scores.get("slices") or {}).items()]


def _slice(field: str, values: Mapping[str, Any], scores: Scores) -> Table:
    shown = list(figures.metrics(scores))
    held = shown[:SLICED]
    rows = [
        (cut(label, 24), f"{value['n']:,}", *_scores(value, held)) for label, value in list(values.items())[:VALUES]
    ]
    limits = ((len(held), len(shown), "metrics"), (len(rows), len(values), "values"))
    cuts = [f"{few} of {all_:,} {what}" for few, all_, what in limits if few < all_]
    title = f"by {cut(field, 30)}{' (' + ', '.join(cuts) + ')' if cuts else ''}"
    head = ("", "rows", held[0], "95 % interval", *held[1:]) if held else ("", "rows")
    return Table(title, head, tuple(rows))


def _scores(value: Mapping[str, Any], held: Sequence[str]) -> list[str]:
    """The first metric with its interval, the others alone: more does not fit."""
    parts = [(metric, value["metrics"].get(metric) or {}) for metric in held]
    found = [figures.shown(metric, score.get("score")) for metric, score in parts]
    return [found[0], figures.interval_text(*parts[0]), *found[1:]] if parts else []


def cut(text: str, width: int) -> str:
    """`text` in at most `width` columns of a terminal, on one line; a Chinese character takes two."""
    text = " ".join(clean(text).split())
    if sum(map(_columns, text)) <= width:
        return text
    room, kept = width - 1, ""
    for character in text:
        room -= _columns(character)
        if room < 0:
            break
        kept += character
    return kept + "…"


def _columns(character: str) -> int:
    return 0 if unicodedata.combining(character) else 2 if unicodedata.east_asian_width(character) in "WF" else 1
