"""A few hundred texts as one array of code points, with what each character, word and line is.

What a rule counts is then a sum over slices of arrays: no Python for each word.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np
import numpy.typing as npt

from ptft.core.minhash import I64, U8, U32, offsets

Mask = npt.NDArray[np.bool_]
SPACE, LETTER, DIGIT, TERMINAL, BULLET, STOP, WIDE_STOP, CLOSER = (1 << bit for bit in range(8))  # classes, as bits
STOPS, WIDE_STOPS, CLOSERS = (
    ".!?",
    "。！？",
    "\"'”’)]",
)  # what ends a sentence before a space; anywhere; and what may follow
BULLETS = "•‣●○■▪◦▶–-*·"
# Ends of sentences: Unicode's Sentence_Terminal, which FineWeb's rules go by, and what may close a sentence after it.
TERMINALS = "!.?։؝؞؟۔܀܁܂߹࠷࠹࠽࠾।॥၊။።፧፨᙮᜵᜶។៕៖៙៚᠃᠉᥄᥅᪨᪩᪪᪫᭚᭛᭞᭟᭽᭾᰻᰼᱾᱿‼‽⁇⁈⁉⸮⸼⹓⹔。꓿꘎꘏꛳꛷꡶꡷꣎꣏꤯꧈꧉꩝꩞꩟꫰꫱꯫﹒﹖﹗！．？｡\"'”’…」』"


@dataclass(frozen=True)
class Characters:
    """n texts, a newline after each. points: their code points; flags: the classes of each; bounds: (n + 1,)."""

    points: U32
    flags: U8
    bounds: I64

    @classmethod
    def of(cls, texts: Sequence[str]) -> Characters:
        joined = "\n".join([*texts, ""])
        points = np.frombuffer(joined.encode("utf-32-le", "surrogatepass"), np.uint32)
        return cls(points, _classes()[points], offsets([len(text) + 1 for text in texts]))

    def __len__(self) -> int:
        return len(self.bounds) - 1

    def count(self, mask: Mask) -> I64:
        """How many of each text's characters are marked: (n,)."""
        return np.add.reduceat(mask, self.bounds[:-1], dtype=np.int64)

    def within(self, places: I64) -> I64:
        """How many of some sorted places in the array lie in each text: (n,)."""
        return np.diff(np.searchsorted(places, self.bounds))

    @cached_property
    def space(self) -> Mask:
        return (self.flags & SPACE).astype(bool)

    @cached_property
    def words(self) -> I64:
        """Where each run of characters between white space starts."""
        starts = ~self.space
        starts[1:] &= self.space[:-1]
        return np.flatnonzero(starts)

    @cached_property
    def word_lengths(self) -> I64:
        """Of the same runs, in characters."""
        ends = self.space.copy()
        ends[1:] &= ~self.space[:-1]
        ends[0] = False
        return np.flatnonzero(ends) - self.words  # every text is followed by a newline, so every run has an end

    def words_with(self, classes: int) -> Mask:
        """Which of those runs have a character of these classes."""
        if not len(self.words):
            return np.zeros(0, bool)
        return np.asarray(np.bitwise_or.reduceat(self.flags, self.words) & classes != 0)

    @cached_property
    def sentence_ends(self) -> Mask:
        """The characters that end a sentence: a stop before white space, with what closes it, or a run of full-width stops."""
        stop, after_word = self.flags & STOP != 0, ~self.space
        ended = stop.copy()
        ended[0] = False
        ended[1:] &= after_word[:-1] & ~stop[:-1]  # a stop that follows a word, and not one that opens a line
        for more in (stop, stop, self.flags & CLOSER != 0, self.flags & CLOSER != 0):  # ?!! and ."')
            ended[1:] |= more[1:] & ended[:-1]
        ended[:-1] &= self.space[1:]
        wide = self.flags & WIDE_STOP != 0
        wide[:-1] &= ~wide[1:]
        return np.asarray(ended | wide)

    @cached_property
    def lines(self) -> Lines:
        ends = np.flatnonzero(self.points == 10)
        starts = np.append(0, ends[:-1] + 1)
        ink = np.flatnonzero(~self.space)
        before, after = np.searchsorted(ink, starts), np.searchsorted(ink, ends)
        held = after > before  # lines that are not blank
        return Lines(starts[held], ends[held], ink[before[held]], ink[after[held] - 1])


@dataclass(frozen=True)
class Lines:
    """The lines that are not blank: where each starts and ends, its first and last characters that are not white space."""

    starts: I64
    ends: I64
    first: I64
    last: I64


@cache
def _classes() -> U8:
    """The classes of every code point, as bits. 1 MB."""
    alphabet = np.arange(0x110000, dtype=np.uint32).tobytes().decode("utf-32-le", "surrogatepass")
    classes = np.zeros(len(alphabet), np.uint8)
    for bit, pattern in ((SPACE, r"\s+"), (LETTER, r"[^\W\d_]+"), (DIGIT, r"\d+")):
        for run in re.finditer(pattern, alphabet):
            classes[run.start() : run.end()] |= bit
    for bit, characters in (
        (TERMINAL, TERMINALS), (BULLET, BULLETS), (STOP, STOPS), (WIDE_STOP, WIDE_STOPS), (CLOSER, CLOSERS)
    ):  # fmt: skip
        classes[[ord(char) for char in characters]] |= bit
    return classes
