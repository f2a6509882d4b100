"""Files: which ones an argument means, hashes, and writing that is whole or not there."""

from __future__ import annotations

import errno
import io
import os
from pathlib import Path
from typing import Any

import pytest

from ptft.core.errors import InputError, PtftError, RunError, UsageError, from_os_error
from ptft.core.files import atomic_write, count_lines, expand, hash_file, hash_value, json_line, write_json


def make(folder: Path, *names: str, content: str = '{"text": "x"}\n') -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)


def names(*arguments: Path | str) -> list[str]:
    return [source.name for source in expand([str(argument) for argument in arguments])]


def test_a_folder_means_its_readable_files_in_order(tmp_path: Path) -> None:
    make(tmp_path, "b.jsonl", "a.txt", "sub/c.csv.gz", ".hidden/d.txt", ".e.txt", "f.pdf", "run.json", "g.HTML")
    assert names(tmp_path) == ["a.txt", "b.jsonl", "g.HTML", "sub/c.csv"]
    assert [source.compression for source in expand([str(tmp_path)])] == ["", "", "", ".gz"]


def test_what_ptft_writes_beside_a_corpus_is_not_data(tmp_path: Path) -> None:
    make(tmp_path, "corpus.jsonl", "dropped.jsonl", "rejected.jsonl", "metrics.jsonl", "run.json")
    assert names(tmp_path) == ["corpus.jsonl"]
    make(tmp_path / "own", "dropped.jsonl")  # without a run record it is the user's
    assert names(tmp_path / "own") == ["dropped.jsonl"]


def test_globs_and_files(tmp_path: Path) -> None:
    make(tmp_path, "a1.txt", "a2.txt", "b.txt", "a3.pdf")
    assert names(tmp_path / "a*") == ["a1.txt", "a2.txt"]
    assert names(tmp_path / "b.txt", tmp_path / "a1.txt") == ["b.txt", "a1.txt"]


def test_equal_names_are_told_apart_by_their_paths(tmp_path: Path) -> None:
    make(tmp_path, "one/a.txt", "two/a.txt")
    found = names(tmp_path / "one/a.txt", tmp_path / "two/a.txt")
    assert len(set(found)) == 2 and all(name.endswith("a.txt") for name in found)


@pytest.mark.parametrize(
    ("argument", "error", "words"),
    [
        ("missing.txt", InputError, "no such file"),
        ("empty", InputError, "no file that can be read"),
        ("none*", InputError, "no such file"),
        ("*.pdf", InputError, "no file that can be read"),
        ("paper.pdf", InputError, "cannot tell how to read a .pdf"),
        ("unfinished", InputError, "not finished"),
        ("split", UsageError, "is a split"),
    ],
)
def test_errors_say_where_and_what_next(tmp_path: Path, argument: str, error: type[PtftError], words: str) -> None:
    make(
        tmp_path,
        "paper.pdf",
        "unfinished/.ptft/started.json",
        "split/run.json",
        "split/train.jsonl",
        "split/test.jsonl",
    )
    (tmp_path / "empty").mkdir()
    with pytest.raises(error, match=words) as caught:
        expand([str(tmp_path / argument)])
    assert str(tmp_path) in str(caught.value.where)
    assert caught.value.remedy


def test_an_input_named_twice_is_refused(tmp_path: Path) -> None:
    make(tmp_path, "a.txt")
    with pytest.raises(UsageError, match="named twice"):
        expand([str(tmp_path / "a.txt"), str(tmp_path)])


def test_standard_input_is_spooled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Piped:
        buffer = io.BytesIO(b'{"text": "x"}\n')

        def isatty(self) -> bool:
            return False

    monkeypatch.setattr("sys.stdin", Piped())
    (source,) = expand(["-"], tmp_path)
    assert source.path.read_bytes() == b'{"text": "x"}\n'
    with pytest.raises(UsageError, match="named twice"):
        expand(["-"], tmp_path)


# ---------------------------------------------------------------- writing


def test_atomic_write_is_all_or_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"a": 1})
    with pytest.raises(ZeroDivisionError), atomic_write(path) as file:
        file.write(b"half")
        raise ZeroDivisionError
    assert path.read_bytes() == b'{\n  "a": 1\n}\n'


def test_a_full_disk_is_named(tmp_path: Path) -> None:
    """/dev/full says ENOSPC to every write."""
    with pytest.raises(OSError) as caught, open("/dev/full", "wb") as file:  # noqa: PTH123
        file.write(b"x" * 100_000)
    error = from_os_error(caught.value)
    assert isinstance(error, RunError) and "disk is full" in error.message
    assert error.exit_code == 4


@pytest.mark.parametrize(
    ("number", "words"),
    [(errno.EROFS, "cannot write here"), (errno.EACCES, "cannot write here"), (errno.EIO, "Input/output")],
)
def test_other_failures_to_write_are_named(number: int, words: str) -> None:
    error = from_os_error(OSError(number, os.strerror(number), "/out/a"))
    assert words in error.message and error.where == "/out/a"


def test_hashes(tmp_path: Path) -> None:
    make(tmp_path, "a", "b")
    make(tmp_path, "c", content="other")
    assert hash_file(tmp_path / "a") == hash_file(tmp_path / "b") != hash_file(tmp_path / "c")
    assert hash_value({"a": 1, "b": [2]}) == hash_value({"b": [2], "a": 1}) != hash_value({"a": 1, "b": [3]})
    with pytest.raises(InputError, match="no such file"):
        hash_file(tmp_path / "gone")


@pytest.mark.parametrize("row", [{"a": "文\n", "b": [1, None, 2.5]}, {"path": Path("x")}])
def test_json_line_is_one_line(tmp_path: Path, row: dict[str, Any]) -> None:
    (tmp_path / "a").write_bytes(json_line(row) * 3)
    assert count_lines(tmp_path / "a") == 3
