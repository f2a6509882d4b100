"""Every input form read as one stream of rows, bad rows named with file, line and reason.

Reading never decides what to do with a bad row: it yields `Rejected`, and `rows.accepted` counts and keeps it.
"""

from __future__ import annotations

import csv
import gzip
import io
import lzma
import zlib
from collections.abc import Generator, Iterable, Iterator, Mapping
from typing import IO, Any

import orjson

from ptft.core.compression import open_bytes
from ptft.core.errors import InputError, UsageError
from ptft.core.files import Source, unreadable
from ptft.core.rows import RAW_KEPT, Rejected, Row

MAX_ROW_BYTES = 16 * 2**20  # a row longer than this is a broken file far more often than a document


def read_rows(
    sources: Iterable[Source], *, columns: Mapping[str, str] | None = None, max_row_bytes: int = MAX_ROW_BYTES
) -> Generator[Row | Rejected, None, None]:
    """Every row of every source, in order.

    columns: wanted name -> the name it has in the file. A row without an id gets one from its file and line, so that ids
    are the same on every machine. Raises `InputError` (with the file, and the last row read) where a file is truncated,
    corrupt, or vanishes: what follows in it cannot be known.
    """
    renames = {have: want for want, have in (columns or {}).items() if have != want}
    for source in sources:
        if source.form not in _READERS:
            remedy = "name the text it was packed from"
            raise UsageError(
                "this folder is packed tokens, and rows of text are needed", where=str(source.path), remedy=remedy
            )
        row_count = 0
        try:
            for item in _READERS[source.form](source, max_row_bytes):
                if isinstance(item, Row):
                    row_count += 1
                    yield _named(item, renames)
                else:
                    yield item
        except (EOFError, gzip.BadGzipFile, zlib.error, lzma.LZMAError) as error:
            raise _broken(source, row_count, str(error)) from error
        except OSError as error:
            if error.errno is None:  # bz2 and gzip report corrupt data as a bare OSError
                raise _broken(source, row_count, str(error)) from error
            raise unreadable(source.path, error) from error


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


# ---------------------------------------------------------------- one reader a form


def _read_jsonl(source: Source, limit: int) -> Iterator[Row | Rejected]:
    with open_bytes(source) as file:
        for line, raw in _lines(file, limit):
            if isinstance(raw, int):
                yield Rejected(source.name, line, f"a row of {raw:,} bytes; the limit is {limit:,}")
            elif raw.strip(b" \t\r\n"):
                yield _json_row(source.name, line, raw)


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


def _json_row(name: str, line: int, raw: bytes) -> Row | Rejected:
    try:
        data = orjson.loads(raw)
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
        return f"not UTF-8 at byte {bad.start}"
    return "a NUL byte in the row" if b"\x00" in raw else f"not valid JSON: {error.msg} at character {error.pos}"


def _read_json(source: Source, limit: int) -> Iterator[Row | Rejected]:
    with open_bytes(source) as file:
        raw = file.read().removeprefix(b"\xef\xbb\xbf")
    try:
        data = orjson.loads(raw) if raw.strip() else []
    except orjson.JSONDecodeError as error:
        if raw.lstrip()[:1] == b"{" and b"\n" in raw.strip():  # JSON Lines under the name .json is common
            yield from _read_jsonl(source, limit)
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


def _read_csv(source: Source, limit: int) -> Iterator[Row | Rejected]:
    csv.field_size_limit(limit)
    # surrogateescape lets one bad byte spoil one row and not the file
    with io.TextIOWrapper(open_bytes(source), "utf-8-sig", errors="surrogateescape", newline="") as text:
        reader = csv.reader(_BoundedLines(text, limit), delimiter="\t" if source.form == "tsv" else ",")
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
                yield _csv_row(source.name, reader.line_num, header, fields)


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


def _csv_row(name: str, line: int, header: list[str], fields: list[str]) -> Row | Rejected:
    joined = ",".join(fields)
    if len(fields) != len(header):
        return Rejected(name, line, f"{len(fields)} fields where the header has {len(header)}", _printable(joined))
    if not joined.isascii() and any("\udc80" <= char <= "\udcff" for char in joined):
        return Rejected(name, line, "not UTF-8", _printable(joined))
    return Row(dict(zip(header, fields, strict=True)), name, line)


def _printable(text: str) -> str:
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")[:RAW_KEPT]


def _read_parquet(source: Source, limit: int) -> Iterator[Row | Rejected]:
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


def _read_text(source: Source, limit: int) -> Iterator[Row | Rejected]:
    """A whole file is one document; its name is its id."""
    with open_bytes(source) as file:
        raw = file.read(limit + 1)
    if len(raw) > limit:
        yield Rejected(source.name, 0, f"a document of more than {limit:,} bytes")
        return
    try:
        text = decode(raw)
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        yield Rejected(source.name, line, f"not UTF-8 at byte {error.start}", raw[:RAW_KEPT].decode("utf-8", "replace"))
        return
    if text.strip():
        yield Row({"id": source.name, "text": html_text(text) if source.form == "html" else text}, source.name, 0)
    else:
        yield Rejected(source.name, 0, "an empty file")


def decode(raw: bytes) -> str:
    """UTF-8, or UTF-16 where a byte-order mark says so; line ends become a newline."""
    utf16 = raw[:2] in (b"\xff\xfe", b"\xfe\xff")
    return raw.decode("utf-16" if utf16 else "utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")


def html_text(page: str) -> str:
    """The words of an HTML page, a line a block element; scripts, styles and the head are left out."""
    from lxml import etree, html

    try:
        root = html.document_fromstring(page.replace("\x00", ""))
    except (etree.ParserError, ValueError):
        return ""
    etree.strip_elements(root, "script", "style", "head", "noscript", "template", etree.Comment, with_tail=False)
    for element in root.iter(*_BLOCKS):
        element.text = "\n" + (element.text or "")
        element.tail = "\n" + (element.tail or "")
    lines = (" ".join(line.split()) for line in root.text_content().split("\n"))
    return "\n".join(line for line in lines if line)


_BLOCKS = (
    "address", "article", "aside", "blockquote", "br", "dd", "div", "dl", "dt", "footer", "form", "h1", "h2", "h3", "h4",
    "h5", "h6", "header", "hr", "li", "main", "nav", "ol", "p", "pre", "section", "table", "td", "th", "title", "tr", "ul",
)  # fmt: skip
_READERS = {
    "jsonl": _read_jsonl, "json": _read_json, "csv": _read_csv, "tsv": _read_csv, "parquet": _read_parquet,
    "text": _read_text, "html": _read_text,
}  # fmt: skip
