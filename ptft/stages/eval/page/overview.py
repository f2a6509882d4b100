"""What the page begins with: rows, model, data, and what to beware of."""

from __future__ import annotations

from ptft.stages.eval.page import figures
from ptft.stages.eval.page.figures import Scores
from ptft.stages.eval.page.markup import Html, joined, name, note, table, tag, warning

MOST_FILES = 50


def overview(scores: Scores) -> Html:
    """The facts that come first: rows, model, data."""
    model = scores.get("model") or {}
    parameters = figures.number(model.get("parameters"))
    more = [str(model["kind"])] if model.get("kind") else []
    more += [f"{parameters:,.0f} parameters"] if parameters is not None else []
    facts: list[tuple[str, str, str]] = [
        ("rows scored", f"{scores.get('n') or 0:,}", _kind(scores)),
        ("rows rejected", f"{scores.get('rejected') or 0:,}", "see rejected.jsonl" if scores.get("rejected") else ""),
        ("model", name(str(model.get("name") or "given predictions"), 40), ", ".join(more)),
    ]
    cards = (
        tag("div", tag("dt", label), tag("dd", tag("strong", value), " ", tag("small", extra)))
        for label, value, extra in facts
    )
    return joined([tag("dl", *cards, class_="cards"), _data(scores)])


def _kind(scores: Scores) -> str:
    return ", ".join(dict.fromkeys(str(scores[key]) for key in ("task", "kind", "shape") if scores.get(key)))


def _data(scores: Scores) -> Html:
    model, files = scores.get("model") or {}, list(scores.get("data") or [])
    counted = any("rows" in item for item in files)
    rows = [
        (
            name(str(item.get("name"))),
            tag("code", str(item.get("hash") or "-")),
            *([figures.flat(item.get("rows"))] if counted else []),
        )
        for item in files[:MOST_FILES]
    ]
    left = len(files) - MOST_FILES
    more = [note(f"{left:,} more files are in scores.json.")] if left > 0 else []
    head = ("file", "hash (xxh3-128)", *(["rows"] if counted else []))
    run = [note("The model was made by run ", tag("code", str(model["run"])), ".")] if model.get("run") else []
    return joined([*([table("Data", head, rows)] if rows else []), *more, *run])


def warnings(scores: Scores) -> Html:
    found: list[str] = []
    if overlap := figures.overlap_sentence(scores):
        found.append(overlap)
    if rejected := int(scores.get("rejected") or 0):
        found.append(f"{figures.rows(rejected)} could not be measured; rejected.jsonl says why.")
    for metric, score in figures.metrics(scores).items():
        if score.get("mixed"):
            found.append(f"{metric}: the rows are of mixed writing ({figures.flat(score['mixed'])}).")
    return joined([warning(sentence) for sentence in found])
