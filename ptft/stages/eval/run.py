"""`ptft eval`: a model on data, or a predictions file, to scores."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from typing import Any

from ptft.core import record
from ptft.core.contracts import Inputs, Output, Plan, Result
from ptft.core.errors import InputError, UsageError
from ptft.core.examples import detect
from ptft.core.files import Source, hash_file, write_json
from ptft.core.formats import read_rows
from ptft.core.metrics import kinds, names
from ptft.core.metrics.kinds import Options
from ptft.core.metrics.measure import Measure, scores
from ptft.core.progress import Progress
from ptft.core.results import Stored
from ptft.core.rows import RejectLog, Row, RowWriter
from ptft.core.weights import tensors
from ptft.stages.eval import overlap, slices
from ptft.stages.eval.comparing import compared, require_comparable
from ptft.stages.eval.page import document, markdown, terminal
from ptft.stages.eval.page.document import Facts
from ptft.stages.eval.predict import predictions_of, repeated
from ptft.stages.eval.recipe import EvalRecipe
from ptft.stages.eval.subject import Subject, given_subject, model_subject
from ptft.stages.eval.tasks import SHAPES_FOR, gates, good_rows

BYTES_A_TOKEN = 3.5  # a rough guess, for --dry-run only
SEVERAL = 4096  # rows that are worth starting processes for
COUNTED = 100_000  # rows that --dry-run reads at most


def run(recipe: EvalRecipe, inputs: Inputs, out: Output, progress: Progress) -> Result:
    """Predict and measure; write scores.json, predictions.jsonl, report.html and report.md."""
    _require_inputs(recipe, inputs)
    subject_of = given_subject if "predictions" in inputs.rows else model_subject
    subject = subject_of(recipe, inputs, progress)
    if "against" in inputs.folders:
        require_comparable(inputs.folders["against"], subject)
    log = RejectLog(out.new / "rejected.jsonl", recipe.max_bad_rows)
    rows = _predictions(subject, recipe, log, out, progress)
    options = _options(recipe, inputs, len(rows))
    with progress.step("scoring"):
        measures = kinds.measures(subject.way.kind, rows, subject.metrics, options)
        found = _scores(subject, measures, rows, recipe, inputs, log)
    found["overlap"] = _overlap(subject, {row["id"] for row in rows}, recipe, inputs, progress)
    _add_own(rows, measures)
    if "against" in inputs.folders:
        mine = Stored(out.new, found, rows)
        found["comparison"] = compared(mine, inputs.folders["against"], recipe.bootstrap, options, progress)
    _write(rows, found, recipe, out)
    _say(subject, rows, found, progress)
    return Result(
        counts={"rows": len(rows), "rejected": log.bad},
        metrics={name: score["score"] for name, score in found["metrics"].items()},
        gates=gates(recipe, found["metrics"]),
    )


def _require_inputs(recipe: EvalRecipe, inputs: Inputs) -> None:
    if "predictions" in inputs.rows:
        if inputs.folders.get("model") or inputs.data or recipe.task:
            remedy = "leave out MODEL, DATA and --task, or leave out -p; references in a file of their own: --references FILE"
            raise UsageError("-p scores a file of predictions: no model is run", remedy=remedy)
    elif "model" not in inputs.folders or not (inputs.data or recipe.task):
        remedy = "ptft eval MODEL DATA... -o DIR, ptft eval MODEL --task YAML -o DIR, or ptft eval -p predictions.jsonl -o DIR"
        raise UsageError("nothing to measure: name a model and data, or predictions", remedy=remedy)
    if "references" in inputs.rows and "predictions" not in inputs.rows:
        raise UsageError("--references goes with a file of predictions", remedy="name one with -p")


def _predictions(
    subject: Subject, recipe: EvalRecipe, log: RejectLog, out: Output, progress: Progress
) -> list[dict[str, Any]]:
    read = good_rows(subject.rows(), subject.shape, subject.way.problem, log, recipe.limit)
    by = recipe.by or subject.by
    slices.require((row for row in subject.rows() if isinstance(row, Row)), by)
    labelled = partial(slices.values_of, by=by) if by else None
    rows = predictions_of(subject.way, read, labelled, out.state / "predictions.jsonl", progress)
    if not rows:
        raise InputError("no row is left to measure", remedy="see rejected.jsonl for the reasons")
    for remark in subject.way.remarks(rows):
        progress.warn(remark)
    if again := repeated(rows):
        shown = ", ".join(map(repr, again[:3]))
        progress.warn(f"{len(again):,} ids are those of several rows ({shown}): runs cannot be compared by them")
    return rows


def _options(recipe: EvalRecipe, inputs: Inputs, rows: int) -> Options:
    words = tuple(source.path for source in inputs.rows.get("words", ()))
    folders = inputs.folders.get("wordnet"), inputs.folders.get("bertscore")
    return Options(recipe.positive, *folders, words, recipe.workers if rows > SEVERAL else 1)


# ---------------------------------------------------------------- what is said


def _scores(
    subject: Subject, measures: Sequence[Measure], rows: Sequence[Mapping[str, Any]], recipe: EvalRecipe, inputs: Inputs,
    log: RejectLog,
) -> dict[str, Any]:  # fmt: skip
    """The content of scores.json, without the comparison."""
    found: dict[str, Any] = {
        "metrics": scores(measures, recipe.bootstrap), "n": len(rows), "rejected": log.bad, "kind": subject.way.kind,
        "task": subject.task, "shape": subject.shape.name if subject.shape else None, "model": subject.model,
        "data": _data(inputs),
        "settings": {
            **subject.settings, **subject.way.settings(rows), "bootstrap": recipe.bootstrap, "limit": recipe.limit,
            **({"positive": recipe.positive} if recipe.positive else {}),
        },
        "figures": kinds.KINDS[subject.way.kind].figures(rows),
    }  # fmt: skip
    if by := recipe.by or subject.by:
        found["slices"] = slices.scores_by(measures, rows, by, recipe.bootstrap)
    return found


def _overlap(
    subject: Subject, measured: set[str], recipe: EvalRecipe, inputs: Inputs, progress: Progress
) -> dict[str, Any] | None:
    """Whether the rows are in what the model was trained on; None where nothing is known of that."""
    train, model = inputs.rows.get("train_data", ()), inputs.folders.get("model")
    if not train and (model is None or not inputs.data):
        return None
    texts = (pair for pair in overlap.texts_of(subject.rows()) if pair[0] in measured)
    if model is not None and model.is_file():  # a GGUF file's records lie beside it
        model = model.parent
    found = overlap.check(model, inputs.data, texts, recipe.overlap, train, progress=progress)
    for warning in found.warnings():
        progress.warn(warning)
    return found.as_json()


def _data(inputs: Inputs) -> list[dict[str, Any]]:
    """Names and content of what was measured on, without places, so that equal results are equal files."""
    roles = ("data", "predictions", "references", "shots")
    sources = [source for role in roles for source in inputs.rows.get(role, ())]
    return [{"name": source.path.name, "hash": _hash(source)} for source in sources]


def _hash(source: Source) -> str | None:
    return hash_file(source.path) if source.path.is_file() else None


def _add_own(rows: Sequence[dict[str, Any]], measures: Sequence[Measure]) -> None:
    for measure in measures:
        if measure.own is not None:
            for row, value in zip(rows, measure.own.tolist(), strict=True):
                row[measure.name] = value


def _write(rows: Sequence[dict[str, Any]], found: Mapping[str, Any], recipe: EvalRecipe, out: Output) -> None:
    with RowWriter(out.new / "predictions.jsonl") as writer:
        for row in rows:
            writer.write(row)
    write_json(out.new / "scores.json", found)
    facts = Facts(title=out.final.name, worst=recipe.worst, versions=record.versions())
    (out.new / "report.html").write_text(document.html(found, rows, facts), encoding="utf-8")
    (out.new / "report.md").write_text(markdown.markdown(found, rows), encoding="utf-8")


def _say(subject: Subject, rows: Sequence[dict[str, Any]], found: Mapping[str, Any], progress: Progress) -> None:
    for table in terminal.tables(found):
        progress.table(table)
    for name, score in found["metrics"].items():
        if "signature" in score:
            progress.note(f"{name}: {score['signature']}")
    if mixed := next((score["mixed"] for score in found["metrics"].values() if "mixed" in score), None):
        shares = ", ".join(f"{share:.0%} {writing}" for writing, share in mixed.items())
        progress.warn(f"the references are of mixed writing ({shares}): read the scores by language (--by lang)")


# ---------------------------------------------------------------- a dry run


def plan(recipe: EvalRecipe, inputs: Inputs, progress: Progress) -> Plan:
    """Rows, their bytes, the model's parameters, and the arithmetic of one pass; the model itself is not loaded."""
    _require_inputs(recipe, inputs)
    sources = inputs.rows.get("predictions") or inputs.data
    kept = (_made_up(recipe) or list(_readable(sources, recipe)))[: recipe.limit or None]
    size = sum(len(value.encode()) for row in kept for value in _strings(row.data))
    more = " (at least)" if len(kept) == COUNTED else ""
    asked = names.expand(recipe.metrics)
    lines: list[tuple[str, object]] = [("metrics", names.listed(asked) if asked else "those that fit")]
    if not recipe.task and "predictions" not in inputs.rows:
        lines.append(("shape", detect(iter(kept), _known_shapes()).name))
    lines += [(f"rows{more}", len(kept)), (f"text bytes{more}", size)]
    if "model" in inputs.folders:
        parameters = sum(tensor.count for tensor in tensors(inputs.folders["model"]))
        tokens = int(size / BYTES_A_TOKEN)
        lines += [
            ("parameters", parameters),
            ("tokens (estimate)", tokens),
            ("FLOPs (estimate)", float(2 * parameters * tokens)),
        ]
    return Plan(tuple(lines))


def _made_up(recipe: EvalRecipe) -> list[Row]:
    """The rows that a probe makes itself."""
    from ptft.stages.eval.probes.file import is_probe, read

    return read(recipe.task).rows(recipe.task) if recipe.task and is_probe(recipe.task) else []


def _readable(sources: Sequence[Source], recipe: EvalRecipe) -> Iterator[Row]:
    return islice((row for row in read_rows(sources, columns=recipe.columns) if isinstance(row, Row)), COUNTED)


def _known_shapes() -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for shapes in SHAPES_FOR.values() for name in shapes))


def _strings(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    nested = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [text for item in nested for text in _strings(item)]
