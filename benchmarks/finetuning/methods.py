"""Speed, memory and trainable parameters of `ptft finetune instruction` on SmolLM2-135M, method by method."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pretraining import processes
from tools import note, table

from finetuning import data, trainers
from finetuning.trainers import Task, Trained, Trainer

GB, LENGTH, BATCH, LR = 10**9, 128, 16, 2e-4
METHODS = ("full", "lora", "qlora", "adapter", "prompt", "prefix", "p-tuning", "ia3", "partial")


@dataclass(frozen=True)
class Cell:
    """One method and what came of it; failed: why nothing did. trainable, size: parameters that learn, bytes of the result."""

    method: str
    run: Trained | None = None
    trainable: int = 0
    parameters: int = 0
    size: int = 0
    failed: str = ""


def run(data_folder: Path, cache: Path, seed: int, threads: int, steps: int, methods: Sequence[str]) -> None:
    base = data.smollm2(data_folder, cache)
    chats = data.chats(data_folder, cache, base, steps * BATCH, LENGTH, seed)
    task = Task(base, chats, "full", chats.count // BATCH, BATCH, BATCH, LENGTH, LR, seed)
    cells = [_cell(replace(task, method=method), cache, threads) for method in methods]
    table(
        "Ways to fine-tune SmolLM2-135M",
        ("method", "trainable", "of the model", "tokens/s", "of full", "peak GB", "of full", "result MB"),
        _rows(cells),
        f"{chats.describe()}; {task.steps} steps of {BATCH} rows, fp32, {threads} thread(s), each in a process of its own",
        f"tokens/s: without padding, after the first {trainers.SETTLED} steps; peak: the most that the process held, saving included",
        "result: the weights that are saved; an adapter needs its base beside it",
    )


def _cell(task: Task, cache: Path, threads: int) -> Cell:
    note(f"methods: {task.method}")
    out = cache / "finetune" / "runs" / f"method-{task.method}"
    try:
        found = trainers.run(Trainer("ptft", trainers.ptft(), trainers.ptft_losses), task, out, cache, threads)
    except RuntimeError as error:
        note(str(error))
        return Cell(task.method, failed=processes.last_line(error))
    counts = json.loads((out / "run.json").read_text())["counts"]
    size = sum(path.stat().st_size for path in out.glob("*.safetensors"))
    return Cell(task.method, found, counts["trainable"], counts["parameters"], size)


def _rows(cells: Sequence[Cell]) -> list[tuple[str, ...]]:
    full = next((cell.run for cell in cells if cell.method == "full"), None)
    return [_shown(cell, full) for cell in cells]


def _shown(cell: Cell, full: Trained | None) -> tuple[str, ...]:
    if cell.run is None:
        return (cell.method, f"failed: {cell.failed}", *("",) * 6)
    speed, peak = (
        ("", "") if full is None else (f"{cell.run.speed / full.speed:.2f}x", f"{cell.run.peak / full.peak:.2f}x")
    )
    return (
        cell.method, f"{cell.trainable:,}", f"{cell.trainable / cell.parameters:.2%}", f"{cell.run.speed:,.0f}", speed,
        f"{cell.run.peak / GB:.2f}", peak, f"{cell.size / 1e6:,.1f}",
    )  # fmt: skip
