"""From one dial, the number of parameters, to a model of that size: depth and width grow together, 64 units of width a layer."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from ptft.core.errors import InputError, UsageError
from ptft.stages.pretrain.recipe import PretrainRecipe

ASPECT = 64  # width per layer
HEAD_WIDTH = 64
FAMILIES = {"causal": ("llama", "gpt2"), "masked": ("bert",)}


def config_for(recipe: PretrainRecipe, tokenizer: Any, seq_len: int) -> Any:
    """The transformers configuration that the recipe asks for.

    Raises `UsageError` for a family that does not fit the objective, `InputError` for a config.json that cannot be read.
    """
    family = FAMILIES[recipe.objective][0] if recipe.model == "auto" else recipe.model
    if family.endswith(".json"):
        return _from_file(Path(family), tokenizer)
    if family not in FAMILIES[recipe.objective]:
        choices = ", ".join(FAMILIES[recipe.objective])
        remedy = f"for --objective {recipe.objective} choose --model {choices}, or a config.json"
        raise UsageError(f"{family!r} is no {recipe.objective} family", remedy=remedy)
    layers, width, heads = _sizes(recipe, len(tokenizer), family)
    return _BUILD[family](recipe, tokenizer, seq_len, layers, width, heads)


def _from_file(path: Path, tokenizer: Any) -> Any:
    import transformers

    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        config = transformers.AutoConfig.for_model(data.pop("model_type"), **data)
    except (OSError, ValueError, KeyError) as error:
        remedy = "give a config.json with a model_type that transformers knows"
        raise InputError(
            f"cannot be read as a model's configuration: {error}", where=str(path), remedy=remedy
        ) from error
    config.vocab_size = len(tokenizer)
    return config


def _sizes(recipe: PretrainRecipe, vocab_size: int, family: str) -> tuple[int, int, int]:
    """(layers, width, heads): given ones as they are, the others so that the total comes nearest to `params`."""
    given = recipe.architecture
    if given.layers and given.width:
        layers, width = given.layers, given.width
    else:
        choices = [(given.layers or depth, given.width or ASPECT * depth) for depth in range(1, 129)]
        layers, width = min(
            choices, key=lambda size: abs(_parameters(size, vocab_size, given.tie_embeddings, family) - recipe.params)
        )
    heads = given.heads or max(1, width // HEAD_WIDTH, 2 if width >= 64 else 1)
    if width % heads:
        raise UsageError(
            f"the width {width} cannot be divided among {heads} heads", remedy="set architecture.heads to a divisor"
        )
    return layers, width, heads


def _parameters(size: tuple[int, int], vocab_size: int, tied: bool, family: str) -> int:
    """About how many: 12 width^2 a layer, and the embeddings. size: (layers, width)."""
    layers, width = size
    embeddings = vocab_size * width * (1 if tied or family == "bert" else 2)
    return layers * 12 * width * width + embeddings


def feed_forward(width: int) -> int:
    """Llama's gated layer has three matrices: 8/3 of the width costs what 4 times does with two. In multiples of 32."""
    return round(width * 8 / 3 / 32) * 32 or 32


def initial_std(width: int) -> float:
    """sqrt(2 / (5 width)) (Nguyen and Salazar 2019): 0.02 at 1000; narrow models learn visibly slower from a fixed 0.02."""
    return math.sqrt(2 / (5 * width))


def _llama(recipe: PretrainRecipe, tokenizer: Any, seq_len: int, layers: int, width: int, heads: int) -> Any:
    from transformers import LlamaConfig

    return LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=width, intermediate_size=feed_forward(width), num_hidden_layers=layers,
        num_attention_heads=heads, num_key_value_heads=heads, max_position_embeddings=seq_len,
        initializer_range=initial_std(width),
        tie_word_embeddings=recipe.architecture.tie_embeddings, attention_dropout=recipe.architecture.dropout,
        bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip


def _gpt2(recipe: PretrainRecipe, tokenizer: Any, seq_len: int, layers: int, width: int, heads: int) -> Any:
    from transformers import GPT2Config

    dropout = recipe.architecture.dropout
    return GPT2Config(
        vocab_size=len(tokenizer), n_embd=width, n_layer=layers, n_head=heads, n_positions=seq_len,
        initializer_range=initial_std(width),
        resid_pdrop=dropout, embd_pdrop=dropout, attn_pdrop=dropout, tie_word_embeddings=recipe.architecture.tie_embeddings,
        bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip


def _bert(recipe: PretrainRecipe, tokenizer: Any, seq_len: int, layers: int, width: int, heads: int) -> Any:
    from transformers import BertConfig

    dropout = recipe.architecture.dropout
    return BertConfig(
        vocab_size=len(tokenizer), hidden_size=width, intermediate_size=4 * width, num_hidden_layers=layers,
        num_attention_heads=heads, max_position_embeddings=seq_len, initializer_range=initial_std(width),
        pad_token_id=tokenizer.pad_token_id,
        hidden_dropout_prob=dropout, attention_probs_dropout_prob=dropout,
    )  # fmt: skip


_BUILD = {"llama": _llama, "gpt2": _gpt2, "bert": _bert}
