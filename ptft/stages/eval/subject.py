"""What is evaluated: a model on rows in one way, or the predictions of another tool."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from ptft.core import record
from ptft.core.batches import room_for
from ptft.core.contracts import Inputs
from ptft.core.errors import InputError, UsageError
from ptft.core.examples import Shape
from ptft.core.formats import read_rows
from ptft.core.metrics import names
from ptft.core.models import Loaded, count_parameters
from ptft.core.progress import Progress
from ptft.core.rows import Rejected, Row
from ptft.core.scoring import dtype_here
from ptft.stages.eval import given
from ptft.stages.eval.recipe import EvalRecipe
from ptft.stages.eval.tasks import metrics_for, shape_for
from ptft.stages.eval.way import Way

if TYPE_CHECKING:
    from ptft.stages.eval.task.model import Task


@dataclass(frozen=True)
class Subject:
    """rows: read anew. shape: that every row must have, where the way does not judge by itself. model, settings: for scores.json.

    by: fields to slice by where the recipe names none.
    """

    way: Way
    metrics: tuple[str, ...]
    rows: Callable[[], Iterator[Row | Rejected]]
    task: str
    shape: Shape | None = None
    model: dict[str, Any] | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    by: tuple[str, ...] = ()


# ---------------------------------------------------------------- predictions of another tool


def given_subject(recipe: EvalRecipe, inputs: Inputs, progress: Progress) -> Subject:
    """Predictions as they are, with the references of --references where there are any."""
    sources = inputs.rows["predictions"]

    def rows() -> Iterator[Row | Rejected]:
        read = read_rows(sources, columns=recipe.columns)
        if "references" not in inputs.rows:
            return read
        sides = [list(read), list(read_rows(inputs.rows["references"], columns=recipe.columns))]
        if bad := [item for side in sides for item in side if isinstance(item, Rejected)]:
            remedy = "mend it: what belongs to it in the other file would be taken for another's"
            raise InputError(bad[0].reason, where=f"{bad[0].source}:{bad[0].line}", remedy=remedy)
        return given.joined(*([item for item in side if isinstance(item, Row)] for side in sides))

    asked = names.expand(recipe.metrics)
    kind = given.kind_of(rows(), asked, recipe.kind, _stored_kind(sources[0].path))
    metrics = metrics_for(recipe, kind)
    progress.note(f"{', '.join(source.name for source in sources)}: {kind}; {names.listed(metrics)}")
    return Subject(given.Given(kind, metrics), metrics, rows, f"given {kind}")


def _stored_kind(path: Path) -> str | None:
    """Of predictions that `ptft eval` wrote, the kind that the scores beside them name."""
    try:
        found = orjson.loads((path.parent / "scores.json").read_bytes())
        return str(found["kind"]) if path.name == "predictions.jsonl" else None
    except (OSError, orjson.JSONDecodeError, KeyError, TypeError):
        return None


# ---------------------------------------------------------------- a model


def model_subject(recipe: EvalRecipe, inputs: Inputs, progress: Progress) -> Subject:
    """A model on rows, or on a task."""
    from ptft.core.models import load

    folder = inputs.folders["model"]
    loaded = load(folder, dtype=dtype_here(folder) if recipe.dtype == "auto" else recipe.dtype)
    if recipe.max_seq_len > loaded.seq_len:
        progress.warn(f"the model takes {loaded.seq_len:,} tokens, not {recipe.max_seq_len:,} (max_seq_len)")
    if loaded.runtime and loaded.runtime.note:
        progress.warn(loaded.runtime.note)
    if recipe.task:
        return _on_task(loaded, recipe, inputs, progress)
    shape = shape_for(loaded, inputs.data, recipe)
    way, metrics = _way(loaded, shape, recipe, progress)
    progress.note(f"{loaded.kind} model, {shape.name} rows: {names.listed(metrics)}")
    return Subject(
        way, metrics, lambda: read_rows(inputs.data, columns=recipe.columns), way.kind, shape, described(loaded),
        _settings(loaded, recipe),
    )  # fmt: skip


def _way(loaded: Loaded, shape: Shape, recipe: EvalRecipe, progress: Progress) -> tuple[Way, tuple[str, ...]]:
    """How a model is measured on rows of a shape, and by what."""
    from ptft.stages.eval.ways.classify import Classify
    from ptft.stages.eval.ways.span import Extract
    from ptft.stages.eval.ways.tags import Tag

    heads: dict[str, Callable[..., Way]] = {"classifier": Classify, "tagger": Tag, "span": Extract}
    if shape.name != "text" and loaded.kind not in heads:
        return _answers(loaded, shape, recipe, progress)
    if loaded.kind not in heads:
        from ptft.stages.eval.ways.language import Language

        heads[loaded.kind] = Language
    way = heads[loaded.kind](loaded, recipe)
    return way, metrics_for(recipe, way.kind)


def _answers(loaded: Loaded, shape: Shape, recipe: EvalRecipe, progress: Progress) -> tuple[Way, tuple[str, ...]]:
    from ptft.stages.eval.prompts import prompts_for
    from ptft.stages.eval.ways.answers import Answers, kind_of

    prompts = prompts_for(loaded, shape, progress, recipe.chat)
    metrics = metrics_for(recipe, kind_of(loaded, prompts))
    return Answers(loaded, prompts, recipe, metrics), metrics


# ---------------------------------------------------------------- a task


def _on_task(loaded: Loaded, recipe: EvalRecipe, inputs: Inputs, progress: Progress) -> Subject:
    """What a task file asks: of rows, or of those that a probe makes itself."""
    from ptft.stages.eval.probes.file import is_probe
    from ptft.stages.eval.probes.ways import probe_for
    from ptft.stages.eval.task.file import read

    model, settings = described(loaded), _settings(loaded, recipe)
    if is_probe(recipe.task):
        probe = probe_for(recipe.task, loaded, recipe)
        return Subject(probe.way, probe.metrics, lambda: iter(probe.rows), probe.name, None, model, settings, probe.by)
    task = read(recipe.task)
    if not inputs.data:
        raise UsageError(
            f"the task {task.name} names no data", remedy="name the rows: ptft eval MODEL DATA --task FILE"
        )
    recipe = replace(recipe, decoding=task.decoding(recipe.decoding))
    way, metrics = _way_of_task(loaded, task, recipe, inputs)
    progress.note(f"{task.name}: {task.kind}, {names.listed(metrics)}")
    for note in task.notes if task.kind == "generate" else ():  # other ways say them at the end
        progress.warn(note)
    return Subject(
        way, metrics, lambda: read_rows(inputs.data, columns=recipe.columns), task.name, None, model, settings
    )


def _way_of_task(loaded: Loaded, task: Task, recipe: EvalRecipe, inputs: Inputs) -> tuple[Way, tuple[str, ...]]:
    from ptft.stages.eval.task.prompts import TaskPrompts
    from ptft.stages.eval.ways.answers import Answers, kind_of
    from ptft.stages.eval.ways.choices import Choices
    from ptft.stages.eval.ways.language import Language

    sources = inputs.data if task.needs_data else inputs.rows.get("shots", ())
    shots = [row for row in read_rows(sources, columns=recipe.columns) if isinstance(row, Row)] if sources else []
    if task.kind == "generate":
        prompts = TaskPrompts.of_task(loaded, task, recipe, shots)
        metrics = metrics_for(recipe, kind_of(loaded, prompts), task.metrics)
        return Answers(loaded, prompts, recipe, metrics), metrics
    way = Language(loaded, recipe, task) if task.kind == "likelihood" else Choices(loaded, task, recipe, shots)
    return way, metrics_for(recipe, way.kind, task.metrics)


def _settings(loaded: Loaded, recipe: EvalRecipe) -> dict[str, Any]:
    """tokens_a_pass: the budget that automatic batches begin with."""
    dtype = str(getattr(loaded.model, "dtype", "")).removeprefix("torch.")
    if recipe.batch_size:
        return {"dtype": dtype, "batch_size": recipe.batch_size}
    return {"dtype": dtype, "batch_size": "auto", "tokens_a_pass": room_for(loaded.model).tokens}


def described(loaded: Loaded) -> dict[str, Any]:
    """The model without its place, so that equal results are equal files."""
    made_by = record.made(loaded.folder if loaded.folder.is_dir() else loaded.folder.parent)
    return {
        "name": loaded.folder.name, "kind": loaded.kind, "run": made_by.run if made_by else None,
        "parameters": count_parameters(loaded.model)[0], **(loaded.runtime.facts() if loaded.runtime else {}),
    }  # fmt: skip
