"""What each token of a vocabulary is: special, the beginning of a word, the end of a sentence.

It is read off the tokens' bytes, so that it also holds for byte-level BPE, where transformers' whole-word collator fails:
white space, punctuation and symbols begin and end words; the pieces of one character stay together. A token of Han characters
or kana is a word by itself: Chinese has no spaces, and a token is the nearest thing to a word that needs no word list. Hangul
is spaced, so it goes by spaces.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ptft.core.language import HAN
from ptft.core.models import is_byte_level

Ids = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]
GLUED, GOES_ON, BEGINS = 0, 1, 2  # to the token before; unless that one ended a word; always
_UNSPACED = re.compile(f"[{HAN}\u3007\u3040-\u30ff\u31f0-\u31ff\uff66-\uff9f]")
# Bytes that go on a character, and first bytes of Han characters and kana, of general punctuation, full-width forms and
# emoji: what a character is whose bytes lie in several tokens
_CONTINUATION = bytes(range(0x80, 0xC0))
_UNSPACED_OR_SYMBOL = bytes([0xE2, *range(0xE3, 0xEA), 0xEF, 0xF0])
_QUOTES = "[\"'”’)\\]」』）]*"
_SENTENCE_END = re.compile(f"[。！？…]{_QUOTES}$|[.!?]{_QUOTES}\\s+$|\n")
_PERHAPS_SENTENCE_END = re.compile(f"[.!?]{_QUOTES}$")
_BYTE_TOKEN = re.compile(r"<0x([0-9A-F]{2})>")


@dataclass(frozen=True, eq=False)
class Words:
    """By token id, shape (vocabulary,). opens: GLUED, GOES_ON or BEGINS, int8. closes: whether what follows begins a word.

    tails: tokens that only end a character begun before; whether they close a word is known from the token that began it.
    """

    opens: npt.NDArray[np.int8]
    closes: Flags
    tails: Flags

    def numbers(self, ids: Ids) -> Ids:
        """Which word each token belongs to, counted from 0."""
        opens, tails = self.opens[ids], self.tails[ids]
        begins, closed = opens == BEGINS, self.closes[ids]
        if tails.any():
            closed = closed[np.maximum.accumulate(np.where(tails, 0, np.arange(len(ids))))]
        begins[1:] |= closed[:-1] & (opens[1:] == GOES_ON)
        begins[:1] = False  # the first word is number 0, whatever it begins with
        return np.cumsum(begins)


@dataclass(frozen=True, eq=False)
class Sentences:
    """By token id. firm: ends a sentence. soft: does so before white space ("2.3" is one number). spaced: begins with that."""

    firm: Flags
    soft: Flags
    spaced: Flags

    def ends(self, ids: Ids) -> Flags:
        """Whether a sentence ends after each token but the last. (tokens,) -> (tokens - 1,)"""
        found: Flags = self.firm[ids[:-1]] | (self.soft[ids[:-1]] & self.spaced[ids[1:]])
        return found


def special_ids(tokenizer: Any) -> Flags:
    """Special and reserved tokens, and ids that no token has. Shape (vocabulary,)."""
    ordinary = list(tokenizer.get_vocab().values())
    flags = np.ones(max(ordinary) + 1, dtype=np.bool_)
    flags[ordinary] = False
    flags[list(tokenizer.all_special_ids)] = True
    flags[[ident for ident, added in tokenizer.added_tokens_decoder.items() if added.special]] = True
    return flags


def words_of(tokenizer: Any) -> Words:
    """Where words begin and end. Special tokens begin and end one."""
    size = len(special_ids(tokenizer))
    opens, closes = np.full(size, BEGINS, dtype=np.int8), np.ones(size, dtype=np.bool_)
    tails = np.zeros(size, dtype=np.bool_)
    word_piece = _is_word_piece(tokenizer)
    for ident, data, glued in token_texts(tokenizer):
        opens[ident] = GLUED if glued else BEGINS if word_piece else _opening(data)
        closes[ident] = not word_piece and _closing(data)
        tails[ident] = not data.strip(_CONTINUATION)
    return Words(opens, closes, tails)


def sentences_of(tokenizer: Any) -> Sentences:
    """Where sentences end, in English and Chinese."""
    firm, soft, spaced = (np.zeros(len(special_ids(tokenizer)), dtype=np.bool_) for _ in range(3))
    for ident, data, _ in token_texts(tokenizer):
        text = data.decode("utf-8", "ignore")
        firm[ident] = _SENTENCE_END.search(text) is not None
        soft[ident] = _PERHAPS_SENTENCE_END.search(text) is not None
        spaced[ident] = text[:1].isspace()
    return Sentences(firm, soft, spaced)


def token_texts(tokenizer: Any) -> Iterator[tuple[int, bytes, bool]]:
    """(id, its text's bytes, whether it is marked as going on a word) of each ordinary token."""
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    special, byte_level = special_ids(tokenizer), is_byte_level(tokenizer)
    byte_of = {char: byte for byte, char in bytes_to_unicode().items()}
    for token, ident in tokenizer.get_vocab().items():
        if special[ident]:
            continue
        if byte_level and all(char in byte_of for char in token):
            yield ident, bytes(byte_of[char] for char in token), False
        elif single := _BYTE_TOKEN.fullmatch(token):
            yield ident, bytes([int(single[1], 16)]), False
        else:
            glued = not byte_level and token.startswith("##") and len(token) > 2
            yield ident, (token[2:] if glued else token.replace("\u2581", " ")).encode(), glued


def _is_word_piece(tokenizer: Any) -> bool:
    backend = getattr(tokenizer, "backend_tokenizer", None)
    return backend is not None and type(backend.model).__name__ == "WordPiece"


def _opening(data: bytes) -> int:
    lead = data[:1]
    if lead in _CONTINUATION:
        return GLUED  # in the middle of a character
    if len(data) < _size(lead):
        return BEGINS if lead in _UNSPACED_OR_SYMBOL else GOES_ON
    char = data[: _size(lead)].decode("utf-8", "replace")
    if unicodedata.category(char[0])[0] == "M":
        return GLUED  # an accent
    return GOES_ON if _in_word(char) else BEGINS


def _closing(data: bytes) -> bool:
    begun = len(data.rstrip(_CONTINUATION)) - 1
    last = data[max(begun, 0) :]
    if len(last) < _size(last[:1]):
        return last[:1] in _UNSPACED_OR_SYMBOL
    if not data.strip(b" "):
        return False  # spaces belong to the word after them
    char = last.decode("utf-8", "replace")[0]
    return unicodedata.category(char)[0] != "M" and not _in_word(char)


def _size(lead: bytes) -> int:
    """Bytes of the UTF-8 character that begins so."""
    return 1 if lead < b"\x80" else 2 if lead < b"\xe0" else 3 if lead < b"\xf0" else 4


def _in_word(char: str) -> bool:
    return unicodedata.category(char[0])[0] in "LN" and _UNSPACED.match(char) is None
