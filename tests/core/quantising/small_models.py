"""Tiny models of the families that block-wise calibration and folding must know, with inputs for them."""

from __future__ import annotations

from typing import Any

import torch
import transformers

from ptft.core.quantising.statistics import Calibration

SIZES = {
    "vocab_size": 300, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4,
    "max_position_embeddings": 64,
}  # fmt: skip
SHARED = {**SIZES, "num_key_value_heads": 2, "head_dim": 16, "tie_word_embeddings": True}


def make(family: str) -> Any:
    """A model in evaluation mode whose channels differ in size, as those of trained ones do."""
    torch.manual_seed(4)
    model = _MAKERS[family]().eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                parameter.normal_(0.0, 0.1)
            else:
                parameter.mul_(3.0 if parameter.dim() > 1 else torch.logspace(-0.7, 0.7, len(parameter)))
    return model


_MAKERS: dict[str, Any] = {
    "llama": lambda: transformers.LlamaForCausalLM(transformers.LlamaConfig(**SHARED)),
    "llama untied": lambda: transformers.LlamaForCausalLM(
        transformers.LlamaConfig(**{**SHARED, "tie_word_embeddings": False})
    ),
    "qwen2": lambda: transformers.Qwen2ForCausalLM(transformers.Qwen2Config(**SHARED)),
    "qwen3": lambda: transformers.Qwen3ForCausalLM(transformers.Qwen3Config(**SHARED)),
    "gemma": lambda: transformers.GemmaForCausalLM(transformers.GemmaConfig(**SHARED)),
    "gpt2": lambda: transformers.GPT2LMHeadModel(
        transformers.GPT2Config(vocab_size=300, n_embd=64, n_layer=2, n_head=4, n_positions=64)
    ),
    "bert": lambda: transformers.BertForSequenceClassification(transformers.BertConfig(**SIZES, num_labels=3)),
    "distilbert": lambda: transformers.DistilBertForSequenceClassification(
        transformers.DistilBertConfig(vocab_size=300, dim=64, hidden_dim=96, n_layers=2, n_heads=4, num_labels=3)
    ),
    "modernbert": lambda: transformers.ModernBertForSequenceClassification(
        transformers.ModernBertConfig(**SIZES, num_labels=3, pad_token_id=1, global_attn_every_n_layers=2)
    ),
    "albert": lambda: transformers.AlbertForSequenceClassification(
        transformers.AlbertConfig(**SIZES, embedding_size=32, num_labels=3)
    ),
    "t5": lambda: transformers.T5ForConditionalGeneration(
        transformers.T5Config(
            vocab_size=300, d_model=64, d_kv=16, d_ff=96, num_layers=2, num_heads=4, decoder_start_token_id=0
        )
    ),
}  # fmt: skip
FAMILIES = tuple(_MAKERS)
CAUSAL = ("llama", "llama untied", "qwen2", "qwen3", "gemma", "gpt2")


def rows(family: str, batches: int = 3) -> Calibration:
    draw = torch.Generator().manual_seed(6)
    found = []
    for _ in range(batches):
        ids = torch.randint(2, 300, (4, 24), generator=draw)
        mask = torch.ones_like(ids)
        if family not in CAUSAL:
            mask[0, 15:] = 0
        batch = {"input_ids": ids, "attention_mask": mask}
        found.append(batch | ({"decoder_input_ids": ids[:, :7]} if family == "t5" else {}))
    return Calibration(tuple(found))


def outputs(model: Any, calibration: Calibration) -> torch.Tensor:
    with torch.no_grad():
        return torch.cat([model(**batch).logits.flatten() for batch in calibration.batches])
