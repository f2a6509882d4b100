"""The tensors of a model's files: which parameter each stands for, and of which class it is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ptft.core.runtimes.found import gguf_of, graph_of
from ptft.core.weights import tensors

CLASSES = ("embeddings", "linear", "norms", "head", "other")


def in_head(model: Any, path: str) -> bool:
    """Whether a module lies outside the backbone."""
    prefix = model.base_model_prefix
    return hasattr(model, prefix) and not f"{path}.".startswith(f"{prefix}.")


class Classes:
    """Which class each tensor of a model is of."""

    def __init__(self, model: Any) -> None:
        self.model, self._modules, self._looked_up = model, dict(model.named_modules()), looked_up(model)

    def of(self, name: str) -> str:
        """Of a parameter, or of another tensor that lies in one of the model's modules: embeddings, linear, norms, head or other.

        An output layer that is tied to the embeddings is embeddings; experts that are kept in one tensor are linear.
        """
        import torch

        from ptft.core.quantising.blocks import is_conv1d

        path = self._path(name)
        module = self._modules[path]
        if id(getattr(module, "weight", None)) in self._looked_up:
            return "embeddings"
        if not path:
            return "other"
        if in_head(self.model, path):
            return "head"
        kind = type(module).__name__.lower()
        if isinstance(module, torch.nn.Linear) or is_conv1d(module) or "expert" in kind:
            return "linear"
        return "norms" if "norm" in kind else "other"

    def _path(self, name: str) -> str:
        """The innermost module whose path a name begins with; "", the model's own, where it begins with no other."""
        path = name.rpartition(".")[0]
        while path not in self._modules:
            path = path.rpartition(".")[0]
        return path


def looked_up(model: Any) -> set[int]:
    """Embeddings' weights, by `id`."""
    import torch

    return {id(module.weight) for module in model.modules() if isinstance(module, torch.nn.Embedding)}


# ---------------------------------------------------------------- whose a stored tensor is


@dataclass(frozen=True)
class Part:
    """A stored tensor. parameter: the model's parameter that it stands for, or is a part of; "" where it is none's."""

    name: str
    parameter: str
    bytes: int


def parts(model: Any, folder: Path) -> Iterator[Part]:
    """Every tensor in a folder's weight files, and the parameter of `model` that it belongs to."""
    if (file := gguf_of(folder)) is not None:
        yield from _of_gguf(model, file)
        return
    named = named_in(model)
    entries = _of_graph(graph) if (graph := graph_of(folder)) is not None else _of_safetensors(folder)
    for name, size in entries:
        yield Part(name, _owner(name, named, model.base_model_prefix), size)


def named_in(model: Any) -> dict[str, str]:
    """Each parameter's names, and the one that `named_parameters` gives it: tied ones have several."""
    first: dict[int, str] = {}
    found = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        found[name] = first.setdefault(id(parameter), name)
    return found


def _owner(name: str, named: dict[str, str], prefix: str) -> str:
    """`layer.weight` of `layer.weight_packed`, `layer.weight_scale`, `layer._weight_qdata`, ...

    Checkpoints of a backbone alone leave its prefix out.
    """
    path, _, leaf = name.rpartition(".")
    leaf = leaf.removeprefix("_")
    while leaf:
        own = f"{path}.{leaf}" if path else leaf
        for candidate in (own, f"{prefix}.{own}"):
            if candidate in named:
                return candidate
        leaf = leaf.rpartition("_")[0]
    return ""


def _of_safetensors(folder: Path) -> Iterator[tuple[str, int]]:
    return ((tensor.name, tensor.bytes) for tensor in tensors(folder))


def _of_graph(path: Path) -> Iterator[tuple[str, int]]:
    """Initializers, and constants of nodes, as they lie in the file."""
    from ptft.core.runtimes import graph_file

    proto = graph_file.read(path)
    graph_file.require_whole(path, proto)
    yield from ((tensor.name, _bytes(tensor)) for tensor in graph_file.initializers(proto))


def _bytes(tensor: Any) -> int:
    """Of an `onnx.TensorProto`."""
    from onnx.external_data_helper import ExternalDataInfo
    from onnx.numpy_helper import to_array

    if tensor.external_data:
        return int(ExternalDataInfo(tensor).length or 0)
    return len(tensor.raw_data) if tensor.HasField("raw_data") else int(to_array(tensor).nbytes)


def _of_gguf(model: Any, file: Path) -> Iterator[Part]:
    """Under llama.cpp's names."""
    from gguf import MODEL_ARCH, get_tensor_name_map

    from ptft.core.runtimes import gguf_file
    from ptft.stages.export.formats.gguf_families import family_of

    family = family_of(model.config, str(file))
    names = get_tensor_name_map(MODEL_ARCH[family.architecture.upper()], model.config.num_hidden_layers)
    own = {names.get_name(name, try_suffixes=(".weight", ".bias")): name for name in reversed(list(named_in(model)))}
    for tensor in gguf_file.reader(file).tensors:
        yield Part(str(tensor.name), own.get(tensor.name, ""), int(tensor.n_bytes))
