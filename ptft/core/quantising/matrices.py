"""The weight matrices of a model: which there are, and reading and writing them as (out, in)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ptft.core.quantising.blocks import is_conv1d

if TYPE_CHECKING:
    from torch import Tensor
else:
    Tensor = Any


@dataclass(frozen=True, eq=False)
class Matrix:
    """One weight. name: of the parameter. layer: its module; users: all modules that have it (tied weights: two).

    embedding: it is looked up, and perhaps the output layer too. transposed: stored as (in, out).
    """

    name: str
    module: Any
    users: tuple[str, ...]
    embedding: bool
    transposed: bool

    @property
    def layer(self) -> str:
        return self.name.rpartition(".")[0]

    @property
    def shape(self) -> tuple[int, int]:
        rows, columns = self.module.weight.shape
        return (columns, rows) if self.transposed else (rows, columns)

    def read(self) -> Tensor:
        """(out, in), not a copy."""
        weight = self.module.weight.data
        return weight.T if self.transposed else weight

    def write(self, values: Tensor) -> None:
        self.read().copy_(values)


def matrices(model: Any) -> Iterator[Matrix]:
    """Linear layers and embeddings of tokens, a tied weight once, under the name that `named_parameters` gives it."""
    import torch

    users: dict[int, list[tuple[str, Any]]] = {}
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Linear | torch.nn.Embedding) or is_conv1d(module):
            users.setdefault(id(module.weight), []).append((name, module))
    for name, parameter in model.named_parameters():
        if id(parameter) in users:
            having = users.pop(id(parameter))
            embedding = any(isinstance(module, torch.nn.Embedding) for _, module in having)
            module = model.get_submodule(name.rpartition(".")[0])
            yield Matrix(name, module, tuple(user for user, _ in having), embedding, is_conv1d(module))
