"""This run beside an earlier one: what `--against` writes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ptft.core import record, results
from ptft.core.metrics.kinds import Options
from ptft.core.progress import Progress
from ptft.core.results import Stored
from ptft.core.rows import RowWriter
from ptft.stages.eval.subject import Subject


def require_comparable(folder: Path, subject: Subject) -> None:
    """Raise a `PtftError` now where the comparison could not be made once all is measured."""
    results.comparable(subject.way.kind, subject.metrics, Stored(folder, results.load_scores(folder), []))


def compared(mine: Stored, folder: Path, resamples: int, options: Options, progress: Progress) -> dict[str, Any]:
    """The "comparison" of scores.json with the result in `folder`; every row that changed goes to flips.jsonl."""
    found = results.comparison(mine, results.load(folder), resamples, options)
    if left := [name for name in mine.metrics if name not in found.metrics]:
        progress.warn(f"--against {folder}: not compared are {', '.join(left)}, which it does not have")
    for warning in found.warnings:
        progress.warn(f"--against {folder}: {warning}")
    if found.flips:
        with RowWriter(mine.folder / "flips.jsonl") as writer:
            for line in found.flips.lines():
                writer.write(line)
    made_by = record.made(folder)
    return found.as_json(folder.name, made_by.run if made_by else None)
