"""Every measure of a batch of texts, as one table: what the rules of `limits` hold to their limits.

Measures do not know limits, and so limits can change without measuring again. Words are what stands between white space;
in Chinese they are jieba's. Sources: Gopher (Rae et al. 2021, appendix A1), C4 (Raffel et al. 2020, section 2.2), FineWeb
(Penedo et al. 2024) and FineWeb-2 (Penedo et al. 2025).
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from functools import cache, cached_property

import numpy as np
import numpy.typing as npt

from ptft.core.minhash import I64, U32, U64, Tokens, offsets, tokenise
from ptft.stages.clean import noise
from ptft.stages.clean.signals.characters import BULLET, DIGIT, LETTER, TERMINAL, Characters
from ptft.stages.clean.signals.lexicon import BLANK, LETTERED, LEXICON, PLAIN, Words, segment
from ptft.stages.clean.signals.repetition import NAMES as REPETITION
from ptft.stages.clean.signals.repetition import repetition

F32 = npt.NDArray[np.float32]
CHUNK_CHARACTERS = 1 << 18  # characters measured at a time: their arrays stay in the cache
SHORT_LINE = 30  # characters (FineWeb)
SENSITIVE = "sensitive_words"  # counted where the words are masked, before they are
NAMES = (
    "words", "mean_word_length", "symbols_per_word", "bullet_lines", "ellipsis_lines", "alphabetic_words", "stop_words",
    "duplicate_lines", "duplicate_line_characters", "duplicate_paragraphs", "duplicate_paragraph_characters",
    *REPETITION, "punctuated_lines", "short_lines", "newlines_per_word", "sentences", "curly_brackets", *noise.NAMES,
    SENSITIVE,
)  # fmt: skip
_COLUMN = {name: column for column, name in enumerate(NAMES)}

ENGLISH_STOP_WORDS = ("the", "be", "to", "of", "and", "that", "have", "with")
CHINESE_STOP_WORDS = frozenset("的年在月是和日了於为為有被人中他与與后後也而由於")  # FineWeb-2's, in both scripts
CHINESE = ("zh", "yue", "wuu")
UNSPACED = (*CHINESE, "ja", "th", "lo", "km", "my", "bo", "dz")  # languages written without spaces between words


def measure(texts: Sequence[str], languages: Sequence[str], tokens: Tokens) -> F32:
    """The measures of n texts (n, len(NAMES)); NaN where one does not apply. tokens: of the same texts."""
    table = unmeasured(len(texts))
    for chunk in _chunks(texts):
        some = [texts[number] for number in chunk]
        part = _Part(Characters.of(some), some, [languages[number] for number in chunk], tokens.take(chunk))
        for name, values in part.measures():
            table[chunk, _COLUMN[name]] = values
        first = _COLUMN[noise.NAMES[0]]
        table[chunk[0] : chunk[-1] + 1, first : first + len(noise.NAMES)] = noise.measure(some)
    return table


def unmeasured(texts: int) -> F32:
    """The table of texts of which nothing is known."""
    return np.full((texts, len(NAMES)), np.nan, np.float32)


def _chunks(texts: Sequence[str]) -> Iterator[list[int]]:
    chunk: list[int] = []
    size = 0
    for number, text in enumerate(texts):
        chunk.append(number)
        size += len(text)
        if size >= CHUNK_CHARACTERS:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


class _Part:
    """Some texts, as characters and as words. Every measure is an array (n,), NaN for texts in other languages."""

    def __init__(self, characters: Characters, texts: Sequence[str], languages: Sequence[str], tokens: Tokens) -> None:
        self.characters, self.texts, self.tokens = characters, texts, tokens
        self.chinese = np.array([lang in CHINESE for lang in languages])
        self.spaced = np.array([lang not in UNSPACED for lang in languages])
        self.english = np.array([lang == "en" for lang in languages])

    def measures(self) -> Iterator[tuple[str, npt.NDArray[np.generic]]]:
        yield from self._of_lines()
        yield from self._of_repeated_lines()
        spaced, chinese = self._of_spaced_words(), self._of_chinese_words()
        for name, values in spaced.items():
            both = np.where(self.spaced, values, np.nan)
            yield name, np.where(self.chinese, chinese[name], both)
        grams = repetition(*self._gram_tokens(), self.characters.count(~self.characters.space))
        grams[~(self.spaced | self.chinese)] = np.nan
        yield from zip(REPETITION, grams.T, strict=True)

    # ------------------------------------------------------------ lines

    def _of_lines(self) -> Iterator[tuple[str, npt.NDArray[np.generic]]]:
        characters, lines = self.characters, self.characters.lines
        flags = characters.flags
        count = np.maximum(characters.within(lines.starts), 1)
        yield "bullet_lines", self._lines_that(flags[lines.first] & BULLET != 0) / count
        yield "punctuated_lines", self._lines_that(flags[lines.last] & TERMINAL != 0) / count
        yield "short_lines", self._lines_that(lines.ends - lines.starts <= SHORT_LINE) / count
        points = characters.points
        dots = (points[lines.last] == 46) & (points[lines.last - 1] == 46) & (points[lines.last - 2] == 46)
        yield "ellipsis_lines", self._lines_that(dots | (points[lines.last] == 0x2026)) / count
        yield "curly_brackets", characters.count(points == 0x7B)
        ends = characters.sentence_ends
        # what follows the last end of a line is a sentence too: C4 counts line by line
        yield "sentences", characters.count(ends) + self._lines_that(~ends[lines.last])

    def _lines_that(self, marked: npt.NDArray[np.bool_]) -> I64:
        return self.characters.within(self.characters.lines.starts[marked])

    def _of_repeated_lines(self) -> Iterator[tuple[str, npt.NDArray[np.generic]]]:
        table = np.array([_repeated_parts(text) for text in self.texts]).reshape(-1, 4)
        names = (
            "duplicate_lines", "duplicate_line_characters", "duplicate_paragraphs", "duplicate_paragraph_characters",
        )  # fmt: skip
        yield from zip(names, table.T, strict=True)

    # ------------------------------------------------------------ words

    def _of_spaced_words(self) -> dict[str, npt.NDArray[np.generic]]:
        """Words are runs between white space; those of marks alone ("--", the borders of a table) have no length worth a mean."""
        characters, starts = self.characters, self.characters.words
        every = np.maximum(characters.within(starts), 1)
        plain, lettered = characters.words_with(LETTER | DIGIT), characters.words_with(LETTER)
        count = characters.within(starts[plain])
        lengths = np.where(plain, characters.word_lengths, 0)
        ink = _sums(lengths, np.searchsorted(starts, characters.bounds))
        return {
            "words": count,
            "mean_word_length": ink / np.maximum(count, 1),
            "symbols_per_word": self._symbols / every,
            "alphabetic_words": characters.within(starts[lettered]) / every,
            "stop_words": np.where(self.english, self._english_stop_words(), np.nan),
            "newlines_per_word": self._newlines / np.maximum(self._with_punctuation(), 1),
        }

    def _with_punctuation(self) -> I64:
        """Tokens of each text, every punctuation mark one: what FineWeb's newlines per word were counted by."""
        marks = ~self.characters.space & (self.characters.flags & (LETTER | DIGIT) == 0)
        return np.asarray(self.characters.count(marks) + np.diff(self.tokens.offsets))

    def _english_stop_words(self) -> I64:
        found = np.zeros(len(self.texts), np.int64)
        for word in _stop_word_hashes():
            found += np.diff(np.searchsorted(np.flatnonzero(self.tokens.hashes == word), self.tokens.offsets)) > 0
        return found

    def _of_chinese_words(self) -> dict[str, npt.NDArray[np.generic]]:
        """As FineWeb-2 counts: newlines and symbols by all of jieba's words, punctuation marks among them; the rest without.

        Shares of words with a letter are taken without marks too, as in English: with them, classical poems are dropped.
        """
        words, bounds = self._segments
        stop_words = LEXICON.look_up(sorted(CHINESE_STOP_WORDS)).ids.tolist()
        count = np.maximum(np.diff(bounds), 1)
        plain = _sums(words.kinds & PLAIN != 0, bounds)
        return {
            "words": plain,
            "mean_word_length": _sums(np.where(words.kinds & PLAIN != 0, words.lengths, 0), bounds)
            / np.maximum(plain, 1),
            "symbols_per_word": self._symbols / count,
            "alphabetic_words": _sums(words.kinds & LETTERED != 0, bounds) / np.maximum(plain, 1),
            "stop_words": np.sum([_sums(words.ids == word, bounds) > 0 for word in stop_words], axis=0),
            "newlines_per_word": self._newlines / count,
        }

    @cached_property
    def _symbols(self) -> I64:
        return np.array([max(text.count("#"), text.count("...") + text.count("…")) for text in self.texts])

    @cached_property
    def _newlines(self) -> I64:
        return np.array([text.count("\n") for text in self.texts])

    @cached_property
    def _segments(self) -> tuple[Words, I64]:
        """The words of the Chinese texts one after another, and where each text's begin (n + 1,); of other texts none."""
        LEXICON.make_room()
        numbers: list[int] = np.flatnonzero(self.chinese).tolist()
        parts = {number: segment(self.texts[number]) for number in numbers}
        words = LEXICON.look_up(list(itertools.chain.from_iterable(parts.values())))
        ink = words.kinds & BLANK == 0
        counts = np.zeros(len(self.texts), np.int64)
        counts[numbers] = _sums(ink, offsets([len(part) for part in parts.values()]))
        return words.take(ink), offsets(counts)

    def _gram_tokens(self) -> tuple[U64, U32, I64]:
        """What n-grams are made of: a text's tokens, but in Chinese its words. Hashes, lengths and bounds."""
        if not self.chinese.any():
            return self.tokens.hashes, self.tokens.lengths, self.tokens.offsets
        words, bounds = self._segments
        parts = [
            (words.hashes[bounds[number] : bounds[number + 1]], words.lengths[bounds[number] : bounds[number + 1]])
            if chinese
            else self.tokens.of(number)
            for number, chinese in enumerate(self.chinese.tolist())
        ]
        hashes, lengths = zip(*parts, strict=True)
        return np.concatenate(hashes), np.concatenate(lengths), offsets([len(part) for part in hashes])


def _sums(values: npt.NDArray[np.generic], bounds: I64) -> I64:
    """The sum of each text's values (n,); of no values 0."""
    so_far = np.concatenate([np.zeros(1, np.int64), np.cumsum(values, dtype=np.int64)])
    return np.asarray(so_far[bounds[1:]] - so_far[bounds[:-1]])


# ---------------------------------------------------------------- one text

_PARAGRAPH = re.compile(r"\n{2,}")


def _repeated_parts(text: str) -> tuple[float, float, float, float]:
    """Shares of lines seen before and of characters in them, and the same of paragraphs."""
    lines = [line for line in text.split("\n") if line.strip()]
    if len(set(lines)) == len(lines):  # then no paragraph is repeated either
        return 0.0, 0.0, 0.0, 0.0
    paragraphs = [part for part in _PARAGRAPH.split(text) if part.strip()]
    return *_seen_before(lines), *_seen_before(paragraphs)


def _seen_before(parts: Sequence[str]) -> tuple[float, float]:
    unique = set(parts)
    return 1 - len(unique) / len(parts), 1 - sum(map(len, unique)) / sum(map(len, parts))


# ---------------------------------------------------------------- stop words


@cache
def _stop_word_hashes() -> tuple[np.uint64, ...]:
    return tuple(tokenise([" ".join(ENGLISH_STOP_WORDS)]).hashes)
