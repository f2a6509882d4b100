"""Training text read for evaluation rows: each text of each of its rows, and the questions of short ones."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ptft.core.errors import PtftError
from ptft.core.files import Source
from ptft.core.formats import ANY_SIZE, read_rows
from ptft.core.ngrams import strings
from ptft.core.progress import Step
from ptft.core.rows import Row
from ptft.core.shared_runs import Search
from ptft.stages.eval.question import question

_BATCH = 1 << 21  # characters of training text at a time
_WHOLE_ROW = 2000  # characters; a longer row has no question that is short


def read(search: Search, sources: Sequence[Source], most_bytes: int, step: Step) -> tuple[int, bool]:
    """Look through the sources, in order, until `most_bytes` of text are read: how many were, and whether that was all."""
    texts: list[str] = []
    names: list[str] = []
    done = size = 0
    for name, text in _texts(sources, bool(search.wanted.wholes)):
        if done + size >= most_bytes:
            search.look(texts, names)
            return done + size, False
        texts.append(text)
        names.append(name)
        size += len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
        if size >= _BATCH:
            search.look(texts, names)
            step.advance(size, f"{search.rows_found:,} rows found")
            done, texts, names, size = done + size, [], [], 0
    search.look(texts, names)
    return done + size, True


def _texts(sources: Sequence[Source], short: bool) -> Iterator[tuple[str, str]]:
    """Where a text is, and it: each text of each row. short: and a short row's question as a whole."""
    for row in read_rows(sources, max_row_bytes=ANY_SIZE):
        if isinstance(row, Row):
            name = f"{row.source}:{row.line}" if row.line else row.source
            found = list(dict.fromkeys(strings(row.data)))
            if short and len(found) > 1 and sum(map(len, found)) < _WHOLE_ROW:
                found += [text for text in _questions(row.data) if text not in found]
            yield from ((name, text) for text in found)


def _questions(data: Mapping[str, Any]) -> list[str]:
    try:
        return [question(data)]
    except (PtftError, KeyError, TypeError, AttributeError):  # a training row of some other making
        return []
