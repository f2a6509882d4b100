"""Scores as people read them: digits, ranges, which way is better, and why there is no value. Shared by all that is shown."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from ptft.core.metrics import names
from ptft.core.progress import cell

Scores = Mapping[str, Any]  # what scores.json holds
HUNDREDS = ("bleu", "chrf", "ter")  # 0 to 100, as sacrebleu prints them
SIGNED = ("mcc", "kappa", "pearson", "spearman")  # -1 to 1
OPEN = ("perplexity", "bits_per_byte", "mse", "rmse", "mae", "r2", "log_loss")  # no upper, or for r2 no lower, bound
NEITHER = ("preference",)  # of a bias probe nearer 0.5 is better, of a preference task more
_BESIDE = (
    "score",
    "ci95",
    "n",
    "per_class",
    "per_type",
    "confusion",
    "why",
    "examples",
)  # shown elsewhere, or not at all
NO_VALUE, NO_INTERVAL = "no value", "none"


def number(value: Any) -> float | None:
    """A finite number, or None: NaN is null in JSON."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def shown(metric: str, value: Any) -> str:
    """A score on the scale that scores.json and the gates have: 0.8792, 34.31, 12.6."""
    known = number(value)
    if known is None:
        return NO_VALUE
    if metric in HUNDREDS:
        return f"{known:.2f}"
    return cell(known) if metric in OPEN else f"{known:.4f}"


def signed(metric: str, value: Any) -> str:
    text = shown(metric, value)
    return text if text == NO_VALUE or text.startswith("-") else f"+{text}"


def interval(score: Scores) -> tuple[float, float] | None:
    """The 95 % interval, where both ends are numbers."""
    low, high = (number(end) for end in (score.get("ci95") or (None, None)))
    return None if low is None or high is None else (low, high)


def interval_text(metric: str, score: Scores, between: str = " - ", sign: bool = False) -> str:
    ends = interval(score)
    if ends is None:
        return NO_INTERVAL
    between = " to " if between == " - " and min(ends) < 0 else between  # not "-0.25 - -0.2"
    return between.join((signed if sign else shown)(metric, end) for end in ends)


def why_missing(score: Scores, settings: Scores) -> str:
    """Why a score has no value or no interval; "" where it has both."""
    reason = str(score.get("why") or "")
    if number(score.get("score")) is None:
        return reason or "it is not defined for these rows"
    if interval(score) is not None:
        return ""
    if settings.get("bootstrap") == 0:
        return "no interval was asked for (bootstrap 0)"
    return str(score.get("no_interval") or reason or "under half of the resamples have a value")


def p_text(value: Any) -> str:
    known = number(value)
    if known is None:
        return NO_VALUE
    return "< 0.001" if known < 0.001 else f"{known:.3f}"


def rows(count: Any) -> str:
    return "1 row" if count == 1 else f"{count or 0:,} rows"


def share(part: float, whole: float) -> str:
    return f"{part / whole:.1%}" if whole else "-"


def better(metric: str) -> str:
    return "-" if metric in NEITHER else ("lower" if metric in names.LOWER_IS_BETTER else "higher")


def span(metric: str, *values: float) -> tuple[float, float]:
    """The ends of a metric's axis; wider than its usual range where a value lies outside."""
    low, high = {**dict.fromkeys(HUNDREDS, (0.0, 100.0)), **dict.fromkeys(SIGNED, (-1.0, 1.0))}.get(metric, (0.0, 1.0))
    if metric in OPEN:
        high = rounded_up(max([1.0 if metric == "r2" else 0.0, *values]))
    least, most = min(values, default=low), max(values, default=high)
    return (low if least >= low else -rounded_up(-least)), (high if most <= high else rounded_up(most))


def rounded_up(value: float) -> float:
    """The next of 1, 2, 5, 10, 20, ...; 1 for what is nothing, or too small to draw."""
    if value < 1e-12:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return next((step * power for step in (1, 2, 5) if value <= step * power), 10 * power)


# ---------------------------------------------------------------- parts of scores.json


def metrics(scores: Scores) -> dict[str, Scores]:
    return {name: score for name, score in (scores.get("metrics") or {}).items() if isinstance(score, Mapping)}


def classes(scores: Scores) -> tuple[tuple[str, ...], dict[str, Scores]]:
    """Each label's (or entity type's) own figures, from the first metric that has them, and their names.

    Precision, recall, f1 and support; or the metric itself where it is one number a label.
    """
    for metric, score in metrics(scores).items():
        if found := score.get("per_class") or score.get("per_type"):
            held = {label: value if isinstance(value, Mapping) else {metric: value} for label, value in found.items()}
            return tuple(next(iter(held.values()))), held
    return (), {}


def class_cells(columns: Sequence[str], figures: Scores) -> tuple[str, ...]:
    return tuple((flat if name == "support" else partial(shown, name))(figures.get(name)) for name in columns)


def confusion(scores: Scores) -> tuple[list[str], list[list[int]]] | None:
    """Labels, and counts: a row a reference, a column a prediction."""
    found = (scores.get("figures") or {}).get("confusion") or metrics(scores).get("accuracy", {}).get("confusion")
    return ([str(label) for label in found["labels"]], found["counts"]) if found else None


def detail(score: Scores) -> list[tuple[str, str]]:
    """What else a score says of itself (its signature, tokenizer, average), as texts."""
    return [(name, flat(value)) for name, value in score.items() if name not in _BESIDE]


def flat(value: Any, most: int = 300) -> str:
    """Any JSON on one line."""
    if isinstance(value, Mapping):
        text = ", ".join(f"{key} {flat(item)}" for key, item in list(value.items())[:20])
        return _cut(text + (", ..." if len(value) > 20 else ""), most)
    if isinstance(value, list | tuple):
        return _cut(", ".join(flat(item) for item in value[:20]) + (", ..." if len(value) > 20 else ""), most)
    if isinstance(value, str):
        return _cut(value if value.strip() else json.dumps(value), most)  # a stop string "\n" is seen
    return _cut(cell(value) if isinstance(value, int | float | None) else str(value), most)


def settings(scores: Scores) -> list[tuple[str, str]]:
    """Settings on one level: decoding.beams."""
    return [(name, flat(value)) for name, value in _leaves(scores.get("settings") or {}, "")]


def _leaves(tree: Scores, prefix: str) -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for key, value in tree.items():
        found += _leaves(value, f"{prefix}{key}.") if isinstance(value, Mapping) else [(f"{prefix}{key}", value)]
    return found


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def title(scores: Scores) -> str:
    """What was measured on what."""
    model = scores.get("model") or {}
    files = [str(item.get("name")) for item in scores.get("data") or []]
    on = ", ".join(files[:3]) + (f" and {len(files) - 3:,} more" if len(files) > 3 else "")
    return f"{model.get('name') or 'given predictions'}{' on ' + on if on else ''}"


def overlap_sentence(scores: Scores) -> str:
    """A warning where evaluation rows were found in training text, or not all of that was read; "" else."""
    overlap = scores.get("overlap") or {}
    said, found = str(overlap.get("warning") or ""), int(overlap.get("rows") or 0)
    if said or not found:
        return said
    whole = overlap.get("checked_rows") or scores.get("n")
    return f"{found:,} of {rows(whole)} share text with the training data ({share(found, whole or 0)})"
