"""Word lists, such as of sensitive words: many thousands of words found in one pass, in English and in Chinese alike.

Two Aho-Corasick automata over bytes. Words of ASCII letters and digits are sought in a copy of the text in which whatever is
neither is a space, as " word ": the automaton itself then sees only whole words, and "class" costs nothing. Other words are
sought as they are, and checked for borders where one of their ends is a letter that is written in words with spaces.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import ahocorasick_rs

from ptft.core.errors import InputError

Found = tuple[int, int, str]  # start, end (characters of the text as it was given) and the word as its list spells it

# ---------------------------------------------------------------- lists

BUNDLED = ("en", "zh")
LONGEST = 200  # characters: a longer line is prose, and the file no word list


def load_words(sources: Sequence[str | Path]) -> tuple[str, ...]:
    """The words of all sources, each once, in order.

    sources: "en" or "zh" for a list that comes with ptft, or files: UTF-8, a word or phrase a line; blank lines and what
    follows a `#` at the start of a line or after a space are ignored. InputError names the file and the line.
    """
    return tuple(dict.fromkeys(word for source in sources for word in _words(source)))


def _words(source: str | Path) -> list[str]:
    words = []
    for number, line in enumerate(_read(source).split("\n"), start=1):
        word = re.sub(r"(?:^|\s)#.*", "", line).strip()
        if word and not _fold(word).strip():
            raise InputError("a word of nothing visible", where=f"{source}:{number}", remedy="delete the line")
        if len(word) > LONGEST:
            what = f"{len(word):,} characters, where a word or a phrase should be (at most {LONGEST})"
            raise InputError(what, where=f"{source}:{number}", remedy="write one word a line")
        if word:
            words.append(word)
    if not words:
        raise InputError("no words in this list", where=str(source), remedy="write one word a line, in UTF-8")
    return words


def _read(source: str | Path) -> str:
    bundled = str(source) in BUNDLED
    try:
        data = (resources.files("ptft.core") / "words" / f"{source}.txt" if bundled else Path(source)).read_bytes()
    except OSError as error:
        what = "cannot be read" if Path(source).exists() else "no such word list"
        remedy = f"name a file with a word a line, or a list that comes with ptft: {', '.join(BUNDLED)}"
        raise InputError(what, where=str(source), remedy=remedy) from error
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        remedy = f"iconv -f GB18030 -t UTF-8 {source} > words.txt"
        raise InputError("not UTF-8", where=f"{source}:{line}", remedy=remedy) from error


# ---------------------------------------------------------------- folding: case and width, a character for a character

_HALF_WIDTH = {0xFEE0 + place: place for place in range(0x21, 0x7F) if chr(place).isalnum()}
# What folds to ASCII, in UTF-8: ０-９ Ａ-Ｚ ａ-ｚ, İ, the Kelvin sign
_FOLDS_TO_ASCII = re.compile(rb"\xef(?:\xbc[\x90-\x99\xa1-\xba]|\xbd[\x81-\x9a])|\xc4\xb0|\xe2\x84\xaa")


def _fold(text: str) -> str:
    """Lower case and half width, as many characters as before: İ is i, ς is σ, and ß, whose capital is two, stays."""
    text = text.translate(_HALF_WIDTH)
    lower = text.lower()
    if len(lower) != len(text):
        lower = "".join([character.lower()[0] for character in text])
    return lower.replace("ς", "σ")


# ---------------------------------------------------------------- matching

_PLAIN = re.compile(r"[a-z0-9]+(?:[ '\-][a-z0-9]+)*")
_SPACED = bytes(byte if byte < 0x80 and (chr(byte).isalnum() or byte == 0x5F) else 0x20 for byte in range(256))
_UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u2e80-\u312f\u31a0-\ua4cf\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003ffff"
)
_JOINS = re.compile(rf"[^\W{_UNSPACED}]")  # a letter or a digit of a script with spaces between its words


_FEW = 2000  # words whose automaton may be a full table: half as fast again, for kilobytes a word


class WordMatcher:
    """Finds words in a text. Case and width do not matter; the longest word wins; an English word matches whole words only.

    A hyphen, an apostrophe or a line's end in a phrase of English words counts as a space, in the list and in the text.
    Pickles as its words: a worker process builds its own (50,000 words in about 0.1 s).
    """

    def __init__(self, words: Iterable[str]) -> None:
        self.words = tuple(words)
        plain: dict[str, str] = {}
        other: dict[str, str] = {}
        for word in self.words:
            folded = _fold(word).strip()
            if _PLAIN.fullmatch(folded):
                plain.setdefault(re.sub(r"['\-]", " ", folded), word)
            elif folded:
                other.setdefault(folded, word)
        self._plain, self._other = tuple(plain.values()), tuple(other.values())
        self._find_plain = _searcher([f" {each} ".encode() for each in plain])
        self._find_other = _searcher([each.encode("utf-8", "surrogatepass") for each in other])
        self._caseless = all(each.isascii() or not _has_case(each) for each in other)

    def __reduce__(self) -> tuple[Callable[..., WordMatcher], tuple[Any, ...]]:
        return WordMatcher, (self.words,)

    def find(self, text: str) -> list[Found]:
        """Every word found, from left to right, none overlapping: of those that begin first, the longest."""
        folded = text
        data = text.encode("utf-8", "surrogatepass")
        wide = len(data) != len(text) and _FOLDS_TO_ASCII.search(data) is not None
        if wide or not (self._caseless or text.isascii()):
            folded = _fold(text)
            data = folded.encode("utf-8", "surrogatepass")
        data = data.lower()
        spans = self._plain_spans(data, folded) + self._other_spans(data, folded)
        return _longest(spans) if spans else []

    def mask(self, text: str, replacement: str = "***") -> tuple[str, int]:
        """The text with each word found replaced, and how many there were."""
        found = self.find(text)
        if not found:
            return text, 0
        ends = [0, *(end for _, end, _ in found)]
        kept = [text[end:start] for end, (start, _, _) in zip(ends, found, strict=False)]
        return replacement.join([*kept, text[ends[-1] :]]), len(found)

    def _plain_spans(self, data: bytes, text: str) -> list[Found]:
        hits = self._find_plain(b" " + data.translate(_SPACED) + b" ")
        spans = _spans([(word, start, end - 2) for word, start, end in hits], self._plain, data, text) if hits else []
        return spans if len(data) == len(text) else [span for span in spans if _whole(text, *span)]

    def _other_spans(self, data: bytes, text: str) -> list[Found]:
        hits = self._find_other(data)
        spans = _spans(hits, self._other, data, text) if hits else []
        return [span for span in spans if _whole(text, *span)]


def _searcher(patterns: Sequence[bytes]) -> Callable[[bytes], list[tuple[int, int, int]]]:
    """What finds (pattern, start, end), overlapping ones too: a word refused at its borders must not hide another."""
    if not patterns:
        return lambda data: []
    kind = ahocorasick_rs.Implementation.DFA if len(patterns) <= _FEW else None
    automaton = ahocorasick_rs.BytesAhoCorasick(patterns, implementation=kind)

    def search(data: bytes) -> list[tuple[int, int, int]]:
        return automaton.find_matches_as_indexes(data, overlapping=True)

    return search


def _has_case(word: str) -> bool:
    return any(unicodedata.category(character) in ("Lu", "Ll", "Lt") for character in word if not character.isascii())


def _spans(hits: Sequence[tuple[int, int, int]], words: Sequence[str], data: bytes, text: str) -> list[Found]:
    """Hits at byte offsets of the UTF-8 `data` as hits at character offsets of the text it encodes."""
    if len(data) == len(text):
        return [(start, end, words[word]) for word, start, end in hits]
    places: dict[int, int] = {}
    last = place = 0
    for offset in sorted({offset for _, start, end in hits for offset in (start, end)}):
        place += len(data[last:offset].decode("utf-8", "surrogatepass"))
        places[offset], last = place, offset
    return [(places[start], places[end], words[word]) for word, start, end in hits]


def _whole(text: str, start: int, end: int, word: str) -> bool:
    """Whether the span cuts no word of a script with spaces in two."""
    begins = start == 0 or not _JOINS.match(text[start]) or not _JOINS.match(text[start - 1])
    return begins and (end == len(text) or not _JOINS.match(text[end - 1]) or not _JOINS.match(text[end]))


def _longest(spans: list[Found]) -> list[Found]:
    chosen: list[Found] = []
    for span in sorted(spans, key=lambda span: (span[0], -span[1])):
        if not chosen or span[0] >= chosen[-1][1]:
            chosen.append(span)
    return chosen
