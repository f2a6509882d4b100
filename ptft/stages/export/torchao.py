"""Quantising through torchao and transformers, into a folder that `from_pretrained` loads."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from typing import Any

from ptft.core.models import Loaded
from ptft.core.weights import sort_header
from ptft.stages.export.layers import Layers
from ptft.stages.export.recipe import ExportRecipe

AUTO = {
    "causal": "AutoModelForCausalLM",
    "classifier": "AutoModelForSequenceClassification",
    "masked": "AutoModelForMaskedLM",
}


def write(loaded: Loaded, checkpoint: Path, layers: Layers, recipe: ExportRecipe, folder: Path) -> None:
    """Load `checkpoint` (the model of `loaded`, merged) quantised, and save it with its tokenizer in `folder`."""
    from transformers import TorchAoConfig

    config = TorchAoConfig(quant_type=_scheme(layers, recipe), modules_to_not_convert=sorted(layers.kept))
    model = type(loaded.model).from_pretrained(checkpoint, quantization_config=config, dtype="auto")
    model.eval().save_pretrained(folder)
    loaded.tokenizer.save_pretrained(folder)
    for path in folder.glob("*.safetensors"):
        sort_header(path)


def _scheme(layers: Layers, recipe: ExportRecipe) -> Any:
    import torch
    from torchao.quantization import FqnToConfig, Int8WeightOnlyConfig, IntxWeightOnlyConfig
    from torchao.quantization.granularity import PerGroup

    if recipe.to == "int8":
        return Int8WeightOnlyConfig()

    def grouped(size: int) -> Any:
        return IntxWeightOnlyConfig(weight_dtype=torch.int4, granularity=PerGroup(size))

    if not layers.lowered(recipe.group_size):
        return grouped(recipe.group_size)
    return FqnToConfig(OrderedDict((name, grouped(group)) for name, group in layers.quantised.items()))


def how_to_load(loaded: Loaded) -> str:
    """Two lines of Python, run where the folder is."""
    auto = AUTO[loaded.kind]
    own_code = ", trust_remote_code=True" if getattr(loaded.model.config, "auto_map", None) else ""
    own_code = own_code or (", trust_remote_code=True" if loaded.model.config.model_type == "mean_pooled" else "")
    return f'from transformers import {auto}\nmodel = {auto}.from_pretrained("DIR"{own_code})'


def described(recipe: ExportRecipe) -> str:
    if recipe.to == "int8":
        return "INT8 weight-only: symmetric, a scale an output row; arithmetic in the model's own precision"
    return f"INT4 weight-only: symmetric, a scale every {recipe.group_size} weights; arithmetic in the model's own precision"
