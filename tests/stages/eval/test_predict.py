"""Predictions block by block: what is done is not done again, and what was half written is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from ptft.core.progress import Silent
from ptft.core.rows import Row
from ptft.stages.eval.predict import predictions_of, repeated

ROWS = [Row({"id": str(number), "text": f"row {number}"}, "a.jsonl", number + 1) for number in range(10)]


@dataclass
class Counting:
    """A way that notes which rows it was asked for, and may be interrupted at one."""

    stops_at: str = ""
    kind: str = "generations"
    title: str = "counting"
    block: int = 4
    asked: list[str] = field(default_factory=list)

    def problem(self, row: Row) -> str | None:
        return None

    def predict(self, rows: Sequence[Row]) -> list[dict[str, Any]]:
        if self.stops_at in {row.data["id"] for row in rows}:
            raise KeyboardInterrupt
        self.asked += [row.data["id"] for row in rows]
        return [{"prediction": row.data["text"].upper(), "nll": 1 / 3} for row in rows]

    def settings(self, predictions: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        return {}

    def remarks(self, predictions: Sequence[Mapping[str, Any]]) -> list[str]:
        return []


def lengths(rows: Sequence[Row]) -> list[dict[str, str]]:
    return [{"length": str(len(row.data["text"]))} for row in rows]


def test_an_interrupted_run_goes_on_after_the_last_whole_block(tmp_path: Path) -> None:
    whole = predictions_of(Counting(), iter(ROWS), lengths, tmp_path / "whole.jsonl", Silent())
    kept = tmp_path / "kept.jsonl"
    with pytest.raises(KeyboardInterrupt):
        predictions_of(Counting(stops_at="8"), iter(ROWS), lengths, kept, Silent())
    with kept.open("ab") as file:
        file.write(b'{"id":"8","prediction":"ROW 8"}\n{"id":"9","pre')  # a block half written when the power went
    again = Counting()
    assert predictions_of(again, iter(ROWS), lengths, kept, Silent()) == whole
    assert again.asked == ["8", "9"]
    assert kept.read_bytes() == (tmp_path / "whole.jsonl").read_bytes()
    assert whole[0] == {"id": "0", "prediction": "ROW 0", "nll": 1 / 3, "by": {"length": "5"}}


def test_ids_that_repeat_are_named() -> None:
    assert repeated([{"id": "a"}, {"id": "b"}, {"id": "a"}]) == ["a"]
