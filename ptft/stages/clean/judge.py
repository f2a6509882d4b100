"""A batch of rows, checked, edited, measured and judged: pure functions, the same for a block and for a dry run's sample."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ptft.core.examples import SHAPES, Shape, misshapen, row_text, shape_of
from ptft.core.language import identify, language
from ptft.core.minhash import Tokens, token_spans, tokenise
from ptft.core.rows import Rejected, Row, lacks
from ptft.stages.clean.edits import TEXT_SHAPES, Editor, Edits
from ptft.stages.clean.protect import Protected, cut
from ptft.stages.clean.recipe import CleanRecipe
from ptft.stages.clean.rules import Reason, broken_rules, rules_of
from ptft.stages.clean.signals.measure import F32, NAMES, SENSITIVE, measure, unmeasured

CUT_FOR = "cut_for"
ADDED = ("reasons", "similarity", "duplicate_of", "duplicate_in", "cluster_size", CUT_FOR)  # to rows, by clean
ACCEPTED_SHAPES = tuple(shape for shape in SHAPES if shape.name != "prediction")


@dataclass(frozen=True)
class Measured:
    """n rows as they will be written, and what was found of each: all that judging them needs.

    table: (n, len(NAMES)). protected: the evaluation row that each shares text with, or "".
    """

    data: list[dict[str, Any]]
    texts: list[str]
    tokens: Tokens
    languages: list[str]
    scores: F32
    table: F32
    protected: list[str]
    edits: Counter[str]


def problem_of(row: Row, expected: Shape) -> Rejected | None:
    """Why a row is none of the shapes there are. expected: the first row's shape, to say what this one lacks."""
    shape = shape_of(row.data)
    if shape is not None and shape in ACCEPTED_SHAPES:
        unlabelled = "label" in row.data and row.data["label"] is None  # text all the same
        return misshapen(replace(row, data={**row.data, "label": ""}) if unlabelled else row, shape, as_messages=False)
    return lacks(row, ["text"]) if expected.name == "text" else misshapen(row, expected, as_messages=False)


def measured(
    rows: Sequence[Row],
    recipe: CleanRecipe,
    editor: Editor,
    protected: Protected | None = None,
    without: Sequence[Callable[[str], str]] | None = None,
) -> Measured:
    """Edit and measure rows. without: for each row, what drops the parts of its text that were seen before."""
    counts: Counter[str] = Counter()
    plain = [_without_ours(row.data, counts) for row in rows]
    data = [editor.written(row, counts, without[number] if without else str) for number, row in enumerate(plain)]
    names = _protect(data, recipe, editor, protected, counts) if protected is not None else [""] * len(data)
    sensitive = np.zeros(len(rows), np.float32)
    for number in range(len(rows)) if editor.masks else ():
        edits = Edits(counts)
        data[number] = editor.masked(data[number], edits)
        sensitive[number] = edits.sensitive
    texts = [row_text(item) for item in data]
    for number, text in enumerate(texts):
        if not text.strip():  # all of it was edited away: the dropped row says what it was
            data[number] = plain[number]
    tokens = tokenise(texts)
    languages, scores = identify(texts) if recipe.identifies else by_script(texts)
    table = measure(texts, languages, tokens) if recipe.measures else unmeasured(len(texts))
    if recipe.word_lists:
        table[:, NAMES.index(SENSITIVE)] = sensitive
    return Measured(data, texts, tokens, languages, scores, table, names, counts)


def _without_ours(data: Mapping[str, Any], counts: Counter[str]) -> dict[str, Any]:
    """The row without the fields that clean itself adds: those of an earlier result would be mistaken for this one's."""
    ours = [name for name in ADDED if name in data]
    if ours:
        counts["rows_with_fields_of_clean"] += 1
    return {name: value for name, value in data.items() if name not in ours}


def by_script(texts: Sequence[str]) -> tuple[list[str], F32]:
    """The language that each text's script stands for: where nothing depends on it, a tenth of the time."""
    return [language(text) for text in texts], np.ones(len(texts), np.float32)


def _protect(
    data: list[dict[str, Any]], recipe: CleanRecipe, editor: Editor, protected: Protected, counts: Counter[str]
) -> list[str]:
    """Name the rows that share text with an evaluation set (""; they do not), or cut that text out of them, in place."""
    names = [""] * len(data)
    tokens = tokenise([row_text(row) for row in data])
    for number, row in enumerate(data):
        spans = protected.find(tokens.of(number)[0])
        if not spans:
            continue
        shape = shape_of(row)
        if recipe.protect.action == "cut" and shape is not None and shape.name in TEXT_SHAPES:
            text, cut_for = _cut(row["text"], spans, protected, editor)
            if any(map(str.isalnum, text)):
                data[number] = {**row, "text": text, CUT_FOR: cut_for}
                counts["rows_cut_for_evaluation"] += 1
                continue
        names[number] = spans[0][2]
    return names


def _cut(
    text: str, spans: Sequence[tuple[int, int, str]], protected: Protected, editor: Editor
) -> tuple[str, list[str]]:
    """The text without what an evaluation set has too, and the evaluation rows that have it. Ends that meet may share anew."""
    cut_for: list[str] = []
    while spans:
        cut_for += [name for _, _, name in spans if name not in cut_for]
        places = token_spans(text)
        text = editor.normalised(cut(text, spans, places)) if spans[-1][1] <= len(places) else ""
        spans = protected.find(tokenise([text]).hashes)
    return text, cut_for


def judge(recipe: CleanRecipe, rows: Measured) -> list[list[Reason]]:
    """Every reason to drop each row, duplicates aside; the first is the one that is counted."""
    reasons: list[list[Reason]] = [[] for _ in rows.data]
    for number, (text, lang, score) in enumerate(zip(rows.texts, rows.languages, rows.scores.tolist(), strict=True)):
        if not text.strip():
            shared = rows.protected[number]
            reasons[number].append(
                Reason("protected", shared, recipe.protect.ngram) if shared else Reason("empty", 0, 1)
            )
            continue
        if recipe.languages and lang not in recipe.languages:
            reasons[number].append(Reason("language", lang, recipe.lang))
        if score < recipe.min_language_score:
            reasons[number].append(Reason("min_language_score", round(score, 4), recipe.min_language_score))
        if rows.protected[number]:
            reasons[number].append(Reason("protected", rows.protected[number], recipe.protect.ngram))
    broken = broken_rules(rules_of(recipe), rows.table, rows.languages, rows.scores)
    for number, (row, found) in enumerate(zip(rows.data, broken, strict=True)):
        if rows.texts[number].strip():
            reasons[number] += (
                found if _is_judged(recipe, row) else [each for each in found if each.rule.startswith("sensitive.")]
            )
    return reasons


def _is_judged(recipe: CleanRecipe, data: Mapping[str, Any]) -> bool:
    shape = shape_of(data)
    return recipe.rules != "auto" or (shape is not None and shape.name in TEXT_SHAPES)


def quality(rows: Measured) -> F32:
    """How good each text looks (n,), 0 to 1: the mean of what the rules measure, each turned so that more is better."""
    column = {name: rows.table[:, number] for number, name in enumerate(NAMES)}
    better = [rows.scores, column["punctuated_lines"], column["alphabetic_words"]]
    worse = [
        column[name]
        for name in ("duplicate_lines", "duplicate_5gram", "short_lines", "boilerplate_lines", "code_share")
    ]
    parts = np.stack([*better, *(1 - values for values in worse)])
    with np.errstate(invalid="ignore"):
        held = ~np.isnan(parts)
    return np.asarray(np.where(held, parts, 0).sum(axis=0) / np.maximum(held.sum(axis=0), 1), np.float32)
