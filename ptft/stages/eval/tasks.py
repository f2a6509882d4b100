"""What is measured: it follows from what the model does and what the rows hold."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from ptft.core.errors import InputError, UsageError
from ptft.core.examples import CONVERSATIONS, Shape, detect, misshapen
from ptft.core.files import Source
from ptft.core.formats import read_rows
from ptft.core.metrics import names
from ptft.core.models import MANY_LABELS, NUMBER, ONE_LABEL, Loaded
from ptft.core.rows import Rejected, RejectLog, Row, accepted
from ptft.core.tagging import scheme_of
from ptft.stages.eval.recipe import EvalRecipe

Score = dict[str, Any]


@dataclass(frozen=True)
class Task:
    """fits: the metrics that can be had. usual: those computed where none is asked for."""

    name: str
    fits: tuple[str, ...]
    usual: tuple[str, ...]


CLASSIFICATION = Task("classification", names.LABELS, ("accuracy", "f1"))
MULTI_LABEL = Task("multi-label classification", names.MANY_LABELS, names.MANY_LABELS)
REGRESSION = Task("regression", names.NUMBERS, names.NUMBERS)
ENTITIES = Task("entities", (*names.ENTITIES, "f1"), names.ENTITIES)
TAGS = Task("tags", ("token_accuracy", "f1"), ("token_accuracy", "f1"))
SPANS = Task("answers in a text", names.SPANS, names.SPANS)
LANGUAGE = Task("language modelling", names.LIKELIHOODS, names.LIKELIHOODS)
ANSWERS = Task("answers", (*names.TEXTS, *names.LIKELIHOODS), (*names.TEXTS, *names.LIKELIHOODS))
TEXTS = Task("texts", names.TEXTS, names.TEXTS)
GIVEN_LABELS = Task("given labels", (*names.LABELS, *names.TEXTS), ("accuracy", "f1"))
GIVEN_TEXTS = Task("given texts", (*names.TEXTS, *names.LABELS), names.TEXTS)

SHAPES_FOR: dict[str, tuple[str, ...]] = {
    "classifier": ("pair-label", "text-label", "labels"), "tagger": ("tags",), "span": ("question-answer",),
    "seq2seq": ("source-target",), "causal": (*CONVERSATIONS, "text"),
}  # fmt: skip
_CLASSIFIERS = {ONE_LABEL: CLASSIFICATION, MANY_LABELS: MULTI_LABEL, NUMBER: REGRESSION}


@dataclass(frozen=True)
class Measured:
    """scores: by metric. rows: those measured. settings: what a reader must know to compare the scores."""

    scores: dict[str, Score]
    rows: int
    settings: dict[str, Any] = field(default_factory=dict)


def shape_for(loaded: Loaded, sources: Sequence[Source], recipe: EvalRecipe) -> Shape:
    """The shape of the rows, among those that the model can be measured on."""
    wanted = SHAPES_FOR.get(loaded.kind, ())
    if not wanted:
        remedy = "measure a model made from it for a task: ptft finetune task MODEL DATA -o DIR"
        what = f"eval takes models that write, classify, tag or answer, not a {loaded.kind} model itself"
        raise InputError(what, where=str(loaded.folder), remedy=remedy)
    if loaded.kind == "classifier":
        several = loaded.problem == MANY_LABELS
        wanted = tuple(name for name in wanted if (name == "labels") == several)
    rows = (row for row in read_rows(sources, columns=recipe.columns) if isinstance(row, Row))
    return detect(rows, wanted)


def task_for(loaded: Loaded, shape: Shape) -> Task:
    if loaded.kind == "classifier":
        return _CLASSIFIERS[loaded.problem]
    if loaded.kind == "tagger":
        return TAGS if scheme_of(loaded.labels) == "plain" else ENTITIES
    if loaded.kind == "causal":
        return LANGUAGE if shape.name == "text" else ANSWERS
    return SPANS if loaded.kind == "span" else TEXTS


def chosen(recipe: EvalRecipe, task: Task) -> tuple[str, ...]:
    """The metrics to compute. Raises `UsageError` for one that does not fit, and for a gate on one not computed."""
    metrics = names.expand(recipe.metrics) or task.usual
    misfits = [name for name in metrics if name not in task.fits]
    if misfits:
        what = f"{names.listed(misfits)} cannot be had here: this is {task.name}"
        raise UsageError(what, remedy=f"what fits is {names.listed(task.fits)}")
    gates = [*names.limits(recipe.fail_under, "")[0], *names.limits(recipe.fail_over, "")[0]]
    missing = [name for name in gates if name not in metrics]
    if missing:
        what = f"a gate on {names.listed(missing)}, which is not measured; measured are {names.listed(metrics)}"
        raise UsageError(
            what, remedy=f"gate one of those, or ask for it with --metrics (what fits: {names.listed(task.fits)})"
        )
    return metrics


def good_rows(
    sources: Sequence[Source], shape: Shape, problem: Callable[[Row], str | None], log: RejectLog, recipe: EvalRecipe
) -> Iterator[Row]:
    """The rows to measure, in order, `recipe.limit` of them; the others go to the log with their reason."""

    def checked() -> Iterator[Row | Rejected]:
        for item in read_rows(sources, columns=recipe.columns):
            if isinstance(item, Row):
                yield misshapen(item, shape) or _judged(item, problem(item))
            else:
                yield item

    yield from islice(accepted(checked(), log), recipe.limit or None)
    log.check()


def _judged(row: Row, reason: str | None) -> Row | Rejected:
    return Rejected(row.source, row.line, reason, str(row.data)[:500]) if reason else row


def blocks(rows: Iterator[Row], size: int = 1024) -> Iterator[list[Row]]:
    while block := list(islice(rows, size)):
        yield block


def require_rows(count: int) -> None:
    if not count:
        raise InputError("no row is left to measure", remedy="see rejected.jsonl for the reasons")


def gates(recipe: EvalRecipe, scores: dict[str, Score]) -> tuple[str, ...]:
    """In words, every gate that was not met; a score that is not a number meets none."""
    under, over = names.limits(recipe.fail_under, "")[0], names.limits(recipe.fail_over, "")[0]
    low = [
        f"{name} {scores[name]['score']:.4g} is under {limit:g}"
        for name, limit in under.items()
        if not scores[name]["score"] >= limit
    ]
    high = [
        f"{name} {scores[name]['score']:.4g} is over {limit:g}"
        for name, limit in over.items()
        if not scores[name]["score"] <= limit
    ]
    return (*low, *high)
