"""Texts to token ids, exactly as `tokenizers` gives them and several times as fast where its pre-tokenizer allows it.

Byte-level BPE cuts a text into words and encodes each for itself, and most words come again. `tokenizers` spends its time on the
cutting. So words are found by `re` (see word_pattern), each different one is encoded once, by the library, and the rest is looking up.
The first texts of every process are encoded both ways; where they differ, and wherever a tokenizer is built otherwise, the library
does all of it.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

from ptft.core.contracts import TOKENIZER
from ptft.core.errors import InputError
from ptft.core.word_table import Encoded, any_of, words_of

GROUP = 1 << 20  # characters encoded at a time: what is held of them is some fifty times as much
CHECKED = 100_000  # characters at the beginning that are encoded both ways


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
    return Special(eos, eos if pad is None else pad, max(fast.get_vocab(with_added_tokens=True).values()) + 1)


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
        self._control_texts = any_of(token["content"] for token in control)
        self._words = words_of(described, self.eos)
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


def unknown_id(folder: Path) -> int | None:
    """The id that stands for text the folder's tokenizer cannot read; None where there is none."""
    fast, _ = fast_tokenizer(folder)
    token = getattr(fast.model, "unk_token", None)
    return fast.token_to_id(token) if token else None
