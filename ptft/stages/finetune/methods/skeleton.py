"""A method on a network without weights, to count what would learn."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ptft.core.models import Kind
from ptft.stages.finetune.methods import partial
from ptft.stages.finetune.methods.peft_methods import PROMPT_METHODS, Network, config_of
from ptft.stages.finetune.recipe import FinetuneRecipe


def skeleton(recipe: FinetuneRecipe, model: Any, kind: Kind) -> Any:
    """`model`, on torch's meta device, with the recipe's method on it. Call it inside `torch.device("meta")`."""
    if recipe.method == "full":
        return model
    if recipe.method == "partial":
        partial.freeze(model, kind, recipe.partial, embeddings=False)
        return model
    from peft import get_peft_model

    uncounted = replace(
        recipe, lora=replace(recipe.lora, init="default")
    )  # others would decompose weights that are not there
    model.prepare_inputs_for_generation = None  # peft asks for it where there are virtual tokens, and will not call it
    # a task's new head is not there yet, so its kind of wrapper is not either; the virtual tokens are the same in all
    wrapper: Kind = "causal" if kind == "masked" and recipe.method in PROMPT_METHODS else kind
    return get_peft_model(model, config_of(uncounted, Network(model, wrapper)))
