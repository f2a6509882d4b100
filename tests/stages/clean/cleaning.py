"""`ptft clean` as a function, for the tests of its parts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson

from ptft.core.contracts import Plan
from ptft.core.progress import Silent
from ptft.core.recipes import resolve
from ptft.core.record import RunRecord
from ptft.runner import Request, execute
from ptft.stages.clean.recipe import STAGE, CleanRecipe


def _request(
    out: Path | None, inputs: Sequence[Path], sets: Sequence[str], dry_run: bool, flags: dict[str, Any]
) -> Request:
    recipe = resolve(CleanRecipe, "clean", flags={"workers": "1", **flags}, sets=sets)
    arguments = {"data": tuple(map(str, inputs))}
    return Request(STAGE, recipe, arguments, ("ptft", "clean"), out, dry_run=dry_run)


def clean(
    out: Path, *inputs: Path, progress: Silent | None = None, sets: Sequence[str] = (), **flags: Any
) -> RunRecord:
    record = execute(_request(out, inputs, sets, False, flags), progress or Silent()).record
    assert record is not None
    return record


def plan(*inputs: Path, sets: Sequence[str] = (), progress: Silent | None = None, **flags: Any) -> Plan:
    found = execute(_request(None, inputs, sets, True, flags), progress or Silent()).plan
    assert found is not None
    return found


def rows_of(path: Path) -> list[dict[str, Any]]:
    return [orjson.loads(line) for line in path.read_bytes().splitlines()] if path.exists() else []


def write_rows(path: Path, rows: Sequence[dict[str, Any]]) -> Path:
    path.write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows))
    return path


def files_of(out: Path) -> dict[str, bytes]:
    """Every file of a result but its record, by its path in it."""
    return {
        path.relative_to(out).as_posix(): path.read_bytes()
        for path in sorted(out.rglob("*"))
        if path.is_file() and path.name != "run.json"
    }
