"""One training run, as numbers, and what came of it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Literal

from ptft.core.training.schedule import Schedule

Precision = Literal["fp32", "bf16", "fp16", "fp8"]


@dataclass(frozen=True)
class Settings:
    """How to train. batch: examples an optimizer step over all processes, taken `micro_batch` at a time in each (of rows of unequal
    length on average: the passes are of like size in tokens).

    spike: nats above the best mean loss of `GUARDED` steps that count as divergence (0: no guard); uniform: the loss of a model
    that knows nothing, which counts as the best until there is a better one. balance: weight of a
    mixture of experts' load-balancing loss. patience: validations without a better one before it stops (0: never). smaller: what a user can do to need less memory,
    beside the knobs of `Hardware`. judge: the figure of a validation that
    tells which weights are the best; higher: whether more of it is better.
    """

    steps: int
    batch: int
    micro_batch: int
    lr: float
    schedule: Schedule
    weight_decay: float
    clip: float
    beta2: float
    precision: Precision
    save_every: int
    eval_every: int
    seed: int
    optimizer: Literal["adamw", "muon"] = "adamw"
    checkpointing: bool = False
    compile: bool = False
    chunked: bool = True
    liger: bool = False
    parallel: Literal["ddp", "fsdp"] = "ddp"
    keep: Literal["best", "last"] = "last"
    patience: int = 0
    spike: float = 0.0
    balance: float = 0.0
    smaller: str = "lower --params or --seq-len"
    uniform: float = math.inf
    judge: str = "val_loss"
    higher: bool = False


@dataclass(frozen=True)
class Trained:
    """What a run leaves. model: whole and on one device, with the weights to keep. history: the entries of metrics.jsonl.

    seconds: training alone, of this process, without validation and saving; steps: those trained in it. best: the step of
    the best validation. peak: bytes of memory at most (allocated on a GPU, resident on a CPU).
    """

    model: Any
    history: list[dict[str, float]] = field(default_factory=list)
    seconds: float = 0.0
    steps: int = 0
    last_step: int = 0
    best: int | None = None
    peak: int = 0
