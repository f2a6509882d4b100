"""ptft beside the other trainers on SmolLM2-135M: speed, memory, and what is learnt from equal rows."""

from __future__ import annotations

import math
import os
import statistics
from dataclasses import dataclass, field
from pathlib import Path

from pretraining import processes
from tools import Missing, note, table

from finetuning import data, trainers
from finetuning.trainers import TRAINERS, Task, Trained, Trainer

GB = 10**9
LENGTH, SHORT = 128, 6  # tokens a row at most; optimizer steps of a run that is only timed
HEAD = (
    "method", "trainer", "tokens/s", "ptft is faster by", "s a step", "peak GB", "ptft takes", "padding", "training loss",
    "held-out loss", "whole command s",
)  # fmt: skip


@dataclass(frozen=True)
class Size:
    """batch: rows an optimizer step. micro: of a forward pass, for those who do not choose it themselves."""

    steps: int
    batch: int
    micro: int
    precision: str
    device: str


@dataclass
class Row:
    """runs: the first trains to the end, the others are only timed. losses: of its steps; held: on held-out answers."""

    trainer: Trainer
    task: Task
    runs: list[Trained] = field(default_factory=list)
    held: float = math.nan
    failed: str = ""

    def median(self, name: str) -> float:
        return statistics.median(getattr(run, name) for run in self.runs)

    @property
    def learnt(self) -> float:
        """The mean loss of the last quarter of the steps."""
        losses = self.runs[0].losses
        return statistics.fmean(losses[-max(1, len(losses) // 4) :])


def run(
    data_folder: Path, cache: Path, seed: int, threads: int, repeats: int, size: Size, methods: tuple[str, ...]
) -> None:
    base = data.smollm2(data_folder, cache)
    chats = data.chats(data_folder, cache, base, size.steps * size.batch, LENGTH, seed)
    rows = [Row(trainer, _task(base, chats, size, method, seed)) for method in methods for trainer in TRAINERS]
    before = trainers.score(base, base, chats.held, threads)
    _race(rows, cache, threads, repeats)
    _show(rows, before, threads, repeats, cache)


def _task(base: Path, chats: data.Chats, size: Size, method: str, seed: int) -> Task:
    steps = chats.count // size.batch
    return Task(
        base, chats, method, steps, size.batch, size.micro, LENGTH, trainers.TUNED[method], seed, size.precision, size.device
    )  # fmt: skip


def _race(rows: list[Row], cache: Path, threads: int, repeats: int) -> None:
    """Everybody to the end once, then timed again on short runs, each time in the other direction."""
    for turn in range(repeats):
        for row in rows[:: 1 if turn % 2 == 0 else -1]:
            if not row.failed:
                _turn(row, cache, threads, is_first=turn == 0)


def _turn(row: Row, cache: Path, threads: int, *, is_first: bool) -> None:
    task = row.task if is_first else trainers.shorter(row.task, SHORT)
    out = cache / "finetune" / "runs" / f"{task.method}-{''.join(filter(str.isalnum, row.trainer.name))}"
    note(f"{task.method}, {row.trainer.name}: {task.steps:,} steps")
    try:
        found = trainers.run(row.trainer, task, out, cache, threads)
        row.runs.append(found)
        note(f"{found.speed:,.0f} tokens/s, {found.peak / GB:.2f} GB")
        if is_first:
            _require_same_rows(row.trainer, task, found)
            row.held = trainers.score(task.base, out, task.chats.held, threads)
    except (Missing, RuntimeError) as error:
        note(f"{row.trainer.name} left out: {error}")
        row.failed = processes.last_line(error)


def _require_same_rows(trainer: Trainer, task: Task, found: Trained) -> None:
    """Raise RuntimeError where a trainer was shown other tokens than it was given, but for the newline behind a last answer."""
    if not task.chats.tokens - task.chats.count <= found.real <= task.chats.tokens:
        raise RuntimeError(f"{trainer.name} was shown {found.real:,} tokens of {task.chats.tokens:,}")


def _show(rows: list[Row], before: float, threads: int, repeats: int, cache: Path) -> None:
    ours = {row.task.method: row for row in rows if row.trainer.name == "ptft"}
    task = rows[0].task
    table(
        f"SmolLM2-135M learns to chat: {task.precision} on {'a GPU' if task.device == 'cuda' else f'{threads} thread(s)'}",
        HEAD,
        [_cells(row, ours[row.task.method]) for row in rows],
        f"{task.chats.describe()}; rows of at most {task.length} tokens",
        f"{task.steps} steps of {task.batch} rows, the same rows in each step; AdamW, peak learning rate "
        f"{', '.join(f'{method} {row.task.lr:g}' for method, row in ours.items())}, cosine to 0 without warmup, weight decay "
        f"{task.decay}, gradients clipped at {task.clip}, no dropout, no checkpointing; LoRA: rank {task.rank} on all linear layers "
        "but the output",
        f"the others take {task.micro} rows a forward pass, ptft what it chooses by itself",
        f"tokens/s: without padding, after the first {trainers.SETTLED} steps; medians of {repeats} runs, the later ones of {SHORT} "
        "steps and in the other direction. padding: of all tokens that a model was shown",
        "peak: the most that the process held from its first forward pass on, Python and its libraries and saving included"
        if task.device == "cpu"
        else "peak: the most that torch held on the GPU",
        f"training loss: mean of the last quarter of the steps; held-out loss: one script, {data.HELD} other dialogues with other "
        f"questions, nats a token of the answers; the base has {before:.4f}",
        "LLaMA-Factory learns the newline behind each answer as well, which lowers its training loss; the others do not",
        f"versions: {trainers.versions(cache)}",
    )


def _cells(row: Row, base: Row) -> tuple[str, ...]:
    method, name = row.task.method, row.trainer.name
    if row.failed or not row.runs or not base.runs:
        return (method, name, f"failed: {row.failed or base.failed}", *("",) * (len(HEAD) - 3))
    first = row.runs[0]
    return (
        method, name, f"{row.median('speed'):,.0f}", f"{base.median('speed') / row.median('speed'):.2f}x", f"{row.median('step'):.2f}",
        f"{row.median('peak') / GB:.2f}", f"{base.median('peak') / row.median('peak'):.2f}x", f"{1 - first.real / first.shown:.0%}",
        f"{row.learnt:.4f}", f"{row.held:.4f}", f"{first.seconds:.0f}",
    )  # fmt: skip


def without_a_gpu() -> str:
    """Why a GPU's table is left out, or "" where there is one."""
    import torch

    return "" if torch.cuda.is_available() else "torch sees no GPU here"


def gpu(data_folder: Path, cache: Path, seed: int, repeats: int, steps: int) -> None:
    reason = without_a_gpu()
    if reason:
        print(f"\n### SmolLM2-135M on a GPU\n\nskipped: {reason}")
        return
    size = Size(steps or 32, 64, 16, "bf16", "cuda")
    run(data_folder, cache, seed, os.cpu_count() or 1, repeats, size, ("full", "lora"))
