"""What a row asks: its text without the answer that is looked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ptft.core.examples import row_text, shape_of, to_messages

_ANSWERS = (
    "id",
    "label",
    "labels",
    "answer",
    "answers",
    "answerKey",
    "target",
    "reference",
    "prediction",
    "by",
    "gold",
)


def question(data: Mapping[str, Any]) -> str:
    """The input of a row of any shape: a conversation up to its last answer, a text, a question with its context.

    Of a row of no known shape (a task's template reads what it likes) all texts but those that answers are called by.
    """
    if isinstance(data.get("input"), str | Mapping) and "instruction" not in data:
        return "\n".join(_strings(data["input"]))  # of a prediction
    shape = shape_of(data)
    if shape is None:
        return "\n".join(_strings({key: value for key, value in data.items() if key not in _ANSWERS}))
    if shape.name == "preference":
        return str(data["prompt"])
    try:
        messages = to_messages(data, shape)
    except KeyError:
        return row_text(data)
    answers = [number for number, message in enumerate(messages) if message["role"] == "assistant"]
    return "\n".join(message["content"] for message in messages[: answers[-1] if answers else None])


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _strings(item)
    elif isinstance(value, list):
        for item in value:
            yield from _strings(item)
