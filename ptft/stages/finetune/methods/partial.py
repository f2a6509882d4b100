"""Partial: some of the base's own weights learn."""

from __future__ import annotations

from typing import Any

from ptft.core.models import Kind
from ptft.stages.finetune.methods import parts
from ptft.stages.finetune.recipe import Partial


def freeze(model: Any, kind: Kind, partial: Partial, *, embeddings: bool) -> None:
    """Leave trainable what `partial` names, and a task's new head. embeddings: those learn too, for there are new tokens."""
    model.requires_grad_(False)
    for parameter in _chosen(model, kind, partial):
        parameter.requires_grad = True
    for name in parts.new_heads(model, kind):
        model.get_submodule(name).requires_grad_(True)
    if embeddings:
        model.get_input_embeddings().requires_grad_(True)
        if model.get_output_embeddings() is not None:
            model.get_output_embeddings().requires_grad_(True)


def _chosen(model: Any, kind: Kind, partial: Partial) -> list[Any]:
    if partial.train == "norms":
        inside = [parameter for _, norm in parts.norms(model) for parameter in norm.parameters()]
        return inside + [parameter for name, parameter in model.named_parameters() if name.endswith("bias")]
    if partial.train == "head":
        names = [parts.output_layer(model)] if not parts.new_heads(model, kind) else []
    else:
        names = [*parts.last_layers(model, partial.last_layers), *parts.final_norms(model)]
    return [parameter for name in names if name for parameter in model.get_submodule(name).parameters()]
