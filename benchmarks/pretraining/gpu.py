"""On a GPU: tokens/s, the share of its peak (MFU) and memory of models that are trained there, one switch at a time."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tools import note, table

from pretraining import data, processes, shapes, trainers
from pretraining.trainers import Task, Trained, Trainer

VOCAB = 50_304  # GPT-2's, in multiples of 64
STEPS, LIMIT = 24, 240  # steps a cell, seconds it may take
GB, TERA = 10**9, 10**12
PEAKS = {  # dense bfloat16 (or float16) FLOP/s with fp32 sums, from the makers' data sheets; the first name that fits
    "H200": 989, "H100 PCIe": 756, "H100": 989, "A100": 312, "L40S": 362, "L4": 121, "A10": 125, "V100": 125, "T4": 65,
    "4090": 165, "3090": 71,
}  # fmt: skip


@dataclass(frozen=True)
class Model:
    """length: of a sequence. micro: sequences a forward pass; batch: an optimizer step."""

    name: str
    family: str
    layers: int
    width: int
    length: int
    micro: int
    batch: int


GPT2 = Model("GPT-2 124M", "gpt2", 12, 768, 1024, 32, 128)
LLAMA = Model("Llama 124M", "llama", 12, 768, 1024, 32, 128)
LARGE = Model("Llama 1B", "llama", 18, 2048, 2048, 8, 16)
BF16 = ("--precision", "bf16")


def _set(*settings: str) -> tuple[str, ...]:
    return tuple(part for setting in settings for part in ("--set", setting))


COMPILE, LIGER, CHECKPOINTING = (_set(f"hardware.{name}=true") for name in ("compile", "liger", "checkpointing"))
PLAIN, PACKED = _set("hardware.loss=plain"), _set("packing=best-fit", "isolate=true")
SWITCHES: tuple[tuple[str, Sequence[str]], ...] = (
    ("bf16", BF16),
    ("fp32, TF32 off", ("--precision", "fp32")),
    ("fp16, loss scaling", ("--precision", "fp16")),
    ("fp8", ("--precision", "fp8")),
    ("bf16, all logits (plain loss)", (*BF16, *PLAIN)),
    ("bf16, compile", (*BF16, *COMPILE)),
    ("bf16, Liger", (*BF16, *LIGER)),
    ("bf16, checkpointing", (*BF16, *CHECKPOINTING)),
    ("bf16, documents packed whole and kept apart", (*BF16, *PACKED)),
    ("bf16, compile, packed and apart", (*BF16, *COMPILE, *PACKED)),
)
CELLS: tuple[tuple[Model, tuple[tuple[str, Sequence[str]], ...]], ...] = (
    (LLAMA, SWITCHES),
    (GPT2, (SWITCHES[0], SWITCHES[1], SWITCHES[5])),
    (LARGE, (SWITCHES[0], SWITCHES[5], SWITCHES[6], SWITCHES[7])),
)


def run(data_folder: Path, cache: Path, seed: int, only: str) -> None:
    """only: a part of the names of the models to take, "" for all: a lent machine may allow minutes a command."""
    import torch

    if not torch.cuda.is_available():
        print("\n### On a GPU\n\nskipped: torch sees no GPU here")
        return
    device = torch.cuda.get_device_name(0)
    peak, measured = _peak(device), _measured_peak()
    rows = [
        row
        for model, switches in CELLS
        if only in model.name
        for row in _rows(model, switches, peak or measured, data_folder, cache, seed)
    ]
    table(
        f"On a GPU: {device}",
        ("model", "with", "tokens/s", "of bf16", "MFU", "memory GB"),
        rows,
        f"a data sheet's dense bf16 peak: {f'{peak / TERA:,.0f} TFLOP/s' if peak else 'not known'}; the most that a product of two "
        f"8,192 x 8,192 bf16 matrices reaches here: {measured / TERA:,.0f} TFLOP/s",
        "MFU: (6 N + 12 layers width length) FLOPs a token, as PaLM and llm-foundry count, recomputation not counted, over "
        f"{'the data sheet' if peak else 'the measured'} peak, for every precision",
        f"vocabulary {VOCAB:,}; tokens/s of the median step of {STEPS}; each cell in a process of its own, at most {LIMIT} s; memory: "
        "the most torch held",
        f"sequences a forward pass x their length: {', '.join(f'{m.name} {m.micro} x {m.length:,}' for m, _ in CELLS)}; "
        f"versions: {trainers.versions(cache)}",
    )  # fmt: skip


def _rows(
    model: Model, switches: Sequence[tuple[str, Sequence[str]]], peak: float, data_folder: Path, cache: Path, seed: int
) -> list[tuple[str, ...]]:
    try:
        task = _task(model, data_folder, cache, seed)
    except RuntimeError as error:
        return [(model.name, "", f"failed: {processes.last_line(error)}", "", "", "")]
    everything, _ = shapes.parameters(task.config)
    flops = 6 * everything + 12 * model.layers * model.width * model.length
    base: float | None = None
    shown = []
    for name, options in switches:
        found = _cell(f"{model.name}, {name}", task, options, cache)
        if isinstance(found, str):
            shown.append((model.name, name, f"failed: {found}", "", "", ""))
            continue
        base = base or found.speed
        shown.append(
            (
                f"{model.name} ({everything / 1e6:,.0f}M)", name, f"{found.speed:,.0f}", f"{found.speed / base:.2f}x",
                f"{found.speed * flops / peak:.1%}" if peak else "", f"{found.gpu / GB:.1f}",
            )
        )  # fmt: skip
    return shown


def _task(model: Model, data_folder: Path, cache: Path, seed: int) -> Task:
    folder = cache / "pretrain" / f"gpu-{model.length}"
    names: Sequence[str] = data.EVERYTHING
    if not any((data_folder / f"{name}.jsonl").exists() for name in names):
        data_folder, names = _invented(cache / "pretrain", seed), ("invented",)
    tokens = data.tokens_of(data_folder, folder, names, VOCAB, model.length, rows=8)
    config = shapes.write(
        model.family, folder / f"shape-{model.family}-{model.width}", tokens, model.layers, model.width
    )
    return Task(tokens, config, "causal", STEPS, model.batch, model.micro, 3e-4, seed, warmup=2)


def _invented(folder: Path, seed: int) -> Path:
    """Rows of made-up words, where no real text can be had: speed does not depend on what the words mean."""
    path, draw = folder / "invented.jsonl", random.Random(seed)
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        words = ["".join(draw.choices("abcdefghijklmnopqrstuvwxyz", k=draw.randint(3, 12))) for _ in range(60_000)]
        with path.open("w", encoding="utf-8") as file:
            for row in range(8_000):
                text = " ".join(draw.choices(words, k=max(20, round(draw.expovariate(1 / 400)))))
                file.write(json.dumps({"id": str(row), "text": text}) + "\n")
    return folder


def _cell(name: str, task: Task, options: Sequence[str], cache: Path) -> Trained | str:
    """What it measured, or why it did not."""
    note(name)
    command = trainers.ptft("--set", f"hardware.micro_batch={task.micro}", *options)
    out, threads = cache / "pretrain" / "runs" / "gpu", os.cpu_count() or 1
    try:
        found = trainers.run(Trainer("ptft", name, command), task, out, cache, threads, LIMIT)
        note(f"{name}: {found.speed:,.0f} tokens/s, {found.gpu / GB:.1f} GB")
        return found
    except RuntimeError as error:
        note(str(error))
        return processes.last_line(error)


def _peak(device: str) -> float:
    return next((tera * TERA for name, tera in PEAKS.items() if name in device), 0.0)


_PRODUCT = """
import time, torch
a, b = (torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16) for _ in range(2))
best = 1e9
for _ in range(10):
    torch.cuda.synchronize(); start = time.perf_counter()
    for _ in range(10): a @ b
    torch.cuda.synchronize(); best = min(best, (time.perf_counter() - start) / 10)
print(2 * 8192**3 / best)
"""


def _measured_peak() -> float:
    done = subprocess.run([sys.executable, "-c", _PRODUCT], capture_output=True, text=True, timeout=LIMIT)
    return float(done.stdout) if done.returncode == 0 else 0.0
