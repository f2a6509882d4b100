"""Augmented rows in `ptft split`: with their source in train, or nowhere; and no original moves for them."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from documents import documents
from hypothesis import given, settings
from hypothesis import strategies as st

from ptft.core.progress import Silent
from ptft.core.recipes import resolve
from ptft.core.record import RunRecord
from ptft.runner import Request, execute
from ptft.stages.split.copies import LEFT_OUT, TRAIN, Rows, all_parts
from ptft.stages.split.recipe import STAGE, SplitRecipe

PARTS = ("train", "val", "test")
SHARES = {"val": "0.25", "test": "0.25"}


def split(out: Path, rows: Sequence[dict[str, Any]], progress: Silent | None = None, **flags: str) -> RunRecord:
    path = out.with_suffix(".jsonl")
    path.write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows))
    recipe = resolve(SplitRecipe, "split", flags={"workers": "1", **SHARES, **flags})
    record = execute(
        Request(STAGE, recipe, {"data": (str(path),)}, ("ptft", "split"), out), progress or Silent()
    ).record
    assert record is not None
    return record


def place_of(out: Path) -> dict[str, str]:
    lines = ((name, line) for name in PARTS for line in (out / f"{name}.jsonl").read_bytes().splitlines())
    return {orjson.loads(line)["id"]: name for name, line in lines}


def copy_of(row: dict[str, Any], number: int = 1, text: str | None = None) -> dict[str, Any]:
    made = {"from": row["id"], "how": "synonyms", "similarity": 0.9}
    return {**row, "id": f"{row['id']}#synonyms-{number}", "text": text or f"{row['text']} more", "augmented": made}


ROWS = [{"id": f"r{row['id']}", "text": row["text"]} for row in documents(40, 3)]


def test_copies_go_with_their_source_to_train_or_nowhere(tmp_path: Path) -> None:
    progress = Silent()
    rows = [row for source in ROWS for row in (copy_of(source, 1), source, copy_of(source, 2, "in quite other words"))]
    record = split(tmp_path / "out", rows, progress)
    place = place_of(tmp_path / "out")
    for source in ROWS:
        wanted = "train" if place[source["id"]] == "train" else None
        assert [place.get(f"{source['id']}#synonyms-{number}") for number in (1, 2)] == [wanted, wanted]
    assert record.counts["augmented_train"] == 40 and record.counts["augmented_left_out"] == 40
    assert record.counts["train"] == 60 and record.counts["val"] == record.counts["test"] == 10
    assert any("40 augmented rows go to train" in note and "40 are left out" in note for note in progress.notes)


def test_no_original_moves_for_its_copies(tmp_path: Path) -> None:
    """A copy that is near two rows does not join them: the split is the one without copies."""
    left, right, *rest = ROWS
    words = left["text"].split()
    bridge = copy_of(left, 1, " ".join(words[: len(words) // 2] + right["text"].split()))
    split(tmp_path / "plain", ROWS)
    split(tmp_path / "out", [bridge, *ROWS, *(copy_of(row, number) for row in rest[:9] for number in range(1, 6))])
    plain, place = place_of(tmp_path / "plain"), place_of(tmp_path / "out")
    assert {ident: part for ident, part in place.items() if "#" not in ident} == plain


def test_a_copy_without_its_source_is_left_out_where_a_near_row_is_held_out(tmp_path: Path) -> None:
    """Its source was dropped, but a near-duplicate of it may be in test."""
    lost = [{**copy_of(row), "augmented": {"from": f"gone-{row['id']}", "how": "synonyms"}} for row in ROWS[:30]]
    far = [{**copy_of(row), "augmented": {"from": "gone", "how": "synonyms"}} for row in documents(3, 77)]
    record = split(tmp_path / "out", [*lost, *ROWS, *far])
    place = place_of(tmp_path / "out")
    for source in ROWS[:30]:
        assert place.get(f"{source['id']}#synonyms-1") == ("train" if place[source["id"]] == "train" else None)
    assert all(place[row["id"]] == "train" for row in far)
    assert record.counts["augmented_train"] + record.counts["augmented_left_out"] == 33
    assert 0 < record.counts["augmented_left_out"] < 30


def test_a_copy_that_says_what_a_held_out_row_says_is_left_out(tmp_path: Path) -> None:
    """Its own source is in train, but rewording has made another row of it."""
    split(tmp_path / "plain", ROWS)
    plain = place_of(tmp_path / "plain")
    source = next(row for row in ROWS if plain[row["id"]] == "train")
    copies = [copy_of(source, number, other["text"]) for number, other in enumerate(ROWS)]
    record = split(tmp_path / "out", [*copies, *ROWS])
    place = place_of(tmp_path / "out")
    for number, other in enumerate(ROWS):
        assert place.get(copies[number]["id"]) == ("train" if plain[other["id"]] == "train" else None)
    assert record.counts["augmented_train"] == record.counts["augmented_left_out"] == 20


def test_only_copies_are_all_train(tmp_path: Path) -> None:
    progress = Silent()
    record = split(tmp_path / "out", [copy_of(row) for row in ROWS], progress)
    assert record.counts["train"] == record.counts["augmented_train"] == 40
    assert [warning.split()[0] for warning in progress.warnings] == ["val", "test"]


def test_blocks_change_nothing_with_copies_either(tmp_path: Path) -> None:
    rows = [*ROWS, *(copy_of(row) for row in ROWS[:20])]
    rows += [{**copy_of(row, 2), "augmented": {"from": "gone", "how": "synonyms"}} for row in ROWS[:20]]
    split(tmp_path / "one", rows)
    path = tmp_path / "many.jsonl"
    split(tmp_path / "many", rows)
    assert path.exists()
    recipe = resolve(SplitRecipe, "split", flags={"workers": "1", **SHARES}, sets=["block_rows=7"])
    request = Request(STAGE, recipe, {"data": (str(path),)}, ("ptft", "split"), tmp_path / "seven")
    execute(request, Silent())
    assert place_of(tmp_path / "one") == place_of(tmp_path / "seven")


def test_stratified_shares_are_of_the_originals(tmp_path: Path) -> None:
    rows = [{**row, "label": "ab"[number % 4 == 0]} for number, row in enumerate(ROWS)]
    copies = [copy_of(row, number) for row in rows if row["label"] == "b" for number in range(1, 5)]
    record = split(tmp_path / "out", [*copies, *rows], stratify="label")
    assert record.counts["val"] == record.counts["test"] == 10


@pytest.mark.parametrize("augmented", [None, "yes", {}, {"how": "synonyms"}, {"from": None}])
def test_a_row_that_names_no_source_is_an_original(tmp_path: Path, augmented: Any) -> None:
    record = split(tmp_path / "out", [{**row, "augmented": augmented} for row in ROWS])
    assert record.counts["test"] == 10 and "augmented_train" not in record.counts


@settings(max_examples=100)
@given(
    st.lists(st.integers(0, 2), min_size=1, max_size=30), st.lists(st.integers(0, 40), max_size=40), st.integers(0, 9)
)
def test_no_copy_of_a_held_out_row_is_anywhere(parts: list[int], sources: list[int], seed: int) -> None:
    made = [{"id": str(number)} for number in range(len(parts))]
    copies = [{"id": f"{source}#{n}", "augmented": {"from": str(source)}} for n, source in enumerate(sources)]
    order = [*made, *copies]
    random.Random(seed).shuffle(order)
    rows = Rows()
    originals = [row for row in order if rows.note(row)]
    of_originals = np.array([parts[int(row["id"])] for row in originals], np.uint8)
    for row, part in zip(order, all_parts(rows, of_originals, rows.orphans()[:0]).tolist(), strict=True):
        if "augmented" not in row:
            assert part == parts[int(row["id"])]
        else:
            source = int(row["augmented"]["from"])
            held_out = source < len(parts) and parts[source] != TRAIN
            assert part == (LEFT_OUT if held_out else TRAIN)
    orphans = {order[number]["augmented"]["from"] for number in rows.orphans().tolist()}
    assert orphans == {str(source) for source in sources if source >= len(parts)}
