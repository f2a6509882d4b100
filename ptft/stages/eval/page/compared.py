"""The comparison with another run: differences with their intervals, McNemar's test, and the rows that changed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ptft.stages.eval.page import figures, plots, shown
from ptft.stages.eval.page.figures import Scores
from ptft.stages.eval.page.markup import Html, Section, joined, keep, name, note, section, table, tag, warning

MOST_FLIPS = 40


def section_of(scores: Scores) -> Section | None:
    found = scores.get("comparison") or {}
    if not found:
        return None
    odd = [warning(str(sentence)) for sentence in found.get("warnings") or []]
    parts = [tag("p", *_intro(found)), *odd, _differences(found), _mcnemar(found), _flips(found)]
    return section("comparison", "Comparison", *parts)


def other_name(found: Scores) -> str:
    return str((found.get("with") or {}).get("name") or "the other run")


def _intro(found: Scores) -> list[str]:
    run = (found.get("with") or {}).get("run")
    aligned = f", {found.get('n') or 0:,} rows aligned by {found.get('aligned_by') or 'id'}."
    alone = [
        f"{found[key]:,} only {where}"
        for key, where in (("only_here", "here"), ("only_there", "there"))
        if found.get(key)
    ]
    left = f" Left out: {', '.join(alone)}." if alone else ""
    return ["With ", name(other_name(found)), *([" (run ", tag("code", str(run)), ")"] if run else []), aligned + left]


def _differences(found: Scores) -> Html:
    rows = [_difference(metric, score) for metric, score in (found.get("metrics") or {}).items()]
    head = ("metric", "this run", "the other", "difference", "95 % interval", "dashed: no difference", "p", "")
    text = "Difference: this run less the other, on the same resamples of the rows (paired bootstrap)."
    return joined([table("Paired differences", head, rows), note(text)])


def _difference(metric: str, score: Scores) -> tuple[str, ...]:
    change, ends = figures.number(score.get("difference")), figures.interval(score)
    reach = figures.rounded_up(max((abs(one) for one in (change, *(ends or ())) if one is not None), default=1.0))
    between = figures.interval_text(metric, score, " to ", sign=True)
    told = f"{metric}: difference {figures.signed(metric, change)}, 95 % interval {between}; axis from {-reach:g} to {reach:g}"
    return (
        tag("code", metric), *(figures.shown(metric, score.get(side)) for side in ("score", "other")),
        tag("strong", figures.signed(metric, change)), keep(between),
        plots.interval(change, ends, (-reach, reach), told, 0.0), keep(figures.p_text(score.get("p"))), keep(verdict(metric, score)),
    )  # fmt: skip


def verdict(metric: str, score: Scores) -> str:
    """In words, what an interval that leaves zero on one side means."""
    change, ends = figures.number(score.get("difference")), figures.interval(score)
    if change is None:
        return ""
    if ends is None or ends[0] <= 0 <= ends[1]:
        return "not told apart"
    wanted = figures.better(metric)
    if wanted not in ("higher", "lower"):
        return "different"
    return "better" if (change > 0) == (wanted == "higher") else "worse"


def _mcnemar(found: Scores) -> Html:
    test = found.get("mcnemar")
    if not isinstance(test, Mapping):
        return Html("")
    rest = "; ".join(
        f"{key.replace('_', ' ')} {figures.flat(value)}"
        for key, value in test.items()
        if key != "p" and value is not None
    )
    return tag("p", f"McNemar's test: p {figures.p_text(test.get('p'))}{' (' + rest + ')' if rest else ''}.")


# ---------------------------------------------------------------- rows that changed


def _flips(found: Scores) -> Html:
    flips = found.get("flips") or {}
    if not flips:
        return Html("")
    examples = [item for item in flips.get("examples") or [] if isinstance(item, Mapping)]
    rows = [_flip(item) for item in examples[:MOST_FLIPS]]
    head = ("id", "change", "input", "reference", "this run", "the other", "score")
    found_rows = [table("Examples; all are in flips.jsonl", head, rows)] if rows else []
    return joined([tag("h3", "Rows that changed"), tag("p", flips_sentence(flips)), *found_rows])


def flips_sentence(flips: Scores) -> str:
    by = f" by {flips['metric']}" if flips.get("metric") else ""
    return f"{figures.rows(flips.get('gained'))} gained (better here), {flips.get('lost') or 0:,} lost{by}."


def _flip(item: Mapping[str, Any]) -> tuple[str, ...]:
    cells = (shown.plain(_text(item.get(key))) for key in ("input", "reference", "prediction", "other"))
    own = [figures.flat(item[key]) for key in ("score", "other_score") if key in item]
    return name(str(item.get("id"))), figures.flat(item.get("change", "")), *cells, " / ".join(own)


def _text(value: Any) -> Any:
    """Parts of an input without their names; nothing for what is not there."""
    if value is None:
        return ""
    return " / ".join(text for _, text in shown.parts_of(value)) if isinstance(value, dict) else value
