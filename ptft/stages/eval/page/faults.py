"""What is wrong with a row of predictions, and how badly, by the kind of the predictions."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ptft.core.metrics import names
from ptft.core.metrics.kinds import listed
from ptft.stages.eval.page.boxes import box_faults
from ptft.stages.eval.page.figures import Scores, metrics, number, shown

Row = Mapping[str, Any]
Badness = tuple[float, ...] | None  # the larger the worse; None: nothing is wrong
_COARSE = ("exact_match", "accuracy", "acc", "acc_norm", "subset_accuracy", "top1", "top5", "flagged", "preference")
FIRST = 100  # rows that are looked at for what rows have
NOWHERE = 10**9  # the rank of what is not listed


@dataclass(frozen=True)
class Rule:
    """title: how rows are chosen, for people. badness: of a row. said: what is so bad about it."""

    title: str
    badness: Callable[[Row], Badness]
    said: Callable[[Row], str]


def rule_of(scores: Scores, rows: Sequence[Row]) -> Rule | None:
    """By the kind of the predictions and what their rows hold; None where nothing ranks them."""
    return _RULES.get(str(scores.get("kind")), _by_own)(scores, rows)


# ---------------------------------------------------------------- labels


def _labels(scores: Scores, rows: Sequence[Row]) -> Rule:
    """Wrong with the highest probability; else with the highest loss; else as they come."""
    if any(_confidence(row) is not None for row in rows[:FIRST]):
        return Rule(
            "wrong labels, the surest first",
            lambda row: (_confidence(row) or 0.0,) if _is_wrong(row) else None,
            lambda row: f"probability {_confidence(row) or 0:.3f}",
        )
    if any(number(row.get("loss")) is not None for row in rows[:FIRST]):
        return Rule(
            "wrong labels, the highest loss first",
            lambda row: (number(row.get("loss")) or 0.0,) if _is_wrong(row) else None,
            lambda row: f"loss {number(row.get('loss')) or 0:.3f}",
        )
    return _first_wrong


_first_wrong = Rule(
    "wrong rows, in the order of the file", lambda row: (0.0,) if _is_wrong(row) else None, lambda row: ""
)


def _is_wrong(row: Row) -> bool:
    return str(row.get("reference")) != str(row.get("prediction"))


def _confidence(row: Row) -> float | None:
    chances = row.get("probabilities")
    if isinstance(chances, Mapping):
        return number(chances.get(str(row.get("prediction"))))
    return number(row.get("probability"))


def _choices(scores: Scores, rows: Sequence[Row]) -> Rule:
    if not any(_lead(row) is not None for row in rows[:FIRST]):
        return _labels(scores, rows)
    return Rule(
        "wrong choices, those that lead the right one by most first",
        lambda row: (lead,) if (lead := _lead(row)) else None,
        lambda row: f"log-likelihood {_lead(row) or 0:.2f} above the right choice",
    )


def _lead(row: Row) -> float | None:
    """How much likelier the likeliest choice is than the right one, in nats; 0 where it is the right one."""
    likelihoods, answer = row.get("loglikelihoods") or (), row.get("answer")
    right = [one for one in (answer if isinstance(answer, list) else [answer]) if isinstance(one, int)]
    if not right or not all(0 <= one < len(likelihoods) for one in right):
        return None
    values = [-math.inf if (value := number(item)) is None else value for item in likelihoods]
    lead = max(values) - max(values[one] for one in right)
    return lead if math.isfinite(lead) else None


def _many_labels(scores: Scores, rows: Sequence[Row]) -> Rule:
    return Rule(
        "rows with the most wrong labels first, then by loss",
        lambda row: (float(count), number(row.get("loss")) or 0.0) if (count := _wrong_labels(row)) else None,
        lambda row: _counted(_wrong_labels(row), "wrong label"),
    )


def _wrong_labels(row: Row) -> int:
    return len(set(listed(row.get("reference"))) ^ set(listed(row.get("prediction"))))


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"


# ---------------------------------------------------------------- numbers, tags, texts


def _numbers(scores: Scores, rows: Sequence[Row]) -> Rule:
    return Rule(
        "the largest errors first",
        lambda row: (error,) if (error := _error(row)) else None,
        lambda row: f"off by {_error(row) or 0:.4g}",
    )


def _error(row: Row) -> float | None:
    wanted, made = number(row.get("reference")), number(row.get("prediction"))
    return None if wanted is None or made is None else abs(wanted - made)


def _tags(scores: Scores, rows: Sequence[Row]) -> Rule:
    return Rule(
        "rows with the most wrong tags first",
        lambda row: (float(count),) if (count := _wrong_tags(row)) else None,
        lambda row: _counted(_wrong_tags(row), "wrong tag"),
    )


def _wrong_tags(row: Row) -> int:
    wanted, made = listed(row.get("reference") or []), listed(row.get("prediction") or [])
    return sum(one != other for one, other in zip(wanted, made, strict=False)) + abs(len(wanted) - len(made))


def _texts(scores: Scores, rows: Sequence[Row]) -> Rule:
    """By a metric that rows have a score of; a prediction equal to a reference is no fault."""
    if not any("prediction" in row for row in rows[:FIRST]):
        return _language(scores, rows)
    rule = _by_own(scores, rows) or _first_wrong
    return Rule(rule.title, lambda row: None if _is_right(row) else rule.badness(row), rule.said)


def _is_right(row: Row) -> bool:
    wanted, made = listed(row.get("reference") or []), str(row.get("prediction") or "")
    return made in wanted or (not wanted and not made)


def _by_own(scores: Scores, rows: Sequence[Row]) -> Rule | None:
    """By the first metric that rows have a score of; by one that is only 0 or 1 where there is no other."""
    found = [name for name in metrics(scores) if any(number(row.get(name)) is not None for row in rows[:FIRST])]
    found.sort(key=lambda name: name in _COARSE)
    return _of_metric(found[0]) if found else None


def _of_metric(name: str) -> Rule:
    """Rows by their own score of a metric. Nothing is wrong with a row that has none."""
    lower = name in names.LOWER_IS_BETTER
    best = 0.0 if lower else 100.0 if name in ("bleu", "chrf") else 1.0

    def badness(row: Row) -> Badness:
        own = number(row.get(name))
        if own is None or (own <= best if lower else own >= best):
            return None
        return (own if lower else -own,)

    return Rule(
        f"{'highest' if lower else 'lowest'} {name} first", badness, lambda row: f"{name} {shown(name, row.get(name))}"
    )


def _generations(scores: Scores, rows: Sequence[Row]) -> Rule | None:
    """Flagged ones; else by repetition, or what else the rows have a score of."""
    if any(number(row.get("flagged")) for row in rows):
        return Rule("flagged generations", lambda row: (1.0,) if row.get("flagged") else None, lambda row: "flagged")
    repeating = any(number(row.get("repetition")) is not None for row in rows[:FIRST])
    return _of_metric("repetition") if repeating else _by_own(scores, rows)


def _language(scores: Scores, rows: Sequence[Row]) -> Rule:
    return Rule(
        "the least expected texts first, by bits per byte",
        lambda row: (bits,) if (bits := _bits(row)) is not None else None,
        lambda row: f"{_bits(row) or 0:.3f} bits per byte",
    )


def _bits(row: Row) -> float | None:
    nll, size = number(row.get("nll")), number(row.get("bytes"))
    return nll / size / math.log(2) if nll is not None and size else None


def _preferences(scores: Scores, rows: Sequence[Row]) -> Rule:
    return Rule(
        "pairs whose likelihoods differ most first",
        lambda row: (gap,) if (gap := _gap(row)) else None,
        lambda row: f"log-likelihoods differ by {_gap(row) or 0:.2f}",
    )


def _gap(row: Row) -> float | None:
    values = [value for item in row.get("loglikelihoods") or () if (value := number(item)) is not None]
    return abs(values[0] - values[1]) if len(values) == 2 else None


# ---------------------------------------------------------------- rankings, images


def _rankings(scores: Scores, rows: Sequence[Row]) -> Rule:
    def said(row: Row) -> str:
        rank = _rank(row)
        return "nothing relevant is listed" if rank == NOWHERE else f"first relevant at {rank:,}"

    return Rule(
        "rankings whose first relevant item is farthest down first",
        lambda row: (float(rank),) if (rank := _rank(row)) > 1 else None,
        said,
    )


def _rank(row: Row) -> int:
    """Of the first relevant item, from 1; NOWHERE where there is none."""
    wanted = set(listed(row.get("reference")))
    places = (place for place, item in enumerate(row.get("prediction") or (), 1) if str(item) in wanted)
    return next(places, NOWHERE)


def _boxes(scores: Scores, rows: Sequence[Row]) -> Rule:
    return Rule(
        "images with the most objects missed or imagined first (overlap 0.5, confidence 0.5)",
        _box_badness,
        lambda row: "{} missed, {} imagined".format(*box_faults(row)),
    )


def _box_badness(row: Row) -> Badness:
    missed, imagined = box_faults(row)
    return (float(missed + imagined), float(missed)) if missed + imagined else None


_RULES: dict[str, Callable[[Scores, Sequence[Row]], Rule | None]] = {
    "labels": _labels, "many-labels": _many_labels, "numbers": _numbers, "tags": _tags, "plain-tags": _tags, "spans": _texts,
    "texts": _texts, "answers": _texts, "generations": _generations, "language": _language, "choices": _choices,
    "preferences": _preferences, "rankings": _rankings, "boxes": _boxes,
}  # fmt: skip
