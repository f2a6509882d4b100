"""`ptft finetune task`: a checkpoint to a model for one task."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

from ptft.core.contracts import Inputs, Output, Plan, Result
from ptft.core.errors import InputError, UsageError
from ptft.core.examples import Shape, detect, sample_per_label
from ptft.core.progress import Progress
from ptft.core.rows import RejectLog, Row
from ptft.stages.finetune.base import base_of
from ptft.stages.finetune.learning import finetuned
from ptft.stages.finetune.planning import plan_rows
from ptft.stages.finetune.purpose import Prepared
from ptft.stages.finetune.recipe import TaskRecipe
from ptft.stages.finetune.rows import divided, read_held_out, read_shaped
from ptft.stages.finetune.task import classification, multi_label, regression, span, tags, text_to_text
from ptft.stages.finetune.task.given import Given, Part, good

SMALLEST_DIVIDED = 200  # rows; fewer are all learnt from
# The module of each task: its SHAPES of rows, and `prepare(given) -> Prepared`; perhaps `problem(row)`, why a row is refused
TASKS: dict[str, ModuleType] = {
    "classification": classification,
    "multi-label": multi_label,
    "regression": regression,
    "tags": tags,
    "span": span,
    "text-to-text": text_to_text,
}
WEIGHED = ("classification", "multi-label", "tags")  # tasks that class_weights is for


def run(recipe: TaskRecipe, inputs: Inputs, out: Output, progress: Progress) -> Result:
    return finetuned(prepare(recipe, inputs, out, progress), out, progress)


def plan(recipe: TaskRecipe, inputs: Inputs, progress: Progress) -> Plan:
    def used(rows: list[Row]) -> list[Row]:
        name = task_of(recipe, detect(rows, _shapes(recipe)), rows)
        _refuse_idle(recipe, name)
        return _few(recipe, [row for row in rows if not _problem_of(TASKS[name])(row)])

    return plan_rows(recipe, inputs, _shapes(recipe), used)


def prepare(recipe: TaskRecipe, inputs: Inputs, out: Output, progress: Progress) -> Prepared:
    """The rows read, refused or kept, divided, and made ready by the task's own module."""
    log = RejectLog(out.new / "rejected.jsonl", recipe.max_bad_rows)
    base = base_of(recipe, inputs, out)
    base.tokenizer.save_pretrained(out.state / "tokenizer")
    rows, shape = read_shaped(inputs.data, _shapes(recipe), dict(recipe.columns), log)
    name = task_of(recipe, shape, rows)
    _refuse_idle(recipe, name)
    task = TASKS[name]
    if name != "text-to-text":
        base.tokenizer.model_max_length = base.length(recipe)  # what loads the result cuts texts where training did
    rows = good(rows, _problem_of(task), log)
    held = read_held_out(inputs, task.SHAPES, dict(recipe.columns), log)
    few = _few(recipe, rows)
    if held is None:
        share = recipe.val if recipe.val != "auto" else 0.1 if len(few) >= SMALLEST_DIVIDED else 0.0
        few, kept = divided(few, share, recipe.seed)
        held = kept, shape
    if not few:
        remedy = "hold out fewer (--set val=0.1), or see rejected.jsonl for what was wrong with the rows"
        raise InputError("no rows are left to learn from", remedy=remedy)
    progress.note(_named(name, rows, shape))
    val = Part(good(held[0], _problem_of(task), log), held[1])
    made: Prepared = task.prepare(
        Given(recipe, base, Part(few, shape), val, Part(rows, shape), base.length(recipe), log, out, progress)
    )
    return made


def _named(task: str, rows: list[Row], shape: Shape) -> str:
    """What is learnt, in words; labels that are all numbers may have been meant as such."""
    said = f"{shape.name} rows: {task}"
    if task != "classification":
        return said
    labels = {row.data["label"] for row in rows}
    numbers = all(isinstance(label, int | float) and not isinstance(label, bool) for label in labels)
    return f"{said} of {len(labels):,} labels" + ("; --task regression learns them as numbers" if numbers else "")


def _few(recipe: TaskRecipe, rows: list[Row]) -> list[Row]:
    return sample_per_label(rows, recipe.per_label, recipe.seed) if recipe.per_label else rows


def _shapes(recipe: TaskRecipe) -> tuple[str, ...]:
    chosen = TASKS.values() if recipe.task == "auto" else [TASKS[recipe.task]]
    return tuple(dict.fromkeys(shape for task in chosen for shape in task.SHAPES))


def task_of(recipe: TaskRecipe, shape: Shape, rows: list[Row]) -> str:
    """The task that is asked for, or that follows from the rows: labels that are numbers with a fraction are regression."""
    if recipe.task != "auto":
        return recipe.task
    fitting = [name for name, task in TASKS.items() if shape.name in task.SHAPES]
    if not fitting:
        raise UsageError(f"no task learns from {shape.name} rows", remedy="name one with --task")
    return "regression" if "regression" in fitting and regression.are_numbers(rows) else fitting[0]


def _problem_of(task: ModuleType) -> Callable[[Row], str | None]:
    found: Callable[[Row], str | None] = getattr(task, "problem", lambda row: None)
    return found


def _refuse_idle(recipe: TaskRecipe, task: str) -> None:
    """Raise `UsageError` where a knob was turned that does nothing for this task."""
    if recipe.per_label and task != "classification":
        raise _idle("per_label", f"the task is {task}")
    for knob, idle, owner in (
        ("prefix", bool(recipe.prefix), "text-to-text"), ("max_target_len", bool(recipe.max_target_len), "text-to-text"),
        ("stride", recipe.stride != TaskRecipe.stride, "span"),
    ):  # fmt: skip
        if idle and task != owner:
            raise _idle(knob, f"the task is {task}")
    if recipe.class_weights != "none" and task not in WEIGHED:
        raise _idle("class_weights", f"the task is {task}")


def _idle(knob: str, why: str) -> UsageError:
    return UsageError(f"{knob} does nothing here: {why}", remedy=f"leave out {knob}")
