"""What changes a text before it is judged: HTML, lines that C4 drops, parts seen before, personal data, sensitive words."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import xxhash

from ptft.core.examples import shape_of
from ptft.core.html import html_to_text, looks_like_html
from ptft.core.personal import mask
from ptft.core.text import language, normalise
from ptft.core.wordlist import WordMatcher, load_words
from ptft.stages.clean.recipe import C4, CleanRecipe, listed
from ptft.stages.clean.signals.measure import UNSPACED

TEXT_SHAPES = ("text", "text-label")  # rows with one text, whose lines may go
NOT_PROSE = ("label", "tags")


@dataclass
class Edits:
    """What was changed, in all rows: how many of each kind. sensitive: words found in the row at hand."""

    counts: Counter[str]
    sensitive: int = 0


class Editor:
    """One recipe's edits, with its word lists. Cheap to make: lists are read once a process."""

    def __init__(self, recipe: CleanRecipe, words: Sequence[Path] = ()) -> None:
        self.recipe = recipe
        self._kinds = recipe.personal_kinds
        self._matcher = _matcher(recipe.sensitive.lists, tuple(words)) if recipe.word_lists else None

    def text_before_masks(self, data: Mapping[str, Any]) -> str:
        """The text of a row of text as `edit` has it when it drops parts seen before."""
        return self._lines_edited(self._plain(data["text"]), Counter())

    def edit(self, data: Mapping[str, Any], edits: Edits, without: Callable[[str], str] = str) -> dict[str, Any]:
        """The row with its prose edited; other fields ride along untouched.

        without: drops the parts of a row of text that were seen before.
        """
        shape = shape_of(data)
        assert shape is not None
        if shape.name in TEXT_SHAPES:
            lines = without(self._lines_edited(self._plain(data["text"]), edits.counts))
            return {**data, "text": self._masked(lines, edits)}
        prose = {*shape.needs, *(("input", "system") if shape.name == "alpaca" else ())}.difference(NOT_PROSE)
        return {name: self._prose(value, edits) if name in prose else value for name, value in data.items()}

    def _prose(self, value: Any, edits: Edits) -> Any:
        """A text; a list of tokens, none of which may vanish; or a list of messages, of which only the content is text."""
        if isinstance(value, str):
            return self._masked(self._plain(value), edits)
        if not isinstance(value, list):
            return value
        return [(self._plain(item) or item) if isinstance(item, str) else self._message(item, edits) for item in value]

    def _message(self, message: Any, edits: Edits) -> Any:
        if not isinstance(message, dict):
            return message
        return {
            name: self._prose(value, edits) if name in ("content", "value") and isinstance(value, str) else value
            for name, value in message.items()
        }

    def _plain(self, text: str) -> str:
        options = self.recipe.normalise
        if options.html != "off" and looks_like_html(text):
            text = html_to_text(text, options.html)
        return normalise(text, repair=options.repair, script=options.script)

    def _lines_edited(self, text: str, counts: Counter[str]) -> str:
        if "c4" not in self.recipe.rule_sets or language(text) in UNSPACED:  # a Chinese line is one "word" to C4
            return text
        kept, dropped = c4_lines(text, self.recipe.c4)
        counts["lines_dropped_by_c4"] += dropped
        return kept

    def _masked(self, text: str, edits: Edits) -> str:
        if self._kinds:
            text, found = mask(text, self._kinds)
            edits.counts.update({f"masked_{kind}": count for kind, count in found.items()})
        if self._matcher is None:
            return text
        if self.recipe.sensitive.action == "drop":
            edits.sensitive += len(self._matcher.find(text))
            return text
        text, count = self._matcher.mask(text)
        edits.counts["masked_words"] += count
        return text


@lru_cache(maxsize=2)
def _matcher(lists: str, files: tuple[Path, ...]) -> WordMatcher:
    return WordMatcher(load_words([*listed(lists), *files]))


# ---------------------------------------------------------------- lines and paragraphs

_CITATION = re.compile(r"\[\d*]|\[edit]|\[citation needed]")
_POLICY = ("terms of use", "privacy policy", "cookie policy", "uses cookies", "use of cookies", "use cookies")
_TERMINAL = (".", "?", "!", '"', "'", "”", "’", "。", "？", "！", "…", "」", "』")
_PARAGRAPHS = re.compile(r"\n{2,}")
_BLANK_LINES = re.compile(r"\n{3,}")


def c4_lines(text: str, rules: C4) -> tuple[str, int]:
    """The text without the lines that C4 drops (blank ones stay, between paragraphs), and how many those are."""
    if rules.citations and "[" in text:
        text = _CITATION.sub("", text)
    lines = text.split("\n")
    kept = [line for line in lines if not line.strip() or _c4_keeps(line, rules)]
    return _BLANK_LINES.sub("\n\n", "\n".join(kept)).strip("\n"), len(lines) - len(kept)


def _c4_keeps(line: str, rules: C4) -> bool:
    line = line.strip()
    words = line.split()
    if len(words) < rules.min_line_words or len(max(words, key=len)) > rules.max_word_characters:
        return False
    if rules.terminal_punctuation and (not line.endswith(_TERMINAL) or line.endswith(("...", "…"))):
        return False
    lower = line.lower()
    if rules.javascript_lines and "javascript" in lower:
        return False
    return not (rules.policy_lines and any(part in lower for part in _POLICY))


def parts_of(text: str, unit: str) -> list[str]:
    """The lines or paragraphs of a text."""
    return text.split("\n") if unit == "lines" else _PARAGRAPHS.split(text)


def part_hash(part: str) -> int:
    return xxhash.xxh3_64_intdigest(part.strip().encode("utf-8", "surrogatepass"))


def without_parts(text: str, unit: str, gone: Sequence[bool]) -> str:
    """The text without some of its lines or paragraphs. gone: one for each of `parts_of`."""
    if not any(gone):
        return text
    kept = [part for part, drop in zip(parts_of(text, unit), gone, strict=True) if not drop]
    return _BLANK_LINES.sub("\n\n", ("\n" if unit == "lines" else "\n\n").join(kept)).strip("\n")
