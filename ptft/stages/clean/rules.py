"""Quality rules: what is measured of a text, and which of a language's limits it breaks.

A limit is a knob named min_X or max_X of `EnglishRules` or `ChineseRules`, and every knob has a measure of its name here: to
add a rule is to add both. Sources: Gopher (Rae et al. 2021, appendix A1) and FineWeb-2's cmn_Hani configuration.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

from ptft.core.minhash import I64, U32, U64, ngrams, offsets, tokenise
from ptft.core.text import han_characters, letters
from ptft.stages.clean.recipe import ChineseRules, EnglishRules

ENGLISH_STOP_WORDS = ("the", "be", "to", "of", "and", "that", "have", "with")
CHINESE_STOP_WORDS = ("的", "年", "在", "月", "是", "和", "日", "了")
BULLETS = ("•", "‣", "●", "○", "■", "▪", "◦", "▶", "–", "-", "*", "·")
PUNCTUATION = (
    "。",
    "！",
    "？",
    "；",
    "：",
    "，",
    "…",
    "”",
    "’",
    "」",
    "』",
    "）",
    "》",
    "、",
    ".",
    "!",
    "?",
    ";",
    ":",
    ",",
    '"',
    "'",
    ")",
)
FEW_LINES = 10  # a share of lines means little below that
HAN_LANGUAGES = ("zh", "ja")  # without spaces between words: judged by characters
_LETTER = re.compile(r"[^\W\d_]")


@dataclass(frozen=True)
class Reason:
    """A rule that a text breaks: its measured value, and the limit it is held to."""

    rule: str
    value: float | int | str
    limit: float | int | str


def broken_rules(
    text: str, lang: str, hashes: U64, lengths: U32, english: EnglishRules, chinese: ChineseRules
) -> list[Reason]:
    """Every rule a text breaks, in the order of the knobs. hashes, lengths: (tokens,), the text's tokens."""
    if lang in HAN_LANGUAGES:  # a Latin word among them counts as one character
        return _broken(chinese, {**_chinese(text, lang), **_shared(text), **_repetition(hashes, np.ones_like(lengths))})
    return _broken(english, {**_english(text, lang, hashes), **_shared(text), **_repetition(hashes, lengths)})


def _broken(limits: EnglishRules | ChineseRules, measures: Mapping[str, float | None]) -> list[Reason]:
    reasons = []
    for knob, kind, name in _KNOBS[type(limits)]:
        value = measures[knob] if knob in measures else measures[name]
        limit = getattr(limits, knob)
        if value is not None and (value < limit if kind == "min" else value > limit):
            reasons.append(Reason(knob, value if isinstance(value, int) else round(value, 4), limit))
    return reasons


def _knobs(limits: type[EnglishRules] | type[ChineseRules]) -> tuple[tuple[str, str, str], ...]:
    """Each knob's name, whether it is a min or a max, and of what."""
    parts = [(field.name, *field.name.partition("_")) for field in dataclasses.fields(limits)]
    return tuple((knob, kind, name) for knob, kind, _, name in parts)


_KNOBS = {limits: _knobs(limits) for limits in (EnglishRules, ChineseRules)}


# ---------------------------------------------------------------- measures; None: the rule does not apply


def _english(text: str, lang: str, hashes: U64) -> dict[str, float | None]:
    words = text.split()
    count, lines = len(words), _lines(text)
    odd = [word for word in words if not word.isalpha()]
    return {
        "words": count,
        "mean_word_length": sum(map(len, words)) / max(count, 1),
        "symbols_per_word": max(text.count("#"), text.count("...") + text.count("…")) / max(count, 1),
        "bullet_lines": _share(line.lstrip().startswith(BULLETS) for line in lines),
        "ellipsis_lines": _share(line.endswith(("...", "…")) for line in lines),
        "alphabetic_words": (count - sum(not _LETTER.search(word) for word in odd)) / max(count, 1),
        "stop_words": int(np.isin(_stop_word_hashes(), hashes).sum()) if lang == "en" else None,
    }


@cache
def _stop_word_hashes() -> U64:
    return tokenise([" ".join(ENGLISH_STOP_WORDS)]).hashes


def _chinese(text: str, lang: str) -> dict[str, float | None]:
    lines = _lines(text)
    punctuated = _share(line.endswith(PUNCTUATION) for line in lines) if len(lines) >= FEW_LINES else None
    return {
        "min_characters": han_characters(text) if lang == "zh" else len(text),
        "max_characters": len(text),
        "alphabetic": letters(text) / max(1, len(text) - sum(map(text.count, " \n\t"))),
        "punctuated_lines": punctuated,
        "newlines_per_character": text.count("\n") / max(1, len(text)),
        "stop_words": sum(word in text for word in CHINESE_STOP_WORDS) if lang == "zh" else None,
    }


def _shared(text: str) -> dict[str, float | None]:
    lines, paragraphs = _lines(text), [part for part in re.split(r"\n\n+", text) if part.strip()]
    return {
        "duplicate_lines": _seen_before(lines),
        "duplicate_line_characters": _seen_before(lines, characters=True),
        "duplicate_paragraphs": _seen_before(paragraphs),
        "duplicate_paragraph_characters": _seen_before(paragraphs, characters=True),
    }


def _lines(text: str) -> list[str]:
    return [line for line in text.split("\n") if line.strip()]


def _share(flags: Iterable[bool]) -> float:
    held = list(flags)
    return sum(held) / max(1, len(held))


def _seen_before(parts: Sequence[str], characters: bool = False) -> float:
    """The share of parts that occurred earlier in the text; or of the characters in them."""
    if len(set(parts)) == len(parts):
        return 0.0
    if not characters:
        return 1 - len(set(parts)) / len(parts)
    return 1 - sum(map(len, set(parts))) / sum(map(len, parts))


# ---------------------------------------------------------------- repeated n-grams of tokens


def _repetition(hashes: U64, lengths: U32) -> dict[str, float | None]:
    """Shares of the tokens' characters: in the most frequent n-gram (2, 3, 4), in n-grams seen before (5 to 10).

    Only n-grams that occur twice or more count: else every short clean sentence has one that fills it.
    """
    ends = offsets(lengths)
    measures: dict[str, float | None] = {}
    repeats = True
    for size in range(2, 11):
        name, measure = (f"top_{size}gram", _most_frequent) if size < 5 else (f"duplicate_{size}gram", _seen_again)
        if repeats:  # a run of tokens that occurs twice begins with a shorter one that does
            grams = ngrams(hashes, size)
            order = np.argsort(grams, kind="stable")
            same = np.append(False, grams[order[1:]] == grams[order[:-1]])[: len(order)]
            repeats = bool(same.any())
        measures[name] = measure(order, same, size, ends) if repeats else 0.0
    return measures


def _most_frequent(order: I64, same: npt.NDArray[np.bool_], size: int, ends: I64) -> float:
    """order: the n-grams' places, equal ones together; same: whether each equals the one before it."""
    starts = np.flatnonzero(~same)
    counts = np.diff(np.append(starts, len(order)))
    places = order[starts[counts == counts.max()]]
    longest = int(np.max(ends[places + size] - ends[places]))
    return min(1.0, int(counts.max()) * longest / int(ends[-1]))


def _seen_again(order: I64, same: npt.NDArray[np.bool_], size: int, ends: I64) -> float:
    """A character counts once, in however many overlapping n-grams it lies."""
    places = order[same]
    depth = np.zeros(len(ends), np.int64)
    depth[places] += 1
    depth[places + size] -= 1
    covered = np.cumsum(depth)[:-1] > 0
    return float(np.diff(ends)[covered].sum() / ends[-1])
