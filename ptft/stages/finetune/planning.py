"""What `ptft finetune ... --dry-run` says: what would learn, how long, and the memory it takes; no weight is read."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

from ptft.core import hardware, models
from ptft.core.contracts import Inputs, Plan
from ptft.core.examples import detect, misshapen, row_text
from ptft.core.formats import read_rows
from ptft.core.progress import Silent
from ptft.core.rows import Row
from ptft.core.sample import estimate_text
from ptft.core.training import micro_batch_of, precision_of
from ptft.core.training.cost import Load, Memory, flops_per_token, sizes_of
from ptft.core.training.passes import Passes
from ptft.stages.finetune.base import Base, base_of
from ptft.stages.finetune.learning import steps_of
from ptft.stages.finetune.memory import estimated_memory
from ptft.stages.finetune.methods import default_lr, skeleton
from ptft.stages.finetune.recipe import FinetuneRecipe

Lines = list[tuple[str, object]]
SAMPLED = 500  # rows whose tokens are counted
UTILISATION = 0.4  # of the peak, as `ptft pretrain --dry-run` takes where it times no step


def plan_text(recipe: FinetuneRecipe, inputs: Inputs) -> Plan:
    """Of unlabelled text: sequences are full."""
    base = base_of(recipe, inputs, None)
    guess = estimate_text(inputs.data, dict(recipe.columns))
    length = base.length(recipe)
    tokens = guess.tokens(lambda texts: sum(map(len, base.tokenizer(texts, add_special_tokens=False)["input_ids"])))
    sequences = max(1, round(tokens / length))
    lines: Lines = [
        ("documents (estimate)", guess.rows), ("text bytes (estimate)", guess.bytes), ("tokens (estimate)", round(tokens)),
    ]  # fmt: skip
    return Plan((*_base_lines(base), *lines, *_cost_lines(recipe, base, sequences, length, "even")))


def plan_rows(
    recipe: FinetuneRecipe,
    inputs: Inputs,
    shapes: tuple[str, ...],
    used: Callable[[list[Row]], list[Row]] = lambda rows: rows,
) -> Plan:
    """Of examples in one of the shapes. used: which of the rows are learnt from."""
    base = base_of(recipe, inputs, None)
    found, names = _shaped(recipe, inputs, shapes)
    rows = used(found)
    length = _mean_length(base, rows, base.length(recipe))
    lines: Lines = [("shape", ", ".join(names)), ("rows", len(rows)), ("tokens a row (estimate)", length)]
    return Plan((*_base_lines(base), *lines, *_cost_lines(recipe, base, len(rows), length, "padded")))


def _shaped(recipe: FinetuneRecipe, inputs: Inputs, shapes: tuple[str, ...]) -> tuple[list[Row], list[str]]:
    """The rows that can be used, and the shapes they come in: each file has one."""
    rows: list[Row] = []
    names: list[str] = []
    for source in inputs.data:
        read = [row for row in read_rows((source,), columns=dict(recipe.columns)) if isinstance(row, Row)]
        if read:
            shape = detect(read, shapes)
            rows += [row for row in read if not misshapen(row, shape)]
            names.append(shape.name)
    if not names:
        detect((), shapes)  # raises: no rows
    return rows, list(dict.fromkeys(names))


def _mean_length(base: Base, rows: Sequence[Row], most: int) -> int:
    texts = [row_text(row.data) for row in rows[:: max(1, len(rows) // SAMPLED)]]
    counted = [min(len(ids), most) for ids in base.tokenizer(texts)["input_ids"]] if texts else [most]
    return max(1, round(sum(counted) / len(counted)))


def _base_lines(base: Base) -> Lines:
    return [("base", f"{base.config.model_type}, {base.kind}")]


def _cost_lines(recipe: FinetuneRecipe, base: Base, rows: int, length: int, passes: Passes) -> Lines:
    """A new head's parameters are not counted: its size follows from the labels."""
    import torch

    with torch.device("meta"):
        plain = models.auto_class(base.kind).from_config(copy.deepcopy(base.config))
        sizes = sizes_of(plain)
        model = skeleton(recipe, copy.deepcopy(plain), base.kind)
    _, trainable = models.count_parameters(model)
    load = _load(recipe, length, passes)
    steps = steps_of(recipe, rows, recipe.batch_size)
    work = _work_share(recipe) * flops_per_token(base.config, length, 1.0, sizes) * steps * recipe.batch_size * length
    seconds = work / (hardware.measured_peak(load.precision) * UTILISATION * load.nproc)
    return [
        ("parameters", sizes.parameters), ("method", recipe.method), ("trainable parameters", trainable),
        ("share of the model", f"{trainable / max(1, sizes.parameters):.2%}"),
        ("learning rate", recipe.lr or default_lr(recipe.method, plain)), ("steps", steps),
        *_memory_lines(estimated_memory(recipe, plain, load, trainable), load), ("FLOPs", f"{work:.2e}"),
        ("time on this device", f"{hardware.shown_seconds(seconds)} at {UTILISATION:.0%} of its peak"),
    ]  # fmt: skip


def _work_share(recipe: FinetuneRecipe) -> float:
    """Of the products of full training: a frozen weight needs no gradient of its own, a third of them."""
    return 1.0 if recipe.method == "full" else 2 / 3


def _load(recipe: FinetuneRecipe, length: int, passes: Passes) -> Load:
    wanted = recipe.hardware
    return Load(
        micro_batch_of(recipe.batch_size, wanted.micro_batch, length, recipe.nproc, passes), length,
        precision_of(recipe.precision, Silent()), "adamw", wanted.checkpointing, wanted.loss == "chunked", 1.0,
        recipe.nproc, wanted.parallel, models.device().type,
    )  # fmt: skip


def _memory_lines(memory: Memory | None, load: Load) -> Lines:
    if memory is None:
        return []
    return [
        ("rows a pass", load.micro_batch), (f"memory ({load.precision}, at most)", hardware.shown_bytes(memory.total)),
        *((f"  {name}", hardware.shown_bytes(getattr(memory, name))) for name in ("weights", "gradients", "optimizer", "activations", "logits")),
    ]  # fmt: skip
