"""Text to sentences and back, every character in its place: what is not translated stays as it was."""

from __future__ import annotations

import re
from collections.abc import Mapping

from ptft.core.text import letters

# A sentence ends at .!? (and a closing quote) before a space and a capital, digit or quote, at 。！？ and at a line's end.
_END = re.compile(
    r"(?P<after>[.!?]['\")\]’”]*)[ \t]+(?=['\"(\[‘“]*[A-Z\u00c0-\u00de\d])|(?<=[。！？；])(?P<quote>[”’」』）]*)|[ \t]*\n\s*"
)
_ABBREVIATED = re.compile(
    r"(?:^|[\s(])(?:[A-Z]|Mr|Mrs|Ms|Dr|Prof|St|Sir|Gen|Col|Lt|Sgt|Rev|Hon|Sen|Gov|vs|No|Inc|Ltd|Co|Corp|etc|[ei]\.[eg]|[A-Z]\.[A-Z])\.$"
)


def sentences(text: str) -> list[tuple[int, int]]:
    """The spans of a text's sentences, in order, without the white space between them. English and Chinese."""
    spans, start = [], 0
    for match in _END.finditer(text):
        end = (
            match.end("after")
            if match["after"]
            else match.end("quote")
            if match["quote"] is not None
            else match.start()
        )
        if match["after"] and _ABBREVIATED.search(text, start, end):
            continue
        if text[start:end].strip():
            spans.append(_trimmed(text, start, end))
        start = max(start, match.end())
    if text[start:].strip():
        spans.append(_trimmed(text, start, len(text)))
    return spans


def _trimmed(text: str, start: int, end: int) -> tuple[int, int]:
    piece = text[start:end]
    return start + len(piece) - len(piece.lstrip()), end - (len(piece) - len(piece.rstrip()))


def translatable(sentence: str) -> bool:
    """Whether a sentence has something to say in other words: some letters, and those most of it."""
    return letters(sentence) >= 4 and 2 * letters(sentence) >= len(sentence.replace(" ", ""))


def rewritten(text: str, changes: Mapping[str, str]) -> tuple[str, int]:
    """The text with every sentence that has a change in `changes`, and how many had."""
    parts, position, changed = [], 0, 0
    for start, end in sentences(text):
        new = changes.get(text[start:end])
        if new is not None:
            parts += [text[position:start], new]
            position, changed = end, changed + 1
    return "".join([*parts, text[position:]]), changed
