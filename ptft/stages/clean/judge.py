"""A batch of rows, checked, normalised and judged: a pure function, the same for a block and for a dry run's sample."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ptft.core.examples import SHAPES, Shape, misshapen, row_text, shape_of
from ptft.core.minhash import U32, U64, Tokens, tokenise
from ptft.core.rows import Rejected, Row, lacks
from ptft.core.text import language, normalise
from ptft.stages.clean.recipe import CleanRecipe
from ptft.stages.clean.rules import Reason, broken_rules

TEXT_SHAPES = ("text", "text-label")  # the shapes that quality rules are for
ACCEPTED_SHAPES = tuple(shape for shape in SHAPES if shape.name != "prediction")
NOT_PROSE = ("label", "tags")


@dataclass(frozen=True)
class Judged:
    """n rows as they will be written, what was found of each, and why it is dropped (no reasons: it is not)."""

    data: list[dict[str, Any]]
    texts: list[str]
    languages: list[str]
    tokens: Tokens
    reasons: list[list[Reason]]


def judge(recipe: CleanRecipe, rows: Sequence[Row]) -> Judged:
    data = [_normalised(row.data) for row in rows]
    texts = [row_text(item) for item in data]
    languages = [language(text) for text in texts]
    tokens = tokenise(texts)
    reasons = [
        _reasons(recipe, *each, *tokens.of(number))
        for number, each in enumerate(zip(data, texts, languages, strict=True))
    ]
    return Judged(data, texts, languages, tokens, reasons)


def problem_of(row: Row, expected: Shape) -> Rejected | None:
    """Why a row is none of the shapes there are. expected: the first row's shape, to say what this one lacks."""
    shape = shape_of(row.data)
    if shape is not None and shape in ACCEPTED_SHAPES:
        unlabelled = "label" in row.data and row.data["label"] is None  # text all the same
        return misshapen(replace(row, data={**row.data, "label": ""}) if unlabelled else row, shape)
    return lacks(row, ["text"]) if expected.name == "text" else misshapen(row, expected)


def _normalised(data: Mapping[str, Any]) -> dict[str, Any]:
    """The row with the text of its shape normalised; other fields ride along untouched."""
    shape = shape_of(data)
    assert shape is not None
    prose = {*shape.needs, *(("input", "system") if shape.name == "alpaca" else ())}.difference(NOT_PROSE)
    return {name: _normalise_prose(value) if name in prose else value for name, value in data.items()}


def _normalise_prose(value: Any) -> Any:
    """A text; a list of tokens, none of which may vanish; or a list of messages, of which only the content is text."""
    if isinstance(value, str):
        return normalise(value)
    if not isinstance(value, list):
        return value
    return [(normalise(item) or item) if isinstance(item, str) else _normalise_message(item) for item in value]


def _normalise_message(message: Any) -> Any:
    if not isinstance(message, dict):
        return message
    return {
        name: normalise(value) if name in ("content", "value") and isinstance(value, str) else value
        for name, value in message.items()
    }


def _reasons(
    recipe: CleanRecipe, data: Mapping[str, Any], text: str, lang: str, hashes: U64, lengths: U32
) -> list[Reason]:
    """Every reason to drop a row, duplicates aside; the first is the one that is counted."""
    if not text.strip():
        return [Reason("empty", 0, 1)]
    reasons = []
    if recipe.languages and lang not in recipe.languages:
        reasons.append(Reason("language", lang, recipe.lang))
    shape = shape_of(data)
    judged = recipe.rules == "on" or (recipe.rules == "auto" and shape is not None and shape.name in TEXT_SHAPES)
    return reasons + (broken_rules(text, lang, hashes, lengths, recipe.english, recipe.chinese) if judged else [])
