"""`ptft finetune task`: a checkpoint to a model for one task."""

from __future__ import annotations

from types import ModuleType

from ptft.core.contracts import Inputs, Output, Plan, Result
from ptft.core.errors import UsageError
from ptft.core.examples import Shape, sample_per_label
from ptft.core.progress import Progress
from ptft.core.rows import RejectLog, Row
from ptft.stages.finetune.base import base_of
from ptft.stages.finetune.learning import finetuned
from ptft.stages.finetune.planning import plan_rows
from ptft.stages.finetune.purpose import Prepared
from ptft.stages.finetune.recipe import TaskRecipe
from ptft.stages.finetune.rows import divided, read_held_out, read_shaped
from ptft.stages.finetune.task import classification
from ptft.stages.finetune.task.given import Given, Part

SMALLEST_DIVIDED = 200  # rows; fewer are all learnt from
# The module of each task: its SHAPES of rows, and `prepare(given) -> Prepared`
TASKS: dict[str, ModuleType] = {"classification": classification}


def run(recipe: TaskRecipe, inputs: Inputs, out: Output, progress: Progress) -> Result:
    return finetuned(prepare(recipe, inputs, out, progress), out, progress)


def plan(recipe: TaskRecipe, inputs: Inputs, progress: Progress) -> Plan:
    def used(rows: list[Row]) -> list[Row]:
        return sample_per_label(rows, recipe.per_label, recipe.seed) if recipe.per_label else rows

    return plan_rows(recipe, inputs, _shapes(recipe), used)


def prepare(recipe: TaskRecipe, inputs: Inputs, out: Output, progress: Progress) -> Prepared:
    log = RejectLog(out.new / "rejected.jsonl", recipe.max_bad_rows)
    base = base_of(recipe, inputs, out)
    base.tokenizer.save_pretrained(out.state / "tokenizer")
    rows, shape = read_shaped(inputs.data, _shapes(recipe), dict(recipe.columns), log)
    task = TASKS[task_of(recipe, shape, rows)]
    held = read_held_out(inputs, task.SHAPES, dict(recipe.columns), log)
    few = sample_per_label(rows, recipe.per_label, recipe.seed) if recipe.per_label else rows
    if held is None:
        share = recipe.val if recipe.val != "auto" else 0.1 if len(few) >= SMALLEST_DIVIDED else 0.0
        few, kept = divided(few, share, recipe.seed)
        held = kept, shape
    made: Prepared = task.prepare(
        Given(
            recipe, base, Part(few, shape), Part(*held), Part(rows, shape), base.length(recipe), log.bad, out, progress
        )
    )
    return made


def _shapes(recipe: TaskRecipe) -> tuple[str, ...]:
    chosen = TASKS.values() if recipe.task == "auto" else [TASKS[recipe.task]]
    return tuple(dict.fromkeys(shape for task in chosen for shape in task.SHAPES))


def task_of(recipe: TaskRecipe, shape: Shape, rows: list[Row]) -> str:
    """The task that is asked for, or that follows from the rows."""
    if recipe.task != "auto":
        return recipe.task
    fitting = [name for name, task in TASKS.items() if shape.name in task.SHAPES]
    if not fitting:
        raise UsageError(f"no task learns from {shape.name} rows", remedy="name one with --task")
    return fitting[0]
