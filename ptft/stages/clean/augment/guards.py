"""What a copy must keep of its source: numbers, names, a similarity within a band. Pure functions of two texts.

Translation engines change facts ("$10bn" comes back as "10 trillion dollars"), so nothing they give is taken on trust.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from ptft.core.text import language
from ptft.stages.clean.augment.recipe import Augment
from ptft.stages.clean.augment.wordnet import STOP_WORDS

_HAN = "\u3005\u3007\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
REASONS = ("empty", "numbers", "duplicate", "names", "negation", "length", "too similar", "too different")


@dataclass(frozen=True)
class Verdict:
    """reason: why a copy is refused, one of `REASONS`; "" where it is not."""

    reason: str
    similarity: float


def judge(source: str, copy: str, recipe: Augment) -> Verdict:
    """The first guard that a copy of a text fails, in the order of `REASONS`."""
    if not copy.strip():
        return Verdict("empty", 0.0)
    ours, theirs = _facts(source), _facts(copy)
    if theirs.numbers != ours.numbers:
        return Verdict("numbers", 0.0)
    if theirs.canonical == ours.canonical:
        return Verdict("duplicate", 1.0)
    if not (ours.names <= theirs.words and theirs.names <= ours.words):
        return Verdict("names", 0.0)
    if theirs.negations != ours.negations:
        return Verdict("negation", 0.0)
    ratio = len(copy.strip()) / max(1, len(source.strip()))
    if not 1 / recipe.max_length_ratio <= ratio <= recipe.max_length_ratio:
        return Verdict("length", 0.0)
    alike = similarity(ours.canonical, theirs.canonical)
    if alike > recipe.max_similarity:
        return Verdict("too similar", alike)
    return Verdict("too different" if alike < recipe.min_similarity else "", alike)


@dataclass(frozen=True)
class _Facts:
    """What the guards compare of a text. words: with their case, 《titles》 among them."""

    canonical: tuple[str, ...]
    words: frozenset[str]
    names: frozenset[str]
    numbers: Counter[str]
    negations: int


@lru_cache(maxsize=64)  # a source is compared with each of its copies
def _facts(text: str) -> _Facts:
    plain = text if text.isascii() else unicodedata.normalize("NFKC", text)
    words = _TOKEN.findall(plain)
    folded = tuple(word.casefold() for word in words)
    titles = _titles(plain)
    return _Facts(folded, frozenset(words) | titles, names(plain), numbers(plain), negations(folded))


# ---------------------------------------------------------------- the same text, and how alike two are

_ALONE = f"{_HAN}\u3040-\u30ff\uac00-\ud7af"
_TOKEN = re.compile(f"[{_ALONE}]|[^\\W_{_ALONE}]+")


def canonical(text: str) -> tuple[str, ...]:
    """Words, case folded, and single Han, kana or hangul characters: equal where only case, spaces and punctuation differ."""
    return _facts(text).canonical


def similarity(left: Sequence[str], right: Sequence[str]) -> float:
    """Jaccard similarity of two bags of tokens (see `canonical`), 0-1: of the tokens in either, the share in both.

    Bags, not sets, so that a repeated word counts as often as it is there. Blind to order, alike in both languages.
    """
    ours, theirs = Counter(left), Counter(right)
    shared = sum(min(count, theirs[token]) for token, count in ours.items() if token in theirs)
    total = len(left) + len(right) - shared
    return shared / total if total else 1.0


# ---------------------------------------------------------------- numbers

_SCALES = {
    "k": "thousand", "thousand": "thousand", "m": "million", "mn": "million", "million": "million", "bn": "billion",
    "b": "billion", "billion": "billion", "tn": "trillion", "trn": "trillion", "trillion": "trillion",
    "%": "%", "percent": "%", "per cent": "%", "pc": "%",
}  # fmt: skip
_UNIT = (
    "(?:per ?cent|thousand|million|billion|trillion|bn|mn|trn|tn|[kmb])\\b|%|[万亿千百兆年月日岁元美欧镑号点时分秒个]+"
)
_FIGURE = re.compile(
    rf"([$£€¥₤₹]? ?)((?:(?<![\w.])-)?\d+(?:[,.]\d+)*)(?:( ?-?)({_UNIT})|(st|nd|rd|th|s)\b)?", re.IGNORECASE
)
_TEENS = "ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen"
_SPELLED = frozenset(
    f"""zero two three four five six seven eight nine {_TEENS} twenty thirty forty fifty sixty seventy eighty ninety hundred
    hundreds thousand thousands million millions billion billions trillion trillions dozen dozens half twice double triple
    third quarter""".split()
)
_HAN_NUMBER = re.compile("[〇零一二两三四五六七八九十百千万亿]+")
_NOT_NUMBERS = frozenset({"一", "万一", "一一", "千万"})  # 一 alone is an article as often as a number


def numbers(text: str) -> Counter[str]:
    """Every number of a text with its sign, currency and scale, in one spelling: "$1,000bn" and "$1000 billion" are one.

    Digits of any width, decimals, percents, ordinals, Chinese units; number words from two on, in both languages.
    """
    text = text if text.isascii() else unicodedata.normalize("NFKC", text)
    found: Counter[str] = Counter()
    if _DIGIT.search(text):
        found.update(map(_figure, _FIGURE.finditer(text)))
        text = _FIGURE.sub(" ", text)
    found.update(word for word in map(str.lower, _LETTERS.findall(text)) if word in _SPELLED)
    if not text.isascii():
        found.update(run for run in _HAN_NUMBER.findall(text) if run not in _NOT_NUMBERS)
    return found


_DIGIT = re.compile(r"\d")
_LETTERS = re.compile("[A-Za-z]+")
_THOUSANDS = re.compile(r",(?=\d{3}(?!\d))")


def _figure(match: re.Match[str]) -> str:
    currency, digits, _, unit, ordinal = match.groups()
    unit = _SCALES.get((unit or "").lower().replace("per cent", "percent"), unit or "")
    return (
        f"{currency.strip()}{_THOUSANDS.sub('', digits)}{unit}{'th' if ordinal and ordinal != 's' else ordinal or ''}"
    )


# ---------------------------------------------------------------- names

_CAPITALISED = re.compile(f"(?<![^\\W{_ALONE}])[A-Z\u00c0-\u00de][^\\W_{_ALONE}]*")
_LATIN = re.compile(f"(?<![^\\W{_ALONE}])[^\\W\\d_{_ALONE}][^\\W_{_ALONE}]*")
_TITLE = re.compile("《[^《》]+》")
_HAN_CHARACTER = re.compile(f"[{_HAN}]")
_HONORIFICS = frozenset(("Mr", "Mrs", "Ms", "Dr", "Sir", "Lord", "Lady", "Dame", "Prof", "President"))
_CAPITAL_NEXT = re.compile(" [A-Z\u00c0-\u00de]")
_INSIDE = re.compile(r"[^\W_][,;–—-]?[\"'”’)]? ?$|[-/&(]$")  # what is before a capital inside a sentence


def names(text: str) -> frozenset[str]:
    """Words that start with a capital inside a sentence or before another, acronyms anywhere; in Chinese Latin words and 《titles》."""
    if not text.isascii() and _HAN_CHARACTER.search(text) and language(text) == "zh":
        return frozenset(_LATIN.findall(text)) | _titles(text)
    return frozenset(match.group() for match in _CAPITALISED.finditer(text) if _is_name(text, match)) - {"I"}


def _is_name(text: str, match: re.Match[str]) -> bool:
    """At a sentence's start, where any word has a capital, one before another is a name: "Ask Jeeves", not "The Odeon"."""
    word, start = match.group(), match.start()
    if _acronym(word) or _INSIDE.search(text, max(0, start - 4), start):
        return True
    return word.lower() not in STOP_WORDS and _CAPITAL_NEXT.match(text, match.end()) is not None


def _acronym(word: str) -> bool:
    return (len(word) > 1 and word.isupper()) or word in _HONORIFICS


def _titles(text: str) -> frozenset[str]:
    return frozenset(_TITLE.findall(text)) if "《" in text else frozenset()


# ---------------------------------------------------------------- negation

_NEGATIONS = frozenset(
    ("not", "no", "never", "none", "nor", "neither", "without", "nothing", "nobody", "cannot", *"不没未勿莫")
)


def negations(canonical: Sequence[str]) -> int:
    """How many words or characters of a text deny something; "n't" ends in the token "t" after a word's "n"."""
    return sum(
        token in _NEGATIONS or (token == "t" and before.endswith("n"))
        for before, token in zip(("", *canonical), canonical, strict=False)
    )
