"""Rows that other text holds runs of words of: `eval` looks for its rows in training text, `export` for calibration rows in others."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import numpy.typing as npt

from ptft.core.language import language
from ptft.core.minhash import I64, U64, ngrams, offsets, token_spans, tokenise
from ptft.core.ngrams import Known, hits, wholes

WORDS = 13  # in a shared run (Brown et al. 2020, C)
# words; a shorter row is looked for whole, as one text; and one still shorter, not at all
SHORTEST, SHORTEST_WHOLE = 8, 4
# a run in more rows than both is the questions' template, and says nothing of any
TEMPLATE_ROWS, TEMPLATE_SHARE = 10, 0.05
MOST_SHOWN = 300  # characters of a shared run
_UNSPACED = ("zh", "ja", "ko")


def tokens_a_word(text: str) -> int:
    """2 where each character is a token, as in Chinese: two of them count as a word."""
    return 2 if language(text) in _UNSPACED else 1


# ---------------------------------------------------------------- what is looked for


@dataclass(frozen=True)
class Runs:
    """Runs of one size. hashes: in order, each once (runs,). numbers, rows: which run a row has (pairs,), by run.

    starts: where the rows of each run begin in `rows` (runs + 1,).
    """

    hashes: U64
    numbers: I64
    rows: I64
    starts: I64

    @classmethod
    def of(cls, parts: Sequence[tuple[int, U64]], rows: int) -> Runs:
        """parts: a row's number and the hashes of its runs. Runs of the questions' template are left out."""
        hashes, numbers = np.unique(np.concatenate([part for _, part in parts]), return_inverse=True)
        of_rows = np.concatenate([np.full(len(part), row, np.int64) for row, part in parts])
        order = np.argsort(numbers, kind="stable")
        order = order[~_template(numbers, rows)[numbers[order]]]
        kept, renumbered = np.unique(numbers[order], return_inverse=True)
        return cls(hashes[kept], renumbered, of_rows[order], offsets(np.bincount(renumbered, minlength=len(kept))))


def _template(numbers: I64, rows: int) -> npt.NDArray[np.bool_]:
    """Which runs are in so many rows that they say nothing of any. numbers: the run of each pair."""
    return np.bincount(numbers) > template_rows(rows)


def template_rows(rows: int) -> float:
    """What is in more of so many rows than this is their template."""
    return max(TEMPLATE_ROWS, TEMPLATE_SHARE * rows)


@dataclass(frozen=True)
class Wanted:
    """Rows. runs: of each size, those looked for anywhere. wholes: those that a text must be, start to end.

    unjudged: rows too short to be looked for, or nothing but template.
    """

    ids: list[str]
    runs: dict[int, Runs]
    wholes: dict[int, Runs]
    unjudged: int

    @classmethod
    def of(cls, rows: Iterable[tuple[str, str]], words: int) -> Wanted:
        ids: list[str] = []
        runs: dict[int, list[tuple[int, U64]]] = {}
        wholes: dict[int, list[tuple[int, U64]]] = {}
        rows = iter(rows)
        while batch := list(islice(rows, 2000)):
            tokens = tokenise([text for _, text in batch])
            for number, (_, text) in enumerate(batch):
                hashes, factor = tokens.of(number)[0], tokens_a_word(text)
                size = min(words * factor, len(hashes))
                group = runs if size >= min(SHORTEST, words) * factor else wholes
                if group is runs or size >= SHORTEST_WHOLE * factor:
                    group.setdefault(size, []).append((len(ids) + number, np.unique(ngrams(hashes, size))))
            ids += [ident for ident, _ in batch]
        looked = {size: Runs.of(parts, len(ids)) for size, parts in runs.items()}
        whole = {size: Runs.of(parts, len(ids)) for size, parts in wholes.items()}
        judged = {row for one in (*looked.values(), *whole.values()) for row in np.unique(one.rows).tolist()}
        return cls(ids, looked, whole, len(ids) - len(judged))


# ---------------------------------------------------------------- where it is looked for


@dataclass(frozen=True)
class Shared:
    """A row of which a text holds something. share: of its runs. file, text: the first one found, and where."""

    id: str
    file: str
    text: str
    share: float


class Search:
    """Reads texts and notes which of the wanted rows they hold."""

    def __init__(self, wanted: Wanted) -> None:
        self.wanted = wanted
        self._runs = {size: Known(one.hashes) for size, one in wanted.runs.items()}
        self._wholes = {size: Known(one.hashes) for size, one in wanted.wholes.items()}
        self._seen = [
            {size: np.zeros(len(one.hashes), bool) for size, one in group.items()}
            for group in (wanted.runs, wanted.wholes)
        ]
        self._first: dict[int, tuple[str, str]] = {}

    def found(self) -> tuple[Shared, ...]:
        """The rows found, in their order."""
        there, of = self.counts()
        return tuple(
            Shared(self.wanted.ids[row], *self._first[row], float(there[row] / of[row]))
            for row in np.flatnonzero(there).tolist()
        )

    @property
    def rows_found(self) -> int:
        return len(self._first)

    def counts(self) -> tuple[I64, I64]:
        """Of each row how many of its runs were found, and how many it has: (rows,) both."""
        there, of = np.zeros(len(self.wanted.ids), np.int64), np.zeros(len(self.wanted.ids), np.int64)
        for group, seen in zip((self.wanted.runs, self.wanted.wholes), self._seen, strict=True):
            for size, runs in group.items():
                there += np.bincount(runs.rows[seen[size][runs.numbers]], minlength=len(there))
                of += np.bincount(runs.rows, minlength=len(of))
        return there, of

    def look(self, texts: Sequence[str], names: Sequence[str]) -> None:
        """Read texts; names: where each is."""
        if not texts:
            return
        tokens = tokenise(texts)
        for run in hits(tokens, self._runs):
            of_texts = np.searchsorted(tokens.offsets, run.starts, "right") - 1
            begins = run.starts - tokens.offsets[of_texts]
            places = [(texts[text], names[text], begin) for text, begin in zip(of_texts, begins, strict=True)]
            self._note(self.wanted.runs[run.size], self._seen[0][run.size], run.numbers, places, run.size)
        for size, of_texts, numbers in wholes(tokens, self._wholes):
            places = [(texts[text], names[text], 0) for text in of_texts]
            self._note(self.wanted.wholes[size], self._seen[1][size], numbers, places, size)

    def _note(
        self, runs: Runs, seen: npt.NDArray[np.bool_], numbers: I64, places: Sequence[tuple[str, str, int]], size: int
    ) -> None:
        """Mark found runs as seen, and keep the first of each row. places: text, its name and the first token, of each (hits,)."""
        new, first = np.unique(numbers, return_index=True)
        first = first[~seen[new]]
        new = new[~seen[new]]
        seen[new] = True
        for number, hit in zip(new.tolist(), first.tolist(), strict=True):
            for row in runs.rows[runs.starts[number] : runs.starts[number + 1]].tolist():
                if row not in self._first:
                    self._first[row] = (places[hit][1], _run_of(places[hit][0], places[hit][2], size))


def _run_of(text: str, begin: int, size: int) -> str:
    spans = token_spans(text)[begin : begin + size]
    return text[spans[0][0] : spans[-1][1]][:MOST_SHOWN]
