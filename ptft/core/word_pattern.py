"""A pre-tokenizer's pattern as a `re` pattern that finds the same pieces, many times faster.

`tokenizers` runs Oniguruma. Its character classes are asked of the library itself, code point by code point, so that not even the
version of Unicode can differ; of the syntax only what means the same in both is taken over.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from typing import Any

BMP = "".join(map(chr, [*range(0xD800), *range(0xE000, 0x10000)]))
LAST = 0x323AF  # of rare Han; above there are only tags and private use
BEYOND = "".join(map(chr, range(0x10000, LAST + 1)))
_SAME = re.compile(  # what both take alike; `{1,3}+` is possessive in one of them alone, and `{,3}` is no count in all versions
    r"\(\?(?:i:|:|!|=|>)|\((?!\?)|\)|\||[*+?][+?]?|\{\d+(?:,\d*)?\}(?![+?])"
)
_CLASS = re.compile(r"\\[pP]\{\^?\w+\}|\\[sSdDwW]|\\x\{[0-9A-Fa-f]+\}|\\[rntfv]|\\[^\w\s]|\.|[^\\()|*+?{}\[\]^$]", re.S)


class Unlike(Exception):
    """The pattern has something that the two engines may read differently."""


@cache
def compiled(pattern: str, wide: bool) -> re.Pattern[str]:
    """For texts of code points up to U+FFFF, or (wide) up to `LAST`. Raises `Unlike`, and `re.error`."""
    found = re.compile("".join(_translated(pattern, (BMP, BEYOND) if wide else (BMP,))))
    if found.groups or found.match("") is not None:
        raise Unlike("a group, or an empty match")
    return found


def _translated(pattern: str, planes: tuple[str, ...]) -> Iterator[str]:
    place, folds = 0, [False]
    while place < len(pattern):
        if pattern[place] == "[":
            stop = _class_end(pattern, place)
            yield _class(pattern[place:stop], folds[-1], planes)
        elif match := _SAME.match(pattern, place):
            stop = match.end()
            if match[0].startswith("("):
                folds.append(folds[-1] or match[0] == "(?i:")
            elif match[0] == ")" and len(folds) > 1:
                folds.pop()
            yield "(?:" if match[0] in ("(", "(?i:") else match[0]
        elif match := _CLASS.match(pattern, place):
            stop = match.end()
            yield _class(match[0], folds[-1], planes)
        else:
            raise Unlike(pattern[place:])
        place = stop


def _class_end(pattern: str, start: int) -> int:
    """Where a bracketed class ends; classes may hold classes."""
    depth, place = 0, start
    while place < len(pattern):
        if pattern[place] == "\\":
            place += 1
        elif pattern[place] == "[":
            depth += 1
        elif pattern[place] == "]":
            depth -= 1
            if not depth:
                return place + 1
        place += 1
    raise Unlike(pattern[start:])


def _class(atom: str, folds: bool, planes: tuple[str, ...]) -> str:
    """An expression for one character as a class of `re` that lists what it matches."""
    if len(atom) == 1 and atom != ".":
        if not folds:
            return re.escape(atom)
        if atom.isascii():
            planes = (BMP,)  # nothing beyond folds to it
    ranges = "".join(_ranges(f"(?i:{atom})" if folds else atom, plane) for plane in planes)
    return f"[{ranges}]" if ranges else r"[^\s\S]"


@cache
def _ranges(atom: str, characters: str) -> str:
    """Which of these characters an expression matches, by asking the library."""
    from tokenizers import Regex, pre_tokenizers

    rest = pre_tokenizers.Split(Regex(f"(?:{atom})+"), "removed").pre_tokenize_str(characters)
    found, done = [], 0
    for _, (start, stop) in [*rest, ("", (len(characters), 0))]:
        if start > done:
            found.append(f"{_escaped(characters[done])}-{_escaped(characters[start - 1])}")
        done = stop
    return "".join(found)


def _escaped(character: str) -> str:
    return f"\\U{ord(character):08x}"


def split_pattern(pre_tokenizer: dict[str, Any] | None) -> tuple[str, list[dict[str, Any]]]:
    """The pattern that cuts first, and the pre-tokenizers that then work within each piece. Raises `Unlike` for other arrangements.

    pre_tokenizer: as in tokenizer.json.
    """
    steps = [pre_tokenizer] if pre_tokenizer and pre_tokenizer["type"] != "Sequence" else None
    steps = steps or (pre_tokenizer or {}).get("pretokenizers") or [{"type": ""}]
    first, rest = steps[0], list(steps[1:])
    if first["type"] == "ByteLevel" and first["use_regex"] and not first["add_prefix_space"]:
        first, rest = _GPT2, [{**first, "use_regex": False}, *rest]
    if first["type"] != "Split" or first["behavior"] != "Isolated" or first["invert"]:
        raise Unlike(first["type"])
    if not all(step["type"] in ("Split", "ByteLevel", "Digits") for step in rest) or "Regex" not in first["pattern"]:
        raise Unlike("a pre-tokenizer that looks beyond a piece")
    return first["pattern"]["Regex"], rest


_GPT2: dict[str, Any] = {
    "type": "Split",
    "pattern": {"Regex": r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"},
    "behavior": "Isolated",
    "invert": False,
}
