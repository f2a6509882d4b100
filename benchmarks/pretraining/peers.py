"""ptft beside the other trainers: speed, and what is learnt from equal tokens."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from tools import Missing, note, table

from pretraining import data, processes, shapes, trainers
from pretraining.trainers import Task, Trained, Trainer

LENGTH, VOCAB, LAYERS, WIDTH = 256, 4096, 4, 128
BATCH, MICRO = 8, 8  # sequences: 2,048 tokens a step, the demo's; in one forward pass
LR = 0.004  # 0.512 / width, ptft's own
SHORT = 60  # steps of a run that is only timed

CAUSAL = (
    Trainer("ptft", "llama", trainers.ptft()),
    Trainer("bare PyTorch loop", "llama", trainers.script("bare.py")),
    Trainer("transformers Trainer, as in run_clm", "llama", trainers.script("trainer.py")),
    Trainer("litgpt, compiled (its default)", "llama", trainers.litgpt(compiled=True), "litgpt", "final", "litgpt"),
    Trainer("litgpt, not compiled", "llama", trainers.litgpt(compiled=False), "litgpt", "final", "litgpt"),
    Trainer("ptft", "gpt2", trainers.ptft()),
    Trainer("bare PyTorch loop", "gpt2", trainers.script("bare.py")),
    Trainer("transformers Trainer, as in run_clm", "gpt2", trainers.script("trainer.py")),
    Trainer("nanoGPT", "gpt2", trainers.nanogpt, "nanogpt", "ckpt.pt"),
)
MASKED = (
    Trainer("ptft", "bert", trainers.ptft()),
    Trainer("transformers Trainer, as in run_mlm", "bert", trainers.script("trainer.py")),
)
BF16 = ("--precision", "bf16")  # many times faster or slower than fp32 on a CPU, as it has AMX or not


def _with_bf16(trainers_: Sequence[Trainer]) -> tuple[Trainer, ...]:
    """With ptft in bf16 as well where the processor has matrix units for it."""
    info = Path("/proc/cpuinfo")
    if not info.exists() or "amx_bf16" not in info.read_text():
        return tuple(trainers_)
    more = {
        family: Trainer("ptft, bf16", family, trainers.ptft(*BF16))
        for family in dict.fromkeys(t.family for t in trainers_)
    }
    return tuple(t for one in trainers_ for t in ((one, more[one.family]) if one.name == "ptft" else (one,)))


HEAD = (
    "model", "trainer", "tokens/s", "ptft is faster by", "tokens/CPU s", "ptft is faster by", "held-out loss", "bits per byte",
    "whole command s", "CPU s",
)  # fmt: skip


@dataclass
class Row:
    """runs: the first trains to the end, the others are only timed."""

    trainer: Trainer
    task: Task
    runs: list[Trained] = field(default_factory=list)
    loss: float = math.nan
    failed: str = ""

    def median(self, name: str) -> float:
        return statistics.median(getattr(run, name) for run in self.runs) if self.runs else math.nan


def causal(data_folder: Path, cache: Path, seed: int, threads: int, tokens: int, repeats: int) -> None:
    packed = data.tokens_of(data_folder, cache / "pretrain" / "small", data.SMALL, VOCAB, LENGTH, rows=400)
    task = _task(packed, cache, "causal", seed, tokens)
    rows = [Row(trainer, _with(task, trainer.family, cache)) for trainer in _with_bf16(CAUSAL)]
    _race(rows, cache, threads, repeats)
    _show("The same model from the same tokens: causal", rows, task, threads, repeats, cache)


def masked(data_folder: Path, cache: Path, seed: int, threads: int, tokens: int, repeats: int) -> None:
    packed = data.tokens_of(data_folder, cache / "pretrain" / "small", data.SMALL, VOCAB, LENGTH, rows=400)
    task = _task(packed, cache, "masked", seed, tokens)
    task = replace(task, masked=data.mask(packed, task.rate, seed))
    rows = [Row(trainer, _with(task, trainer.family, cache)) for trainer in _with_bf16(MASKED)]
    _race(rows, cache, threads, repeats)
    _show("The same model from the same tokens: masked", rows, task, threads, repeats, cache)


def _task(packed: data.Tokens, cache: Path, objective: str, seed: int, tokens: int) -> Task:
    steps = max(2 * SHORT, tokens // (BATCH * LENGTH))
    return Task(packed, cache, objective, steps, BATCH, MICRO, LR, seed, warmup=round(0.05 * steps))


def _with(task: Task, family: str, cache: Path) -> Task:
    folder = cache / "pretrain" / f"shape-{family}-{LAYERS}-{WIDTH}"
    return replace(task, config=shapes.write(family, folder, task.tokens, LAYERS, WIDTH))


def _race(rows: list[Row], cache: Path, threads: int, repeats: int) -> None:
    """Everybody to the end once, then timed again on short runs, each time in the other direction."""
    for turn in range(repeats):
        for row in rows[:: 1 if turn % 2 == 0 else -1]:
            if not row.failed:
                _turn(row, cache, threads, is_first=turn == 0)


def _turn(row: Row, cache: Path, threads: int, *, is_first: bool) -> None:
    task = row.task if is_first else replace(row.task, steps=SHORT, warmup=SHORT // 20)
    out = cache / "pretrain" / "runs" / f"{row.trainer.family}-{''.join(filter(str.isalnum, row.trainer.name))}"
    note(f"{row.trainer.family}, {row.trainer.name}: {task.steps:,} steps")
    try:
        row.runs.append(trainers.run(row.trainer, task, out, cache, threads))
        if is_first:
            _require_same_size(row.trainer, task, out)
            row.loss = trainers.score(row.trainer, task, out, cache, threads)
    except (Missing, RuntimeError) as error:
        note(f"{row.trainer.name} left out: {error}")
        row.failed = processes.last_line(error)


def _require_same_size(trainer: Trainer, task: Task, out: Path) -> None:
    """Raise RuntimeError where ptft built another model from the same sizes."""
    record = out / "run.json"
    if record.exists() and trainer.name.startswith("ptft"):
        made, wanted = json.loads(record.read_text())["counts"]["parameters"], shapes.parameters(task.config)[0]
        if made != wanted:
            raise RuntimeError(f"ptft made {made:,} parameters of sizes that give {wanted:,}")


def _show(title: str, rows: list[Row], task: Task, threads: int, repeats: int, cache: Path) -> None:
    ours = {row.task.config: row for row in rows if row.trainer.name == "ptft"}
    shown = []
    for row in rows:
        if row.failed:
            shown.append((row.trainer.family, row.trainer.name, f"failed: {row.failed}", *("",) * 7))
            continue
        base = ours[row.task.config]
        bits = row.loss / math.log(2) * task.tokens.rows * (task.tokens.length - 1) / task.tokens.bytes
        speed, cpu = row.median("speed"), row.median("cpu_speed")
        shown.append(
            (
                row.trainer.family, row.trainer.name, f"{speed:,.0f}", f"{base.median('speed') / speed:.2f}x", f"{cpu:,.0f}",
                f"{base.median('cpu_speed') / cpu:.2f}x", f"{row.loss:.4f}", "" if task.masked else f"{bits:.4f}",
                f"{row.runs[0].seconds:.0f}", f"{row.runs[0].cpu:.0f}",
            )
        )  # fmt: skip
    sizes = ", ".join(f"{path.name.split('-')[1]} {shapes.parameters(path)[0]:,}" for path in ours)
    table(
        title,
        HEAD,
        shown,
        task.tokens.describe(),
        f"parameters: {sizes} ({LAYERS} layers, {WIDTH} wide, embeddings tied); {task.steps:,} steps of {task.batch} sequences "
        f"({task.batch * task.tokens.length:,} tokens), AdamW, peak learning rate {task.lr} after {task.warmup} steps, cosine to 0, "
        f"weight decay {task.decay}, betas .9 and {task.beta2}, gradients clipped at {task.clip}, fp32, no dropout, {threads} thread(s) each",
        f"tokens/s: of the median step, after the first {trainers.SETTLED}: without start, compiling, validation and saving; medians of "
        f"{repeats} runs, the later ones of {SHORT} steps and in the other direction; tokens/CPU s: the same by processor time, "
        "which other work on the machine moves less",
        f"everybody takes {task.micro} sequences in a forward pass, ptft what it chooses by itself; whole command: start and saving too",
        "held-out loss: the final weights, scored by one script on the same sequences"
        + (" masked once" if task.masked else "")
        + "; every trainer shuffles in its own way, and nanoGPT draws its sequences anywhere in the text",
        "initial weights: ptft's, nanoGPT's and litgpt's own; the bare loop and the Trainer take ptft's spread from the configuration",
        f"versions: {trainers.versions(cache)}",
    )
