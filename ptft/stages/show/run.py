"""`ptft show`: what a folder is, where it came from, and how it went."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson

from ptft.core import record
from ptft.core.contracts import EXPORT, SCORES, TOKENIZER, kind_of
from ptft.core.errors import InputError
from ptft.core.files import begun, is_unfinished
from ptft.core.progress import Table, table_of
from ptft.core.record import RunRecord
from ptft.stages.show import exports, scores, tokenizers


def described(folders: Sequence[Path], text: str | None = None) -> tuple[list[Table], Any]:
    """Tables for people and the same facts for machines. Several folders become one table, a column each.

    text: a file or folder of rows that tokenizers are compared on, instead of our own sample.
    """
    facts = [_facts(folder) for folder in folders]
    has_tokenizer = any(one["kind"] == TOKENIZER.name for one in facts)
    if text is not None:
        return tokenizers.compared(folders, tokenizers.texts_of(text))
    if all(one["kind"] == SCORES.name for one in facts):
        return _of_scores(folders, facts)
    if len(folders) == 1:
        return _tables(folders[0], facts[0]) + (tokenizers.one(folders[0]) if has_tokenizer else []), facts[0]
    if has_tokenizer and all(TOKENIZER.is_valid(folder) for folder in folders):  # a model's folder has one too
        tables, found = tokenizers.compared(folders)
        return tables, [{**one, "tokenizer": more} for one, more in zip(facts, found, strict=True)]
    return [_side_by_side(folders, facts)], facts


def _of_scores(folders: Sequence[Path], facts: list[dict[str, Any]]) -> tuple[list[Table], Any]:
    if len(folders) == 1:
        tables, found = scores.one(folders[0])
        return [*_origin(folders[0], facts[0]), *tables], {**facts[0], "scores": found}
    tables, more = scores.compared(folders)
    return tables, [{**one, **found} for one, found in zip(facts, more, strict=True)]


def _facts(folder: Path) -> dict[str, Any]:
    if not folder.is_dir():
        what = "this is a file, not a folder" if folder.exists() else "no such folder"
        raise InputError(what, where=str(folder), remedy="name the folder that a stage wrote")
    kind = kind_of(folder)
    if is_unfinished(folder):
        return {"folder": str(folder), "kind": "unfinished", **(begun(folder) or {})}
    made_by = record.made(folder)
    if made_by is None and kind is None:
        remedy = "it is neither a folder of ptft nor a model, tokenizer or corpus that ptft can read"
        raise InputError("cannot tell what this folder is", where=str(folder), remedy=remedy)
    facts = {"folder": str(folder), "kind": kind.name if kind else made_by.stage if made_by else ""}
    return facts if made_by is None else {**facts, **orjson.loads(record.to_json(made_by))}


def _tables(folder: Path, facts: dict[str, Any]) -> list[Table]:
    figures = _figures(made_by) if (made_by := record.made(folder)) and "run" in facts else []
    tables = _origin(folder, facts)
    if facts["kind"] == EXPORT.name:
        return [*tables, *exports.one(folder)]
    return [*tables, table_of("how it went", ("", ""), figures)] if figures else tables


def _origin(folder: Path, facts: dict[str, Any]) -> list[Table]:
    """What a folder is, and where it came from."""
    head = [("kind", facts["kind"])]
    if "run" not in facts:
        if "command" in facts:
            head += [("stage", facts["stage"]), ("go on with", " ".join(facts["command"]))]
        return [table_of(str(folder), ("", ""), head)]
    made_by = record.read(folder)
    assert made_by is not None
    head += [
        ("stage", made_by.stage),
        ("run", made_by.run),
        ("command", " ".join(made_by.command)),
        ("made", f"{made_by.started}, in {made_by.seconds:.1f} s, on {made_by.device}"),
        ("versions", ", ".join(f"{name} {version}" for name, version in made_by.versions.items())),
    ]
    head += [("gate not met", gate) for gate in made_by.gates]
    tables = [
        table_of(str(folder), ("", ""), head),
        _files("inputs", made_by.inputs),
        _files("outputs", made_by.outputs),
    ]
    if made_by.lineage:
        tables.append(table_of("came from", ("stage", "run"), [(one.stage, one.run) for one in made_by.lineage]))
    return tables


def _files(title: str, entries: Sequence[record.FileEntry]) -> Table:
    shown = [
        (entry.path, entry.bytes, "-" if entry.rows is None else entry.rows, entry.run or "-") for entry in entries[:12]
    ]
    if len(entries) > 12:
        shown.append((f"... and {len(entries) - 12:,} more", sum(entry.bytes for entry in entries[12:]), "-", "-"))
    return table_of(title, ("file", "bytes", "rows", "made by run"), shown)


def _figures(made_by: RunRecord) -> list[tuple[str, object]]:
    """Counts and metrics, nested ones under dotted names."""
    return list(_leaves({**made_by.counts, **made_by.metrics}).items())


def _leaves(nested: dict[str, Any], prefix: str = "") -> dict[str, object]:
    leaves: dict[str, object] = {}
    for key, value in nested.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict):
            leaves.update(_leaves(value, name + "."))
        elif isinstance(value, list) and all(isinstance(item, int | float | str) for item in value):
            leaves[name] = " .. ".join(f"{item:.4g}" if isinstance(item, float) else str(item) for item in value)
        elif not isinstance(value, list):
            leaves[name] = value
    return leaves


def _side_by_side(folders: Sequence[Path], facts: Sequence[dict[str, Any]]) -> Table:
    columns = [_leaves({**one.get("counts", {}), **one.get("metrics", {})}) for one in facts]
    names = list(dict.fromkeys(name for column in columns for name in column))
    rows: list[tuple[object, ...]] = [("stage", *(one.get("stage", one["kind"]) for one in facts))]
    rows += [(name, *(column.get(name) for column in columns)) for name in names]
    return table_of("", ("", *map(str, folders)), rows)
