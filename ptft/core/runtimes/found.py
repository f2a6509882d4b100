"""Which file of another runtime a folder holds, if any. Cheap: nothing is loaded."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ptft.core.contracts import WEIGHTS
from ptft.core.errors import InputError

GRAPH, SUBFOLDER = "model.onnx", "onnx"  # as optimum, transformers.js and ONNX Runtime name them


@dataclass(frozen=True)
class Runtime:
    """What computes, and from which file. types: how many weights are stored in each type, the most frequent first.

    note: what a reader of scores must know of it; "" where there is nothing.
    """

    name: str
    file: str
    types: tuple[tuple[str, int], ...] = ()
    note: str = ""

    def facts(self) -> dict[str, Any]:
        """For a record: what a reader of scores must know."""
        return {"runtime": self.name, "weights": dict(self.types), **({"note": self.note} if self.note else {})}


def graph_of(folder: Path) -> Path | None:
    """The ONNX graph of a folder; None where it holds none, or weights of torch, which are taken first.

    Raises `InputError` for an encoder and a decoder in two files, for several graphs of which none is `model.onnx`, and for
    the path of a graph itself.
    """
    if folder.is_file() and folder.suffix == ".onnx":
        remedy = f"name its folder, {folder.parent}, with config.json and the tokenizer in it"
        raise InputError("an ONNX graph alone is no model", where=str(folder), remedy=remedy)
    if _is_torch(folder):
        return None
    graphs = sorted(folder.glob("*.onnx")) or sorted((folder / SUBFOLDER).glob("*.onnx"))
    names = [path.name for path in graphs]
    if any(name.startswith("encoder") for name in names) and any(name.startswith("decoder") for name in names):
        remedy = "name the checkpoint that it was exported from; or score what another tool wrote: ptft eval -p FILE"
        what = f"an encoder and a decoder in files of their own ({', '.join(names)}): ptft runs graphs of one file"
        raise InputError(what, where=str(folder), remedy=remedy)
    if GRAPH in names or len(graphs) == 1:
        return graphs[names.index(GRAPH) if GRAPH in names else 0]
    if graphs:
        remedy = f"copy the one you want, called {GRAPH}, with config.json and the tokenizer, into a folder of its own"
        what = f"several ONNX graphs, none called {GRAPH}: {', '.join(names[:5])}"
        raise InputError(what, where=str(folder), remedy=remedy)
    return None


def gguf_of(path: Path) -> Path | None:
    """The GGUF file that a path is, or that a folder holds; None where there is none, or weights of torch are.

    Raises `InputError` for several, among them the parts of a split one.
    """
    if path.is_file():
        return path if path.suffix == ".gguf" else None
    files = sorted(path.glob("*.gguf"))
    if not files or _is_torch(path):
        return None
    if any("-of-" in file.name for file in files):
        remedy = "merge them with llama.cpp: llama-gguf-split --merge FIRST-PART MERGED.gguf"
        raise InputError("a GGUF file in parts", where=str(path), remedy=remedy)
    if len(files) > 1:
        names = ", ".join(file.name for file in files[:5])
        remedy = f"name one of them: {files[0]}"
        raise InputError(f"{len(files)} GGUF files in a folder: {names}", where=str(path), remedy=remedy)
    return files[0]


def _is_torch(folder: Path) -> bool:
    return any(any(folder.glob(pattern)) for pattern in WEIGHTS)
