"""Peak memory and speed of one model with what saves memory: each alone, and together."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tools import note, table

from pretraining import data, processes, shapes, trainers
from pretraining.trainers import Task, Trained, Trainer

VOCAB, LENGTH, LAYERS, WIDTH, BATCH, STEPS = 16_384, 512, 8, 256, 8, 6
PLAIN, CHUNKED, CHECKPOINTED, BF16 = (
    ("--set", "hardware.loss=plain"),
    ("--set", "hardware.loss=chunked"),
    ("--set", "hardware.checkpointing=true"),
    ("--precision", "bf16"),
)
WAYS: tuple[tuple[str, Sequence[str]], ...] = (
    ("plain: fp32, all logits, all activations", PLAIN),
    ("chunked loss", CHUNKED),
    ("checkpointing", (*PLAIN, *CHECKPOINTED)),
    ("bf16", (*PLAIN, *BF16)),
    ("chunked loss, checkpointing", (*CHUNKED, *CHECKPOINTED)),
    ("chunked loss, bf16", (*CHUNKED, *BF16)),
    ("checkpointing, bf16", (*PLAIN, *CHECKPOINTED, *BF16)),
    ("chunked loss, checkpointing, bf16", (*CHUNKED, *CHECKPOINTED, *BF16)),
)
MB = 10**6


@dataclass(frozen=True)
class Cell:
    """One way and what came of it; failed: why nothing did."""

    name: str
    run: Trained | None
    failed: str = ""

    def used(self) -> int:
        """Bytes above what was there before the first forward pass; on a GPU, torch's own count."""
        assert self.run is not None
        return self.run.gpu or self.run.memory - self.run.before


def run(data_folder: Path, cache: Path, seed: int, threads: int) -> None:
    packed = data.tokens_of(data_folder, cache / "pretrain" / "memory", data.SMALL, VOCAB, LENGTH, rows=8)
    config = shapes.write("llama", cache / "pretrain" / f"shape-llama-{LAYERS}-{WIDTH}-{VOCAB}", packed, LAYERS, WIDTH)
    task = Task(packed, config, "causal", STEPS, BATCH, BATCH, 0.001, seed)
    cells = [_cell(name, options, task, cache, threads) for name, options in WAYS]
    everything, body = shapes.parameters(config)
    table(
        "Peak memory of `ptft pretrain`",
        ("what", "peak MB", "of plain", "whole process MB", "tokens/s", "of plain", "tokens/CPU s", "of plain"),
        _rows(cells),
        f"llama, {LAYERS} layers, {WIDTH} wide, vocabulary {packed.vocab:,}: {everything:,} parameters, {body:,} without embeddings; "
        f"{BATCH} sequences of {LENGTH} in one forward pass, {STEPS} steps, {threads} thread(s); each in a process of its own",
        "peak: above what the process held when its first forward pass began, which is Python, torch and the weights "
        f"({4 * everything / MB:,.0f} MB); gradients and AdamW's two moments ({12 * everything / MB:,.0f} MB) are in it. On a GPU: "
        "torch's own count of the most it held, weights included",
        "bf16: autocast; the weights, gradients and moments stay fp32. Fast on a CPU only where it has AMX, slow elsewhere",
        f"this processor: {_bf16()}",
    )


def _cell(name: str, options: Sequence[str], task: Task, cache: Path, threads: int) -> Cell:
    note(f"memory: {name}")
    command = trainers.ptft("--set", f"hardware.micro_batch={task.micro}", *options)
    try:
        return Cell(
            name,
            trainers.run(
                Trainer("ptft", "llama", command), task, cache / "pretrain" / "runs" / "memory", cache, threads
            ),
        )
    except RuntimeError as error:
        note(str(error))
        return Cell(name, None, processes.last_line(error))


def _rows(cells: Sequence[Cell]) -> list[tuple[str, ...]]:
    plain = cells[0]
    shown = []
    for cell in cells:
        if cell.run is None or plain.run is None:
            shown.append((cell.name, f"failed: {cell.failed}", *("",) * 6))
            continue
        shown.append(
            (
                cell.name, f"{cell.used() / MB:,.0f}", f"{cell.used() / plain.used():.2f}x", f"{cell.run.memory / MB:,.0f}",
                f"{cell.run.speed:,.0f}", f"{cell.run.speed / plain.run.speed:.2f}x", f"{cell.run.cpu_speed:,.0f}", f"{cell.run.cpu_speed / plain.run.cpu_speed:.2f}x",
            )
        )  # fmt: skip
    return shown


def _bf16() -> str:
    info = Path("/proc/cpuinfo")
    flags = set(info.read_text().split()) if info.exists() else set()
    found = [name for name in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if name in flags]
    return f"{', '.join(found) or 'no vector instructions that are known'}, {os.cpu_count()} cores"
