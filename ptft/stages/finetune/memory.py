"""How much memory a method takes: what learns has gradients and two moments, what is frozen is held in fewer bytes."""

from __future__ import annotations

from typing import Any

from ptft.core.training.cost import Frozen, Load, Memory, memory_of, sizes_of
from ptft.stages.finetune.recipe import FinetuneRecipe

FOUR_BITS = 0.5 + 4 / 64  # bytes a weight: a scale for each block of 64; less where that is quantised, too


def estimated_memory(recipe: FinetuneRecipe, model: Any, load: Load, trainable: int) -> Memory | None:
    """Memory to train `trainable` parameters on a network without an adapter's wrapper; None where its sizes are not known.

    Autograd keeps less where few weights learn; that is not counted, so it is an upper estimate.
    """
    try:
        return memory_of(model.config, sizes_of(model), load, trainable, frozen_as(recipe, load.low))
    except (AttributeError, TypeError):  # a configuration without the usual names
        return None


def frozen_as(recipe: FinetuneRecipe, low: bool) -> Frozen:
    """What is frozen lies in the precision that is computed in; qlora's layers in 4 bits."""
    others = 2.0 if low and recipe.method not in ("full", "partial") else 4.0
    return Frozen(FOUR_BITS if recipe.method == "qlora" else others, others)
