"""Scores folders for tests, made of the same lines that `ptft eval` scores with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson

from ptft.core.files import json_line, write_json
from ptft.core.metrics.kinds import measures
from ptft.core.metrics.measure import scores


def scored(
    folder: Path, rows: Sequence[Mapping[str, Any]], kind: str = "labels", metrics: Sequence[str] = ("accuracy", "f1"), **more: Any
) -> Path:  # fmt: skip
    """scores.json and predictions.jsonl as `ptft eval` writes them. more: further keys of scores.json."""
    folder.mkdir(parents=True)
    found = scores(measures(kind, rows, metrics), 100)
    write_json(folder / "scores.json", {"metrics": found, "n": len(rows), "rejected": 0, "kind": kind, **more})
    (folder / "predictions.jsonl").write_bytes(b"".join(map(json_line, rows)))
    return folder


def labelled(predicted: str, references: str = "aabbaabb", **by: str) -> list[dict[str, Any]]:
    """A row a letter. by: a slice of each row, a letter each."""
    return [
        {"id": f"r{number}", "input": f"text {number}", "reference": reference, "prediction": prediction,
         "by": {field: values[number] for field, values in by.items()}}
        for number, (reference, prediction) in enumerate(zip(references, predicted, strict=True))
    ]  # fmt: skip


def read(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = orjson.loads((folder / "scores.json").read_bytes())
    return found
