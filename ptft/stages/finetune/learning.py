"""The course of every fine-tuning run: prepare, put the method on the model, learn in one process or several, save."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ptft.core import hardware, models
from ptft.core.contracts import Output, Result
from ptft.core.errors import InputError, UsageError
from ptft.core.progress import Progress, Silent
from ptft.core.training import (
    Schedule,
    Settings,
    Trained,
    Watching,
    micro_batch_of,
    passes_of,
    precision_of,
    processes,
    train,
)
from ptft.core.training.cost import Load
from ptft.core.training.logs import publish
from ptft.core.training.processes import world_size
from ptft.stages.finetune import methods
from ptft.stages.finetune.memory import estimated_memory
from ptft.stages.finetune.purpose import Prepared
from ptft.stages.finetune.recipe import FinetuneRecipe


@dataclass(frozen=True)
class Job:
    """What each process must know."""

    prepared: Prepared
    out: Output


@dataclass(frozen=True)
class Learnt:
    """trained: the engine's result. counts, metrics: for the run record."""

    trained: Trained
    counts: dict[str, Any]
    metrics: dict[str, Any]


def finetuned(prepared: Prepared, out: Output, progress: Progress) -> Result:
    """Train on what was prepared, and save the result."""
    if not prepared.rows:
        remedy = "raise --seq-len, or see rejected.jsonl in the output folder for what was wrong with the rows"
        raise InputError("no rows are left to learn from", remedy=remedy)
    job = Job(prepared, out)
    _refuse_unequal(prepared.batch, prepared.recipe.nproc)
    prepared.show(progress)
    with processes.spread(beside, job, prepared.recipe.nproc):
        learnt = learn(job, progress)
    tokenizer = models.load_tokenizer(prepared.tokenizer)
    prepared.finish(learnt.trained.model)
    methods.save(prepared, learnt.trained.model, tokenizer, out)
    publish(out.state, out.new)
    return Result({**prepared.counts, **learnt.counts}, learnt.metrics)


def beside(job: Job) -> None:
    """A process that is not the first: the same work, in silence."""
    learn(job, Silent())


def learn(job: Job, progress: Progress) -> Learnt:
    prepared, recipe = job.prepared, job.prepared.recipe
    precision = precision_of(recipe.precision, progress)
    model = methods.attach(prepared, precision, job.out.state)
    if recipe.hardware.attention != "auto":
        model.set_attn_implementation(recipe.hardware.attention)
    settings = settings_for(prepared, model, precision)
    announce(prepared, model, settings, progress)
    if not prepared.held_out and recipe.patience:
        progress.warn("no rows to measure on: patience does nothing; name some with --eval-data, or --set val=0.1")
    before = _before(prepared, model, progress)
    trained = train(
        model, prepared.source(), settings, objective=prepared.objective, collate=prepared.collate(), out=job.out,
        progress=progress, watching=_watching(prepared), tokenizer=models.load_tokenizer(prepared.tokenizer),
    )  # fmt: skip
    if trained.last_step < settings.steps:
        what = f"stopped at step {trained.last_step:,}: {recipe.patience} validations brought nothing better"
        progress.note(f"{what} than step {trained.best:,}")
    return Learnt(trained, _counts(model, trained), _metrics(prepared, settings, trained, before))


def _before(prepared: Prepared, model: Any, progress: Progress) -> dict[str, float]:
    if not (prepared.held_out and prepared.measures_before):
        return {}
    model.to(models.device())
    with progress.step("measuring before", total=1, unit="times") as step:
        found = prepared.measure_before(_bare(prepared, model))
        step.advance()
    return found


def _bare(prepared: Prepared, model: Any) -> Any:
    """The base as it is: virtual tokens that nothing taught yet would only disturb it. Other methods begin without effect."""
    return model.get_base_model() if prepared.recipe.method in methods.PROMPT_METHODS else model


def _watching(prepared: Prepared) -> Watching:
    return Watching(validate=prepared.measure if prepared.held_out else None)


# ---------------------------------------------------------------- settings


def settings_for(prepared: Prepared, model: Any, precision: Any) -> Settings:
    recipe, rows = prepared.recipe, prepared.rows
    batch = prepared.batch
    _refuse_unequal(batch, world_size())
    steps, wanted = steps_of(recipe, rows, batch), recipe.hardware
    epoch = max(1, round(rows / batch))
    return Settings(
        steps=steps, batch=batch,
        micro_batch=micro_batch_of(
            batch, wanted.micro_batch, typical_length(prepared), world_size(), passes_of(prepared.source(), prepared.collate())
        ),
        lr=recipe.lr or methods.default_lr(recipe.method, model), schedule=Schedule(recipe.schedule, steps, round(recipe.warmup * steps)),
        weight_decay=recipe.weight_decay, clip=recipe.clip, beta2=0.999, precision=precision, save_every=recipe.save_every,
        eval_every=recipe.eval_every or epoch, seed=recipe.seed, checkpointing=wanted.checkpointing, compile=wanted.compile,
        chunked=wanted.loss == "chunked", liger=wanted.liger, parallel=wanted.parallel, keep=recipe.keep,
        patience=recipe.patience, judge=prepared.better.name, higher=prepared.better.higher,
        smaller="cut rows shorter (--seq-len), take --method lora or qlora, or a smaller base",
    )  # fmt: skip


def _refuse_unequal(batch: int, processes: int) -> None:
    if batch % processes:
        remedy = "take a --batch-size that every process can have an equal share of, or another --nproc"
        raise UsageError(f"{batch} rows a step cannot be shared by {processes} processes", remedy=remedy)


def typical_length(prepared: Prepared) -> int:
    """Tokens of a row as it comes: the mean, where rows are of unequal length."""
    lengths = getattr(prepared.source(), "lengths", None)
    return prepared.length if lengths is None else max(1, math.ceil(lengths.mean()))


def steps_of(recipe: FinetuneRecipe, rows: int, batch: int) -> int:
    """Optimizer steps of `batch` rows each."""
    return max(1, round(recipe.epochs * rows / batch))


def announce(prepared: Prepared, model: Any, settings: Settings, progress: Progress) -> None:
    """Trainable parameters, their share, and the memory that training takes, before it starts."""
    parameters, trainable = models.count_parameters(model)
    share = f"{trainable / max(parameters, 1):.2%}"
    what = f"{prepared.recipe.method}: {trainable:,} of {parameters:,} parameters train ({share})"
    memory = memory_needed(prepared, model, settings)
    step = "step" if settings.steps == 1 else "steps"
    needed = f"; at most {hardware.shown_bytes(memory)}" if memory else ""
    progress.note(
        f"{what}{needed}; {prepared.rows:,} {prepared.unit}, {settings.steps:,} {step} at a learning rate of {settings.lr:.2g}"
    )


def memory_needed(prepared: Prepared, model: Any, settings: Settings) -> int:
    """Bytes in one process, by `cost.memory_of`; 0 where the family's sizes are not known to it."""
    _, trainable = models.count_parameters(model)
    load = Load(
        settings.micro_batch, typical_length(prepared), settings.precision, "adamw", settings.checkpointing,
        settings.chunked, 1.0, world_size(), settings.parallel, models.device().type,
    )  # fmt: skip
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    found = estimated_memory(prepared.recipe, inner, load, trainable)
    return found.total if found else 0


# ---------------------------------------------------------------- what came of it


def _counts(model: Any, trained: Trained) -> dict[str, Any]:
    parameters, trainable = models.count_parameters(model)
    return {"parameters": parameters, "trainable": trainable, "steps": trained.last_step}


def _metrics(prepared: Prepared, settings: Settings, trained: Trained, before: Mapping[str, float]) -> dict[str, Any]:
    losses = [entry["loss"] for entry in trained.history if "loss" in entry]
    found: dict[str, Any] = {"loss_first": losses[0], "loss_last": losses[-1]} if losses else {}
    found |= {"lr": settings.lr, "seconds_training": trained.seconds, "peak_memory_bytes": trained.peak}
    after = _kept(trained.history, settings, trained)
    for name, value in after.items():
        shown = "eval_loss" if name == "val_loss" else name
        if name in before:
            found |= {f"{shown}_before": before[name], f"{shown}_after": value}
        else:
            found[shown if shown.startswith("eval_") else f"eval_{shown}"] = value
    return found if trained.best is None else {**found, "best_step": trained.best}


def _kept(history: Sequence[Mapping[str, float]], settings: Settings, trained: Trained) -> dict[str, float]:
    """The figures of the validation of the weights that are kept."""
    step = trained.best if settings.keep == "best" else trained.last_step
    looks = [entry for entry in history if "val_loss" in entry and entry["step"] == step]
    return {name: value for name, value in looks[-1].items() if name != "step"} if looks else {}
