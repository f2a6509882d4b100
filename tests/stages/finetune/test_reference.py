"""The loss of every step is the reference implementation's: TRL's SFTTrainer for instructions, transformers' Trainer for a task.

Same rows in the same order, same seed, weights and settings. By design ptft divides the rows of an optimizer step into passes of
its own, of like length: the loss is the mean over the step all the same. And its warmup begins at 1 / warmup of the peak, where
transformers' first step learns nothing: the reference gets a schedule that differs from its own in the warmup alone.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import tiny
from finetuning import inputs, rows_file

from ptft.core.contracts import Output
from ptft.core.knobs import Hardware
from ptft.core.progress import Silent
from ptft.core.training import Schedule
from ptft.core.training.data import Batches
from ptft.stages.finetune import methods
from ptft.stages.finetune.instruction import run as instruction
from ptft.stages.finetune.purpose import Prepared
from ptft.stages.finetune.recipe import FinetuneRecipe, InstructionRecipe, Lora, TaskRecipe
from ptft.stages.finetune.task import run as task

CLOSE = 1e-4
SHARED: dict[str, Any] = {
    "epochs": 2, "batch_size": 4, "hardware": Hardware(micro_batch=2), "warmup": 0.2, "weight_decay": 0.1, "clip": 0.5,
    "lora": Lora(rank=4, alpha=16.0), "seed": 7,
}  # fmt: skip


@dataclass(frozen=True)
class Curve:
    """Of each optimizer step: the loss, and the norm of the gradient before it is clipped."""

    losses: list[float]
    norms: list[float]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Llama, 24 conversations of one or two turns in English and Chinese, and 24 labelled texts, of unequal length."""
    made = tmp_path_factory.mktemp("reference")
    tiny.causal(made / "causal")
    rows_file(made / "chat.jsonl", [{"messages": _turns(n)} for n in range(24)])
    words = {"sport": "ball goal ", "科技": "机器学习 "}
    rows_file(
        made / "task.jsonl",
        [{"text": words[label] * (1 + n % 4), "label": label} for n in range(12) for label in words],
    )
    return made


def _turns(n: int) -> list[dict[str, str]]:
    question = {"role": "user", "content": f"say {n}" + " please" * (n % 3)}
    answer = {"role": "assistant", "content": ("好的 " if n % 2 else "yes ") * (1 + n % 4)}
    return [question, answer] * (1 + (n % 5 == 0))


# ---------------------------------------------------------------- instructions, against TRL


@pytest.mark.parametrize("method", ["full", "lora"])
def test_instructions_are_learnt_as_by_trl(
    folder: Path, output_of: Callable[[Path], Output], tmp_path: Path, method: Any
):
    recipe = InstructionRecipe(method=method, lr=1e-2 if method == "lora" else 4e-3, **SHARED)
    given = inputs(folder / "causal", folder / "chat.jsonl")
    prepared = instruction.prepare(recipe, given, output_of(tmp_path / "start"), Silent())
    ours = _ours(instruction.run, recipe, folder / "chat.jsonl", output_of(tmp_path / "out"))
    theirs = _trl(prepared, recipe, folder, tmp_path)
    _require_equal(ours, theirs)


def _trl(prepared: Prepared, recipe: FinetuneRecipe, folder: Path, work: Path) -> Curve:
    import datasets
    from transformers import AutoTokenizer
    from trl import SFTConfig, SFTTrainer

    rows = _in_order(folder / "chat.jsonl", recipe)
    seen = _Seen(SFTTrainer)
    trainer = seen.trainer(
        model=_started(prepared, recipe),
        args=SFTConfig(**_arguments(recipe, len(rows), work), assistant_only_loss=True, max_length=64),
        train_dataset=datasets.Dataset.from_list(rows),
        processing_class=AutoTokenizer.from_pretrained(folder / "causal"),
    )
    return seen.train(trainer, recipe)


def _started(prepared: Prepared, recipe: FinetuneRecipe) -> Any:
    """The base loaded without ptft; with LoRA, peft's own on it, beginning where ptft's begins."""
    from peft import LoraConfig, get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(prepared.base)
    if recipe.method == "full":
        return model
    lora = LoraConfig(
        r=recipe.lora.rank, lora_alpha=recipe.lora.alpha, target_modules="all-linear", task_type="CAUSAL_LM"
    )
    adapted = get_peft_model(model, lora)
    start = methods.attach(prepared, "fp32", prepared.tokenizer.parent)
    set_peft_model_state_dict(adapted, get_peft_model_state_dict(start))
    return adapted


# ---------------------------------------------------------------- a task, against transformers


def test_a_label_is_learnt_as_by_transformers(folder: Path, output_of: Callable[[Path], Output], tmp_path: Path):
    import datasets
    import transformers

    recipe = TaskRecipe(pooling="last", lr=4e-3, **SHARED)
    given = inputs(folder / "causal", folder / "task.jsonl")
    start = task.prepare(recipe, given, output_of(tmp_path / "start"), Silent())
    ours = _ours(task.run, recipe, folder / "task.jsonl", output_of(tmp_path / "out"))
    start.new_model().save_pretrained(tmp_path / "headed")
    model = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path / "headed")
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder / "causal")
    rows = _in_order(folder / "task.jsonl", recipe)
    table = [
        {"input_ids": tokenizer(row["text"])["input_ids"], "labels": model.config.label2id[row["label"]]}
        for row in rows
    ]
    seen = _Seen(transformers.Trainer)
    trainer = seen.trainer(
        model=model,
        # in one pass: accumulated, transformers 5.23 takes a sequence classifier's loss once too often for each further pass
        args=transformers.TrainingArguments(**_arguments(recipe, len(rows), tmp_path, micro=recipe.batch_size)),
        train_dataset=datasets.Dataset.from_list(table),
        data_collator=transformers.DataCollatorWithPadding(tokenizer),
    )
    _require_equal(ours, seen.train(trainer, recipe))


# ---------------------------------------------------------------- what both have in common


def _ours(run: Callable[..., Any], recipe: FinetuneRecipe, data: Path, out: Output) -> Curve:
    run(recipe, inputs(data.parent / "causal", data), out, Silent())
    entries = [json.loads(line) for line in (out.new / "metrics.jsonl").read_text().splitlines()]
    steps = [entry for entry in entries if "loss" in entry]
    return Curve([entry["loss"] for entry in steps], [entry["grad_norm"] for entry in steps])


def _in_order(data: Path, recipe: FinetuneRecipe) -> list[dict[str, Any]]:
    """The rows of the whole run as `Batches` streams them, without the sorting inside a step."""
    rows = [json.loads(line) for line in data.read_text().splitlines()]
    total = round(recipe.epochs * len(rows))
    numbers: Any = range(len(rows))
    stream = Batches(numbers, total, recipe.seed)
    order: Iterator[Any] = (stream[index] for index in range(total))
    return [rows[number] for number in order]


def _arguments(recipe: FinetuneRecipe, rows: int, work: Path, micro: int = 2) -> dict[str, Any]:
    return {
        "output_dir": str(work / "theirs"), "per_device_train_batch_size": micro,
        "gradient_accumulation_steps": recipe.batch_size // micro, "max_steps": rows // recipe.batch_size,
        "learning_rate": recipe.lr, "weight_decay": recipe.weight_decay, "max_grad_norm": recipe.clip, "lr_scheduler_type": "cosine",
        "bf16": False, "gradient_checkpointing": False, "use_cpu": True, "train_sampling_strategy": "sequential",
        "save_strategy": "no", "report_to": "none", "disable_tqdm": True, "logging_steps": 1, "seed": recipe.seed,
    }  # fmt: skip


class _Seen:
    """A trainer class that notes its losses as they are: its log has four digits."""

    def __init__(self, parent: type) -> None:
        self.losses: list[float] = []
        seen = self

        class Noting(parent):  # type: ignore[misc, valid-type]
            def training_step(self, *args: Any, **kwargs: Any) -> Any:
                loss = super().training_step(*args, **kwargs)
                seen.losses.append(float(loss))
                return loss

            def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
                import torch

                self.lr_scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer or self.optimizer, seen.factor)
                return self.lr_scheduler

        self.trainer = Noting
        self.factor: Callable[[int], float] = lambda step: 1.0

    def train(self, trainer: Any, recipe: FinetuneRecipe) -> Curve:
        steps, each = trainer.args.max_steps, trainer.args.gradient_accumulation_steps
        self.factor = _reference_factor(steps, round(recipe.warmup * steps))
        trainer.train()
        losses = [sum(self.losses[start : start + each]) for start in range(0, len(self.losses), each)]
        return Curve(losses, [entry["grad_norm"] for entry in trainer.state.log_history if "grad_norm" in entry])


def _reference_factor(steps: int, warmup: int) -> Callable[[int], float]:
    """transformers' own cosine schedule; in the warmup, where it would be a step later."""
    import torch
    from transformers import get_cosine_schedule_with_warmup

    optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    theirs = get_cosine_schedule_with_warmup(optimizer, warmup, steps).lr_lambdas[0]
    return lambda step: float(theirs(step + 1 if step < warmup else step))


def _require_equal(ours: Curve, theirs: Curve) -> None:
    assert len(ours.losses) == 12 and ours.losses[-1] < 0.8 * ours.losses[0]
    assert ours.losses == pytest.approx(theirs.losses, abs=CLOSE)
    assert ours.norms == pytest.approx(theirs.norms, abs=CLOSE, rel=1e-3)
    assert max(ours.norms) > SHARED["clip"]  # clipping took part


@pytest.mark.parametrize("warmup", [0, 3])
def test_the_schedule_differs_in_the_warmup_alone(warmup: int):
    factor, ours = _reference_factor(20, warmup), Schedule("cosine", 20, warmup)
    assert [ours.factor(step) for step in range(20)] == pytest.approx([factor(step) for step in range(20)], abs=1e-12)
