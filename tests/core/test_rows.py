"""Rows: each form read alike, each kind of damage named with its file and line, and nothing but a `PtftError` raised."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
import lzma
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from ptft.core.errors import InputError, PtftError, UsageError
from ptft.core.files import expand
from ptft.core.formats import read_rows
from ptft.core.rows import Rejected, RejectLog, Row, RowWriter, accepted

ROWS = [
    {"id": f"r{number}", "text": f'第{number}行 of text, with "quotes", and\na second line.'} for number in range(200)
]
COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    ".gz": gzip.compress,
    ".zst": zstandard.ZstdCompressor(write_checksum=True).compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
}


def encoded(form: str, rows: list[dict[str, Any]]) -> bytes:
    if form == "jsonl":
        return b"".join(orjson.dumps(row) + b"\n" for row in rows)
    if form == "json":
        return orjson.dumps(rows)
    if form == "parquet":
        buffer = io.BytesIO()
        pq.write_table(pa.Table.from_pylist(rows), buffer)
        return buffer.getvalue()
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(rows[0]), delimiter="\t" if form == "tsv" else ",")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def read(path: Path, **options: Any) -> list[Row | Rejected]:
    return list(read_rows(expand([str(path)]), **options))


def only_rows(items: list[Row | Rejected]) -> list[dict[str, Any]]:
    assert not [item for item in items if isinstance(item, Rejected)]
    return [item.data for item in items if isinstance(item, Row)]


def only_rejected(items: list[Row | Rejected]) -> list[Rejected]:
    return [item for item in items if isinstance(item, Rejected)]


# ---------------------------------------------------------------- every form


@pytest.mark.parametrize("suffix", COMPRESS)
@pytest.mark.parametrize("form", ["jsonl", "json", "csv", "tsv", "parquet"])
def test_every_form_and_compression_reads_alike(tmp_path: Path, form: str, suffix: str) -> None:
    path = tmp_path / f"rows.{form}{suffix}"
    path.write_bytes(COMPRESS[suffix](encoded(form, ROWS)))
    assert only_rows(read(path)) == ROWS


@pytest.mark.parametrize("suffix", COMPRESS)
def test_text_files_are_documents(tmp_path: Path, suffix: str) -> None:
    for name, content in (("b.txt", "plain 文"), ("a.md", "# head"), ("sub/c.html", "<p>one</p><p>two</p>")):
        path = tmp_path / f"{name}{suffix}"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(COMPRESS[suffix](content.encode()))
    found = {row["id"]: row["text"] for row in only_rows(read(tmp_path))}
    assert found == {"a.md": "# head", "b.txt": "plain 文", "sub/c.html": "one\n\ntwo"}


@pytest.mark.parametrize("suffix", [".gz", ".bz2", ".xz", ".zst"])
def test_several_frames_are_one_stream(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"rows.jsonl{suffix}"
    halves = encoded("jsonl", ROWS[:100]), encoded("jsonl", ROWS[100:])
    path.write_bytes(b"".join(map(COMPRESS[suffix], halves)))
    assert only_rows(read(path)) == ROWS


def test_json_lines_under_the_name_json(tmp_path: Path) -> None:
    (tmp_path / "rows.json").write_bytes(encoded("jsonl", ROWS))
    assert only_rows(read(tmp_path / "rows.json")) == ROWS


def test_bom_and_crlf(tmp_path: Path) -> None:
    bom = b"\xef\xbb\xbf"
    (tmp_path / "a.jsonl").write_bytes(bom + encoded("jsonl", ROWS).replace(b"\n", b"\r\n"))
    (tmp_path / "b.csv").write_bytes(bom + encoded("csv", [{"id": "1", "text": "x"}]))
    (tmp_path / "c.txt").write_bytes(bom + b"one\r\ntwo\rthree")
    (tmp_path / "d.txt").write_bytes("é two".encode("utf-16"))
    found = only_rows(read(tmp_path))
    assert found[:200] == ROWS
    assert [row["text"] for row in found[200:]] == ["x", "one\ntwo\nthree", "é two"]


def test_ids_come_from_file_and_line(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(b'{"text": "x"}\n\n{"text": "y", "id": ""}\n{"text": "z", "id": 7}\n')
    assert [row["id"] for row in only_rows(read(tmp_path))] == ["a.jsonl:1", "a.jsonl:3", "7"]


def test_columns_are_renamed(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(b'{"id": "1", "body": "x", "text": "old", "more": 1}\n')
    assert only_rows(read(tmp_path, columns={"text": "body"})) == [{"id": "1", "text": "x", "more": 1}]


@given(
    st.lists(st.dictionaries(st.sampled_from("abcd"), st.one_of(st.text(), st.integers(-(2**53), 2**53), st.none())))
)
def test_what_is_written_is_read(tmp_path_factory: pytest.TempPathFactory, values: list[dict[str, Any]]) -> None:
    path = tmp_path_factory.mktemp("rows") / "a.jsonl.zst"
    rows = [{"id": f"r{number}", **value} for number, value in enumerate(values)]
    try:
        with RowWriter(path) as writer:
            for row in rows:
                writer.write(row)
    except TypeError:  # a lone surrogate cannot be written
        return
    assert only_rows(read(path)) == rows


# ---------------------------------------------------------------- encodings


CHINESE = [{"id": f"{number}", "text": f"第{number}行：今天天气很好，我们去公园散步。"} for number in range(50)]


@pytest.mark.parametrize("name", ["gb18030", "utf-16", "utf-16-be", "big5hkscs", "utf-8"])
@pytest.mark.parametrize("form", ["jsonl", "json", "csv"])
def test_rows_in_a_named_encoding(tmp_path: Path, form: str, name: str) -> None:
    rows = [{**row, "text": row["text"].replace("气", "氣").replace("们", "們").replace("园", "園")} for row in CHINESE]
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    text = (
        json.dumps(rows, ensure_ascii=False)
        if form == "json"
        else text
        if form == "jsonl"
        else encoded("csv", rows).decode()
    )
    (tmp_path / f"a.{form}").write_bytes(text.encode(name))
    assert only_rows(read(tmp_path, encoding=name)) == rows
    if name == "utf-16":  # its mark is enough
        assert only_rows(read(tmp_path)) == rows


def test_rows_are_utf8_unless_it_is_said(tmp_path: Path) -> None:
    lines = [json.dumps(row, ensure_ascii=False).encode("gbk") for row in CHINESE]
    (tmp_path / "a.jsonl").write_bytes(b"\n".join(lines))
    assert {item.reason for item in only_rejected(read(tmp_path))} <= {
        f"not UTF-8 at byte {at} (ptft clean --set normalise.encoding=NAME reads it as NAME)" for at in range(40)
    }
    (tmp_path / "a.jsonl").write_bytes(b"\n".join([*lines, b'{"text": "\xff\xff"}']))
    items = read(tmp_path, encoding="gbk")
    assert [item.line for item in only_rejected(items)] == [51] and len(items) == 51
    assert "not gb18030 at byte" in only_rejected(items)[0].reason


@pytest.mark.parametrize(
    "name", ["utf-16", "utf-32", "utf-16-le", "utf-32-be", "utf-7", "cp424", "iso2022_jp", "cp037"]
)
@pytest.mark.parametrize("form", ["jsonl", "json", "csv"])
def test_a_file_in_another_encoding_than_said_is_no_crash(tmp_path: Path, form: str, name: str) -> None:
    (tmp_path / f"a.{form}").write_bytes(encoded(form, CHINESE) + bytes(range(256)))
    try:
        items = read(tmp_path, encoding=name)
        assert not any(isinstance(item, Row) and "今天" in str(item.data) for item in items)
    except InputError as error:
        assert error.exit_code == 3 and str(tmp_path / f"a.{form}") in str(error)
        assert "--set normalise.encoding=NAME" in error.remedy


def test_a_missing_byte_order_mark_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(encoded("jsonl", CHINESE))
    with pytest.raises(InputError, match=r"a\.jsonl: this file is not utf-16 .*BOM"):
        read(tmp_path, encoding="utf-16")


def test_rows_that_are_not_utf8_say_how_to_read_them(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(b'{"text": "\xff"}\n')
    (tmp_path / "b.csv").write_bytes(b"text\n\xff\n")
    assert all("--set normalise.encoding=NAME" in item.reason for item in only_rejected(read(tmp_path)))
    assert len(only_rejected(read(tmp_path))) == 2


def test_documents_in_any_encoding(tmp_path: Path) -> None:
    words = "今天天气很好，我们去公园散步，看到了许多花。"
    (tmp_path / "a.txt").write_bytes(words.encode("gbk"))
    (tmp_path / "b.html").write_bytes(f"<p>{words}</p>".encode("utf-16"))
    (tmp_path / "c.txt").write_bytes(b"\xb0\xa1")
    assert [item.data["text"] for item in read(tmp_path) if isinstance(item, Row)] == [words, words]
    assert "--set normalise.encoding=" in only_rejected(read(tmp_path))[0].reason
    with pytest.raises(UsageError, match="no encoding"):
        read(tmp_path, encoding="no-such")


# ---------------------------------------------------------------- broken rows


def test_bad_lines_are_rejected_with_their_line(tmp_path: Path) -> None:
    lines = [
        b'{"text": "ok"}', b'{"text": ', b"[1]", b'{"text": "\xff"}', b'{"text": "a\x00b"}', b'"text"', b"null",
        b'{"text": "\\ud800"}', b'{"text": "ok"}',
    ]  # fmt: skip
    (tmp_path / "a.jsonl").write_bytes(b"\n".join(lines))
    items = read(tmp_path)
    rejected = only_rejected(items)
    assert [item.line for item in rejected] == [2, 3, 4, 5, 6, 7, 8]
    assert [item.line for item in items if isinstance(item, Row)] == [1, 9]
    assert "not valid JSON" in rejected[0].reason
    assert "not list" in rejected[1].reason
    assert rejected[2].reason.startswith("not UTF-8 at byte 10 (")
    assert "NUL" in rejected[3].reason
    assert all(item.source == "a.jsonl" and item.raw for item in rejected)


def test_bad_csv_rows(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"id,text\n1,fine\n2,not \xff utf\n3\n4,a,b\n5,fine\n")
    items = read(tmp_path)
    assert [item.data["id"] for item in items if isinstance(item, Row)] == ["1", "5"]
    assert [item.line for item in only_rejected(items)] == [3, 4, 5]


def test_bad_text_files(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"one\ntwo \xff\n")
    (tmp_path / "b.txt").write_bytes(b"")
    (tmp_path / "c.html").write_bytes(b"  \n")
    (tmp_path / "d.txt").write_bytes(b"x" * 101)
    reasons = {item.source: (item.line, item.reason) for item in only_rejected(read(tmp_path, max_row_bytes=100))}
    assert reasons["a.txt"][0] == 2 and "not UTF-8" in reasons["a.txt"][1]
    assert "empty" in reasons["b.txt"][1] and "empty" in reasons["c.html"][1]
    assert "more than 100 bytes" in reasons["d.txt"][1]


@pytest.mark.parametrize("form", ["jsonl", "json", "csv", "tsv"])
def test_an_empty_file_has_no_rows(tmp_path: Path, form: str) -> None:
    (tmp_path / f"a.{form}").write_bytes(b"")
    assert read(tmp_path) == []


@pytest.mark.parametrize("form", ["jsonl", "csv", "txt"])
def test_a_line_of_50_megabytes_never_fills_the_memory(tmp_path: Path, form: str) -> None:
    path = tmp_path / f"a.{form}.zst"
    head, tail = {
        "jsonl": (b'{"text": "', b'"}\n{"text": "ok"}\n'),
        "csv": (b"id,text\n1,", b"\n2,ok\n"),
        "txt": (b"", b""),
    }[form]
    with path.open("wb") as raw, zstandard.ZstdCompressor(level=1).stream_writer(raw) as file:
        file.write(head)
        for _ in range(50):
            file.write(b"x" * 2**20)
        file.write(tail)
    tracemalloc.start()
    items = read(path, max_row_bytes=2**20)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(only_rejected(items)) == 1
    assert "1,048,576" in only_rejected(items)[0].reason
    if form != "txt":
        assert [item.data["text"] for item in items if isinstance(item, Row)] == ["ok"]
    assert peak < 20 * 2**20


# ---------------------------------------------------------------- broken files


@pytest.mark.parametrize("suffix", [".gz", ".zst", ".bz2", ".xz"])
@pytest.mark.parametrize("damage", ["truncated", "middle", "head", "empty"])
def test_damaged_archives_name_the_file(tmp_path: Path, suffix: str, damage: str) -> None:
    rows = [{"id": str(number), "text": str(hash((number, "x"))) * 20} for number in range(5000)]
    raw = bytearray(COMPRESS[suffix](encoded("jsonl", rows)))
    middle = len(raw) // 2
    if damage == "truncated":
        del raw[middle:]
    elif damage == "middle":
        raw[middle : middle + 64] = bytes(64)
    elif damage == "head":
        raw[:4] = b"oops"
    else:
        raw.clear()
    path = tmp_path / f"a.jsonl{suffix}"
    path.write_bytes(raw)
    try:
        items = read(path)
    except InputError as error:
        assert error.where == str(path)
        assert "truncated or corrupt" in error.message
    else:  # an empty archive may be no rows, and a format without checksums bad ones: never good rows that were not there
        good = [item.data for item in items if isinstance(item, Row)]
        assert damage in ("empty", "middle") and all(row in rows for row in good) and len(good) < len(rows)


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize("damage", ["truncated", "middle", "empty", "text"])
def test_damaged_parquet_names_the_file(tmp_path: Path, suffix: str, damage: str) -> None:
    raw = bytearray(encoded("parquet", [{"id": str(n), "text": str(hash((n, "y"))) * 9} for n in range(3000)]))
    if damage == "truncated":
        del raw[len(raw) // 2 :]
    elif damage == "middle":
        raw[100 : len(raw) - 600] = bytes(len(raw) - 700)
    else:
        raw[:] = b"" if damage == "empty" else b"not parquet at all, but text"
    path = tmp_path / f"a.parquet{suffix}"
    path.write_bytes(COMPRESS[suffix](bytes(raw)))
    with pytest.raises(InputError) as caught:
        read(path)
    assert caught.value.where == str(path)


def test_parquet_with_invalid_utf8(tmp_path: Path) -> None:
    column = pa.array([b"ok", b"\xff\xfe", b"ok"], pa.binary()).view(pa.string())
    pq.write_table(pa.table({"text": column}), tmp_path / "a.parquet")
    items = read(tmp_path)
    assert [item.line for item in only_rejected(items)] == [2]
    assert len(items) == 3


@given(
    st.binary(max_size=300),
    st.sampled_from(["jsonl", "json", "csv", "tsv", "parquet", "txt", "html", "md"]),
    st.sampled_from(list(COMPRESS)),
    st.booleans(),
)
def test_random_bytes_raise_nothing_but_our_errors(
    tmp_path_factory: pytest.TempPathFactory, raw: bytes, form: str, suffix: str, packed: bool
) -> None:
    path = tmp_path_factory.mktemp("bytes") / f"a.{form}{suffix}"
    path.write_bytes(COMPRESS[suffix](raw) if packed else raw)
    try:
        items = read(path)
    except PtftError:
        return
    assert all(isinstance(item, Row | Rejected) for item in items)


def test_a_file_that_vanishes(tmp_path: Path) -> None:
    for name in ("a.jsonl", "b.jsonl"):
        (tmp_path / name).write_bytes(encoded("jsonl", ROWS))
    sources = expand([str(tmp_path)])
    (tmp_path / "b.jsonl").unlink()
    with pytest.raises(InputError) as caught:
        list(read_rows(sources))
    assert caught.value.where is not None and caught.value.where.endswith("b.jsonl")


# ---------------------------------------------------------------- the log of rejected rows


def test_too_many_bad_rows_name_the_first(tmp_path: Path) -> None:
    log = RejectLog(tmp_path / "rejected.jsonl", 0.1)
    rows = [Row({"id": "1", "text": "x"}, "a.jsonl", 1), Rejected("a.jsonl", 2, "not valid JSON", "{")]
    with pytest.raises(InputError) as caught:
        list(accepted(rows, log, ["text"]))
    assert caught.value.where == "a.jsonl:2"
    assert "1 of 2" in caught.value.message
    assert [orjson.loads(line)["line"] for line in (tmp_path / "rejected.jsonl").read_bytes().splitlines()] == [2]


def test_no_rows_at_all(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no rows"):
        list(accepted([], RejectLog(tmp_path / "rejected.jsonl", 0.1)))


def test_a_missing_field_is_named_with_those_there_are(tmp_path: Path) -> None:
    log = RejectLog(tmp_path / "rejected.jsonl", 0.9)
    rows = [
        Row({"id": "1", "text": "x"}, "a", 1),
        Row({"id": "2", "body": "x"}, "a", 2),
        Row({"id": "3", "text": 5}, "a", 3),
    ]
    assert [row.line for row in accepted(rows, log, ["text"])] == [1]
    reasons = [orjson.loads(line)["reason"] for line in (tmp_path / "rejected.jsonl").read_bytes().splitlines()]
    assert "no field 'text'; the row has 'id', 'body'" in reasons[0]
    assert "is int, not text" in reasons[1]


def test_a_thousand_bad_rows_and_no_good_one_stop_the_reading(tmp_path: Path) -> None:
    log = RejectLog(tmp_path / "rejected.jsonl", 0.01)
    endless = iter(lambda: Rejected("a", 1, "bad"), None)
    with pytest.raises(InputError):
        list(accepted(endless, log))
    assert log.rows == RejectLog.FIRST_LOOK
