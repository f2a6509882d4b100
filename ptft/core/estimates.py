"""Estimates for `--dry-run`: how much text is there, from a look at the beginning of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ptft.core.files import Source, json_line
from ptft.core.rows import Row, read_rows

SAMPLE_BYTES = 8 * 2**20
SAMPLE_FILES = 200  # of forms that hold one document a file
COMPRESSION = 3.0  # typical for text


@dataclass(frozen=True)
class Estimate:
    """rows, bytes: of all sources (text, UTF-8), extrapolated by file size. exact: everything was read. sample: its texts."""

    rows: int
    bytes: int
    exact: bool
    sample: list[str]


def estimate(sources: Sequence[Source], columns: Mapping[str, str] | None = None, field: str = "text") -> Estimate:
    """Look at the first `SAMPLE_BYTES` of rows and extrapolate."""
    sample: list[str] = []
    rows = raw = text = 0
    exact = True
    looked_at = sources if len(sources) <= SAMPLE_FILES else sources[:: len(sources) // SAMPLE_FILES]
    for item in read_rows(looked_at, columns=columns):
        if not isinstance(item, Row) or not isinstance(item.data.get(field), str):
            continue
        rows += 1
        raw += len(item.data[field].encode()) if not item.line else len(json_line(item.data))
        text += len(item.data[field].encode())
        if raw < SAMPLE_BYTES:
            sample.append(item.data[field])
        else:
            exact = False
            break
    exact = exact and len(looked_at) == len(sources)
    factor = 1.0 if exact else max(1.0, sum(map(_raw_bytes, sources)) / max(raw, 1))
    return Estimate(int(rows * factor), int(text * factor), exact, sample)


def _raw_bytes(source: Source) -> float:
    packed = source.compression or source.form == "parquet"
    return source.path.stat().st_size * (COMPRESSION if packed else 1.0)
