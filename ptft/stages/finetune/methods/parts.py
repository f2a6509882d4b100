"""The parts of a network that methods speak of, found by the names that families give them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from ptft.core.heads import NEW_PARTS
from ptft.core.models import HEADED, Kind

HEADS = (*NEW_PARTS, "classification_head")  # the last is BART's and T5's
# Of llama, qwen, mistral, gpt2, bert, roberta, distilbert, modernbert, t5, bart and whoever names them alike. Each layer's
# projections to keys and values; the linear layer that ends attention; the one that ends the feed-forward network
KEYS_AND_VALUES = r".*\.(k_proj|v_proj|k_lin|v_lin|Wqkv|c_attn|self\.(key|value)|(Self|EncDec)Attention\.[kv])"
ATTENTION_END = (
    r".*\.((self_attn|encoder_attn|attn)\.(o_proj|out_proj|c_proj|Wo)|attention\.(output\.dense|out_lin)"
    r"|(Self|EncDec)Attention\.o)"
)
FEED_FORWARD_END = r".*(mlp\.(down_proj|c_proj|Wo)|(?<!attention)\.output\.dense|\.fc2|ffn\.lin2|DenseReluDense\.wo)"


def names_matching(network: Any, pattern: str) -> list[str]:
    """Names of the modules that match a regular expression as a whole."""
    return [name for name, _ in network.named_modules() if re.fullmatch(pattern, name)]


def new_heads(model: Any, kind: Kind) -> list[str]:
    """Names of the modules that a task trains from nothing, the outermost ones; none of a language model."""
    if kind not in HEADED:
        return []
    found: list[str] = []
    for name, _ in model.named_modules():
        if name.rpartition(".")[2] in HEADS and not name.startswith(tuple(f"{outer}." for outer in found)):
            found.append(name)
    return found


def output_layer(model: Any) -> str | None:
    """The name of the layer that makes a language model's logits."""
    head = model.get_output_embeddings()
    return next((name for name, module in model.named_modules() if module is head), None) if head is not None else None


def linear_layers(model: Any, kind: Kind) -> list[str]:
    """Names of the linear layers inside the network: neither output layer nor new heads."""
    import torch
    from transformers.pytorch_utils import Conv1D

    outside = [*new_heads(model, kind), *filter(None, [output_layer(model)])]
    apart = tuple(f"{name}." for name in outside)
    return [
        name
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear | Conv1D) and name not in outside and not name.startswith(apart)
    ]


def stacks(model: Any) -> dict[str, Any]:
    """The lists of transformer layers by name: one, or an encoder's and a decoder's."""
    import torch

    found: dict[str, Any] = {}
    for name, module in model.named_modules():
        inside = name.startswith(tuple(f"{outer}." for outer in found))
        if isinstance(module, torch.nn.ModuleList) and not inside and len({type(layer) for layer in module}) == 1:
            found[name] = module
    return found


def last_layers(model: Any, count: int) -> list[str]:
    """Names of the last `count` layers of each stack."""
    return [
        f"{name}.{index}" for name, layers in stacks(model).items() for index in range(len(layers))[-count:]
    ]  # fmt: skip


def norms(model: Any) -> Iterator[tuple[str, Any]]:
    """Normalisation layers, by name."""
    return ((name, module) for name, module in model.named_modules() if "norm" in type(module).__name__.lower())


def final_norms(model: Any) -> list[str]:
    """Names of the norms behind the layers."""
    inner = tuple(f"{name}." for name in stacks(model))
    return [name for name, _ in norms(model) if not name.startswith(inner) and "embed" not in name]
