"""The kinds of folder that pass between stages, and what a stage is made of."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar

from ptft.core.errors import InputError
from ptft.core.files import Source, is_unfinished
from ptft.core.progress import Progress, Table
from ptft.core.recipes import Recipe


@dataclass(frozen=True)
class Contract:
    """One kind of folder. A folder is of this kind when it holds, for each alternative, at least one match."""

    name: str
    needs: tuple[tuple[str, ...], ...]  # every inner tuple: alternatives, as globs
    made_by: str

    def is_valid(self, folder: Path) -> bool:
        return not self.missing(folder)

    def missing(self, folder: Path) -> list[str]:
        return [" or ".join(patterns) for patterns in self.needs if not any(any(folder.glob(p)) for p in patterns)]

    def require(self, folder: Path) -> Path:
        """The folder itself, or `InputError` saying what it lacks and which stage makes one."""
        if not folder.is_dir():
            is_file = folder.exists()
            what = "this is a file, not a folder" if is_file else "no such folder"
            check = "the order of the arguments" if is_file else "the path"
            raise InputError(what, where=str(folder), remedy=f"check {check}, or make one with `{self.made_by}`")
        if is_unfinished(folder):
            remedy = "run the command that makes it again: it goes on where it stopped"
            raise InputError("this folder is not finished", where=str(folder), remedy=remedy)
        missing = self.missing(folder)
        if missing:
            article = "an" if self.name[0] in "aeiou" else "a"
            what = f"not {article} {self.name} folder: no {', no '.join(missing)}"
            raise InputError(what, where=str(folder), remedy=f"make one with `{self.made_by}`")
        return folder


EXPORT_FILE = "export.json"
WEIGHTS = ("*.safetensors", "*.safetensors.index.json", "pytorch_model*.bin")
CORPUS = Contract("corpus", (("*.jsonl", "*.jsonl.zst", "*.jsonl.gz", "*.parquet"),), "ptft clean INPUT... -o DIR")
TOKENIZER = Contract(
    "tokenizer", (("tokenizer.json", "tokenizer.model", "vocab.txt", "vocab.json"),), "ptft tokenizer INPUT... -o DIR"
)
TOKENS = Contract("tokens", (("tokens.json",), ("train-*.npy",)), "ptft pack INPUT... -t TOKENIZER -o DIR")
CHECKPOINT = Contract(
    "checkpoint", (("config.json", "adapter_config.json"), WEIGHTS), "ptft pretrain INPUT... -t TOKENIZER -o DIR"
)
_GRAPHS, _GGUF = ("*.onnx", "onnx/*.onnx"), ("*.gguf",)
ONNX = Contract("onnx model", (("config.json",), _GRAPHS), "ptft export MODEL -o DIR")
GGUF = Contract("gguf model", (_GGUF,), "ptft export MODEL -o DIR")
MODEL = Contract(
    "model",
    (("config.json", "adapter_config.json", *_GGUF), (*WEIGHTS, *_GRAPHS, *_GGUF)),
    "ptft pretrain INPUT... -t TOKENIZER -o DIR",
)  # anything that `models.load` takes
SCORES = Contract("scores", (("scores.json",),), "ptft eval MODEL DATA... -o DIR")
EXPORT = Contract(
    "export", ((EXPORT_FILE,), ("config.json", *_GRAPHS, *_GGUF, f"*/{EXPORT_FILE}")), "ptft export MODEL -o DIR"
)
KINDS = (EXPORT, CHECKPOINT, ONNX, GGUF, TOKENIZER, TOKENS, SCORES, CORPUS)  # the most telling first


def kind_of(folder: Path) -> Contract | None:
    return next((kind for kind in KINDS if kind.is_valid(folder)), None)


def best_of(folder: Path) -> Path:
    """A folder of several exports stands for the best of them; every other folder for itself."""
    try:
        listed = json.loads((folder / EXPORT_FILE).read_bytes())
    except (OSError, ValueError):
        return folder
    best = listed.get("best") if isinstance(listed, dict) else None
    return folder / best if isinstance(best, str) and (folder / best).is_dir() else folder


# ---------------------------------------------------------------- what a stage is


@dataclass(frozen=True)
class Argument:
    """A positional argument: rows (one or many files) or one folder of a kind."""

    name: str  # as the run record calls it: "data", "model"
    metavar: str
    help: str
    kind: Literal["rows", "folder"]
    optional: bool = False


@dataclass(frozen=True)
class Inputs:
    """What a stage reads, already found and hashed. Keyed by argument or knob name: "data", "model", "tokenizer"."""

    rows: Mapping[str, tuple[Source, ...]] = field(default_factory=dict)
    folders: Mapping[str, Path] = field(default_factory=dict)

    @property
    def data(self) -> tuple[Source, ...]:
        return self.rows.get("data", ())


@dataclass(frozen=True)
class Output:
    """Where a stage writes. `new` is published whole when the stage is done; `state` outlives a kill and then goes.

    Everything that must be there after a kill (finished blocks, checkpoints) belongs in `state` or `final`.
    """

    final: Path
    new: Path
    state: Path


@dataclass(frozen=True)
class Result:
    """What a stage has to say for the run record. gates: quality gates that were not met."""

    counts: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)
    gates: tuple[str, ...] = ()


@dataclass(frozen=True)
class Plan:
    """What `--dry-run` says: what would be done, and what it would cost. tables: for people, after the lines."""

    lines: tuple[tuple[str, object], ...]
    tables: tuple[Table, ...] = ()


R = TypeVar("R", bound=Recipe, contravariant=True)


class StageModule(Protocol[R]):
    """The module a stage's work lives in: plain functions, importable and tested without a terminal."""

    def run(self, recipe: R, inputs: Inputs, out: Output, progress: Progress) -> Result: ...

    def plan(self, recipe: R, inputs: Inputs, progress: Progress) -> Plan: ...


@dataclass(frozen=True)
class Stage:
    """One command: its name, its recipe, and the module that does the work (imported only when it runs)."""

    name: str
    help: str
    recipe: type[Recipe]
    module: str
    arguments: tuple[Argument, ...]
    makes: Contract

    def load(self) -> Any:
        import importlib

        return importlib.import_module(self.module)
