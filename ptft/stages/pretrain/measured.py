"""How long a run takes on this device, from a few of its own steps."""

from __future__ import annotations

import contextlib
import time
from typing import Any

import torch

from ptft.core import hardware, models
from ptft.core.training import Schedule, Settings
from ptft.core.training.cost import Load, Sizes, memory_of
from ptft.core.training.heads import with_loss
from ptft.core.training.optimizers import optimizer_of
from ptft.stages.pretrain.architectures import new_model
from ptft.stages.pretrain.budget import Budget
from ptft.stages.pretrain.recipe import PretrainRecipe

SMALL = 200_000_000  # parameters; a larger model is not built for a dry run
PASSES = 3  # timed, after one that is not
AT_MOST = 8.0  # seconds that the timed passes may take by the first estimate


def seconds_to_train(
    recipe: PretrainRecipe, config: Any, sizes: Sizes, budget: Budget, load: Load, estimate: float
) -> float | None:
    """Seconds that the whole run takes, by timing this process's passes and optimizer steps; processes beside it cost nothing.

    estimate: seconds of the whole run by its FLOPs. None where a model is too large to be built or timed for a dry run.
    """
    passes = budget.steps * max(1, budget.batch // (load.micro_batch * load.nproc))
    whole = budget.steps * budget.batch / load.micro_batch
    too_slow = estimate / whole * (PASSES + 1) > AT_MOST
    too_large = memory_of(config, sizes, load).total > hardware.memory_available()
    if sizes.parameters >= SMALL or too_slow or too_large or load.precision == "fp8" or load.parallel == "fsdp":
        return None
    one_pass, one_step = _timed(recipe, config, load)
    return passes * one_pass + budget.steps * one_step


def _timed(recipe: PretrainRecipe, config: Any, load: Load) -> tuple[float, float]:
    """Seconds of one forward and backward pass, and of one optimizer step: the median of a few."""
    model = new_model(recipe, config).to(models.device()).train()
    if load.checkpointing:
        model.gradient_checkpointing_enable()
    optimizer = optimizer_of(model, _settings(recipe, load))
    batch = _batch(config, load)
    with with_loss(model, chunked=load.chunked):
        times = [
            (_clock(lambda: _pass(model, batch, load)), _clock(lambda: _step(optimizer))) for _ in range(PASSES + 1)
        ]
    passes, steps = zip(*times[1:], strict=True)
    return sorted(passes)[PASSES // 2], sorted(steps)[PASSES // 2]


def _batch(config: Any, load: Load) -> dict[str, torch.Tensor]:
    """Random tokens; of the labels, the share that is predicted."""
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(0, config.get_text_config().vocab_size, (load.micro_batch, load.seq_len), generator=generator)
    hidden = torch.rand(ids.shape, generator=generator) >= load.labelled
    return {"input_ids": ids.to(models.device()), "labels": ids.masked_fill(hidden, -100).to(models.device())}


def _pass(model: Any, batch: dict[str, torch.Tensor], load: Load) -> None:
    low = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(load.precision)
    half = torch.autocast(load.device, low) if low else contextlib.nullcontext()
    with half:
        loss = model(**batch).loss / batch["labels"].numel()
    loss.backward()


def _step(optimizer: torch.optim.Optimizer) -> None:
    optimizer.step()
    optimizer.zero_grad()


def _clock(work: Any) -> float:
    wait = torch.cuda.synchronize if torch.cuda.is_available() else (lambda: None)
    wait()
    start = time.perf_counter()
    work()
    wait()
    return time.perf_counter() - start


def _settings(recipe: PretrainRecipe, load: Load) -> Settings:
    """Only what the optimizer reads matters here; the learning rate is as good as none, so that no loss can diverge."""
    return Settings(
        steps=1, batch=1, micro_batch=1, lr=1e-9, schedule=Schedule("constant", 1), weight_decay=recipe.weight_decay,
        clip=recipe.clip, beta2=recipe.beta2, precision=load.precision, save_every=1, eval_every=1, seed=recipe.seed,
        optimizer=recipe.optimizer,
    )  # fmt: skip
