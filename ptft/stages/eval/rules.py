"""What is wrong with a row of predictions, by kind: the stated rule for everything odd that files of other tools hold."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from ptft.core.metrics.numbers import number_of
from ptft.core.metrics.probabilities import SUM_IS_OFF

Data = Mapping[str, Any]
Rule = Callable[[Data], str | None]
LARGEST = 1e100  # a number that is measured: its square and the sum of those are numbers, too


def _first(data: Data, *checks: Rule) -> str | None:
    return next((found for check in checks if (found := check(data))), None)


def _there(field: str) -> Rule:
    def check(data: Data) -> str | None:
        if field not in data:
            return f"no field {field!r}"
        return f"the field {field!r} is empty (null)" if data[field] is None else None

    return check


def _of(field: str, kinds: tuple[type, ...], said: str) -> Rule:
    def check(data: Data) -> str | None:
        value = data[field]
        right = isinstance(value, kinds) and not (isinstance(value, float) and not math.isfinite(value))
        return None if right else f"the field {field!r} is {_named(value)}, not {said}"

    return check


def _named(value: Any) -> str:
    return {list: "a list", dict: "an object", str: "a text", float: "no finite number"}.get(
        type(value), type(value).__name__
    )


def _list(field: str, kinds: tuple[type, ...] = (str, int, float, bool)) -> Rule:
    def check(data: Data) -> str | None:
        value = data[field]
        if not isinstance(value, list):
            return f"the field {field!r} is {_named(value)}, not a list"
        return None if all(isinstance(item, kinds) for item in value) else f"the list {field!r} holds something odd"

    return check


_SCALAR = (str, int, float, bool)


# ---------------------------------------------------------------- labels


def _labels(data: Data) -> str | None:
    if "prediction" not in data and "probabilities" in data:
        return _first(data, _there("reference"), _of("reference", _SCALAR, "a label"), _empty_label, _probabilities)
    checks = (_there("reference"), _there("prediction"), _of("reference", _SCALAR, "a label"))
    return _first(data, *checks, _of("prediction", _SCALAR, "a label"), _empty_label, _probabilities)


def _empty_label(data: Data) -> str | None:
    return None if str(data["reference"]).strip() else "an empty reference"


def _probabilities(data: Data) -> str | None:
    chances = data.get("probabilities")
    if chances is None:
        return None
    if not isinstance(chances, dict) or not chances:
        return "the field 'probabilities' is not an object {label: p}"
    for label, chance in chances.items():
        if isinstance(chance, bool) or not isinstance(chance, int | float) or not math.isfinite(chance):
            return f"the probability of {label!r} is {chance!r}, not a number"
        if not 0 <= chance <= 1:
            return f"the probability of {label!r} is {chance:g}, not between 0 and 1"
    total = sum(chances.values())
    return None if abs(total - 1) <= SUM_IS_OFF else f"the probabilities sum to {total:.4g}, not 1"


def _many_labels(data: Data) -> str | None:
    return _first(data, _there("reference"), _there("prediction"), _list("reference"), _list("prediction"))


def _numbers(data: Data) -> str | None:
    def number(side: str) -> Rule:
        def check(row: Data) -> str | None:
            value = number_of(row[side])
            if value is None:
                return f"the {side} {row[side]!r} is not a number"
            return f"the {side} {value:g} is beyond what can be squared" if abs(value) > LARGEST else None

        return check

    return _first(data, _there("reference"), _there("prediction"), number("reference"), number("prediction"))


# ---------------------------------------------------------------- tags and texts


def _tags(data: Data) -> str | None:
    return _first(data, _plain_tags, _of_a_scheme)


def _plain_tags(data: Data) -> str | None:
    if found := _many_labels(data):
        return found
    made, wanted = len(data["prediction"]), len(data["reference"])
    return None if made == wanted else f"{made:,} predicted tags for {wanted:,} words"


def _of_a_scheme(data: Data) -> str | None:
    from ptft.core.tagging import scheme_of

    tags = [str(tag) for side in ("reference", "prediction") for tag in data[side]]
    return "the tags are of no scheme (IOB2, IOBES)" if scheme_of(tags) == "plain" and set(tags) != {"O"} else None


def _reference(data: Data) -> str | None:
    """A text, or several of which the best counts."""
    wanted = data["reference"]
    references = wanted if isinstance(wanted, list) else [wanted]
    if not references or not all(isinstance(item, str | int | float) for item in references):
        return "the reference is no text and no list of texts"
    return None if all(str(item).strip() for item in references) else "an empty reference"


def _texts(data: Data) -> str | None:
    checks = (_there("reference"), _there("prediction"), _reference, _of("prediction", _SCALAR, "a text"))
    return _first(data, *checks)


def _spans(data: Data) -> str | None:
    """An empty list of references: the question has no answer."""
    if data.get("reference") == []:
        return _first(data, _there("prediction"), _of("prediction", _SCALAR, "a text"))
    return _texts(data)


def _generations(data: Data) -> str | None:
    return _first(data, _there("prediction"), _of("prediction", (str,), "a text"))


# ---------------------------------------------------------------- likelihoods


def _language(data: Data) -> str | None:
    for name in ("nll", "tokens", "bytes"):
        if name not in data:
            return f"no field {name!r}"
        value = data[name]
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
            return f"the field {name!r} is no number of at least 0"
    return None


def _answers(data: Data) -> str | None:
    """With the likelihood of the reference; the answer itself may be missing where only that was asked for."""
    return _language(data) or _first(data, _there("reference"), _reference)


def _choices(data: Data) -> str | None:
    if found := _first(data, _there("answer"), _there("loglikelihoods"), _there("lengths")):
        return found
    if found := _numbers_in(data, "loglikelihoods") or _numbers_in(data, "lengths"):
        return found
    count = len(data["loglikelihoods"])
    if len(data["lengths"]) != count:
        return f"{count:,} loglikelihoods and {len(data['lengths']):,} lengths"
    answers = data["answer"] if isinstance(data["answer"], list) else [data["answer"]]
    right = answers and all(isinstance(item, int) and 0 <= item < count for item in answers)
    return None if right else f"the answer {data['answer']!r} is none of the {count:,} choices"


def _numbers_in(data: Data, name: str) -> str | None:
    if found := _list(name, (int, float))(data):
        return found
    if not data[name]:
        return f"the list {name!r} is empty"
    return None if all(math.isfinite(item) for item in data[name]) else f"the list {name!r} holds no finite numbers"


def _preferences(data: Data) -> str | None:
    if found := _first(data, _there("loglikelihoods")) or _numbers_in(data, "loglikelihoods"):
        return found
    return None if len(data["loglikelihoods"]) == 2 else "not two loglikelihoods"


# ---------------------------------------------------------------- rankings, images


def _rankings(data: Data) -> str | None:
    if found := _first(data, _there("reference"), _there("prediction"), _list("prediction", (str, int, float))):
        return found
    return _reference(data)


def _boxes(data: Data) -> str | None:
    if found := _first(data, _there("reference"), _there("prediction"), _list("reference", (dict,))):
        return found
    if found := _list("prediction", (dict,))(data):
        return found
    for side in ("reference", "prediction"):
        for box in data[side]:
            if "label" not in box or not _is_box(box.get("box")):
                return f"a {side} without its label, or without a box [x, y, width, height]"
            if box.get("iscrowd", 0) not in (0, 1):
                return f"iscrowd is {box['iscrowd']!r}, neither 0 nor 1"
            if side == "prediction" and number_of(box.get("score")) is None:
                return "a prediction without a score"
    return None


def _is_box(box: Any) -> bool:
    """Numbers, and of no negative size."""
    sides = [number_of(side) for side in box] if isinstance(box, list) else []
    return len(sides) == 4 and None not in sides and min(sides[2] or 0.0, sides[3] or 0.0) >= 0


RULES: dict[str, Rule] = {
    "labels": _labels, "many-labels": _many_labels, "numbers": _numbers, "tags": _tags, "plain-tags": _plain_tags,
    "spans": _spans, "texts": _texts, "answers": _answers, "generations": _generations, "language": _language,
    "choices": _choices, "preferences": _preferences, "rankings": _rankings, "boxes": _boxes,
}  # fmt: skip
