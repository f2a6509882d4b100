"""What every trainer's script needs: the same token blocks, the same schedule, the same score."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

IGNORED = -100


def blocks(tokens: str, split: str, length: int) -> np.ndarray:
    """A split's stream as rows of `length` tokens, memory-mapped; the rest is left out."""
    stream = np.memmap(Path(tokens) / f"{split}.bin", dtype=np.uint16, mode="r")
    count = len(stream) // length
    return stream[: count * length].reshape(count, length)


def order(rows: int, wanted: int, seed: int) -> Iterator[int]:
    """Row numbers, epoch after epoch, each shuffled."""
    draw, left = np.random.default_rng(seed), wanted
    while left > 0:
        epoch = draw.permutation(rows)[:left]
        left -= len(epoch)
        yield from epoch


def cosine(step: int, steps: int, warmup: int) -> float:
    """The share of the peak learning rate: up in a line, down to nothing along a cosine."""
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


@torch.no_grad()
def causal_nll(forward: Callable[[torch.Tensor], torch.Tensor], rows: np.ndarray, batch: int = 8) -> float:
    """Nats of all tokens but the first of each row. forward: ids (batch, length) to logits (batch, length, vocabulary)."""
    total = 0.0
    for start in range(0, len(rows), batch):
        ids = torch.from_numpy(rows[start : start + batch].astype(np.int64))
        logits = forward(ids)[:, :-1].float()
        total += float(
            torch.nn.functional.cross_entropy(
                logits.reshape(-1, logits.size(-1)), ids[:, 1:].reshape(-1), reduction="sum"
            )
        )
    return total


@torch.no_grad()
def masked_nll(
    forward: Callable[[torch.Tensor], torch.Tensor], ids: np.ndarray, labels: np.ndarray, batch: int = 8
) -> float:
    """Nats of the tokens that have a label. ids, labels: (rows, length)."""
    total = 0.0
    for start in range(0, len(ids), batch):
        logits = forward(torch.from_numpy(ids[start : start + batch])).float()
        wanted = torch.from_numpy(labels[start : start + batch]).reshape(-1)
        total += float(
            torch.nn.functional.cross_entropy(
                logits.reshape(-1, logits.size(-1)), wanted, ignore_index=IGNORED, reduction="sum"
            )
        )
    return total


def options() -> dict[str, Any]:
    """The script's one argument, as JSON."""
    return json.loads(sys.argv[1])
