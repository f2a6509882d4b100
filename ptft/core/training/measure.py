"""Losses that compare: total negative log-likelihood over tokens, and bits per byte of text."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ptft.core.encoding import IGNORED
from ptft.core.training.data import Example, Source, collate
from ptft.core.training.heads import with_loss
from ptft.core.training.processes import rank, summed, world_size

Collate = Callable[[Sequence[Example]], dict[str, torch.Tensor]]


@dataclass(frozen=True)
class LmScore:
    """nll: natural log, summed over `tokens` predicted tokens, which stand for `bytes` bytes of text.

    pair_nll: summed over `pairs` examples, of a model that also tells whether two passages belong together.
    """

    nll: float
    tokens: int
    bytes: int
    pair_nll: float = 0.0
    pairs: int = 0

    @property
    def loss(self) -> float:
        return self.nll / max(self.tokens, 1)

    @property
    def perplexity(self) -> float:
        return math.exp(min(self.loss, 700.0))

    @property
    def bits_per_byte(self) -> float:
        return self.nll / math.log(2) / max(self.bytes, 1)


@torch.no_grad()  # type: ignore[untyped-decorator]
def score_blocks(
    model: Any, source: Source, sizes: npt.NDArray[np.int32], *, batch: int = 4, limit: int | None = None
) -> LmScore:
    """Score the first `limit` examples, divided among the processes of a group.

    sizes: bytes by token id (see `models.token_bytes`), for the predicted tokens. batch: examples a forward pass.
    """
    was_training = model.training
    model.eval()
    count = len(source) if limit is None else min(limit, len(source))
    totals = np.zeros(5)
    with with_loss(model, chunked=True):
        for start in range(0, count, batch * world_size()):
            mine = start + batch * rank()
            totals += _score(model, source, range(mine, min(mine + batch, count)), sizes)
    model.train(was_training)
    nll, tokens, size, pair_nll, pairs = summed(list(totals))
    return LmScore(nll, round(tokens), round(size), pair_nll, round(pairs))


def _score(model: Any, source: Source, chosen: range, sizes: npt.NDArray[np.int32]) -> npt.NDArray[np.float64]:
    """[nll, tokens, bytes, pair nll, pairs] of some examples. None: the forward pass is made all the same, for sharded models."""
    batch = collate([source[index] for index in chosen or range(1)])
    predicted = batch["labels"][batch["labels"] != IGNORED]
    outputs = model(**{name: tensor.to(model.device) for name, tensor in batch.items()})
    if not chosen:
        return np.zeros(5)
    pair = float(outputs.parts["pair"]) if "pair" in outputs.parts else 0.0
    bytes_ = int(sizes[predicted.numpy()].sum())
    return np.array([float(outputs.loss), len(predicted), bytes_, pair, len(chosen) if "pair" in outputs.parts else 0])


@torch.no_grad()  # type: ignore[untyped-decorator]
def score_rows(model: Any, rows: Source, collate: Collate, *, tokens: int = 2048) -> float:
    """Mean loss in nats of a labelled token, over all processes of a group. tokens: a forward pass, or one row that is longer."""
    was_training = model.training
    model.eval()
    nll, labels = 0.0, 0
    passes = _of_like_length(rows, tokens)
    with with_loss(model, chunked=True, sparse=True):
        for start in range(0, len(passes), world_size()):
            # every process takes part in each pass, for the sake of sharded models
            mine = start + rank() < len(passes)
            made = collate([rows[index] for index in passes[start + rank() if mine else start]])
            found = float(model(**{name: value.to(model.device) for name, value in made.items()}).loss)
            if mine:
                nll, labels = nll + found, labels + int((made["labels"] != IGNORED).sum())
    model.train(was_training)
    total, count = summed([nll, float(labels)])
    return total / max(count, 1.0)


def _of_like_length(rows: Any, tokens: int) -> list[list[int]]:
    """Row numbers in groups whose rows times their longest are at most `tokens`, longest first."""
    lengths = rows.lengths
    order = np.argsort(-lengths, kind="stable").tolist()
    groups: list[list[int]] = []
    while order:
        size = max(1, tokens // max(1, int(lengths[order[0]])))
        groups.append(order[:size])
        order = order[size:]
    return groups
