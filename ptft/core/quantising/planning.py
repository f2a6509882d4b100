"""Which weight of a model gets which scheme."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from ptft.core.quantising.matrices import Matrix, matrices
from ptft.core.quantising.scheme import Plan, Scheme

SMALLEST_TABLE = 1024  # rows: smaller embeddings (positions, types) weigh nothing and stay as they are
SMALLEST_HEAD = 1024  # outputs: a task's head is smaller, weighs nothing, and errors show there first


def plan_for(
    model: Any, scheme: Scheme, *, outer: Scheme | None = None, keep: Iterable[str] = ()
) -> dict[str, Scheme | None]:
    """A scheme for every linear layer and embedding of a model.

    outer: for embeddings of tokens and the output layer; by default 8 bits, rounded to nearest, in groups like the scheme's
    (32 where it has none and they are looked up: rows of a vocabulary differ little in size, so a scale a row does as well).
    keep: ends of layers' names that stay as they are. Widths that the group does not divide take a smaller group, or 8 bits with
    a scale a row. A tied weight is one entry, of the outer scheme. Activations are quantised in blocks alone.
    """
    outer = outer or Scheme(8, scheme.group, True, "rtn")
    kept = tuple(keep)
    return {matrix.name: _scheme_of(model, matrix, scheme, outer, kept) for matrix in matrices(model)}


def _scheme_of(model: Any, matrix: Matrix, scheme: Scheme, outer: Scheme, keep: tuple[str, ...]) -> Scheme | None:
    rows, width = matrix.shape
    if keep and any(user.endswith(keep) for user in matrix.users):
        return None
    if matrix.embedding:
        return fitting(outer, width) if rows >= SMALLEST_TABLE or len(matrix.users) > 1 else None
    if is_outer(model, matrix):
        return fitting(outer, width) if rows >= SMALLEST_HEAD else None
    return fitting(scheme, width)


def left_out(model: Any, plan: Plan) -> dict[str, int]:
    """Parameters of two dimensions or more that stay as they are, with how many weights they hold.

    Those that the plan leaves, and what is no matrix of a layer: the experts of a mixture, which transformers keeps in one tensor.
    """
    named = model.named_parameters()
    return {name: int(weight.numel()) for name, weight in named if weight.ndim > 1 and plan.get(name) is None}


def is_outer(model: Any, matrix: Matrix) -> bool:
    """Whether it is an embedding or outside the backbone: an output layer, a task's head."""
    prefix = model.base_model_prefix
    return matrix.embedding or (hasattr(model, prefix) and not matrix.name.startswith(f"{prefix}."))


def fitting(scheme: Scheme, width: int) -> Scheme:
    """The scheme with the largest group, up to its own, that divides the width; where none does, 8 bits with a scale a row."""
    for group in (scheme.group, 64, 32):
        if not group or (group <= scheme.group and width % group == 0):
            return replace(scheme, group=group)
    return replace(scheme, bits=8, group=0, symmetric=True)


def bits_a_weight(model: Any, plan: Plan, names: Iterable[str] | None = None) -> float:
    """Mean stored bits, scales and zero points included, of the weights that the plan quantises (or of those named)."""
    chosen = set(plan if names is None else names)
    found = [(matrix.shape, plan[matrix.name]) for matrix in matrices(model) if matrix.name in chosen & set(plan)]
    bits = sum(scheme.stored_bits(*shape) for shape, scheme in found if scheme is not None)
    return bits / max(1, sum(rows * width for (rows, width), scheme in found if scheme is not None))
