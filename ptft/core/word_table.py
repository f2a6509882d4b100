"""A table of words and their ids: the quick way to encode for a byte-level BPE tokenizer (see tokenising)."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

from ptft.core import word_pattern

MOST_WORDS, MOST_IDS = 1 << 19, 1 << 23  # in the table; beyond, it begins anew
LONG_WORD = 12  # characters; longer ones hardly come again (runs of Han are cut at 16)
RARE = 200_000  # characters of texts with emoji and the like; from there on it pays to ask which classes those are in
_BEYOND_BMP = re.compile(r"[\U00010000-\U0010ffff]")
Ids = npt.NDArray[np.uint32]


@dataclass(frozen=True)
class Encoded:
    """ids: of all documents, each ended by eos. lengths: tokens of each document, eos included."""

    ids: npt.NDArray[np.uint32]
    lengths: npt.NDArray[np.int64]


def words_of(described: dict[str, Any], eos: int) -> Words | None:
    """The quick way, where the tokenizer is one that has it. described: tokenizer.json."""
    model = described["model"]
    if model.get("type") != "BPE" or model.get("dropout") or described.get("normalizer"):
        return None
    try:
        pattern, rest = word_pattern.split_pattern(described.get("pre_tokenizer"))
        word_pattern.compiled(pattern, wide=False)
    except (word_pattern.Unlike, re.error, KeyError):
        return None
    others = any_of(token["content"] for token in described.get("added_tokens") or [] if not token["special"])
    return Words(_tokenizer_of_words(described, rest), pattern, others, eos)


def _tokenizer_of_words(described: dict[str, Any], rest: Sequence[dict[str, Any]]) -> Any:
    """The same model for a single word: no special tokens, not even in the vocabulary where nothing merges into them."""
    from tokenizers import Tokenizer

    model = described["model"]
    merged = {"".join(pair if isinstance(pair, list) else pair.split(" ")) for pair in model["merges"]}
    special = {token["content"] for token in described.get("added_tokens") or [] if token["special"]}
    gone = special - merged - {model.get("unk_token")}
    vocab = {token: ident for token, ident in model["vocab"].items() if token not in gone or len(token) == 1}
    changed: dict[str, Any] = {
        "model": {**model, "vocab": vocab}, "pre_tokenizer": {"type": "Sequence", "pretokenizers": rest},
        "added_tokens": [], "post_processor": None, "truncation": None, "padding": None,
    }  # fmt: skip
    return Tokenizer.from_str(orjson.dumps({**described, **changed}).decode())


class _Numbers(dict[str, int]):
    """The number of every word; a new one gets the next, and is noted in `new`."""

    def __init__(self, first: int) -> None:
        super().__init__()
        self.next, self.new = first, list[str]()

    def __missing__(self, word: str) -> int:
        number = self.next
        self.next += 1
        self.new.append(word)
        self[word] = number
        return number


class Words:
    """A table of words and their ids. others: what is cut out of a text before all else (added tokens that are not special)."""

    def __init__(self, tokenizer: Any, pattern: str, others: re.Pattern[str] | None, eos: int) -> None:
        self._tokenizer, self._pattern, self._others, self._eos = tokenizer, pattern, others, eos
        self._narrow = word_pattern.compiled(pattern, wide=False)
        self._rare = 0
        self._begin()

    def _begin(self) -> None:
        self._numbers = _Numbers(first=1)  # 0 is the end of a document
        self._ids = np.array([self._eos], np.uint32)
        self._lengths = np.array([1], np.int64)

    def encode(self, texts: Sequence[str], library: Callable[[str], Ids]) -> Encoded:
        """library: encodes a text that cannot be cut here."""
        if len(self._numbers) > MOST_WORDS or len(self._ids) > MOST_IDS:
            self._begin()
        rows = [self._numbered(text) for text in texts]
        self._learn()
        alone = {number: library(texts[number]) for number, row in enumerate(rows) if row is None}
        words = self._add(alone, rows)
        counts = np.array([len(row) for row in words])
        flat = np.concatenate(words)
        sizes = self._lengths[flat]
        lengths = np.add.reduceat(sizes, np.cumsum(counts) - counts)
        firsts = (np.cumsum(self._lengths) - self._lengths)[flat]
        moved = np.repeat(firsts - (np.cumsum(sizes) - sizes), sizes)
        moved += np.arange(len(moved))
        found = Encoded(self._ids[moved], lengths)
        self._forget(alone)
        return found

    def _numbered(self, text: str) -> npt.NDArray[np.int64] | None:
        """The numbers of the text's words, then 0; None where only the library knows how to cut it."""
        if self._others is not None and self._others.search(text):
            return None
        pattern = self._narrow
        if not text.isascii() and _BEYOND_BMP.search(text):
            self._rare += len(text)
            if self._rare < RARE:
                return None
            pattern = word_pattern.compiled(self._pattern, wide=True)
        words = pattern.findall(text)
        if "".join(words) != text:
            return None
        numbers = np.empty(len(words) + 1, np.int64)
        numbers[:-1] = np.fromiter(map(self._numbers.__getitem__, words), np.int64, count=len(words))
        numbers[-1] = 0
        return numbers

    def _learn(self) -> None:
        """Encode the new words."""
        new = self._numbers.new
        found = [encoded.ids for encoded in self._tokenizer.encode_batch_fast(new, add_special_tokens=False)]
        self._extend(found)
        for word in new:
            if len(word) > LONG_WORD:
                del self._numbers[word]
        self._numbers.new = []

    def _extend(self, found: Sequence[Sequence[int]]) -> None:
        ids = np.fromiter(itertools.chain.from_iterable(found), np.uint32)
        self._ids = np.concatenate([self._ids, ids])
        self._lengths = np.concatenate([self._lengths, np.array([len(one) for one in found], np.int64)])

    def _add(
        self, alone: dict[int, npt.NDArray[np.uint32]], rows: Sequence[npt.NDArray[np.int64] | None]
    ) -> list[npt.NDArray[np.int64]]:
        """The rows; a text that the library encoded is one word for as long as this takes."""
        first = len(self._lengths)
        self._ids = np.concatenate([self._ids, *alone.values()])
        self._lengths = np.concatenate([self._lengths, [len(ids) for ids in alone.values()]]).astype(np.int64)
        numbers = iter(range(first, first + len(alone)))
        return [np.array([next(numbers), 0]) if row is None else row for row in rows]

    def _forget(self, alone: dict[int, npt.NDArray[np.uint32]]) -> None:
        if alone:
            self._ids = self._ids[: len(self._ids) - sum(map(len, alone.values()))]
            self._lengths = self._lengths[: -len(alone)]


def any_of(texts: Iterable[str]) -> re.Pattern[str] | None:
    """What finds any of these, the longest first; None where there are none."""
    found = sorted((re.escape(text) for text in texts if text), key=len, reverse=True)
    return re.compile("|".join(found)) if found else None
