"""Model configurations that several trainers can build alike."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from pretraining.data import Tokens


def write(family: str, folder: Path, tokens: Tokens, layers: int, width: int) -> Path:
    """A folder with config.json: heads of 64, weights drawn with ptft's own spread, no dropout."""
    import transformers

    special = transformers.AutoTokenizer.from_pretrained(tokens.tokenizer)
    shared: dict[str, Any] = {
        "vocab_size": tokens.vocab, "initializer_range": math.sqrt(2 / (5 * width)), "bos_token_id": special.bos_token_id,
        "eos_token_id": special.eos_token_id, "pad_token_id": special.pad_token_id, "tie_word_embeddings": True,
    }  # fmt: skip
    heads = max(1, width // 64)
    if family == "gpt2":
        config = transformers.GPT2Config(
            n_embd=width, n_layer=layers, n_head=heads, n_positions=tokens.length, resid_pdrop=0.0, embd_pdrop=0.0,
            attn_pdrop=0.0, **shared,
        )  # fmt: skip
    else:
        sizes = {
            "hidden_size": width, "num_hidden_layers": layers, "num_attention_heads": heads,
            "max_position_embeddings": tokens.length,
        }  # fmt: skip
        if family == "llama":
            inner = round(width * 8 / 3 / 32) * 32
            config = transformers.LlamaConfig(num_key_value_heads=heads, intermediate_size=inner, **sizes, **shared)
        else:
            config = transformers.BertConfig(
                intermediate_size=4 * width,
                hidden_dropout_prob=0.0,
                attention_probs_dropout_prob=0.0,
                **sizes,
                **shared,
            )
    config.save_pretrained(folder)
    return folder


def parameters(config: Path) -> tuple[int, int]:
    """(all, without embeddings) of a model of this configuration; tied ones count once."""
    import torch
    import transformers

    read = transformers.AutoConfig.from_pretrained(config)
    auto = transformers.AutoModelForMaskedLM if read.model_type == "bert" else transformers.AutoModelForCausalLM
    with torch.device("meta"):
        model = auto.from_config(read)
    embedded = sum(part.weight.numel() for part in model.base_model.modules() if isinstance(part, torch.nn.Embedding))
    everything = sum(part.numel() for part in {id(p): p for p in model.parameters()}.values())
    return everything, everything - embedded
