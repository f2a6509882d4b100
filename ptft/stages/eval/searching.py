"""Evaluation rows looked for in training text: which runs of words each has, and which of them the text holds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt

from ptft.core.errors import PtftError
from ptft.core.files import Source
from ptft.core.formats import ANY_SIZE, read_rows
from ptft.core.language import language
from ptft.core.minhash import I64, U64, ngrams, offsets, token_spans, tokenise
from ptft.core.ngrams import Known, hits, strings, wholes
from ptft.core.progress import Step
from ptft.core.rows import Row
from ptft.stages.eval.question import question

SHORTEST, SHORTEST_WHOLE = (
    8,
    4,
)  # words; a shorter row is looked for whole, as one text; and one still shorter, not at all
TEMPLATE_ROWS, TEMPLATE_SHARE = (
    10,
    0.05,
)  # a run in more rows than both is the questions' template, and says nothing of any
MOST_SHOWN = 300  # characters of a shared run
_BATCH = 1 << 21  # characters of training text at a time
_UNSPACED = ("zh", "ja", "ko")  # each character is a token: two count as a word
_WHOLE_ROW = 2000  # characters; a longer row has no question that is short


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
    return np.bincount(numbers) > max(TEMPLATE_ROWS, TEMPLATE_SHARE * rows)


@dataclass(frozen=True)
class Wanted:
    """Evaluation rows. runs: of each size, those looked for anywhere. wholes: those that a training text must be, start to end."""

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
                hashes, factor = tokens.of(number)[0], 2 if language(text) in _UNSPACED else 1
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
    """An evaluation row of which training text holds something. share: of its runs. file, text: the first one found, and where."""

    id: str
    file: str
    text: str
    share: float


class Search:
    """Reads training text and notes which of the wanted rows it holds. bytes: read so far."""

    def __init__(self, wanted: Wanted) -> None:
        self.wanted, self.bytes = wanted, 0
        self._runs = {size: Known(one.hashes) for size, one in wanted.runs.items()}
        self._wholes = {size: Known(one.hashes) for size, one in wanted.wholes.items()}
        self._seen = [
            {size: np.zeros(len(one.hashes), bool) for size, one in group.items()}
            for group in (wanted.runs, wanted.wholes)
        ]
        self._first: dict[int, tuple[str, str]] = {}

    def found(self) -> tuple[Shared, ...]:
        """The rows found, in their order."""
        there, of = np.zeros(len(self.wanted.ids)), np.zeros(len(self.wanted.ids))
        for group, seen in zip((self.wanted.runs, self.wanted.wholes), self._seen, strict=True):
            for size, runs in group.items():
                there += np.bincount(runs.rows[seen[size][runs.numbers]], minlength=len(there))
                of += np.bincount(runs.rows, minlength=len(of))
        return tuple(
            Shared(self.wanted.ids[row], *self._first[row], float(there[row] / of[row]))
            for row in np.flatnonzero(there).tolist()
        )

    def read(self, sources: Sequence[Source], most_bytes: int, step: Step) -> bool:
        """Look through the sources, in order, until `most_bytes` of text are read; whether that was all."""
        texts: list[str] = []
        names: list[str] = []
        size = 0
        for name, text in self._texts(sources):
            if self.bytes + size >= most_bytes:
                self._look(texts, names)
                self.bytes += size
                return False
            texts.append(text)
            names.append(name)
            size += len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
            if size >= _BATCH:
                self._look(texts, names)
                step.advance(size, f"{len(self._first):,} rows found")
                self.bytes, texts, names, size = self.bytes + size, [], [], 0
        self._look(texts, names)
        self.bytes += size
        return True

    def _texts(self, sources: Sequence[Source]) -> Iterator[tuple[str, str]]:
        """Where a text is, and it: each text of each row, and a short row's question as a whole."""
        for row in read_rows(sources, max_row_bytes=ANY_SIZE):
            if isinstance(row, Row):
                name = f"{row.source}:{row.line}" if row.line else row.source
                found = list(dict.fromkeys(strings(row.data)))
                if self._wholes and len(found) > 1 and sum(map(len, found)) < _WHOLE_ROW:
                    found += [text for text in _questions(row.data) if text not in found]
                yield from ((name, text) for text in found)

    def _look(self, texts: Sequence[str], names: Sequence[str]) -> None:
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


def _questions(data: Mapping[str, Any]) -> list[str]:
    try:
        return [question(data)]
    except (PtftError, KeyError, TypeError, AttributeError):  # a training row of some other making
        return []
