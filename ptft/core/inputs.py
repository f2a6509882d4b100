"""What a command reads: every input found, hashed, and traced to the run that made it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ptft.core import recipes, record
from ptft.core.contracts import Inputs, Stage
from ptft.core.errors import InputError
from ptft.core.files import Source, expand, hash_file
from ptft.core.record import Ancestor, FileEntry

NOT_MODEL_FILES = ("run.json", "metrics.jsonl", "README.md")


@dataclass(frozen=True)
class Found:
    """inputs: for the stage. entries: for the record. lineage: the runs that the inputs descend from."""

    inputs: Inputs
    entries: tuple[FileEntry, ...]
    lineage: tuple[Ancestor, ...]


def find(stage: Stage, recipe: Any, arguments: Mapping[str, tuple[str, ...]], spool: Path) -> Found:
    """Find every input that the arguments and the recipe's path knobs name; hash it; note which run made it.

    spool: where standard input and hub data sets are kept for the length of the run. Raises `InputError`.
    """
    kinds = {argument.name: argument.kind for argument in stage.arguments}
    named = {name: value for name, value in arguments.items() if value}
    for leaf in recipes.knobs(type(recipe)):
        value = _value_of(recipe, leaf.name)
        if leaf.meta.get("path") and value:
            kinds[leaf.name] = leaf.meta["path"]
            named[leaf.name] = value if isinstance(value, tuple) else (value,)
    rows: dict[str, tuple[Source, ...]] = {}
    folders: dict[str, Path] = {}
    entries: list[FileEntry] = []
    for name, values in named.items():
        if kinds[name] == "rows":
            rows[name] = expand(values, spool)
            for source in rows[name]:
                entries.extend(_entries(source.path, name, shown=source.name if spool in source.path.parents else None))
        else:
            folders[name] = _folder(values[0])
            entries.extend(_entries(folders[name], name))
    lineage = {ancestor.run: ancestor for path in _folders_of(rows, folders) for ancestor in _ancestors(path)}
    return Found(Inputs(rows, folders), tuple(entries), tuple(lineage.values()))


def _value_of(recipe: Any, dotted: str) -> Any:
    for part in dotted.split("."):
        recipe = getattr(recipe, part)
    return recipe


def _folder(value: str) -> Path:
    if value.startswith("hf:"):
        from huggingface_hub import snapshot_download

        return Path(snapshot_download(value[3:]))
    path = Path(value)
    if not path.exists():
        raise InputError("no such folder", where=value, remedy="check the path; a hub model is named hf:ORG/NAME")
    return path


def _entries(path: Path, role: str, shown: str | None = None) -> list[FileEntry]:
    if path.is_dir():
        files = [
            file
            for file in sorted(path.iterdir())
            if file.is_file() and file.name not in NOT_MODEL_FILES and file.name[0] != "."
        ]
    else:
        files = [path]
    made_by = record.read(path if path.is_dir() else path.parent)
    run = made_by.run if made_by else None
    return [FileEntry(shown or str(file), file.stat().st_size, hash_file(file), role=role, run=run) for file in files]


def _folders_of(rows: Mapping[str, tuple[Source, ...]], folders: Mapping[str, Path]) -> set[Path]:
    data = {
        source.path if source.path.is_dir() else source.path.parent for sources in rows.values() for source in sources
    }
    return data | set(folders.values())


def _ancestors(folder: Path) -> list[Ancestor]:
    made_by = record.read(folder)
    if made_by is None:
        return []
    own = Ancestor(made_by.run, made_by.stage, tuple(entry.hash for entry in made_by.inputs))
    return [*made_by.lineage, own]
