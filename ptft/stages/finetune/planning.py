"""What `ptft finetune ... --dry-run` says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ptft.core.contracts import Inputs, Plan
from ptft.core.examples import detect, misshapen
from ptft.core.formats import read_rows
from ptft.core.rows import Row
from ptft.core.sample import estimate_text
from ptft.core.weights import tensors
from ptft.stages.finetune.base import Base, base_of
from ptft.stages.finetune.learning import steps_of
from ptft.stages.finetune.recipe import FinetuneRecipe

Lines = list[tuple[str, object]]


def plan_text(recipe: FinetuneRecipe, inputs: Inputs) -> Plan:
    """Of unlabelled text."""
    base = base_of(recipe, inputs, None)
    guess = estimate_text(inputs.data, dict(recipe.columns))
    lines: Lines = [("documents (estimate)", guess.rows), ("text bytes (estimate)", guess.bytes)]
    return Plan((*_base_lines(base), *lines, *_method_lines(recipe, base)))


def plan_rows(
    recipe: FinetuneRecipe,
    inputs: Inputs,
    shapes: tuple[str, ...],
    used: Callable[[list[Row]], list[Row]] = lambda rows: rows,
) -> Plan:
    """Of examples in one of the shapes. used: which of the rows are learnt from."""
    base = base_of(recipe, inputs, None)
    read = [row for row in read_rows(inputs.data, columns=dict(recipe.columns)) if isinstance(row, Row)]
    shape = detect(read, shapes)
    rows = len(used([row for row in read if not misshapen(row, shape)]))
    lines: Lines = [("shape", shape.name), ("rows", rows), ("steps", steps_of(recipe, rows))]
    return Plan((*_base_lines(base), *lines, *_method_lines(recipe, base)))


def _base_lines(base: Base) -> Lines:
    return [("base", f"{base.config.model_type}, {base.kind}"), ("parameters", _parameters(base))]


def _parameters(base: Base) -> int:
    return sum(tensor.count for tensor in tensors(base.folder))


def _method_lines(recipe: FinetuneRecipe, base: Base) -> Lines:
    parameters: Any = _parameters(base)
    states = 12 * (parameters if recipe.method == "full" else 0)  # gradients and AdamW's two moments, fp32
    return [
        ("method", recipe.method),
        ("sequence length", base.length(recipe)),
        ("memory for weights, gradients, AdamW (fp32)", f"{(4 * parameters + states) / 2**20:,.0f} MiB"),
    ]
