"""The run record: `run.json`, written last and atomically. A folder without a complete one is not a result."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import os
import platform
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

import ptft
from ptft.core.errors import InputError

NAME = "run.json"
PACKAGES = (
    "torch",
    "transformers",
    "tokenizers",
    "datasets",
    "peft",
    "torchao",
    "onnxruntime",
    "gguf",
    "numpy",
    "datasketch",
)


@dataclass(frozen=True)
class FileEntry:
    """One file that went in or came out. hash: xxh3-128 of its bytes, in hexadecimal."""

    path: str
    bytes: int
    hash: str
    role: str | None = None  # inputs: which argument named it
    run: str | None = None  # inputs: the run that made it
    rows: int | None = None  # outputs: rows of a JSONL file


@dataclass(frozen=True)
class Ancestor:
    """A run that an input descends from, so that lineage survives a moved or deleted folder."""

    run: str
    stage: str
    files: tuple[str, ...]  # content hashes of what that run read


@dataclass(frozen=True)
class RunRecord:
    """Everything needed to know what a folder is, where it came from, and how it went."""

    run: str  # derived from fingerprint and outputs: equal results have equal names
    stage: str
    status: str
    fingerprint: str
    command: tuple[str, ...]
    recipe: dict[str, Any]
    seed: int
    inputs: tuple[FileEntry, ...]
    outputs: tuple[FileEntry, ...]
    counts: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)
    gates: tuple[str, ...] = ()  # quality gates that were not met
    lineage: tuple[Ancestor, ...] = ()
    versions: dict[str, str] = field(default_factory=dict)
    device: str = ""
    started: str = ""
    ended: str = ""
    seconds: float = 0.0


def to_json(record: RunRecord) -> bytes:
    return orjson.dumps(dataclasses.asdict(record), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def is_inside(path: str) -> bool:
    """Whether an output's path stays within its folder."""
    return not Path(path).is_absolute() and ".." not in Path(path).parts


def made(folder: Path) -> RunRecord | None:
    """`read` for inputs: a run.json of another tool is simply not ours."""
    try:
        return read(folder)
    except InputError:
        return None


def read(folder: Path) -> RunRecord | None:
    """The folder's complete run record, or None where ptft did not finish (or write) it.

    Raises `InputError` where a run.json is there but is not one of ptft's.
    """
    path = folder / NAME
    try:
        data = orjson.loads(path.read_bytes())
        known = {item.name for item in dataclasses.fields(RunRecord)}
        values = {key: value for key, value in data.items() if key in known}
        values["inputs"] = tuple(FileEntry(**entry) for entry in values["inputs"])
        values["outputs"] = tuple(FileEntry(**entry) for entry in values["outputs"])
        values["lineage"] = tuple(
            Ancestor(entry["run"], entry["stage"], tuple(entry["files"])) for entry in values.get("lineage", ())
        )
        if not all(is_inside(entry.path) for entry in values["outputs"]):
            raise TypeError("an output outside the folder")
        values["command"], values["gates"] = tuple(values["command"]), tuple(values.get("gates", ()))
        return RunRecord(**values)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (orjson.JSONDecodeError, TypeError, KeyError, AttributeError) as error:
        remedy = "name another folder; or move this file away, if another tool wrote it"
        raise InputError("this is not a run record of ptft", where=str(path), remedy=remedy) from error


def versions() -> dict[str, str]:
    found = {"ptft": ptft.__version__, "python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def device() -> str:
    """The machine in words; torch is asked only if the stage has already loaded it."""
    import sys

    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        return f"{torch.cuda.get_device_name(0)} x{torch.cuda.device_count()}"
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    threads = f", {torch.get_num_threads()} torch threads" if torch is not None else ""
    return f"{platform.machine()} CPU, {cores} cores{threads}"
