"""Limits can be changed and applied again: the result is that of cleaning the input anew, and nothing is measured."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from cleaning import clean, files_of, plan, rows_of, write_rows
from documents import documents

from ptft.core.errors import InputError, UsageError
from ptft.stages.clean import judge

STRICTER = ["gopher_quality.min_words=150", "fineweb2.min_words=120", "duplicates.threshold=0.6"]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    rows = documents(60)
    rows[7]["text"] = "short"
    rows[9] = {**rows[3], "id": "copy"}
    rows[10] = {**rows[4], "id": "near", "text": rows[4]["text"].replace("The", "A", 3)}
    rows[12]["note"] = "rides along"
    return write_rows(tmp_path / "in.jsonl", rows)


@pytest.mark.parametrize(
    "sets", [STRICTER, ["gopher_quality.min_words=0", "gopher_quality.min_stop_words=0"], ["rules=off"]]
)
def test_the_same_as_cleaning_anew_without_measuring(
    tmp_path: Path, data: Path, sets: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clean(tmp_path / "first", data)
    clean(tmp_path / "anew", data, sets=sets)
    monkeypatch.setattr(judge, "measure", _never)
    monkeypatch.setattr(judge, "identify", _never)
    record = clean(tmp_path / "again", sets=sets, reapply=str(tmp_path / "first"))
    again, anew = files_of(tmp_path / "again"), files_of(tmp_path / "anew")
    assert again.keys() == anew.keys()
    for name in ("corpus.jsonl", "dropped.jsonl", "index/keys.u32", "index/exact.u64"):
        assert again.get(name) == anew.get(name), name
    if sets != ["rules=off"]:  # then nothing is measured anew
        assert table(tmp_path / "again") == table(tmp_path / "anew")
    assert record.counts["rows_read"] == 60


def _never(*_: Any) -> None:
    raise AssertionError("measured again")


def table(out: Path) -> list[dict[str, Any]]:
    return pq.read_table(out / "signals.parquet").to_pylist()


def test_it_goes_back_and_forth(tmp_path: Path, data: Path) -> None:
    clean(tmp_path / "first", data, sets=["output=jsonl.zst"])
    clean(tmp_path / "strict", sets=STRICTER, reapply=str(tmp_path / "first"))
    clean(tmp_path / "back", reapply=str(tmp_path / "strict"))
    clean(tmp_path / "plain", data)
    assert rows_of(tmp_path / "back/corpus.jsonl") == rows_of(tmp_path / "plain/corpus.jsonl")


def test_what_was_not_measured_cannot_be_applied(tmp_path: Path, data: Path) -> None:
    clean(tmp_path / "first", data)
    for sets in (["personal=all"], ["rules=web"], ["normalise.script=simplified"], ["duplicates.parts=lines"]):
        with pytest.raises(UsageError, match="there"):
            clean(tmp_path / "out", sets=sets, reapply=str(tmp_path / "first"))
    clean(tmp_path / "off", data, rules="off")
    with pytest.raises(UsageError, match="no measures of the rules there"):
        clean(tmp_path / "out", reapply=str(tmp_path / "off"))
    clean(tmp_path / "fineweb", sets=["rules=fineweb,noise"], reapply=str(tmp_path / "first"))


def test_wrong_uses(tmp_path: Path, data: Path) -> None:
    with pytest.raises(UsageError, match="no input"):
        clean(tmp_path / "out")
    clean(tmp_path / "first", data)
    with pytest.raises(UsageError, match="an input is named too"):
        clean(tmp_path / "out", data, reapply=str(tmp_path / "first"))
    (tmp_path / "other").mkdir()
    with pytest.raises(InputError, match="not a result of ptft clean"):
        clean(tmp_path / "out", reapply=str(tmp_path / "other"))


def test_a_dry_run_shows_what_other_limits_would_drop(tmp_path: Path, data: Path) -> None:
    clean(tmp_path / "first", data)
    lines = dict(plan(reapply=str(tmp_path / "first"), sets=["gopher_quality.min_words=100000"]).lines)
    assert lines["sample"] == 60
    english = sum(row["language"] == "en" for row in table(tmp_path / "first"))
    assert str(lines["dropped of the sample, by rules"]).startswith(f"{english} ")


def test_a_text_of_which_nothing_was_left_does_not_come_back(tmp_path: Path) -> None:
    """Its dropped row says what it was; that is not the text that was measured."""
    rows = [*documents(4), {"id": "twice", "text": documents(4)[2]["text"]}]
    sets = ["duplicates.parts=lines", "duplicates.enabled=false"]
    clean(tmp_path / "first", write_rows(tmp_path / "in.jsonl", rows), sets=sets)
    again = [
        *sets,
        "gopher_quality.min_words=0",
        "gopher_quality.min_stop_words=0",
        "gopher_quality.min_alphabetic_words=0",
    ]
    clean(tmp_path / "again", sets=[*again, "rules=noise"], reapply=str(tmp_path / "first"))
    for out in ("first", "again"):
        (gone,) = rows_of(tmp_path / out / "dropped.jsonl")
        assert (gone["id"], gone["reasons"][0]["rule"], gone["text"]) == ("twice", "empty", rows[2]["text"])


def test_other_word_lists_cannot_be_applied(tmp_path: Path, data: Path) -> None:
    clean(tmp_path / "first", data)
    words = tmp_path / "words.txt"
    words.write_text("harbour\n", "utf-8")
    with pytest.raises(UsageError, match=r"sensitive\.files"):
        clean(tmp_path / "out", sets=[f"sensitive.files={words}"], reapply=str(tmp_path / "first"))
