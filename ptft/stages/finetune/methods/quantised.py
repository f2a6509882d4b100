"""The frozen base in 4 bits, for qlora (Dettmers et al. 2023), by bitsandbytes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ptft.core import adapters, models
from ptft.core.models import Kind
from ptft.core.training.settings import Precision
from ptft.stages.finetune.methods import parts
from ptft.stages.finetune.recipe import Quantised

DTYPES = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}


def load(folder: Path, quantised: Quantised, precision: Precision, state: Path) -> Any:
    """The checkpoint in `folder` with the linear layers inside it in 4 bits, and how that was done in `state`.

    Embeddings, norms, the output layer and a task's head stay as they are: losses there cost most.
    """
    adapters.refuse_without_bitsandbytes()
    skipped = _outside(folder)
    settings = {
        "load_in_4bit": True, "bnb_4bit_quant_type": quantised.type, "bnb_4bit_use_double_quant": quantised.double,
        "bnb_4bit_compute_dtype": DTYPES[precision], "llm_int8_skip_modules": skipped,
    }  # fmt: skip
    path = state / adapters.QUANTISATION
    path.write_text(json.dumps(settings, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    return adapters.load_quantised(folder, DTYPES[precision], path)[0].requires_grad_(False)


def _outside(folder: Path) -> list[str]:
    network, kind = without_weights(folder)
    return sorted({*parts.new_heads(network, kind), *filter(None, [parts.output_layer(network)])})


def without_weights(folder: Path) -> tuple[Any, Kind]:
    """The network of a checkpoint without its weights, on torch's meta device, and its kind."""
    import torch

    config = models.load_config(folder)
    kind = models.kind_of(config)
    with torch.device("meta"):
        return models.auto_class(kind).from_config(config), kind
