"""The families: what each is made of, how many parameters a shape has, and the transformers configuration of it.

The counts are exact (a test holds them to the models themselves), so that the dial can search without building anything.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

LONG = 4096  # tokens; beyond them Llama 3 and ModernBERT turn their rotary positions more slowly


@dataclass(frozen=True)
class Shape:
    """The sizes of a network's layers. feed_forward: of one expert, where there are experts."""

    layers: int
    width: int
    heads: int
    kv_heads: int
    head_width: int
    feed_forward: int
    experts: int = 0
    experts_per_token: int = 0


@dataclass(frozen=True)
class Ends:
    """What lies before and after the layers. pair_head: BERT's pooler and its classifier of sentence pairs."""

    vocab_size: int
    positions: int
    tied: bool
    pair_head: bool = False


@dataclass(frozen=True)
class Details:
    """What a configuration needs beside its sizes. ids: bos, eos and pad by transformers' names; wraps: cls and sep."""

    ids: dict[str, int | None]
    wraps: dict[str, int | None]
    dropout: float = 0.0
    balance: float = 0.0
    rope_theta: float | None = None  # None: what suits the positions


@dataclass(frozen=True)
class Family:
    """One architecture of transformers. aspect: width a layer that is usual for it, up to a width of 768."""

    model_type: str
    kind: Literal["causal", "masked"]
    count: Callable[[Shape, Ends], int]
    config: Callable[[Shape, Ends, Details], Any]
    feed_forward: Callable[[int, int], int]  # (width, experts a token) -> width of the feed-forward layer
    grouped: bool = False  # may have fewer key and value heads than heads
    experts: bool = False
    pairs: bool = False  # can learn which passage follows which
    aspect: int = 64


def initial_std(width: int) -> float:
    """sqrt(2 / (5 width)) (Nguyen and Salazar 2019): 0.02 at 1000; narrow models learn visibly slower from a fixed 0.02."""
    return math.sqrt(2 / (5 * width))


def rope_theta(positions: int) -> float:
    """The base of rotary positions: 10,000 (Su et al. 2021, Llama 2 at 4,096 tokens); 500,000 beyond (Llama 3 at 8,192)."""
    return 10_000.0 if positions <= LONG else 500_000.0


# ---------------------------------------------------------------- widths of the feed-forward layer


def _gated(width: int, used: int) -> int:
    """Llama's gated layer has three matrices: 8/3 of the width costs what 4 times does with two. In multiples of 32."""
    return round(width * 8 / 3 / 32) * 32 or 32


def _fourfold(width: int, used: int) -> int:
    return 4 * width


def _fine_grained(width: int, used: int) -> int:
    """Qwen3-MoE's experts are small: those that one token goes through are as wide together as a dense layer is."""
    return max(16, round(_gated(width, 1) / used / 16) * 16)


def _modern(width: int, used: int) -> int:
    """ModernBERT-base: 1,152 at a width of 768 (Warner et al. 2024, table 4)."""
    return max(16, round(width * 1.5 / 16) * 16)


# ---------------------------------------------------------------- how many parameters


def _count_llama(shape: Shape, ends: Ends, *, head_norms: bool = False) -> int:
    """Llama, Qwen3 and their mixtures: no biases, two norms a layer, one at the end; Qwen3 also norms queries and keys."""
    width, total = shape.width, shape.heads * shape.head_width
    attention = 2 * width * total + 2 * width * shape.kv_heads * shape.head_width
    mlp = 3 * width * shape.feed_forward
    if shape.experts:
        mlp = shape.experts * (mlp + width)  # and the router
    norms = 2 * width + (2 * shape.head_width if head_norms else 0)
    return ends.vocab_size * width * (1 if ends.tied else 2) + shape.layers * (attention + mlp + norms) + width


def _count_qwen(shape: Shape, ends: Ends) -> int:
    return _count_llama(shape, ends, head_norms=True)


def _count_gpt2(shape: Shape, ends: Ends) -> int:
    width = shape.width
    tables = (ends.vocab_size * (1 if ends.tied else 2) + ends.positions) * width
    return tables + shape.layers * (4 * width * width + 2 * width * shape.feed_forward + shape.feed_forward + 9 * width) + 2 * width  # fmt: skip


def _count_bert(shape: Shape, ends: Ends) -> int:
    width = shape.width
    tables = (ends.vocab_size + ends.positions + 2) * width + 2 * width  # tied always
    layer = 4 * (width * width + width) + 2 * width * shape.feed_forward + shape.feed_forward + width + 4 * width
    head = width * width + 3 * width + ends.vocab_size
    pairs = width * width + width + 2 * width + 2 if ends.pair_head else 0
    return tables + shape.layers * layer + head + pairs


def _count_modernbert(shape: Shape, ends: Ends) -> int:
    width = shape.width
    tables = ends.vocab_size * width * (1 if ends.tied else 2) + width
    layers = (
        shape.layers * (4 * width * width + 3 * width * shape.feed_forward + 2 * width) - width
    )  # the first has one norm
    return tables + layers + width + width * width + width + ends.vocab_size


# ---------------------------------------------------------------- configurations


def _shared(shape: Shape, ends: Ends, details: Details) -> dict[str, Any]:
    return {
        "vocab_size": ends.vocab_size, "hidden_size": shape.width, "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads, "intermediate_size": shape.feed_forward, "max_position_embeddings": ends.positions,
        "initializer_range": initial_std(shape.width), "tie_word_embeddings": ends.tied, **details.ids,
    }  # fmt: skip


def _rotary(shape: Shape, ends: Ends, details: Details) -> dict[str, Any]:
    theta = details.rope_theta or rope_theta(ends.positions)
    return {
        **_shared(shape, ends, details), "num_key_value_heads": shape.kv_heads, "head_dim": shape.head_width,
        "attention_dropout": details.dropout, "rope_parameters": {"rope_type": "default", "rope_theta": theta},
    }  # fmt: skip


def _llama(shape: Shape, ends: Ends, details: Details) -> Any:
    from transformers import LlamaConfig

    return LlamaConfig(**_rotary(shape, ends, details))


def _qwen3(shape: Shape, ends: Ends, details: Details) -> Any:
    from transformers import Qwen3Config

    return Qwen3Config(**_rotary(shape, ends, details))


def _mixtral(shape: Shape, ends: Ends, details: Details) -> Any:
    from transformers import MixtralConfig

    return MixtralConfig(
        **_rotary(shape, ends, details), num_local_experts=shape.experts, num_experts_per_tok=shape.experts_per_token,
        router_aux_loss_coef=details.balance,
    )  # fmt: skip


def _qwen3_moe(shape: Shape, ends: Ends, details: Details) -> Any:
    """Every layer has experts; the chosen ones' weights sum to one, as in the published Qwen3-30B-A3B."""
    from transformers import Qwen3MoeConfig

    return Qwen3MoeConfig(
        **_rotary(shape, ends, details), moe_intermediate_size=shape.feed_forward, num_experts=shape.experts,
        num_experts_per_tok=shape.experts_per_token, norm_topk_prob=True, router_aux_loss_coef=details.balance,
    )  # fmt: skip


def _gpt2(shape: Shape, ends: Ends, details: Details) -> Any:
    from transformers import GPT2Config

    drop = details.dropout
    return GPT2Config(
        vocab_size=ends.vocab_size, n_embd=shape.width, n_layer=shape.layers, n_head=shape.heads, n_positions=ends.positions,
        n_inner=shape.feed_forward, activation_function="gelu_pytorch_tanh",  # the same function in one kernel
        initializer_range=initial_std(shape.width), tie_word_embeddings=ends.tied,
        resid_pdrop=drop, embd_pdrop=drop, attn_pdrop=drop, **details.ids,
    )  # fmt: skip


def _bert(shape: Shape, ends: Ends, details: Details) -> Any:
    from transformers import BertConfig

    drop = details.dropout
    return BertConfig(**_shared(shape, ends, details), hidden_dropout_prob=drop, attention_probs_dropout_prob=drop)


def _modernbert(shape: Shape, ends: Ends, details: Details) -> Any:
    """Two layers of three look 64 tokens to either side, with a base of 10,000 (section 2.1.2 of Warner et al. 2024).

    The layers that see everything had that base too for sequences of 1,024, and 160,000 for 8,192 (section 2.2.1).
    """
    from transformers import ModernBertConfig

    drop = details.dropout
    local = {"rope_type": "default", "rope_theta": 10_000.0}
    whole = {"rope_type": "default", "rope_theta": 10_000.0 if ends.positions <= 1024 else 160_000.0}
    return ModernBertConfig(
        **_shared(shape, ends, details), **details.wraps, attention_dropout=drop, embedding_dropout=drop, mlp_dropout=drop,
        local_attention=max(2, min(128, ends.positions // 2 * 2)),
        rope_parameters={"full_attention": whole, "sliding_attention": local},
    )  # fmt: skip


FAMILIES = {
    "llama": Family("llama", "causal", _count_llama, _llama, _gated, grouped=True),
    "gpt2": Family("gpt2", "causal", _count_gpt2, _gpt2, _fourfold),
    "qwen3": Family("qwen3", "causal", _count_qwen, _qwen3, _gated, grouped=True),
    "mixtral": Family("mixtral", "causal", _count_llama, _mixtral, _gated, grouped=True, experts=True),
    "qwen3-moe": Family("qwen3_moe", "causal", _count_qwen, _qwen3_moe, _fine_grained, grouped=True, experts=True),
    "bert": Family("bert", "masked", _count_bert, _bert, _fourfold, pairs=True),
    "modernbert": Family("modernbert", "masked", _count_modernbert, _modernbert, _modern, aspect=35),
}
