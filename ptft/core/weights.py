"""Weight files without loading them: what tensors a folder holds, and headers that are the same every time.

The format (https://github.com/huggingface/safetensors#format): 8 bytes of header length, little-endian; a JSON header of
name -> {dtype, shape, data_offsets}, and of text under "__metadata__"; then the tensors.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from ptft.core.errors import InputError
from ptft.core.runtimes.found import gguf_of, graph_of


@dataclass(frozen=True)
class Tensor:
    """One tensor as stored. bytes: what it takes in the file."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    bytes: int

    @property
    def count(self) -> int:
        return math.prod(self.shape)


def tensors(folder: Path) -> Iterator[Tensor]:
    """Every tensor in the folder's safetensors files; where it has none, in its ONNX graph or its GGUF file (or in that file
    itself). Raises `InputError` for a file that is cut short or is not one.
    """
    yield from (Tensor(*entry) for entry in _elsewhere(folder))
    for path in sorted(folder.glob("*.safetensors")):
        header, start = _header(path)
        for name, entry in header.items():
            if name == "__metadata__":
                continue
            begin, end = entry["data_offsets"]
            if start + end > path.stat().st_size:
                raise _broken(path, "it ends inside its tensors")
            yield Tensor(name, entry["dtype"], tuple(entry["shape"]), end - begin)


def _elsewhere(folder: Path) -> Iterator[tuple[str, str, tuple[int, ...], int]]:
    """The tensors of other runtimes' files, which are looked for where torch's are not there."""
    if (file := gguf_of(folder)) is not None:
        from ptft.core.runtimes import gguf_file

        yield from gguf_file.weights(gguf_file.reader(file))
    elif (graph := graph_of(folder)) is not None:
        from ptft.core.runtimes import graph_file

        proto = graph_file.read(graph)
        graph_file.require_whole(graph, proto)
        yield from graph_file.weights(proto, graph.parent)


def _header(path: Path) -> tuple[dict[str, Any], int]:
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        if not 0 < size <= path.stat().st_size - 8:
            raise _broken(path, "its header is longer than the file")
        try:
            return orjson.loads(file.read(size)), 8 + size
        except orjson.JSONDecodeError as error:
            raise _broken(path, "its header is not JSON") from error


def _broken(path: Path, detail: str) -> InputError:
    what = f"a corrupt or truncated safetensors file: {detail}"
    return InputError(what, where=str(path), remedy="fetch it again, or make it again with the stage that wrote it")


def stored_type(folder: Path) -> str:
    """torch's name of the type that most of a checkpoint's bytes have; float32 where they are none that it trains in."""
    sizes: dict[str, int] = {}
    for tensor in tensors(folder):
        sizes[tensor.dtype] = sizes.get(tensor.dtype, 0) + tensor.bytes
    return {"BF16": "bfloat16", "F16": "float16"}.get(max(sizes, key=lambda name: sizes[name], default=""), "float32")


def is_quantised(folder: Path) -> bool:
    """Whether a model folder's configuration says that its weights are quantised."""
    config = folder / "config.json"
    return config.is_file() and b'"quantization_config"' in config.read_bytes()


def sort_header(path: Path) -> None:
    """Write a safetensors header again with its keys in order, in place: the length stays, and so do the tensors.

    safetensors keeps its metadata in a hash map, so a file with many entries (torchao writes one a tensor) has other bytes on
    every run. Only the order of "__metadata__" is changed.
    """
    header, start = _header(path)
    metadata = header.get("__metadata__")
    if not metadata:
        return
    header["__metadata__"] = dict(sorted(metadata.items()))
    raw = orjson.dumps(header)
    if len(raw) > start - 8:
        return  # another JSON writer escaped less: leave the file as it is
    with path.open("r+b") as file:
        file.seek(8)
        file.write(raw.ljust(start - 8))
