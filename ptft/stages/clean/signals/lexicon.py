"""Chinese words, and what is known of each: looked up once a word, then read as arrays."""

from __future__ import annotations

import re
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import xxhash

from ptft.core.minhash import I64, U8, U32, U64

BLANK, PLAIN, LETTERED = 1, 2, 4  # kinds of words, as bits: white space; not all punctuation; with a letter
_PLAIN, _LETTER = re.compile(r"[^\W_]"), re.compile(r"[^\W\d_]")


@dataclass(frozen=True)
class Words:
    """n words. lengths: in characters."""

    ids: I64
    hashes: U64
    lengths: U32
    kinds: U8

    def take(self, which: npt.NDArray[np.bool_]) -> Words:
        return Words(self.ids[which], self.hashes[which], self.lengths[which], self.kinds[which])


class Lexicon(dict[str, int]):
    """Words seen lately, numbered. About 200 bytes a word."""

    MOST = 1 << 19

    def __init__(self) -> None:
        super().__init__()
        self._hashes, self._lengths, self._kinds = array("Q"), array("I"), array("B")

    def __missing__(self, word: str) -> int:
        self[word] = number = len(self)
        self._hashes.append(xxhash.xxh3_64_intdigest(word.encode("utf-8", "surrogatepass")))
        self._lengths.append(len(word))
        self._kinds.append(
            BLANK * word.isspace() | PLAIN * bool(_PLAIN.search(word)) | LETTERED * bool(_LETTER.search(word))
        )
        return number

    def make_room(self) -> None:
        """Forget all words once they are too many: numbers that were given out mean nothing after this."""
        if len(self) > self.MOST:
            self.clear()
            self.__init__()  # type: ignore[misc]

    def look_up(self, words: Sequence[str]) -> Words:
        ids = np.fromiter(map(self.__getitem__, words), np.int64, len(words))
        known: list[npt.NDArray[Any]] = [
            np.frombuffer(values, kind) if values else np.empty(0, kind) for values, kind in self._arrays()
        ]
        hashes, lengths, kinds = (values[ids] for values in known)
        return Words(ids, hashes, lengths, kinds)

    def _arrays(self) -> tuple[tuple[array[int], type], ...]:
        return (self._hashes, np.uint64), (self._lengths, np.uint32), (self._kinds, np.uint8)


LEXICON = Lexicon()


def segment(text: str) -> list[str]:
    """A Chinese text's words, by jieba's dictionary and model (its Rust form)."""
    import rjieba

    return list(rjieba.cut(text))
