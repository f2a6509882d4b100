"""What a command reads: every input found, hashed, and traced to the run that made it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from ptft.core import recipes, record
from ptft.core.contracts import EXPORT_FILE, Inputs, Stage, best_of
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
    stamps: tuple[tuple[Path, int, int], ...] = ()  # path, size, mtime: as they were when hashed

    def refuse_if_changed(self) -> None:
        """Raise `InputError` where an input is no longer what was hashed: the record would be false."""
        for path, size, modified in self.stamps:
            now = path.stat() if path.exists() else None
            if now is None or (now.st_size, now.st_mtime_ns) != (size, modified):
                remedy = "run the same command again once nothing writes to it"
                raise InputError("this input changed while it was read", where=str(path), remedy=remedy)


FILES = (".json", ".jinja")


def find(stage: Stage, recipe: Any, arguments: Mapping[str, tuple[str, ...]], spool: Path) -> Found:
    """Find every input that the arguments and the recipe's path knobs name; hash it; note which run made it.

    spool: where standard input and hub data sets are kept for the length of the run. Raises `InputError`.
    """
    kinds = {argument.name: argument.kind for argument in stage.arguments}
    named = {name: value for name, value in arguments.items() if value}
    for leaf in recipes.knobs(type(recipe)):
        value = _value_of(recipe, leaf.name)
        if leaf.meta.get("path") and value and (leaf.meta["path"] != "file" or _is_file(value)):
            kinds[leaf.name] = leaf.meta["path"]
            named[leaf.name] = value if isinstance(value, tuple) else (value,)
    for name, files in recipe.more_inputs().items():
        if name not in named and files:
            kinds[name], named[name] = "rows", files
    rows: dict[str, tuple[Source, ...]] = {}
    folders: dict[str, Path] = {}
    entries: list[FileEntry] = []
    for name, values in named.items():
        if kinds[name] == "rows":
            rows[name] = expand(values, spool)
            for source in rows[name]:
                entries.extend(_entries(source.path, name, shown=source.name if spool in source.path.parents else None))
        else:
            folders[name] = _folder(values[0]) if kinds[name] == "folder" else _file(values[0])
            entries.extend(_entries(folders[name], name))
    lineage = {ancestor.run: ancestor for path in _folders_of(rows, folders) for ancestor in _ancestors(path)}
    paths = {
        source.path
        for group in rows.values()
        for source in group
        if source.path.is_file() and spool not in source.path.parents
    }
    paths |= {Path(entry.path) for entry in entries if Path(entry.path).is_file()}
    stamps = tuple((path, path.stat().st_size, path.stat().st_mtime_ns) for path in sorted(paths))
    return Found(Inputs(rows, folders), tuple(entries), tuple(lineage.values()), stamps)


def _value_of(recipe: Any, dotted: str) -> Any:
    for part in dotted.split("."):
        recipe = getattr(recipe, part)
    return recipe


def _is_file(value: str) -> bool:
    """Whether a knob that takes a name or a file has a file."""
    return Path(value).suffix in FILES or Path(value).is_file()


def _file(value: str) -> Path:
    if not Path(value).is_file():
        raise InputError("no such file", where=value, remedy="check the path")
    return Path(value)


def _folder(value: str) -> Path:
    if value.startswith("hf:"):
        from huggingface_hub import snapshot_download

        try:
            return Path(snapshot_download(value[3:]))
        except (
            OSError,
            ValueError,
            RuntimeError,
        ) as error:  # what the hub's client raises for a bad name or no network
            reason = next(iter(str(error).splitlines()), type(error).__name__)
            remedy = "check the name and the network, or name a folder"
            raise InputError(f"this hub model cannot be had: {reason}", where=value, remedy=remedy) from error
    path = Path(value)
    if not path.exists():
        raise InputError("no such folder", where=value, remedy="check the path; a hub model is named hf:ORG/NAME")
    return best_of(path)


def _entries(path: Path, role: str, shown: str | None = None) -> list[FileEntry]:
    files = _files(path) if path.is_dir() else [path]
    made_by = _maker(path)
    run = made_by.run if made_by else None
    return [FileEntry(shown or str(file), file.stat().st_size, hash_file(file), role=role, run=run) for file in files]


def _maker(path: Path) -> record.RunRecord | None:
    """The run that made a folder, or the folder of a file; of one of several exports, the run that made them all."""
    folder = path if path.is_dir() else path.parent
    one_of_several = (folder / EXPORT_FILE).is_file() and (folder.parent / EXPORT_FILE).is_file()
    return record.made(folder.parent if one_of_several else folder)


def _files(folder: Path) -> list[Path]:
    """All that a model, tokenizer or tokens folder is made of; of an adapter, its base too, wherever that is."""
    found = [
        path
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in NOT_MODEL_FILES and not _aside(path.relative_to(folder))
    ]
    base = _adapter_base(folder)
    return found if base is None else found + _files(base)


def _aside(relative: Path) -> bool:
    return any(part.startswith((".", "checkpoint-")) for part in relative.parts)


def _adapter_base(folder: Path) -> Path | None:
    """The base an adapter names, where it is a folder outside the adapter's own."""
    try:
        base = Path(orjson.loads((folder / "adapter_config.json").read_bytes())["base_model_name_or_path"])
    except (OSError, orjson.JSONDecodeError, KeyError, TypeError):
        return None
    return base if base.is_absolute() and base.is_dir() and base.resolve() != folder.resolve() else None


def _folders_of(rows: Mapping[str, tuple[Source, ...]], folders: Mapping[str, Path]) -> set[Path]:
    data = {
        source.path if source.path.is_dir() else source.path.parent for sources in rows.values() for source in sources
    }
    return data | set(folders.values())


def _ancestors(folder: Path) -> list[Ancestor]:
    made_by = _maker(folder)
    if made_by is None:
        return []
    own = Ancestor(made_by.run, made_by.stage, tuple(entry.hash for entry in made_by.inputs))
    return [*made_by.lineage, own]
