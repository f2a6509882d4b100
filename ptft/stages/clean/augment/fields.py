"""Which texts of a row may be said in other words, in every shape, and a row with them said otherwise.

Prompts, never answers: an answer is what is learnt, and it has to fit what it answers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ptft.core.examples import SHAREGPT_ROLES, Shape

_TEXTS = {
    "text": ("text",), "text-label": ("text",), "pair-label": ("text", "text_pair"), "source-target": ("source",),
    "prompt-completion": ("prompt",), "preference": ("prompt",), "alpaca": ("instruction",),
}  # fmt: skip
_TURNS = {"messages": ("messages", "role", "content"), "sharegpt": ("conversations", "from", "value")}
TAKEN = (*_TEXTS, *_TURNS, "tags")  # a prediction is nobody's to reword


def texts_of(row: Mapping[str, Any], shape: Shape) -> list[str]:
    """The texts in order; of a conversation, what the user says. A row of tags has none: see `spans_of`."""
    if shape.name in _TURNS:
        field, _, content = _TURNS[shape.name]
        return [turn[content] for turn in row[field] if _asks(turn, shape)]
    return [row[field] for field in _TEXTS[shape.name]]


def with_texts(row: Mapping[str, Any], shape: Shape, texts: Sequence[str]) -> dict[str, Any]:
    """The row with these in the place of `texts_of`; all else as it is."""
    if shape.name not in _TURNS:
        return {**row, **dict(zip(_TEXTS[shape.name], texts, strict=True))}
    field, _, content = _TURNS[shape.name]
    new = iter(texts)
    turns = [{**turn, content: next(new)} if _asks(turn, shape) else turn for turn in row[field]]
    return {**row, field: turns}


def _asks(turn: Any, shape: Shape) -> bool:
    _, role, content = _TURNS[shape.name]
    if not isinstance(turn, Mapping) or not isinstance(turn.get(content), str):
        return False
    return SHAREGPT_ROLES.get(str(turn.get(role)), "") == "user"


# ---------------------------------------------------------------- tokens with tags


def joined(tokens: Sequence[str], space: str) -> tuple[str, list[tuple[int, int]]]:
    """Tokens as a text, with a space between or none, and the span of each in it."""
    spans, position = [], 0
    for token in tokens:
        spans.append((position, position + len(token)))
        position += len(token) + len(space)
    return space.join(tokens), spans


def replaceable(tags: Sequence[Any]) -> list[bool]:
    """Which tokens may change: those outside entities. Tags of another kind (parts of speech) hold for a synonym too."""
    marks_spans = any(tag == "O" or isinstance(tag, int) or str(tag)[1:2] == "-" for tag in tags)
    return [not marks_spans or tag in ("O", 0) for tag in tags]
