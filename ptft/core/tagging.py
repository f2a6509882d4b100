"""Tags of words: which scheme they follow, and words to token ids with the piece that carries each word's tag."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

from ptft.core.errors import InputError
from ptft.core.metrics.text import UNSPACED

Scheme = Literal["IOB2", "IOBES", "plain"]
OUTSIDE = "O"
PREFIXES = {"IOB2": "BI", "IOBES": "BIES", "plain": ""}
TAGGED_PIECE = "tagged_piece"  # in the tokenizer's config
_PREFIXED = re.compile(r"([BIES])-.")
_UNSPACED = re.compile(f"[{UNSPACED}]")


def scheme_of(tags: Iterable[str]) -> Scheme:
    """The scheme of a data set's tags: "B-", "I-" and "O" are IOB2, with "E-" or "S-" IOBES, anything else plain names."""
    named = set(tags) - {OUTSIDE}
    found = [_PREFIXED.match(tag) for tag in named]
    if not named or not all(found):
        return "plain"
    return "IOBES" if {match[1] for match in found if match} & {"E", "S"} else "IOB2"


def mended(tags: Sequence[str]) -> tuple[list[str], int]:
    """IOB2 tags in which no "I-" is without its "B-", and how many were changed.

    An "I-X" that follows neither "B-X" nor "I-X" begins an entity, so it becomes "B-X": this also turns IOB1 into IOB2.
    """
    made: list[str] = []
    for tag in tags:
        before = made[-1] if made else OUTSIDE
        lone = tag.startswith("I-") and before[1:] != tag[1:]
        made.append(f"B{tag[1:]}" if lone else tag)
    return made, sum(old != new for old, new in zip(tags, made, strict=True))


def tags_of(row: Sequence[Any], scheme: Scheme) -> tuple[list[str], int]:
    """A row's tags as names, mended where they are IOB2; and how many were mended."""
    names = [str(tag) for tag in row]
    return mended(names) if scheme == "IOB2" else (names, 0)


def fits(tag: str, scheme: Scheme, labels: Sequence[str]) -> bool:
    """Whether a model with these labels can be measured on a tag: an entity of a type it does not know is one it misses."""
    if scheme == "plain" or tag in labels:
        return tag in labels
    match = _PREFIXED.match(tag)
    return tag == OUTSIDE or (match is not None and match[1] in PREFIXES[scheme])


def row_problem(data: Mapping[str, Any]) -> str | None:
    """Why a row of words and tags cannot be used."""
    words, tags = data["tokens"], data["tags"]
    if len(words) != len(tags):
        return f"{len(words):,} tokens, and {len(tags):,} tags"
    if not words:
        return "no tokens"
    bare = next((place for place, word in enumerate(words, 1) if not isinstance(word, str) or not word.strip()), None)
    if bare is not None:
        return f"token {bare} is no word: {words[bare - 1]!r}"
    odd = [tag for tag in tags if not isinstance(tag, str | int) or not str(tag).strip()]
    return f"a tag is no name: {odd[0]!r}" if odd else None


# ---------------------------------------------------------------- words to tokens


@dataclass(frozen=True)
class Words:
    """A row of words as tokens. places: (words,) where the piece is that carries the word's tag; -1 of a word without one.

    A word has none where it was cut off, or where the tokenizer makes nothing of it.
    """

    ids: list[int]
    places: list[int]

    @property
    def seen(self) -> list[int]:
        """The words that have a place."""
        return [word for word, place in enumerate(self.places) if place >= 0]


def piece_of(tokenizer: Any) -> str:
    """Which piece of a word carries its tag: "first", or "last" for causal models, which see no further than the piece."""
    return str(tokenizer.init_kwargs.get(TAGGED_PIECE, "first"))


def encode_words(tokenizer: Any, rows: Sequence[Sequence[str]], max_len: int) -> list[Words]:
    """Token ids of rows of words, cut to `max_len`.

    Words are encoded one by one, so that no piece belongs to two of them (a joined Chinese text would make one piece of two
    characters). A word gets the space before it that running text has: between two Latin words, not beside a Chinese
    character; byte-level BPE has other pieces for a word without its space. Raises `InputError` for a slow tokenizer.
    """
    if not tokenizer.is_fast:
        remedy = "take a base with a tokenizer.json"
        raise InputError("tags need a tokenizer that tells which word a piece is of", remedy=remedy)
    if not rows:
        return []
    spaced = [_spaced(words) for words in rows]
    encoded = tokenizer(spaced, is_split_into_words=True, truncation=True, max_length=max_len)
    last = piece_of(tokenizer) == "last"
    return [
        Words(list(ids), _places(encoded.word_ids(row), len(rows[row]), last))
        for row, ids in enumerate(encoded["input_ids"])
    ]


def _spaced(words: Sequence[str]) -> list[str]:
    made = list(words[:1])
    for before, word in pairwise(words):
        unspaced = _UNSPACED.match(before[-1]) or _UNSPACED.match(word[0])
        made.append(word if unspaced else f" {word}")
    return made


def _places(word_ids: Sequence[int | None], words: int, last: bool) -> list[int]:
    places = [-1] * words
    for place, word in enumerate(word_ids):
        if word is not None and (last or places[word] < 0):
            places[word] = place
    return places
