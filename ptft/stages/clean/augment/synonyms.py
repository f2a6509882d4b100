"""Synonym replacement (EDA; Wei and Zou 2019, arXiv 1901.11196): where a text has words with synonyms, and what to put there."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass

from ptft.stages.clean.augment.cilin import Cilin, words
from ptft.stages.clean.augment.wordnet import STOP_WORDS, WordNet


@dataclass(frozen=True, slots=True)
class Slot:
    """A word text[start:end] and what may stand there instead, in its case and form."""

    start: int
    end: int
    choices: tuple[str, ...]


@dataclass(frozen=True)
class Slots:
    """content: how many words of the text carry meaning; not stop words, names or numbers."""

    found: tuple[Slot, ...]
    content: int

    def wanted(self, share: float) -> int:
        """How many to replace: a share of the content words, at least one, at most all that can be."""
        return min(len(self.found), max(1, round(share * self.content)))


def choose(slots: Slots, share: float, rng: random.Random) -> list[tuple[Slot, str]]:
    """Some of the slots, in the text's order, each with one of its choices."""
    chosen = sorted(rng.sample(slots.found, slots.wanted(share)), key=lambda slot: slot.start)
    return [(slot, rng.choice(slot.choices)) for slot in chosen]


def replaced(text: str, chosen: Sequence[tuple[Slot, str]]) -> str:
    parts, position = [], 0
    for slot, word in chosen:
        parts += [text[position : slot.start], word]
        position = slot.end
    return "".join([*parts, text[position:]])


# ---------------------------------------------------------------- English

_WORD = re.compile(r"[A-Za-z]+(?:['’-][A-Za-z]+)*")
_PART_OF_MORE = frozenset("@/\\_#&$~=<>{}[]|*`^'’-0123456789")  # addresses, code, hashtags: no prose
_SENTENCE_END = frozenset('.!?:;\n"“”‘(')
_VOWELS = frozenset("aeiou")
_EITHER_ARTICLE = re.compile(r"^(?:u|eu|on|ho|hei)", re.IGNORECASE)  # a union, an hour: the letter does not tell

_BEFORE_NOUNS = frozenset(
    (
        "a",
        "an",
        "the",
        "this",
        "that",
        "my",
        "your",
        "his",
        "her",
        "its",
        "our",
        "their",
        "no",
        "some",
        "any",
        "every",
        "of",
    )
)
_BEFORE_VERBS = frozenset(
    (
        "to",
        "will",
        "would",
        "can",
        "could",
        "shall",
        "should",
        "may",
        "might",
        "must",
        "not",
        "cannot",
        "don't",
        "didn't",
    )
)


def english_slots(text: str, wordnet: WordNet) -> Slots:
    """Lower-case words with a synonym, and capitalised ones at a sentence's start that the text has in lower case too.

    Left alone: names, stop words, parts of phrases that WordNet lists, of addresses and of code.
    """
    matches = list(_WORD.finditer(text))
    seen = [match.group() for match in matches]
    lower = {word for word in seen if word.islower()}
    found, content = [], 0
    for number, match in enumerate(matches):
        word = seen[number]
        folded = word.lower()
        if folded in STOP_WORDS or len(word) < 3 or not (word.islower() or folded in lower):
            continue
        content += 1
        choices = wordnet.synonyms(folded) if word.isalpha() else ()
        if (
            choices
            and _free(text, match)
            and _cased(text, match, word)
            and not _in_phrase(seen, matches, number, wordnet)
        ):
            before = seen[number - 1].lower() if number else ""
            choices = _after_article(choices, before) if _as_part(wordnet.part(folded), before) else ()
            if choices:
                cased = choices if word.islower() else tuple(choice.capitalize() for choice in choices)
                found.append(Slot(match.start(), match.end(), cased))
    return Slots(tuple(found), content)


def _free(text: str, match: re.Match[str]) -> bool:
    """Not joined to anything that makes it a part of an address, a path, a number or code."""
    before, after = text[match.start() - 1 : match.start()], text[match.end() : match.end() + 2]
    if (before in _PART_OF_MORE and before) or before == ".":
        return False
    return not (
        (after[:1] in _PART_OF_MORE and after) or (after[:1] in (".", "(") and after[1:].isalnum()) or after == "()"
    )


def _cased(text: str, match: re.Match[str], word: str) -> bool:
    """Lower case, or a capital where a sentence starts."""
    if word.islower():
        return True
    before = text[max(0, match.start() - 2) : match.start()].rstrip(" ")
    return word[1:].islower() and (not before or before[-1] in _SENTENCE_END)


def _in_phrase(seen: Sequence[str], matches: Sequence[re.Match[str]], number: int, wordnet: WordNet) -> bool:
    for left in (number - 1, number):
        if left < 0 or left + 1 >= len(seen) or matches[left + 1].start() - matches[left].end() != 1:
            continue
        if wordnet.phrase(seen[left].lower(), seen[left + 1].lower()):
            return True
    return False


def _as_part(part: str, before: str) -> bool:
    """Whether the word before shows that an ambiguous word is the noun or verb that has the synonyms."""
    return not part or before in (_BEFORE_NOUNS if part == "n" else _BEFORE_VERBS)


def _after_article(choices: tuple[str, ...], before: str) -> tuple[str, ...]:
    """After "a" or "an", the choices that take the same one."""
    if before not in ("a", "an"):
        return choices
    vowel = before == "an"
    return tuple(name for name in choices if not _EITHER_ARTICLE.match(name) and (name[0] in _VOWELS) == vowel)


# ---------------------------------------------------------------- Chinese

_TITLE = re.compile("《[^《》]*》")
_HAN_WORD = re.compile("[\u4e00-\u9fff]{2,}")


def chinese_slots(text: str, cilin: Cilin) -> Slots:
    """Whole words of two characters or more that have a synonym, outside 《titles》."""
    titles = [match.span() for match in _TITLE.finditer(text)]
    found, content = [], 0
    for start, word in words(text, cilin):
        if not _HAN_WORD.fullmatch(word) or any(left <= start < right for left, right in titles):
            continue
        content += 1
        if choices := cilin.synonyms(word):
            found.append(Slot(start, start + len(word), choices))
    return Slots(tuple(found), content)
