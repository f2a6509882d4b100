"""Memory that does not suffice: which knob to turn, and to what."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch

from ptft.core.errors import RunError
from ptft.core.training.passes import micro_batch_of
from ptft.core.training.processes import world_size
from ptft.core.training.settings import Settings


@contextlib.contextmanager
def memory_explained(settings: Settings) -> Iterator[None]:
    """Out of memory: say which knob to turn, and to what."""
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        if not isinstance(error, torch.OutOfMemoryError | MemoryError) and "can't allocate memory" not in str(error):
            raise
        what, remedy = _advice(settings)
        raise RunError(f"out of memory with {what}", remedy=remedy) from error


def _advice(settings: Settings) -> tuple[str, str]:
    """What was too much, and the cheapest way to need less: nothing of it changes what is learnt."""
    goes_on = "the run goes on from its last checkpoint"
    if settings.micro_batch > 1:
        half = micro_batch_of(settings.batch, settings.micro_batch // 2, 1, world_size())
        return (
            f"{settings.micro_batch} sequences a forward pass",
            f"--set hardware.micro_batch={half}; {goes_on}",
        )
    if not settings.checkpointing:
        return "one sequence a forward pass", f"--set hardware.checkpointing=true; {goes_on}"
    if not settings.chunked:
        return "all logits of a sequence", f"--set hardware.loss=chunked; {goes_on}"
    if settings.parallel == "ddp":
        return (
            "a model of this size",
            f"--nproc N --set hardware.parallel=fsdp shards it; or {settings.smaller}",
        )
    return "a share of a model of this size", f"more processes (--nproc), or {settings.smaller}"
