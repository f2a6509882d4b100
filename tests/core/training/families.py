"""A tiny model of every family, and a small byte-level tokenizer for English and Chinese."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import transformers

VOCABULARY = 96
_SIZES = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
}
_DECODER = {**_SIZES, "num_key_value_heads": 2, "head_dim": 8, "max_position_embeddings": 64}
_ENCODER = {**_SIZES, "max_position_embeddings": 66, "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}

CAUSAL: dict[str, dict[str, Any]] = {
    "llama": _DECODER,
    "gpt2": {"vocab_size": VOCABULARY, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64, "resid_pdrop": 0.0,
             "embd_pdrop": 0.0, "attn_pdrop": 0.0},
    "qwen2": _DECODER,
    "qwen3": _DECODER,
    "mistral": {**_DECODER, "sliding_window": 5},
    "mixtral": {**_DECODER, "num_local_experts": 4},
    "qwen3_moe": {**_DECODER, "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 24},
}  # fmt: skip
MASKED: dict[str, dict[str, Any]] = {
    "bert": _ENCODER,
    "modernbert": {**_SIZES, "max_position_embeddings": 66, "local_attention": 8, "pad_token_id": 0, "bos_token_id": 1,
                   "eos_token_id": 2, "cls_token_id": 1, "sep_token_id": 2, "global_attn_every_n_layers": 2},
    "roberta": {**_ENCODER, "pad_token_id": 1},
    "distilbert": {"vocab_size": VOCABULARY, "dim": 32, "hidden_dim": 48, "n_layers": 2, "n_heads": 4, "dropout": 0.0,
                   "attention_dropout": 0.0, "max_position_embeddings": 66},
}  # fmt: skip


def tiny(family: str, **more: Any) -> Any:
    """A new model with weights large enough that what it reads shows in what it says."""
    torch.manual_seed(0)
    sizes = CAUSAL.get(family) or MASKED[family]
    config = transformers.AutoConfig.for_model(family, **{"initializer_range": 0.2, **sizes, **more})
    auto = transformers.AutoModelForCausalLM if family in CAUSAL else transformers.AutoModelForMaskedLM
    return auto.from_config(config)


def tiny_bert_for_pairs() -> Any:
    torch.manual_seed(0)
    return transformers.BertForPreTraining(transformers.BertConfig(**_ENCODER, initializer_range=0.2))


@dataclass(frozen=True)
class Packed:
    """What `packing` calls a Sequence."""

    ids: np.ndarray
    starts: np.ndarray
    length: int


def packed(*documents: list[int], total: int) -> Packed:
    starts = np.cumsum([0, *map(len, documents[:-1])])
    flat = np.concatenate(documents).astype(np.int64)
    return Packed(np.pad(flat, (0, total - len(flat))), starts, len(flat))


ENGLISH = "The quick brown fox doesn't jump over unbelievable lazy dogs, said Anna. Is naïve café life good? Yes! "
CHINESE = "语言模型从大量文本中学习。今天天气很好！你说什么？预训练以后再微调。"


@functools.cache
def byte_level() -> Any:
    """Made as `ptft tokenizer` makes them: GPT-2's cuts, special and reserved tokens outside the merges."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<|endoftext|>", "<|pad|>", "[CLS]", "[SEP]", "[MASK]", "<|im_start|>", "<|reserved_0|>"]
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([ENGLISH, CHINESE] * 4, trainer)
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<|endoftext|>", pad_token="<|pad|>", cls_token="[CLS]", sep_token="[SEP]",
        mask_token="[MASK]", additional_special_tokens=["<|im_start|>"],
    )  # fmt: skip


@functools.cache
def word_piece() -> Any:
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers

    names = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "un", "##believ", "##able", "dogs", ",", "语", "言"]
    tokenizer = Tokenizer(models.WordPiece({name: index for index, name in enumerate(names)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="[UNK]", pad_token="[PAD]", cls_token="[CLS]", sep_token="[SEP]",
        mask_token="[MASK]",
    )  # fmt: skip
