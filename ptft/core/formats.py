"""Every input form read as one stream of rows, bad rows named with file, line and reason.

Reading never decides what to do with a bad row: it yields `Rejected`, and `rows.accepted` counts and keeps it.
"""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import lzma
import zlib
from collections.abc import Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import IO, Any, Literal, cast

import orjson

from ptft.core.compression import open_bytes
from ptft.core.encodings import Undecodable, byte_order_mark, canonical, decode, hint
from ptft.core.errors import InputError, UsageError
from ptft.core.files import Source, unreadable
from ptft.core.html import html_to_text
from ptft.core.rows import RAW_KEPT, Rejected, Row

MAX_ROW_BYTES = 16 * 2**20  # a row longer than this is a broken file far more often than a document
ANY_SIZE = 1 << 40  # the limit for files that ptft wrote itself


def read_rows(
    sources: Iterable[Source],
    *,
    columns: Mapping[str, str] | None = None,
    max_row_bytes: int = MAX_ROW_BYTES,
    encoding: str = "auto",
    content: Literal["main", "all"] = "main",
) -> Generator[Row | Rejected, None, None]:
    """Every row of every source, in order.

    columns: wanted name -> the name it has in the file. encoding: "auto" detects that of a text or HTML file, and takes rows for
    UTF-8 unless a byte-order mark says UTF-16; a codec's name is for every file. content: how much of an HTML page is its text. A row without an id gets one from its file and line, so that ids
    are the same on every machine. Raises `InputError` (with the file, and the last row read) where a file is truncated,
    corrupt, or vanishes: what follows in it cannot be known.
    """
    renames = {have: want for want, have in (columns or {}).items() if have != want}
    how = _How(max_row_bytes, known_encoding(encoding), content)
    for source in sources:
        if source.form not in _READERS:
            remedy = "name the text it was packed from"
            raise UsageError(
                "this folder is packed tokens, and rows of text are needed", where=str(source.path), remedy=remedy
            )
        row_count = 0
        try:
            for item in _READERS[source.form](source, how):
                if isinstance(item, Row):
                    row_count += 1
                    yield _named(item, renames)
                else:
                    yield item
        except (EOFError, gzip.BadGzipFile, zlib.error, lzma.LZMAError) as error:
            raise _broken(source, row_count, str(error)) from error
        except UnicodeError as error:
            raise _not_in(how.encoding, source, error) from error
        except OSError as error:
            if error.errno is None:  # bz2 and gzip report corrupt data as a bare OSError
                raise _broken(source, row_count, str(error)) from error
            raise unreadable(source.path, error) from error


@dataclass(frozen=True)
class _How:
    """limit: bytes of a row. encoding: "auto" or a codec's name. content: of an HTML page."""

    limit: int
    encoding: str
    content: Literal["main", "all"]


def known_encoding(name: str) -> str:
    """A codec's canonical name, or "auto"; raises `UsageError` for any other."""
    try:
        return name if name == "auto" else canonical(name).removesuffix("-sig")
    except LookupError as error:
        remedy = "auto, or one that Python knows: utf-8, gb18030, big5, shift_jis, euc_kr, cp1252, koi8-r, ..."
        raise UsageError(f"there is no encoding {name!r}", remedy=remedy) from error


def _named(row: Row, renames: Mapping[str, str]) -> Row:
    data = row.data
    if renames:
        data = {key: value for key, value in data.items() if key not in renames.values() or key in renames}
        data = {renames.get(key, key): value for key, value in data.items()}
    ident = data.get("id")
    if ident is None or ident == "":
        ident = f"{row.source}:{row.line}" if row.line else row.source
    elif not isinstance(ident, str):
        ident = str(ident)
    return Row({"id": ident, **{key: value for key, value in data.items() if key != "id"}}, row.source, row.line)


def _broken(source: Source, rows: int, detail: str) -> InputError:
    what = f"truncated or corrupt {source.compression or source.form} file, after row {rows:,} ({detail})"
    return InputError(what, where=str(source.path), remedy="fetch or compress the file again; nothing was written")


def _not_in(encoding: str, source: Source, error: UnicodeError) -> InputError:
    remedy = (
        "leave the encoding out, and it is detected; or name another: utf-16-le, utf-16-be, utf-32-le and utf-32-be need no "
        f"byte-order mark ({hint()})"
    )
    return InputError(f"this file is not {encoding} ({error})", where=str(source.path), remedy=remedy)


# ---------------------------------------------------------------- one reader a form


def _read_jsonl(source: Source, how: _How) -> Iterator[Row | Rejected]:
    with open_bytes(source) as opened:
        file, encoding = _byte_lines(opened, how.encoding)
        for line, raw in _lines(file, how.limit):
            if isinstance(raw, int):
                yield Rejected(source.name, line, f"a row of {raw:,} bytes; the limit is {how.limit:,}")
            elif raw.strip(b" \t\r\n"):
                yield _json_row(source.name, line, raw, encoding)


def _byte_lines(file: IO[bytes], encoding: str) -> tuple[IO[bytes], str]:
    """The file, and the encoding of its lines: UTF-16 and -32, in which a newline is no byte, are made UTF-8."""
    if encoding == "auto":
        file = file if isinstance(file, io.BufferedReader) else io.BufferedReader(cast(io.RawIOBase, file))
        encoding = byte_order_mark(file.peek(4)[:4]) or "utf-8"
    encoding = encoding.removesuffix("-sig")
    if encoding.startswith(("utf-16", "utf-32")):
        return io.BufferedReader(_Recoded(file, encoding)), "utf-8"
    return file, encoding


class _Recoded(io.RawIOBase):
    """A stream of UTF-16 or -32 as UTF-8; what is neither becomes U+FFFD."""

    def __init__(self, file: IO[bytes], encoding: str) -> None:
        self._file, self._decoder = file, codecs.getincrementaldecoder(encoding)("replace")
        self._waiting = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._waiting:
            block = self._file.read(1 << 16)
            self._waiting = self._decoder.decode(block, final=not block).encode("utf-8", "replace")
            if not block:
                break
        size = min(len(buffer), len(self._waiting))
        buffer[:size], self._waiting = self._waiting[:size], self._waiting[size:]
        return size


def _lines(file: IO[bytes], limit: int) -> Iterator[tuple[int, bytes | int]]:
    """Lines with their numbers; of one longer than `limit` only the length, so that it never fills the memory."""
    line = 0
    while raw := file.readline(limit + 1):
        line += 1
        if line == 1:
            raw = raw.removeprefix(b"\xef\xbb\xbf")
        if len(raw) > limit and not raw.endswith(b"\n"):
            size = len(raw)
            while more := file.readline(1 << 20):
                size += len(more)
                if more.endswith(b"\n"):
                    break
            yield line, size
        else:
            yield line, raw


def _json_row(name: str, line: int, raw: bytes, encoding: str) -> Row | Rejected:
    try:
        if encoding != "utf-8":
            raw = decode(raw, encoding)[0].encode()
        data = orjson.loads(raw)
    except Undecodable as error:
        return Rejected(name, line, str(error), raw.decode("utf-8", "replace").rstrip("\r\n"))
    except orjson.JSONDecodeError as error:
        return Rejected(name, line, _why_not_json(raw, error), raw.decode("utf-8", "replace").rstrip("\r\n"))
    if not isinstance(data, dict):
        shown = raw.decode("utf-8", "replace").rstrip("\r\n")
        return Rejected(name, line, f"a row must be a JSON object, not {type(data).__name__}", shown)
    return Row(data, name, line)


def _why_not_json(raw: bytes, error: orjson.JSONDecodeError) -> str:
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError as bad:
        return f"not UTF-8 at byte {bad.start} ({hint()} reads it as NAME)"
    return "a NUL byte in the row" if b"\x00" in raw else f"not valid JSON: {error.msg} at character {error.pos}"


def _read_json(source: Source, how: _How) -> Iterator[Row | Rejected]:
    with open_bytes(source) as file:
        raw = file.read()
    encoding = byte_order_mark(raw) or "utf-8" if how.encoding == "auto" else how.encoding
    try:
        raw = raw.removeprefix(codecs.BOM_UTF8) if encoding.startswith("utf-8") else decode(raw, encoding)[0].encode()
        data = orjson.loads(raw) if raw.strip() else []
    except Undecodable as error:
        yield Rejected(source.name, 0, str(error), raw[:RAW_KEPT].decode("utf-8", "replace"))
        return
    except orjson.JSONDecodeError as error:
        if raw.lstrip()[:1] == b"{" and b"\n" in raw.strip():  # JSON Lines under the name .json is common
            yield from _read_jsonl(source, how)
        else:
            yield Rejected(
                source.name, error.lineno, _why_not_json(raw, error), raw[:RAW_KEPT].decode("utf-8", "replace")
            )
        return
    for number, item in enumerate(data if isinstance(data, list) else [data], 1):
        if isinstance(item, dict):
            yield Row(item, source.name, number)
        else:
            yield Rejected(
                source.name, number, f"a row must be a JSON object, not {type(item).__name__}", str(item)[:RAW_KEPT]
            )


def _read_csv(source: Source, how: _How) -> Iterator[Row | Rejected]:
    csv.field_size_limit(how.limit)
    with open_bytes(source) as opened:
        file, encoding = _byte_lines(opened, how.encoding)
        # surrogateescape lets one bad byte spoil one row and not the file
        text = io.TextIOWrapper(file, encoding.replace("utf-8", "utf-8-sig"), errors="surrogateescape", newline="")
        yield from _csv_rows(
            source,
            csv.reader(_BoundedLines(text, how.limit), delimiter="\t" if source.form == "tsv" else ","),
            encoding,
        )


def _csv_rows(source: Source, reader: Any, encoding: str) -> Iterator[Row | Rejected]:
    try:
        header = next(reader, None)
    except (csv.Error, _TooLong) as error:
        yield Rejected(source.name, reader.line_num, f"no header: {error}")
        return
    if header is None:
        return
    while True:
        try:
            fields = next(reader, None)
        except csv.Error as error:
            yield Rejected(source.name, reader.line_num, f"not valid {source.form.upper()}: {error}")
            continue
        except _TooLong as error:
            yield Rejected(source.name, reader.line_num + 1, str(error))
            continue
        if fields is None:
            return
        if fields:
            yield _csv_row(source.name, reader.line_num, header, fields, encoding)


class _TooLong(Exception):
    """A line beyond the limit; it has been passed over."""


class _BoundedLines:
    """A text file's lines for `csv.reader`, none of which fills the memory. Not a generator: it goes on after an error."""

    def __init__(self, text: io.TextIOWrapper, limit: int) -> None:
        self._text, self._limit = text, limit

    def __iter__(self) -> _BoundedLines:
        return self

    def __next__(self) -> str:
        line = self._text.readline(self._limit + 1)
        if len(line) <= self._limit or line.endswith("\n"):
            if not line:
                raise StopIteration
            return line
        size = len(line)
        while more := self._text.readline(1 << 20):
            size += len(more)
            if more.endswith("\n"):
                break
        raise _TooLong(f"a row of {size:,} characters; the limit is {self._limit:,}")


def _csv_row(name: str, line: int, header: list[str], fields: list[str], encoding: str) -> Row | Rejected:
    joined = ",".join(fields)
    if len(fields) != len(header):
        return Rejected(name, line, f"{len(fields)} fields where the header has {len(header)}", _printable(joined))
    if not joined.isascii() and any("\udc80" <= char <= "\udcff" for char in joined):
        reason = f"not {encoding.upper()}" + (f" ({hint()} reads it as NAME)" if encoding == "utf-8" else "")
        return Rejected(name, line, reason, _printable(joined))
    return Row(dict(zip(header, fields, strict=True)), name, line)


def _printable(text: str) -> str:
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")[:RAW_KEPT]


def _read_parquet(source: Source, how: _How) -> Iterator[Row | Rejected]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        whole = io.BytesIO(open_bytes(source).read()) if source.compression else source.path.open("rb")
        with whole as file:
            number = 0
            for batch in pq.ParquetFile(file).iter_batches(batch_size=1024):
                for data in _plain_rows(batch):
                    number += 1
                    if isinstance(data, str):
                        yield Rejected(source.name, number, data)
                    else:
                        yield Row(data, source.name, number)
    except pa.ArrowException as error:
        raise EOFError(str(error).splitlines()[0]) from error


def _plain_rows(batch: Any) -> list[dict[str, Any] | str]:
    """The rows of an Arrow batch; for one whose text is not UTF-8, which Arrow does not check, what is wrong with it."""
    try:
        return list(batch.to_pylist())
    except UnicodeDecodeError as error:
        if len(batch) == 1:
            return [f"not UTF-8 at byte {error.start} of a field"]
        return [_plain_rows(batch.slice(number, 1))[0] for number in range(len(batch))]


def _read_text(source: Source, how: _How) -> Iterator[Row | Rejected]:
    """A whole file is one document; its name is its id."""
    with open_bytes(source) as file:
        raw = file.read(how.limit + 1)
    if len(raw) > how.limit:
        yield Rejected(source.name, 0, f"a document of more than {how.limit:,} bytes")
        return
    try:
        text = with_newlines(decode(raw, how.encoding)[0])
    except Undecodable as error:
        line = raw.count(b"\n", 0, error.start) + 1
        yield Rejected(source.name, line, str(error), raw[:RAW_KEPT].decode("utf-8", "replace"))
        return
    if text.strip():
        yield Row(
            {"id": source.name, "text": html_to_text(text, how.content) if source.form == "html" else text},
            source.name,
            0,
        )
    else:
        yield Rejected(source.name, 0, "an empty file")


def with_newlines(text: str) -> str:
    """The line ends of other systems made newlines."""
    return text.replace("\r\n", "\n").replace("\r", "\n")


_READERS = {
    "jsonl": _read_jsonl, "json": _read_json, "csv": _read_csv, "tsv": _read_csv, "parquet": _read_parquet,
    "text": _read_text, "html": _read_text,
}  # fmt: skip
