"""One result as Markdown for a README or a pull request: scores, slices, the comparison, a few of the worst rows."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from ptft.stages.eval.page import compared, figures
from ptft.stages.eval.page.figures import Scores
from ptft.stages.eval.page.markup import clean, short
from ptft.stages.eval.page.worst import worst

WORST, CLASSES, SLICES = 5, 12, 51
_SPECIAL = re.compile(r"([\\`*\[\]<>|#~$&]|(?<![^\W_])_|_(?![^\W_]))")  # an underscore within a word marks nothing
_SPACES = re.compile(r"\s+")


def markdown(scores: Scores, rows: Sequence[Mapping[str, Any]]) -> str:
    """Compact tables (GitHub's kind); all that comes from data is escaped and on one line."""
    parts = [
        [f"### {text(figures.title(scores), 200)}"], _facts(scores), _metrics(scores), _comparison(scores), _classes(scores),
        *_slices(scores), _worst(scores, rows), _signatures(scores),
    ]  # fmt: skip
    return "\n\n".join("\n".join(lines) for lines in parts if lines) + "\n"


def text(value: object, most: int = 60) -> str:
    """Any text as Markdown that shows just that: no markup, no line breaks, at most `most` characters."""
    return _SPECIAL.sub(r"\\\1", short(_SPACES.sub(" ", clean(str(value))).strip(), most))


def table(head: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1) -> list[str]:
    """left: columns of text at the start; the others are numbers. Cells are Markdown already."""
    lines = ["---"] * left + ["---:"] * (len(head) - left)
    return [_line(head), _line(lines), *map(_line, rows)] if rows else []


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _facts(scores: Scores) -> list[str]:
    said = [figures.rows(scores.get("n")), *([text(scores["task"])] if scores.get("task") else [])]
    said += [f"{scores['rejected']:,} rejected"] if scores.get("rejected") else []
    said += [f"run {text((scores.get('model') or {})['run'])}"] if (scores.get("model") or {}).get("run") else []
    hashes = [
        f"{text(item.get('name'))} {text(str(item.get('hash') or '')[:12])}" for item in (scores.get("data") or [])[:5]
    ]
    overlap = figures.overlap_sentence(scores)
    warning = ["", f"> **Warning:** {text(overlap, 300)}"] if overlap else []
    return [" · ".join([*said, *(f"data {one}" for one in hashes)]), *warning]


def _metrics(scores: Scores) -> list[str]:
    settings = scores.get("settings") or {}
    rows = []
    for metric, score in figures.metrics(scores).items():
        why = figures.why_missing(score, settings)
        between = text(why, 120) if why else figures.interval_text(metric, score)
        rows.append((text(metric), figures.shown(metric, score.get("score")), between, figures.better(metric)))
    return table(("metric", "score", "95 % interval", "better"), rows)


def _comparison(scores: Scores) -> list[str]:
    found = scores.get("comparison") or {}
    if not found:
        return []
    rows = [
        (
            text(metric), *(figures.shown(metric, score.get(side)) for side in ("score", "other")),
            figures.signed(metric, score.get("difference")), figures.interval_text(metric, score, " to ", sign=True),
            figures.p_text(score.get("p")),
        )
        for metric, score in (found.get("metrics") or {}).items()
    ]  # fmt: skip
    other = text(compared.other_name(found))
    head = ("metric", "this run", other, "difference", "95 % interval", "p")
    flips = found.get("flips") or {}
    end = ["", text(compared.flips_sentence(flips), 200)] if flips else []
    return [f"Compared with {other} on {figures.rows(found.get('n'))}, paired:", "", *table(head, rows), *end]


def _classes(scores: Scores) -> list[str]:
    columns, found = figures.classes(scores)
    if len(found) > CLASSES:
        return []
    rows = [(text(label), *figures.class_cells(columns, score)) for label, score in found.items()]
    return table(("label", *columns), rows)


def _slices(scores: Scores) -> list[list[str]]:
    shown = list(figures.metrics(scores))
    return [
        table(
            (text(field), "rows", *map(text, shown)),
            [_slice(label, value, shown) for label, value in list(values.items())[:SLICES]],
        )
        for field, values in (scores.get("slices") or {}).items()
    ]


def _slice(label: str, value: Mapping[str, Any], shown: Sequence[str]) -> tuple[str, ...]:
    """A value of a field: the first metric with its interval, the others alone."""
    found = [(metric, value["metrics"].get(metric) or {}) for metric in shown]
    cells = [figures.shown(metric, score.get("score")) for metric, score in found]
    if found and (between := figures.interval_text(*found[0])) != figures.NO_INTERVAL:
        cells[0] += f" ({between})"
    return text(label), f"{value['n']:,}", *cells


def _worst(scores: Scores, rows: Sequence[Mapping[str, Any]]) -> list[str]:
    found = worst(scores, rows, WORST)
    if found is None or not found.rows:
        return []
    cells = [
        (
            text(row.get("id", "")),
            *(text(figures.flat(row.get(side, "-"))) for side in ("reference", "prediction")),
            text(said),
        )
        for row, said in found.rows
    ]
    summary = f"<details><summary>{len(cells)} of {found.faulty:,} rows: {text(found.title, 120)}</summary>"
    return [summary, "", *table(("id", "reference", "prediction", "why"), cells, left=4), "", "</details>"]


def _signatures(scores: Scores) -> list[str]:
    """What must be said with BLEU, chrF, TER and ROUGE, or they mean nothing."""
    said = [
        f"{text(metric)}: `{str(score[key]).replace('`', '')}`"
        for metric, score in figures.metrics(scores).items()
        for key in ("signature", "tokenizer")
        if score.get(key)
    ]
    return ["; ".join(said)] if said else []
