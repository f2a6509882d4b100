"""Rows: what a row is, where the bad ones go, and how rows are written."""

from __future__ import annotations

import gzip
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from ptft.core.errors import InputError
from ptft.core.files import count_lines, json_line

RAW_KEPT = 2000  # characters of a bad row that go into rejected.jsonl


@dataclass(frozen=True, slots=True)
class Row:
    """One row and where it came from. `data` always has an "id"."""

    data: dict[str, Any]
    source: str
    line: int


@dataclass(frozen=True, slots=True)
class Rejected:
    """A row that could not be read. line: 1-based; 0 where the form has no lines."""

    source: str
    line: int
    reason: str
    raw: str = ""


# ---------------------------------------------------------------- rejected rows


class RejectLog:
    """Counts rows, keeps the bad ones in `rejected.jsonl`, and fails the stage when they are too many."""

    FIRST_LOOK = 1000  # all of the first rows bad: the settings are wrong, and reading on is a waste

    def __init__(self, path: Path, max_bad_rows: float) -> None:
        self.path, self.max_bad_rows = path, max_bad_rows
        self.rows = self.bad = 0
        self._first: Rejected | None = None

    def ok(self, rows: int = 1) -> None:
        self.rows += rows

    def reject(self, rejected: Rejected) -> None:
        self.rows += 1
        self.bad += 1
        self._first = self._first or rejected
        entry = {
            "file": rejected.source,
            "line": rejected.line,
            "reason": rejected.reason,
            "raw": rejected.raw[:RAW_KEPT],
        }
        with self.path.open("ab") as file:
            file.write(json_line(entry))
        if self.bad == self.rows == self.FIRST_LOOK:
            self.check()

    def size(self) -> int:
        """Bytes of the log so far, for a journal."""
        return self.path.stat().st_size if self.path.exists() else 0

    def restore(self, rows: int, bad: int, size: int) -> None:
        """Go back to a journalled point: what was logged after it is cut off, and will be logged again."""
        self.rows, self.bad = rows, bad
        if self.path.exists():
            with self.path.open("ab") as file:
                file.truncate(size)
            if not size:
                self.path.unlink()
        if bad:
            with self.path.open("rb") as file:
                entry = orjson.loads(file.readline())
            self._first = Rejected(entry["file"], entry["line"], entry["reason"], entry["raw"])

    def check(self) -> None:
        """Raise `InputError` where more than `max_bad_rows` of all rows are bad."""
        if self._first is None or self.bad <= self.max_bad_rows * self.rows:
            return
        first = self._first
        what = f"{self.bad:,} of {self.rows:,} rows cannot be used (limit {self.max_bad_rows:.0%}); the first: {first.reason}"
        remedy = "see rejected.jsonl in the output folder; mend the rows, or allow more with --set max_bad_rows=0.5"
        raise InputError(what, where=f"{first.source}:{first.line}" if first.line else first.source, remedy=remedy)


def keep_rejected(path: Path, folder: Path) -> int:
    """Copy a file of rejected rows, if there is one, to where it is published; returns how many there are."""
    if not path.exists():
        return 0
    shutil.copyfile(path, folder / "rejected.jsonl")
    return count_lines(path)


def accepted(rows: Iterable[Row | Rejected], log: RejectLog, needs: Sequence[str] = ()) -> Iterator[Row]:
    """The good rows; the bad ones, and those without a field of `needs`, go to the log, which is checked at the end."""
    for item in rows:
        problem = item if isinstance(item, Rejected) else lacks(item, needs)
        if problem is not None:
            log.reject(problem)
        elif isinstance(item, Row):
            log.ok()
            yield item
    log.check()
    if not log.rows:
        raise InputError("the input holds no rows", remedy="check that the files are not empty")


def lacks(row: Row, needs: Sequence[str]) -> Rejected | None:
    """What is wrong with a row that should have these fields as text."""
    for field in needs:
        value = row.data.get(field)
        if isinstance(value, str):
            continue
        if field in row.data:
            reason = f"the field {field!r} is {type(value).__name__}, not text"
        else:
            reason = f"no field {field!r}; the row has {', '.join(map(repr, row.data))} (--set columns.{field}=NAME maps one)"
        return Rejected(row.source, row.line, reason, json_line(row.data).decode()[:RAW_KEPT])
    return None


# ---------------------------------------------------------------- writing


class RowWriter:
    """Writes rows as JSONL, compressed where the name says so. Not atomic: stages write into a folder that is published whole."""

    def __init__(self, path: Path) -> None:
        self.rows = 0
        self._raw = path.open("wb")
        self._file: Any = self._raw
        if path.suffix == ".gz":
            self._file = gzip.GzipFile("", "wb", 6, self._raw, mtime=0)  # no name, no time: the same bytes every run
        elif path.suffix == ".zst":
            import zstandard

            self._file = zstandard.ZstdCompressor(level=6, write_checksum=True).stream_writer(self._raw, closefd=False)

    def write(self, row: Mapping[str, Any]) -> None:
        self.rows += 1
        self._file.write(json_line(row))

    def write_bytes(self, lines: bytes) -> None:
        """Rows that are JSONL already."""
        self.rows += lines.count(b"\n")
        self._file.write(lines)

    def __enter__(self) -> RowWriter:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not self._raw:
            self._file.close()
        self._raw.close()
