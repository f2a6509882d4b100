"""Texts to token ids, exactly as `tokenizers` gives them and several times as fast where its pre-tokenizer allows it.

Byte-level BPE cuts a text into words and encodes each for itself, and most words come again. `tokenizers` spends its time on the
cutting. So words are found by `re` (see word_pattern), each different one is encoded once, by the library, and the rest is looking up.
The first texts of every process are encoded both ways; where they differ, and wherever a tokenizer is built otherwise, the library
does all of it.
"""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

from ptft.core import word_pattern
from ptft.core.contracts import TOKENIZER
from ptft.core.errors import InputError

GROUP = 1 << 20  # characters encoded at a time: what is held of them is some fifty times as much
CHECKED = 100_000  # characters at the beginning that are encoded both ways
MOST_WORDS, MOST_IDS = 1 << 19, 1 << 23  # in the table of words; beyond, it begins anew
LONG_WORD = 12  # characters; longer ones hardly come again (runs of Han are cut at 16)
RARE = 200_000  # characters of texts with emoji and the like; from there on it pays to ask which classes those are in
_BEYOND_BMP = re.compile(r"[\U00010000-\U0010ffff]")


@dataclass(frozen=True)
class Encoded:
    """ids: of all documents, each ended by eos. lengths: tokens of each document, eos included."""

    ids: npt.NDArray[np.uint32]
    lengths: npt.NDArray[np.int64]


@dataclass(frozen=True)
class Special:
    """The ids a token folder names, and the size of the vocabulary. pad: that of the tokenizer, or else eos."""

    eos: int
    pad: int
    vocab_size: int

    @property
    def dtype(self) -> str:
        """What ids are stored as."""
        return "<u2" if self.vocab_size <= 2**16 else "<u4"


def fast_tokenizer(folder: Path) -> tuple[Any, int]:
    """The folder's `tokenizers.Tokenizer` and the id that ends a document. Neither torch nor transformers is needed.

    The text of a special token is encoded as any other text: what a document says must not end it.
    """
    from tokenizers import Tokenizer

    TOKENIZER.require(folder)
    try:
        fast = Tokenizer.from_file(str(folder / "tokenizer.json"))
    except Exception as error:  # `tokenizers` raises bare Exception
        raise _unloadable(folder, error) from error
    eos = _token_id(fast, folder, ("eos_token", "sep_token"))
    if eos is None:
        remedy = "set eos_token in its tokenizer_config.json, or make one with `ptft tokenizer`"
        raise InputError("the tokenizer has no end-of-text token", where=str(folder), remedy=remedy)
    fast.no_truncation()
    fast.no_padding()
    fast.encode_special_tokens = True
    return fast, eos


def special_of(folder: Path) -> Special:
    """Raises `InputError` as `fast_tokenizer` does."""
    return _special(*fast_tokenizer(folder), folder)


def _special(fast: Any, eos: int, folder: Path) -> Special:
    pad = _token_id(fast, folder, ("pad_token",))
    return Special(eos, eos if pad is None else pad, fast.get_vocab_size(with_added_tokens=True))


def _token_id(fast: Any, folder: Path, names: Sequence[str]) -> int | None:
    """The id of the first of these that tokenizer_config.json has."""
    try:
        config = orjson.loads((folder / "tokenizer_config.json").read_bytes())
    except (OSError, orjson.JSONDecodeError) as error:
        raise _unloadable(folder, error) from error
    named = [config.get(name) for name in names]
    token = next((token["content"] if isinstance(token, dict) else token for token in named if token), None)
    return fast.token_to_id(token) if token else None


def _unloadable(folder: Path, error: Exception) -> InputError:
    remedy = "it needs tokenizer.json and tokenizer_config.json; make one with `ptft tokenizer`"
    return InputError(f"the tokenizer cannot be loaded: {error}", where=str(folder), remedy=remedy)


@contextmanager
def one_thread() -> Iterator[None]:
    """`tokenizers` keeps to this thread: the processes are the parallelism."""
    before = os.environ.get("TOKENIZERS_PARALLELISM")
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    try:
        yield
    finally:
        del os.environ["TOKENIZERS_PARALLELISM"]
        if before is not None:
            os.environ["TOKENIZERS_PARALLELISM"] = before


class Encoder:
    """Encodes documents with the tokenizer of a folder. The result depends on each document alone."""

    def __init__(self, folder: Path) -> None:
        self._fast, self.eos = fast_tokenizer(folder)
        self.special = _special(self._fast, self.eos, folder)
        described = orjson.loads((folder / "tokenizer.json").read_bytes())
        added = described.get("added_tokens") or []
        unknown = described["model"].get("unk_token")
        control = [token for token in added if token["special"] and token["content"] != unknown]
        self._control = np.array([token["id"] for token in control], np.uint32)
        self._control_texts = _any_of(token["content"] for token in control)
        self._words = _words_of(described, self.eos)
        self._to_check = CHECKED

    def __call__(self, texts: Sequence[str]) -> Encoded:
        found = [self._group(group) for group in _groups(texts)]
        ids = [group.ids for group in found] or [np.zeros(0, np.uint32)]
        lengths = [group.lengths for group in found] or [np.zeros(0, np.int64)]
        return Encoded(np.concatenate(ids), np.concatenate(lengths))

    def _group(self, texts: Sequence[str]) -> Encoded:
        if self._words is None:
            return _joined([self._by_library(text) for text in self._batch(texts)], self.eos)
        found = self._words.encode(texts, self._alone)
        return found if self._to_check <= 0 or self._agrees(texts, found) else self._group(texts)

    def _agrees(self, texts: Sequence[str], found: Encoded) -> bool:
        """Whether the library gives the same ids for the first texts; if not, it encodes all from now on."""
        start = 0
        for text, length in zip(texts, found.lengths.tolist(), strict=True):
            if self._to_check > 0 and not np.array_equal(self._alone(text), found.ids[start : start + length - 1]):
                self._words = None
                return False
            self._to_check -= len(text)
            start += length
        return True

    def _batch(self, texts: Sequence[str]) -> Iterator[tuple[str, Any]]:
        return zip(texts, self._fast.encode_batch_fast(texts, add_special_tokens=False), strict=True)

    def _alone(self, text: str) -> npt.NDArray[np.uint32]:
        return self._by_library(next(iter(self._batch([text]))))

    def _by_library(self, encoded: tuple[str, Any]) -> npt.NDArray[np.uint32]:
        text, found = encoded
        ids = np.array(found.ids, np.uint32)
        if self._control_texts is None or not np.isin(ids, self._control).any():
            return ids
        return self._apart(text)

    def _apart(self, text: str) -> npt.NDArray[np.uint32]:
        """The text with a cut after the first character of each special token in it, for models that find them in their vocabulary."""
        assert self._control_texts is not None
        cuts = [0, *(match.start() + 1 for match in self._control_texts.finditer(text)), len(text)]
        parts = [text[start:stop] for start, stop in itertools.pairwise(cuts)]
        return np.concatenate([np.array(found.ids, np.uint32) for _, found in self._batch(parts)])


def _groups(texts: Iterable[str]) -> Iterator[list[str]]:
    group: list[str] = []
    size = 0
    for text in texts:
        group.append(text)
        size += len(text)
        if size >= GROUP:
            yield group
            group, size = [], 0
    if group:
        yield group


def _joined(documents: Sequence[npt.NDArray[np.uint32]], eos: int) -> Encoded:
    end = np.array([eos], np.uint32)
    parts = [part for document in documents for part in (document, end)]
    return Encoded(np.concatenate(parts), np.array([len(document) + 1 for document in documents], np.int64))


def _any_of(texts: Iterable[str]) -> re.Pattern[str] | None:
    found = sorted((re.escape(text) for text in texts if text), key=len, reverse=True)
    return re.compile("|".join(found)) if found else None


# ---------------------------------------------------------------- word by word


def _words_of(described: dict[str, Any], eos: int) -> _Words | None:
    """The quick way, where the tokenizer is one that has it. described: tokenizer.json."""
    model = described["model"]
    if model.get("type") != "BPE" or model.get("dropout") or described.get("normalizer"):
        return None
    try:
        pattern, rest = word_pattern.split_pattern(described.get("pre_tokenizer"))
        word_pattern.compiled(pattern, wide=False)
    except (word_pattern.Unlike, re.error, KeyError):
        return None
    others = _any_of(token["content"] for token in described.get("added_tokens") or [] if not token["special"])
    return _Words(_tokenizer_of_words(described, rest), pattern, others, eos)


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


class _Words:
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

    def encode(self, texts: Sequence[str], library: Any) -> Encoded:
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
            if self._rare < RARE or ord(max(text)) > word_pattern.LAST:
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
