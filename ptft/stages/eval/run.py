"""`ptft eval`: a model on data, or a predictions file, to scores."""

from __future__ import annotations

from functools import partial
from itertools import islice
from typing import Any

from ptft.core import record
from ptft.core.contracts import Inputs, Output, Plan, Result
from ptft.core.errors import UsageError
from ptft.core.examples import detect
from ptft.core.files import write_json
from ptft.core.formats import read_rows
from ptft.core.metrics import names
from ptft.core.models import Loaded, count_parameters
from ptft.core.progress import Progress, table_of
from ptft.core.rows import RejectLog, Row, RowWriter
from ptft.core.scoring import dtype_here
from ptft.core.weights import tensors
from ptft.stages.eval import answers, classify, given, language, protected, span, tags
from ptft.stages.eval.prompts import prompts_for
from ptft.stages.eval.recipe import EvalRecipe
from ptft.stages.eval.tasks import (
    SHAPES_FOR,
    Measured,
    Task,
    chosen,
    gates,
    good_rows,
    shape_for,
    task_for,
)

BYTES_A_TOKEN = 3.5  # a rough guess, for --dry-run only
COUNTED = 100_000  # rows that --dry-run reads at most


def run(recipe: EvalRecipe, inputs: Inputs, out: Output, progress: Progress) -> Result:
    """Measure; write scores.json and predictions.jsonl."""
    _require_inputs(inputs)
    log = RejectLog(out.new / "rejected.jsonl", recipe.max_bad_rows)
    with RowWriter(out.new / "predictions.jsonl") as writer:
        if "predictions" in inputs.rows:
            task, measured, facts = _given(recipe, inputs, log, writer)
        else:
            task, measured, facts = _model(recipe, inputs, log, writer, progress)
    scores = {
        "metrics": measured.scores, "n": measured.rows, "rejected": log.bad, "task": task.name, **facts,
        "settings": {**measured.settings, "bootstrap": recipe.bootstrap, "limit": recipe.limit},
    }  # fmt: skip
    write_json(out.new / "scores.json", scores)
    _show(measured, progress)
    return Result(
        counts={"rows": measured.rows, "rejected": log.bad},
        metrics={name: score["score"] for name, score in measured.scores.items()},
        gates=gates(recipe, measured.scores),
    )


def _require_inputs(inputs: Inputs) -> None:
    if "predictions" in inputs.rows:
        if inputs.folders or inputs.data:
            remedy = "leave out MODEL and DATA, or leave out -p"
            raise UsageError("-p scores a file of predictions: no model is run", remedy=remedy)
    elif "model" not in inputs.folders or not inputs.data:
        remedy = "ptft eval MODEL DATA... -o DIR, or ptft eval -p predictions.jsonl -o DIR"
        raise UsageError("nothing to measure: name a model and data, or predictions", remedy=remedy)


def _given(
    recipe: EvalRecipe, inputs: Inputs, log: RejectLog, writer: RowWriter
) -> tuple[Task, Measured, dict[str, Any]]:
    sources = inputs.rows["predictions"]
    detect((row for row in read_rows(sources, columns=recipe.columns) if isinstance(row, Row)), (given.SHAPE.name,))
    rows = list(good_rows(sources, given.SHAPE, given.given_problem, log, recipe))
    task = given.task_of(rows, names.expand(recipe.metrics))
    measured = given.measure(rows, chosen(recipe, task), recipe, writer)
    return task, measured, {"shape": given.SHAPE.name, "model": None}


def _model(
    recipe: EvalRecipe, inputs: Inputs, log: RejectLog, writer: RowWriter, progress: Progress
) -> tuple[Task, Measured, dict[str, Any]]:
    from ptft.core.models import load

    folder = inputs.folders["model"]
    if unprotected := protected.warning(folder, inputs.data):
        progress.warn(unprotected)
    loaded = load(folder, dtype=dtype_here(folder))
    shape = shape_for(loaded, inputs.data, recipe)
    task = task_for(loaded, shape)
    metrics = chosen(recipe, task)
    progress.note(f"{loaded.kind} model, {shape.name} rows: {names.listed(metrics)}")
    rows = partial(good_rows, inputs.data, shape, log=log, recipe=recipe)
    rest = metrics, recipe, writer, progress
    if loaded.kind == "classifier":
        measured = classify.measure(loaded, rows(problem=partial(classify.row_problem, loaded)), *rest)
    elif loaded.kind == "tagger":
        measured = tags.measure(loaded, rows(problem=partial(tags.problem, loaded)), *rest)
    elif loaded.kind == "span":
        measured = span.measure(loaded, rows(problem=span.problem), *rest)
    elif shape.name == "text":
        measured = language.measure(loaded, rows(problem=language.text_problem), *rest)
    else:
        prompts = prompts_for(loaded, shape, progress)
        measured = answers.measure(loaded, prompts, rows(problem=prompts.problem), *rest)
    return task, measured, {"shape": shape.name, "model": _described(loaded)}


def _described(loaded: Loaded) -> dict[str, Any]:
    """The model without its place, so that equal results are equal files."""
    made_by = record.read(loaded.folder)
    return {
        "name": loaded.folder.name, "kind": loaded.kind, "run": made_by.run if made_by else None,
        "parameters": count_parameters(loaded.model)[0],
    }  # fmt: skip


def _show(measured: Measured, progress: Progress) -> None:
    rows = []
    for name, score in measured.scores.items():
        interval = score["ci95"]
        rows.append((name, score["score"], f"{interval[0]:.4g} - {interval[1]:.4g}" if interval else None))
    progress.table(table_of(f"scores of {measured.rows:,} rows", ("metric", "score", "95 % interval"), rows))


def plan(recipe: EvalRecipe, inputs: Inputs, progress: Progress) -> Plan:
    """Rows, their bytes, the model's parameters, and the arithmetic of one pass; the model itself is not loaded."""
    _require_inputs(inputs)
    sources = inputs.rows.get("predictions") or inputs.data
    kept = [row for row in islice(read_rows(sources, columns=recipe.columns), COUNTED) if isinstance(row, Row)]
    kept = kept[: recipe.limit or None]
    wanted = (given.SHAPE.name,) if "predictions" in inputs.rows else _known_shapes()
    shape = detect(iter(kept), wanted)
    size = sum(len(value.encode()) for row in kept for value in _strings(row.data))
    more = " (at least)" if len(kept) == COUNTED else ""
    lines: list[tuple[str, object]] = [("shape", shape.name), (f"rows{more}", len(kept)), (f"text bytes{more}", size)]
    if "model" in inputs.folders:
        parameters = sum(tensor.count for tensor in tensors(inputs.folders["model"]))
        tokens = int(size / BYTES_A_TOKEN)
        lines += [
            ("parameters", parameters),
            ("tokens (estimate)", tokens),
            ("FLOPs (estimate)", float(2 * parameters * tokens)),
        ]
    return Plan(tuple(lines))


def _known_shapes() -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for shapes in SHAPES_FOR.values() for name in shapes))


def _strings(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    nested = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [text for item in nested for text in _strings(item)]
