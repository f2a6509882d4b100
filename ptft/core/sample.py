"""A look at the first rows of an input, for `--dry-run`: what they are, and about how many there are in all."""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass

from ptft.core.files import Source, json_line
from ptft.core.formats import read_rows
from ptft.core.rows import Rejected, Row

ROWS, SOURCES = 1000, 50


@dataclass(frozen=True)
class Sample:
    """items: rows from up to 50 of the files. estimated_rows: of all files; exact where the sample is whole."""

    items: tuple[Row | Rejected, ...]
    files: int
    bytes: int
    estimated_rows: int
    whole: bool

    @property
    def rows(self) -> list[Row]:
        return [item for item in self.items if isinstance(item, Row)]

    def in_all(self) -> str:
        return f"{self.estimated_rows:,}" if self.whole else f"about {_rounded(self.estimated_rows):,}"


def sampled(
    sources: Sequence[Source], read: Callable[[Source], Generator[Row | Rejected, None, None]], rows: int = ROWS
) -> Sample:
    """read: yields the items of one source, as the stage will read them. rows: about how many to look at."""
    step = -(-len(sources) // SOURCES)
    looked_at = sources[::step]
    most = -(-rows // len(looked_at))
    items: list[Row | Rejected] = []
    consumed, whole = 0, step == 1
    for source in looked_at:
        with closing(read(source)) as stream:
            taken = list(itertools.islice(stream, most + 1))
        items += taken[:most]
        if len(taken) > most:
            consumed, whole = consumed + _size_in_file(taken[:most], source), False
        else:
            consumed += source.path.stat().st_size
    size = sum(source.path.stat().st_size for source in sources)
    return Sample(tuple(items), len(sources), size, round(len(items) * size / max(consumed, 1)), whole)


def _size_in_file(items: Sequence[Row | Rejected], source: Source) -> int:
    if source.form == "parquet" and not source.compression:
        import pyarrow.parquet as pq

        return round(source.path.stat().st_size * len(items) / max(1, pq.ParquetFile(source.path).metadata.num_rows))
    lines = b"".join(item.raw.encode() if isinstance(item, Rejected) else json_line(item.data) for item in items)
    return len(zlib.compress(lines)) if source.compression else len(lines)


def _rounded(number: int) -> int:
    """Two digits: more would be pretence."""
    return round(number, min(0, 2 - len(str(number))))


@dataclass(frozen=True)
class TextEstimate:
    """rows, bytes: of the text (UTF-8) in all files, extrapolated. texts: those of the sample."""

    rows: int
    bytes: int
    texts: list[str]

    def tokens(self, count: Callable[[list[str]], int]) -> int:
        """Tokens in all files, given what counts those of a few texts."""
        shown = self.texts[:200]
        return int(self.bytes * count(shown) / max(1, sum(len(text.encode()) for text in shown))) if shown else 0


def estimate_text(sources: Sequence[Source], columns: Mapping[str, str]) -> TextEstimate:
    """How much text there is, from a look at the beginning of it."""
    sample = sampled(sources, lambda source: read_rows([source], columns=columns))
    texts = [row.data["text"] for row in sample.rows if isinstance(row.data.get("text"), str)]
    mean = sum(len(text.encode()) for text in texts) / max(1, len(texts))
    return TextEstimate(sample.estimated_rows, int(mean * sample.estimated_rows), texts)
