"""What changes a text before it is judged: HTML, lines that C4 drops, parts seen before, personal data, sensitive words."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import xxhash

from ptft.core.examples import Shape, shape_of
from ptft.core.html import html_to_text, looks_like_html
from ptft.core.personal import mask
from ptft.core.text import language, normalise
from ptft.core.wordlist import WordMatcher, load_words
from ptft.stages.clean.recipe import C4, CleanRecipe, listed
from ptft.stages.clean.signals.measure import CHINESE, UNSPACED

TEXT_SHAPES = ("text", "text-label")  # rows with one text, whose lines may go
NOT_PROSE = ("label", "tags")
NAMES_THINGS = ("role", "from", "type", "id", "name", "tool_call_id")  # fields of a message that hold no prose


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

    # ------------------------------------------------------------ how texts are written

    def normalised(self, text: str) -> str:
        """As a text is written, be it a row's or an evaluation set's. Only Chinese is converted to another script."""
        options = self.recipe.normalise
        script = options.script if options.script != "keep" and language(text) in CHINESE else "keep"
        return normalise(text, repair=options.repair, script=script)

    def written(
        self, data: Mapping[str, Any], counts: Counter[str], without: Callable[[str], str] = str
    ) -> dict[str, Any]:
        """The row with its prose normalised, and in rows of text pages as text and some lines gone; masks come later.

        without: drops the parts of a row of text that were seen before. Other fields ride along untouched.
        """
        shape = shape_of(data)
        assert shape is not None
        if shape.name in TEXT_SHAPES:
            return {**data, "text": without(self._lines_edited(self._page_as_text(data["text"]), counts))}
        return {
            name: _each_text(value, self.normalised) if name in _prose(shape) else value for name, value in data.items()
        }

    def text_of(self, data: Mapping[str, Any]) -> str:
        """The text of a row of text as `written` has it before parts go that were seen before."""
        return self._lines_edited(self._page_as_text(data["text"]), Counter())

    def _page_as_text(self, text: str) -> str:
        content = self.recipe.normalise.html
        return self.normalised(html_to_text(text, content) if content != "off" and looks_like_html(text) else text)

    def _lines_edited(self, text: str, counts: Counter[str]) -> str:
        if "c4" not in self.recipe.rule_sets or language(text) in UNSPACED:  # a Chinese line is one "word" to C4
            return text
        kept, dropped = c4_lines(text, self.recipe.c4)
        counts["lines_dropped_by_c4"] += dropped
        return kept

    # ------------------------------------------------------------ masks

    @property
    def masks(self) -> bool:
        return bool(self._kinds) or self._matcher is not None

    def masked(self, data: Mapping[str, Any], edits: Edits) -> dict[str, Any]:
        """The row with personal data and sensitive words masked in all of its prose, tools' arguments among it."""
        shape = shape_of(data)
        assert shape is not None
        mask_one = partial(self._masked, edits=edits)
        return {name: _every_text(value, mask_one) if name in _prose(shape) else value for name, value in data.items()}

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


def _prose(shape: Shape) -> set[str]:
    """The fields of a shape that hold texts."""
    return {*shape.needs, *(("input", "system") if shape.name == "alpaca" else ())}.difference(NOT_PROSE)


def _each_text(value: Any, change: Callable[[str], str]) -> Any:
    """A text; a list of tokens, none of which may vanish; or a list of messages, of which only the content is text."""
    if isinstance(value, str):
        return change(value)
    if not isinstance(value, list):
        return value
    return [(change(item) or item) if isinstance(item, str) else _content(item, change) for item in value]


def _content(message: Any, change: Callable[[str], str]) -> Any:
    if not isinstance(message, dict):
        return message
    return {
        name: _each_text(value, change) if name in ("content", "value", "text") else value
        for name, value in message.items()
    }


def _every_text(value: Any, change: Callable[[str], str]) -> Any:
    """Every text within a value, but for what only names things."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, list):
        return [_every_text(item, change) for item in value]
    if isinstance(value, dict):
        return {name: item if name in NAMES_THINGS else _every_text(item, change) for name, item in value.items()}
    return value


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
    if len(max(words, key=len)) > rules.max_word_characters:
        return False
    if len(words) < rules.min_line_words and (line.isascii() or language(line) not in UNSPACED):
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
