"""Rows that earlier results have already, by the saved index or by their text."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest
from cleaning import clean, rows_of, write_rows
from documents import documents, english

from ptft.core.errors import InputError
from ptft.core.progress import Silent


@pytest.fixture
def earlier(tmp_path: Path) -> Path:
    clean(tmp_path / "earlier", write_rows(tmp_path / "old.jsonl", documents(60, seed=1)))
    return tmp_path / "earlier"


def new_rows() -> list[dict[str, str]]:
    """Two rows of the earlier result, one of them edited a little, and two that are new; ids of their own."""
    old, fresh = documents(60, seed=1), documents(2, seed=2)
    words = old[8]["text"].split(" ")
    words[10] = "otherwise"
    texts = [old[3]["text"], " ".join(words), fresh[0]["text"], fresh[1]["text"]]
    return [{"id": f"new{number}", "text": text} for number, text in enumerate(texts)]


def test_repeats_of_an_earlier_result_go_and_say_of_what(tmp_path: Path, earlier: Path) -> None:
    progress = Silent()
    data = write_rows(tmp_path / "new.jsonl", new_rows())
    record = clean(tmp_path / "out", data, sets=[f"duplicates.against={earlier}"], progress=progress)
    assert [row["id"] for row in rows_of(tmp_path / "out/corpus.jsonl")] == ["new2", "new3"]
    exact, near = rows_of(tmp_path / "out/dropped.jsonl")
    assert (exact["duplicate_of"], exact["duplicate_in"], exact["similarity"]) == ("doc0003", "corpus.jsonl", 1.0)
    assert near["duplicate_of"] == "doc0008" and 0.8 <= near["similarity"] < 1
    assert record.counts["dropped_by_reason"] == {"earlier_duplicate": 2}
    assert not progress.notes  # the saved index was used


@pytest.mark.parametrize("how", ["other scheme", "no index", "damaged", "rows of no result", "compressed"])
def test_without_a_fitting_index_the_result_is_the_same(tmp_path: Path, earlier: Path, how: str) -> None:
    data = write_rows(tmp_path / "new.jsonl", new_rows())
    sets = [f"duplicates.against={earlier}"]
    if how == "other scheme":
        sets.append("duplicates.permutations=64")
    elif how == "no index":
        shutil.rmtree(earlier / "index")
    elif how == "damaged":
        (earlier / "index/keys.u32").write_bytes(b"too short")
    elif how == "rows of no result":
        sets = [f"duplicates.against={tmp_path / 'old.jsonl'}"]
    else:
        clean(tmp_path / "gz", tmp_path / "old.jsonl", sets=["output=jsonl.gz"])
        sets = [f"duplicates.against={tmp_path / 'gz'}"]
    progress = Silent()
    clean(tmp_path / "out", data, sets=sets, progress=progress)
    assert [row["id"] for row in rows_of(tmp_path / "out/corpus.jsonl")] == ["new2", "new3"]
    assert bool(progress.notes) == (how != "compressed")


def test_results_chain_and_nothing_comes_twice(tmp_path: Path) -> None:
    """Three deliveries that overlap: together their corpora hold every document once."""
    rows = [{"id": f"d{number}", "text": english(random.Random(number))} for number in range(40)]
    parts = [rows[0:20], rows[10:30], rows[5:40]]
    against: list[str] = []
    kept: list[str] = []
    for number, part in enumerate(parts):
        out = tmp_path / f"out{number}"
        sets = [f"duplicates.against={','.join(against)}"] if against else []
        clean(out, write_rows(tmp_path / f"{number}.jsonl", part), sets=sets)
        kept += [row["id"] for row in rows_of(out / "corpus.jsonl")]
        against.append(str(out))
    assert sorted(kept) == sorted(row["id"] for row in rows)


def test_other_names_and_other_writing_are_found_too(tmp_path: Path) -> None:
    old = [{"id": f"o{number}", "body": english(random.Random(number))} for number in range(6)]
    new = [{"id": f"n{number}", "body": english(random.Random(number))} for number in range(3, 9)]
    data, earlier = write_rows(tmp_path / "new.jsonl", new), write_rows(tmp_path / "old.jsonl", old)
    clean(tmp_path / "out", data, text_field="body", sets=[f"duplicates.against={earlier}"])
    assert [row["id"] for row in rows_of(tmp_path / "out/corpus.jsonl")] == ["n6", "n7", "n8"]
    with pytest.raises(InputError, match="no row to compare with"):
        clean(
            tmp_path / "wrong", write_rows(tmp_path / "t.jsonl", documents(2)), sets=[f"duplicates.against={earlier}"]
        )


def test_a_row_of_any_size_keeps_its_place_in_an_earlier_result(tmp_path: Path) -> None:
    rows = [{"id": "long", "text": "long " * 4000}, *documents(3)]
    data, sets = write_rows(tmp_path / "old.jsonl", rows), ["max_row_bytes=100000", "rules='off'"]
    clean(tmp_path / "earlier", data, sets=sets)
    new = write_rows(tmp_path / "new.jsonl", [rows[2], documents(1, seed=5)[0]])
    small = ["max_row_bytes=10000", "rules='off'"]
    clean(tmp_path / "out", new, sets=[*small, f"duplicates.against={tmp_path / 'earlier'}"])
    (gone,) = rows_of(tmp_path / "out/dropped.jsonl")
    assert (gone["id"], gone["duplicate_of"]) == ("doc0001", "doc0001")


def test_the_right_one_of_many_rows_of_one_template_is_found(tmp_path: Path) -> None:
    """All rows share most bands; each new row is nearly one earlier row."""
    rng = random.Random(1)
    template = [f"t{number}" for number in range(300)]

    def filled(number: int) -> list[str]:
        return template[:150] + [f"v{number}x{place}" for place in range(45)] + template[150:]

    old = [{"id": f"a{number}", "text": " ".join(filled(number))} for number in range(400)]
    new = [{"id": f"b{number}", "text": " ".join([*filled(number)[:-1], "end"])} for number in range(400)]
    rng.shuffle(new)
    new += documents(1)
    clean(tmp_path / "earlier", write_rows(tmp_path / "old.jsonl", old), rules="off")
    kept = len(rows_of(tmp_path / "earlier/corpus.jsonl"))
    record = clean(
        tmp_path / "out", write_rows(tmp_path / "new.jsonl", new), rules="off",
        sets=[f"duplicates.against={tmp_path / 'earlier'}"],
    )  # fmt: skip
    assert kept == 400
    assert record.counts["dropped_by_reason"]["earlier_duplicate"] >= 396
