"""Losses that compare: total negative log-likelihood over tokens, and bits per byte of text."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ptft.core.encoding import IGNORED
from ptft.core.training.data import Source, stack


@dataclass(frozen=True)
class LmScore:
    """nll: natural log, summed over `tokens` predicted tokens, which stand for `bytes` bytes of text."""

    nll: float
    tokens: int
    bytes: int

    @property
    def loss(self) -> float:
        return self.nll / max(self.tokens, 1)

    @property
    def perplexity(self) -> float:
        return math.exp(min(self.loss, 700.0))

    @property
    def bits_per_byte(self) -> float:
        return self.nll / math.log(2) / max(self.bytes, 1)


def token_nll(logits: torch.Tensor, labels: torch.Tensor, *, causal: bool) -> torch.Tensor:
    """Summed cross entropy of the tokens that have a label. logits: (batch, length, vocabulary); labels: (batch, length)."""
    if causal:
        logits, labels = logits[:, :-1], labels[:, 1:]
    flat = logits.reshape(-1, logits.size(-1)).float()
    return torch.nn.functional.cross_entropy(flat, labels.reshape(-1), ignore_index=IGNORED, reduction="sum")


# families whose logits are exactly lm_head(last hidden state): no scaling, no soft cap
_PLAIN_HEADS = ("llama", "gpt2", "qwen2", "qwen3", "mistral")


def can_fuse(model: Any) -> bool:
    """Whether loss and output layer can be computed together, a chunk of the vocabulary's logits at a time."""
    head = model.get_output_embeddings() if hasattr(model, "get_output_embeddings") else None
    plain = getattr(getattr(model, "config", None), "model_type", "") in _PLAIN_HEADS
    return plain and isinstance(head, torch.nn.Linear) and head.bias is None and not hasattr(model, "peft_config")


def fused_nll(model: Any, inputs: dict[str, Any], labels: torch.Tensor) -> torch.Tensor:
    """`token_nll` of a causal model without its logits (torch's linear_cross_entropy): a seventh of the memory, and faster."""
    hidden = model.base_model(**inputs, use_cache=False).last_hidden_state[:, :-1]
    return torch.nn.functional.linear_cross_entropy(
        hidden.reshape(-1, hidden.size(-1)),
        model.get_output_embeddings().weight,
        labels[:, 1:].reshape(-1),
        ignore_index=IGNORED,
        reduction="sum",
    )


@torch.no_grad()  # type: ignore[untyped-decorator]
def score_blocks(
    model: Any, source: Source, sizes: npt.NDArray[np.int32], *, causal: bool, batch: int = 4, limit: int | None = None
) -> LmScore:
    """Score the first `limit` blocks. sizes: bytes by token id (see `models.token_bytes`), for the predicted tokens."""
    was_training = model.training
    model.eval()
    nll, tokens, size = 0.0, 0, 0
    count = len(source) if limit is None else min(limit, len(source))
    for start in range(0, count, batch):
        inputs = stack([source[index] for index in range(start, min(start + batch, count))])
        labels = inputs["labels"]
        ids, targets = inputs["input_ids"].to(model.device), labels.to(model.device)
        if causal and can_fuse(model):
            nll += float(fused_nll(model, {"input_ids": ids}, targets))
        else:
            nll += float(token_nll(model(input_ids=ids).logits, targets, causal=causal))
        predicted = labels[labels != IGNORED]
        tokens += len(predicted)
        size += int(sizes[predicted.numpy()].sum())
    model.train(was_training)
    return LmScore(nll, tokens, size)
