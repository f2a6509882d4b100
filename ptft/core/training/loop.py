"""transformers' Trainer with as little around it as needed: our order of data, one loss, checkpoints that are whole or absent."""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
import transformers

from ptft.core.contracts import Output
from ptft.core.encoding import IGNORED
from ptft.core.errors import Diverged
from ptft.core.files import json_line
from ptft.core.progress import Progress, Step
from ptft.core.training import measure
from ptft.core.training.data import Batches, Example, Source
from ptft.core.training.measure import token_nll

KEPT = 2  # checkpoints
Collate = Callable[[Sequence[Example]], dict[str, torch.Tensor]]
Validate = Callable[[Any], dict[str, float]]


@dataclass(frozen=True)
class Settings:
    """One training run. batch: examples an optimizer step, taken micro_batch at a time."""

    steps: int
    batch: int
    micro_batch: int
    lr: float
    schedule: str
    warmup_steps: int
    weight_decay: float
    clip: float
    beta2: float
    precision: str
    save_every: int
    eval_every: int
    seed: int


@dataclass(frozen=True)
class Trained:
    """history: one entry a logged step (step, loss, lr, and validation figures). seconds: of this process only."""

    history: list[dict[str, float]] = field(default_factory=list)
    seconds: float = 0.0
    steps_run: int = 0


def micro_batch_of(batch: int, wanted: int, length: int) -> int:
    """Examples a forward pass: the largest divisor of `batch` that is at most `wanted`, so that accumulation is exact.

    wanted 0: what fills a GPU, or stays within a CPU's cache (measured: docs/log.md), given `length` tokens an example.
    """
    tokens = 16_384 if torch.cuda.is_available() else 1024
    most = wanted or max(1, tokens // length)
    return next(size for size in range(min(most, batch), 0, -1) if batch % size == 0)


def precision_of(wanted: str, progress: Progress) -> str:
    """fp32 or bf16. auto: bf16 on a GPU that has it; a CPU's bf16 is emulated and many times slower."""
    if wanted == "auto":
        return "bf16" if torch.cuda.is_available() and torch.cuda.is_bf16_supported() else "fp32"
    if wanted == "bf16" and not torch.cuda.is_available():
        progress.warn("bf16 on a CPU is many times slower than fp32; --precision fp32 is what auto would take")
    return wanted


def train(
    model: Any,
    source: Source,
    settings: Settings,
    *,
    loss: str,
    collate: Collate,
    out: Output,
    progress: Progress,
    validate: Validate | None = None,
) -> Trained:
    """Train `model` in place; go on from the newest checkpoint in `out.final` if there is one.

    loss: "causal", "masked" or "class". validate: figures by name, taken every `eval_every` steps and at the end.
    Raises `RunError` where the loss is not a number.
    """
    transformers.set_seed(settings.seed)
    data = Batches(source, settings.steps * settings.batch, settings.seed)
    log = _MetricsLog(out.state / "metrics.jsonl")
    checkpoint = _newest_checkpoint(out.final)
    with progress.step("training", settings.steps, "steps") as step:
        watcher = _Watcher(settings, step, log, validate)
        trainer = _Trainer(
            publish_to=out.final,
            fused=loss == "causal" and measure.can_fuse(model),
            model=model,
            args=_arguments(settings, out.state / "saving"),
            train_dataset=data,
            data_collator=collate,
            compute_loss_func=partial(_LOSSES[loss], accumulation=settings.batch // settings.micro_batch),
            callbacks=[watcher],
        )
        trainer.remove_callback(transformers.PrinterCallback)
        if checkpoint is not None:
            at = int(checkpoint.name.split("-")[1])
            log.cut_after(at)
            step.advance(at)
            progress.note(f"going on from step {at:,} of {settings.steps:,}")
        else:
            log.cut_after(0)
        started = time.monotonic()
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    return Trained(log.entries, time.monotonic() - started, watcher.steps)


def _arguments(settings: Settings, saving: Path) -> transformers.TrainingArguments:
    return transformers.TrainingArguments(
        output_dir=str(saving),
        max_steps=settings.steps,
        per_device_train_batch_size=settings.micro_batch,
        gradient_accumulation_steps=settings.batch // settings.micro_batch,
        learning_rate=settings.lr,
        lr_scheduler_type=settings.schedule if settings.schedule != "constant" else "constant_with_warmup",
        warmup_steps=settings.warmup_steps,
        weight_decay=settings.weight_decay,
        max_grad_norm=settings.clip,
        adam_beta2=settings.beta2,
        logging_steps=1,  # a mean over more steps would depend on where a resumed run began
        logging_nan_inf_filter=False,  # a loss that is not a number must be seen
        save_strategy="steps",
        save_steps=settings.save_every,
        seed=settings.seed,
        bf16=settings.precision == "bf16",
        use_cpu=not torch.cuda.is_available(),
        remove_unused_columns=False,
        train_sampling_strategy="sequential",  # Batches has the order
        report_to="none",
        disable_tqdm=True,
        log_level="error",
    )


# ---------------------------------------------------------------- losses


def _token_loss(
    outputs: Any, labels: torch.Tensor, num_items_in_batch: Any = None, *, causal: bool, accumulation: int
) -> torch.Tensor:
    """Mean over the tokens of the whole optimizer step, not of each micro-batch (transformers#34191)."""
    if num_items_in_batch is None:
        num_items_in_batch = (labels != IGNORED).sum() * accumulation
    return token_nll(outputs.logits, labels, causal=causal) / num_items_in_batch


def _class_loss(
    outputs: Any, labels: torch.Tensor, num_items_in_batch: Any = None, *, accumulation: int
) -> torch.Tensor:
    summed = torch.nn.functional.cross_entropy(outputs.logits.float(), labels, reduction="sum")
    return summed / (num_items_in_batch if num_items_in_batch is not None else labels.numel() * accumulation)


_LOSSES: dict[str, Callable[..., torch.Tensor]] = {
    "causal": partial(_token_loss, causal=True),
    "masked": partial(_token_loss, causal=False),
    "class": _class_loss,
}


# ---------------------------------------------------------------- around the Trainer


class _Trainer(transformers.Trainer):
    """Never holds all logits where it need not, and publishes each checkpoint by renaming it once it is whole: a kill never leaves half of one."""

    def __init__(self, *, publish_to: Path, fused: bool, **kwargs: Any) -> None:
        self._publish_to, self._fused = publish_to, fused
        super().__init__(**kwargs)

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        if not self._fused:
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        labels = inputs.pop("labels")
        count = num_items_in_batch if num_items_in_batch is not None else (labels != IGNORED).sum()
        return measure.fused_nll(model, inputs, labels) / count

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        super()._save_checkpoint(model, trial)
        name = f"checkpoint-{self.state.global_step}"
        target = self._publish_to / name
        shutil.rmtree(target, ignore_errors=True)
        (Path(self.args.output_dir) / name).replace(target)
        for old in _checkpoints(self._publish_to)[:-KEPT]:
            shutil.rmtree(old)


def _checkpoints(folder: Path) -> list[Path]:
    return sorted(folder.glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]))


def _newest_checkpoint(folder: Path) -> Path | None:
    return next(reversed(_checkpoints(folder)), None)


class _MetricsLog:
    """metrics.jsonl: what was logged, by step, with no clock in it, so that a resumed run writes the same file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.entries: list[dict[str, float]] = []

    def add(self, entry: dict[str, float]) -> None:
        self.entries.append(entry)
        with self.path.open("ab") as file:
            file.write(json_line(entry))

    def cut_after(self, step: int) -> None:
        import orjson

        if self.path.exists():
            read = [orjson.loads(line) for line in self.path.read_bytes().splitlines() if line.endswith(b"}")]
            self.entries = [entry for entry in read if entry["step"] <= step]
            self.path.write_bytes(b"".join(map(json_line, self.entries)))


class _Watcher(transformers.TrainerCallback):
    """Progress, the metrics log, validation, and the guard against a loss that is not a number."""

    def __init__(self, settings: Settings, step: Step, log: _MetricsLog, validate: Validate | None) -> None:
        self.settings, self.step, self.log, self.validate = settings, step, log, validate
        self.steps, self._shown = 0, ""

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.steps += 1
        self.step.advance(1, self._shown)
        at = state.global_step
        if self.validate and (at % self.settings.eval_every == 0 or at == self.settings.steps):
            self.log.add({"step": at, **self.validate(kwargs["model"])})

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        if not logs or "loss" not in logs:
            return
        loss = float(logs["loss"])
        if not math.isfinite(loss):
            remedy = "lower --lr, or raise the warmup (--set warmup=0.1)"
            raise Diverged(f"the loss is {loss} at step {state.global_step:,}: training diverged", remedy=remedy)
        self._shown = f"loss {loss:.3f}"
        self.log.add(
            {
                "step": state.global_step,
                "loss": loss,
                "lr": float(logs["learning_rate"]),
                "grad_norm": float(logs["grad_norm"]),
            }
        )
