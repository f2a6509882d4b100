"""Tiny models for tests: a byte-level BPE tokenizer and two-layer networks, made in milliseconds, random but seeded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ptft.core.chat_templates import CHATML

TEXTS = [
    "The quick brown fox jumps over the lazy dog. A model learns from text.",
    "今天天气很好，我们去公园散步吧。机器学习模型从文本中学习。",
    "Shares rose after the company reported record profits this quarter.",
    "球队在最后一分钟进球，赢得了比赛。",
]
LABELS = ("business", "sport", "科技")


def tokenizer(vocab_size: int = 400) -> Any:
    """A byte-level BPE tokenizer with ChatML, whose end of text is not its padding."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    special = ["<|endoftext|>", "<|pad|>", "<|im_start|>", "<|im_end|>", "[MASK]"]
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    raw.train_from_iterator(TEXTS * 3, trainer)
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=raw, eos_token="<|endoftext|>", pad_token="<|pad|>", mask_token="[MASK]",
        additional_special_tokens=special[2:4],
        clean_up_tokenization_spaces=False,
    )  # fmt: skip
    wrapped.chat_template = CHATML.template
    return wrapped


def sizes(**more: Any) -> dict[str, Any]:
    return {
        "vocab_size": 400, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2,
        "max_position_embeddings": 64, **more,
    }  # fmt: skip


def causal(folder: Path, scale: float = 3.0, **more: Any) -> Path:
    """A Llama whose logits are far apart, so that the likeliest token does not hang on rounding."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(1)
    settings = {
        "num_key_value_heads": 2,
        "tie_word_embeddings": True,
        "eos_token_id": 0,
        "bos_token_id": None,
        "pad_token_id": 1,
    }
    model = LlamaForCausalLM(LlamaConfig(**sizes(**{**settings, **more})))
    return _saved(model, folder, scale)


def bert_classifier(folder: Path, scale: float = 3.0) -> Path:
    import torch
    from transformers import BertConfig, BertForSequenceClassification

    torch.manual_seed(1)
    config = BertConfig(**sizes(), **_labels(), pad_token_id=1)
    return _saved(BertForSequenceClassification(config), folder, scale)


def llama_classifier(folder: Path, scale: float = 3.0, pad: int | None = 1) -> Path:
    import torch
    from transformers import LlamaConfig, LlamaForSequenceClassification

    torch.manual_seed(1)
    config = LlamaConfig(
        **sizes(num_key_value_heads=2), **_labels(), pad_token_id=pad, bos_token_id=None, eos_token_id=0
    )
    return _saved(LlamaForSequenceClassification(config), folder, scale)


def mean_pooled(folder: Path, scale: float = 3.0) -> Path:
    import torch

    from ptft.core.heads import Head, with_head

    torch.manual_seed(1)
    base = causal(folder.with_name(folder.name + "-base"), scale)
    return _saved(with_head(base, Head("classifier", LABELS)), folder, 1.0)


def masked(folder: Path, **more: Any) -> Path:
    import torch
    from transformers import BertConfig, BertForMaskedLM

    torch.manual_seed(1)
    return _saved(BertForMaskedLM(BertConfig(**sizes(**more), pad_token_id=1)), folder, 1.0)


def seq2seq(folder: Path, std: float = 0.0, **more: Any) -> Path:
    """A T5, whose decoder begins with the padding token. std: of its weights (0: the family's own); with 0.6 what it says hangs
    on what it reads, else it repeats one token.
    """
    import torch
    from transformers import T5Config, T5ForConditionalGeneration

    torch.manual_seed(1)
    size = {"d_model": 32, "d_kv": 16, "d_ff": 64, "num_layers": 2, "num_heads": 2, **more}
    config = T5Config(
        vocab_size=400, pad_token_id=1, eos_token_id=0, decoder_start_token_id=1, dropout_rate=0.0,
        tie_word_embeddings=not std, **size,
    )  # fmt: skip
    model = T5ForConditionalGeneration(config)
    if std:
        torch.manual_seed(1)
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.dim() > 1:
                    parameter.normal_(0, std)
            model.lm_head.weight[:2] = 0  # neither ends nor pads
    return _saved(model, folder, 1.0)


def _labels() -> dict[str, Any]:
    return {"id2label": dict(enumerate(LABELS)), "label2id": {label: index for index, label in enumerate(LABELS)}}


def _saved(model: Any, folder: Path, scale: float) -> Path:
    import torch

    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(scale)
    model.eval().save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return folder
