"""Which tensors are quantised, which stay as they are and why, and what each kind takes."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ptft.core.errors import InputError
from ptft.core.weights import tensors

SMALLEST_GROUP = 8
ZERO_POINT_BYTES = 1  # torchao keeps one beside every scale, though symmetric ones are all 0
CLASSES = ("embeddings", "linear", "norms", "head", "other")


@dataclass(frozen=True)
class Layers:
    """quantised: linear layers by name, with their group (int4; 0 for int8: a scale a row). kept: the others, and why."""

    quantised: dict[str, int]
    kept: dict[str, str]

    def lowered(self, group_size: int) -> dict[str, int]:
        return {name: group for name, group in self.quantised.items() if group not in (0, group_size)}


def choose(model: Any, to: Literal["int8", "int4"], group_size: int, folder: Path) -> Layers:
    """Every linear layer of the backbone. Heads stay: they are small, or tied to the embeddings, and errors show there first.

    Raises `InputError` where nothing is left, as in GPT-2, whose layers are not `nn.Linear`.
    """
    import torch

    embedded = {id(module.weight) for module in model.modules() if isinstance(module, torch.nn.Embedding)}
    quantised: dict[str, int] = {}
    kept: dict[str, str] = {}
    for name, module in model.named_modules():
        if not isinstance(module, torch.nn.Linear):
            continue
        group = math.gcd(group_size, module.in_features) if to == "int4" else 0
        if id(module.weight) in embedded:
            kept[name] = "tied to the embeddings"
        elif in_head(model, name):
            kept[name] = "a head"
        elif to == "int4" and group < SMALLEST_GROUP:
            kept[name] = f"its width {module.in_features} cannot be cut into groups of {SMALLEST_GROUP} or more"
        else:
            quantised[name] = group
    if not quantised:
        family = model.config.model_type
        what = f"nothing to quantise: torchao takes nn.Linear layers, and this {family} model has none outside its head"
        raise InputError(what, where=str(folder), remedy="export a model of another family, such as llama or bert")
    return Layers(quantised, kept)


def in_head(model: Any, name: str) -> bool:
    prefix = model.base_model_prefix
    return hasattr(model, prefix) and not f"{name}.".startswith(f"{prefix}.")


# ---------------------------------------------------------------- sizes


def class_of(model: Any, tensor: str) -> str:
    """Of a parameter, or a stored part of one ("...q_proj._weight_qdata"): embeddings, linear, norms, head or other."""
    import torch

    name = tensor.rpartition(".")[0]
    module = model.get_submodule(name)
    if isinstance(module, torch.nn.Embedding):
        return "embeddings"
    if in_head(model, name):
        return "head"
    if isinstance(module, torch.nn.Linear):
        return "linear"
    return "norms" if "norm" in type(module).__name__.lower() else "other"


def bytes_in_memory(model: Any) -> dict[str, int]:
    """Bytes of a model's parameters by class; tied ones are counted once."""
    found = {id(parameter): (name, parameter) for name, parameter in reversed(list(model.named_parameters()))}
    return _by_class(model, ((name, p.numel() * p.element_size()) for name, p in found.values()))


def bytes_on_disk(model: Any, folder: Path) -> dict[str, int]:
    """Bytes of the tensors in a folder by class; `model` is the original, which says what belongs to which class."""
    return _by_class(model, ((tensor.name, tensor.bytes) for tensor in tensors(folder)))


def expected_bytes(model: Any, layers: Layers) -> dict[str, int]:
    """What the export will take, by class, without making it: a byte a weight, and a scale (and zero point) a group."""
    sizes = Counter(bytes_in_memory(model))
    for name, group in layers.quantised.items():
        weight = model.get_submodule(name).weight
        rows, columns = weight.shape
        scales = rows * (columns // group) if group else rows
        each = weight.element_size() + ZERO_POINT_BYTES
        sizes["linear"] += weight.numel() + scales * each - weight.numel() * weight.element_size()
    return dict(sizes)


def _by_class(model: Any, sizes: Iterable[tuple[str, int]]) -> dict[str, int]:
    found = dict.fromkeys(CLASSES, 0)
    for name, size in sizes:
        found[class_of(model, name)] += size
    return found


def bits_a_weight(model: Any, layers: Layers, folder: Path) -> float:
    """Bits in the file for a quantised weight, its scale and zero point included."""
    stored = sum(
        tensor.bytes
        for tensor in tensors(folder)
        if tensor.name.rpartition(".")[0] in layers.quantised and not tensor.name.endswith(".bias")
    )
    return 8 * stored / quantised_weights(model, layers)


def quantised_weights(model: Any, layers: Layers) -> int:
    return sum(int(model.get_submodule(name).weight.numel()) for name in layers.quantised)
