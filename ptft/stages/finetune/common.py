"""What the three purposes share: the base, the method, the settings, and how the result is saved."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from ptft.core import models
from ptft.core.contracts import Inputs, Output, Plan
from ptft.core.errors import InputError
from ptft.core.examples import Shape, detect, misshapen
from ptft.core.files import Source
from ptft.core.formats import read_rows
from ptft.core.models import Loaded
from ptft.core.progress import Progress
from ptft.core.rows import Rejected, RejectLog, Row, accepted
from ptft.core.sample import estimate_text
from ptft.core.training import Settings, Trained, pad_batch
from ptft.core.weights import is_quantised
from ptft.stages.finetune.recipe import FinetuneRecipe

ADAPTER = "adapter_config.json"
LORA_FACTOR = 10.0  # LoRA learns best at about ten times the rate of full fine-tuning
FULL_FACTOR = 0.1  # of the rate for training from scratch


def load_base(inputs: Inputs, recipe: FinetuneRecipe) -> Loaded:
    """The checkpoint to start from. An adapter is merged into its base first; adapters are not stacked."""
    folder = inputs.folders["model"]
    refuse_quantised(folder)
    loaded = models.load(folder, dtype="float32")
    if (folder / ADAPTER).is_file():
        if recipe.method == "lora":
            remedy = "train on with --method full, or start from the adapter's base"
            raise InputError("the base is itself an adapter", where=str(folder), remedy=remedy)
        loaded = models.merged(loaded)
    return loaded


def refuse_quantised(folder: Path) -> None:
    if is_quantised(folder):
        remedy = "fine-tune the checkpoint it was exported from, and export the result"
        raise InputError("the base is quantised: its weights cannot be trained", where=str(folder), remedy=remedy)


def read_shaped(
    sources: Iterable[Source], wanted: tuple[str, ...], columns: dict[str, str], log: RejectLog
) -> tuple[list[Row], Shape]:
    """All rows of one of the wanted shapes; misshapen ones go to the log."""
    sources = tuple(sources)
    shape = detect((row for row in read_rows(sources, columns=columns) if isinstance(row, Row)), wanted)
    rows = (
        misshapen(item, shape) or _empty(item, shape) or item if isinstance(item, Row) else item
        for item in read_rows(sources, columns=columns)
    )
    return list(accepted(rows, log)), shape


def _empty(row: Row, shape: Shape) -> Rejected | None:
    if "label" in shape.needs and not row.data["text"].strip():
        return Rejected(row.source, row.line, "an empty text", str(row.data)[:500])
    return None


def seq_len_of(recipe: FinetuneRecipe, loaded: Loaded) -> int:
    return min(recipe.max_seq_len or loaded.seq_len, loaded.seq_len)


def attach(recipe: FinetuneRecipe, model: Any, kind: str, base: Path) -> Any:
    """The model with what is to be trained: itself, or LoRA on its every linear layer (a classifier's head is trained whole)."""
    import transformers

    transformers.set_seed(recipe.seed)
    if recipe.method == "full":
        return model
    from peft import LoraConfig, TaskType, get_peft_model

    task = {"causal": TaskType.CAUSAL_LM, "classifier": TaskType.SEQ_CLS}.get(kind)
    config = LoraConfig(
        r=recipe.lora.rank,
        lora_alpha=recipe.lora.alpha,
        lora_dropout=recipe.lora.dropout,
        target_modules="all-linear",
        task_type=task,
    )
    model.name_or_path = str(base.resolve())
    model.config._name_or_path = model.name_or_path
    return get_peft_model(model, config)


def settings_for(recipe: FinetuneRecipe, model: Any, rows: int, length: int, progress: Progress) -> Settings:
    from ptft.core.training import Schedule, micro_batch_of, precision_of

    steps = max(1, round(recipe.epochs * rows / recipe.batch_size))
    rate = models.default_lr(model) * FULL_FACTOR * (LORA_FACTOR if recipe.method == "lora" else 1.0)
    return Settings(
        steps=steps, batch=recipe.batch_size, micro_batch=micro_batch_of(recipe.batch_size, recipe.micro_batch, length),
        lr=recipe.lr or rate, schedule=Schedule(recipe.schedule, steps, round(recipe.warmup * steps)),
        weight_decay=recipe.weight_decay, clip=recipe.clip, beta2=0.999, precision=precision_of(recipe.precision, progress),
        save_every=recipe.save_every, eval_every=max(1, steps), seed=recipe.seed, knobs="",
    )  # fmt: skip


def collate_with(tokenizer: Any) -> Callable[[Any], Any]:
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
    return lambda examples: pad_batch(examples, pad or 0)


def save(recipe: FinetuneRecipe, model: Any, tokenizer: Any, out: Output) -> None:
    """A checkpoint folder, or an adapter folder that names its base."""
    from ptft.core.training.logs import publish

    models.save(model, tokenizer, out.new)
    (out.new / "README.md").unlink(missing_ok=True)  # peft's empty model card
    if (out.new / ADAPTER).exists():
        _edit_adapter(out.new / ADAPTER)
    publish(out.state, out.new)


def save_head_base(base_model: Any, tokenizer: Any, labels: tuple[str, ...], out: Output) -> None:
    """Beside a classifier's adapter: the base with its untrained head and label names, which an adapter cannot carry."""
    folder = out.new / models.HEAD_BASE
    models.save(base_model, tokenizer, folder)
    _edit_adapter(out.new / ADAPTER, base_model_name_or_path=models.HEAD_BASE)


def _edit_adapter(path: Path, **changes: Any) -> None:
    """peft writes sets in whatever order they come: the same adapter would be other bytes each time."""
    data = {**json.loads(path.read_text(encoding="utf-8")), **changes}
    for name in ("target_modules", "modules_to_save"):
        if isinstance(data.get(name), list):
            data[name] = sorted(data[name])
    path.write_text(json.dumps(data, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def training_counts(model: Any, settings: Settings) -> dict[str, Any]:
    parameters, trainable = models.count_parameters(model)
    return {"parameters": parameters, "trainable": trainable, "steps": settings.steps}


def training_metrics(trained: Trained, settings: Settings) -> dict[str, Any]:
    losses = [entry["loss"] for entry in trained.history if "loss" in entry]
    return {"loss_first": losses[0], "loss_last": losses[-1], "lr": settings.lr} if losses else {"lr": settings.lr}


def announce(model: Any, method: str, rows: int, settings: Settings, progress: Progress) -> None:
    parameters, trainable = models.count_parameters(model)
    share = trainable / max(parameters, 1)
    progress.note(
        f"{method}: {trainable:,} of {parameters:,} parameters train ({share:.1%}); {rows:,} rows, {settings.steps:,} steps"
    )


def plan_for(
    recipe: FinetuneRecipe,
    inputs: Inputs,
    shapes: tuple[str, ...],
    used: Callable[[list[Row]], list[Row]] = lambda rows: rows,
) -> Plan:
    """What a dry run says. shapes: of examples; none for plain text. used: which of the rows are learnt from."""
    base = load_base(inputs, recipe)
    parameters, _ = models.count_parameters(base.model)
    lines: list[tuple[str, object]] = [
        ("base", f"{base.model.config.model_type}, {base.kind}"),
        ("parameters", parameters),
    ]
    if shapes:
        read = [row for row in read_rows(inputs.data, columns=dict(recipe.columns)) if isinstance(row, Row)]
        shape = detect(read, shapes)
        rows = len(used([row for row in read if not misshapen(row, shape)]))
        lines += [
            ("shape", shape.name),
            ("rows", rows),
            ("steps", max(1, round(recipe.epochs * rows / recipe.batch_size))),
        ]
    else:
        guess = estimate_text(inputs.data, dict(recipe.columns))
        lines += [("documents (estimate)", guess.rows), ("text bytes (estimate)", guess.bytes)]
    trained = parameters if recipe.method == "full" else 0
    states = 12 * trained  # gradients and AdamW's two moments, fp32
    lines += [
        ("method", recipe.method),
        ("sequence length", seq_len_of(recipe, base)),
        ("memory for weights, gradients, AdamW (fp32)", f"{(4 * parameters + states) / 2**20:,.0f} MiB"),
    ]
    return Plan(tuple(lines))
