"""What is measured: it follows from what the model does and what the rows hold."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any

from ptft.core.errors import InputError, UsageError
from ptft.core.examples import CONVERSATIONS, UNANSWERED, Shape, detect, misshapen
from ptft.core.files import Source
from ptft.core.formats import read_rows
from ptft.core.metrics import names
from ptft.core.metrics.kinds import KINDS
from ptft.core.models import MANY_LABELS, Loaded
from ptft.core.rows import Rejected, RejectLog, Row, accepted
from ptft.stages.eval.recipe import EvalRecipe

SHAPES_FOR: dict[str, tuple[str, ...]] = {
    "classifier": ("pair-label", "text-label", "labels"), "tagger": ("tags",), "span": ("question-answer",),
    "seq2seq": ("source-target",), "causal": (*UNANSWERED, *CONVERSATIONS, "text"),
}  # fmt: skip


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


def metrics_for(recipe: EvalRecipe, kind: str, usual: Sequence[str] = ()) -> tuple[str, ...]:
    """The metrics to compute. Raises `UsageError` for one that does not fit, and for a gate on one not computed.

    usual: what is computed where none is asked for (empty: what is usual of this kind).
    """
    known = KINDS[kind]
    metrics = names.expand(recipe.metrics) or tuple(usual) or known.usual
    misfits = [name for name in metrics if name not in known.fits]
    if misfits:
        what = f"{names.listed(misfits)} cannot be had here: the predictions are {kind} ({known.fields})"
        raise UsageError(what, remedy=f"what fits is {names.listed(known.fits)}")
    gates = [*names.limits(recipe.fail_under, "")[0], *names.limits(recipe.fail_over, "")[0]]
    missing = [name for name in gates if name not in metrics]
    if missing:
        what = f"a gate on {names.listed(missing)}, which is not measured; measured are {names.listed(metrics)}"
        raise UsageError(
            what, remedy=f"gate one of those, or ask for it with --metrics (what fits: {names.listed(known.fits)})"
        )
    return metrics


def good_rows(
    rows: Iterator[Row | Rejected],
    shape: Shape | None,
    problem: Callable[[Row], str | None],
    log: RejectLog,
    limit: int,
) -> Iterator[Row]:
    """The rows to measure, in order, `limit` of them (0: all); the others go to the log with their reason."""

    def checked() -> Iterator[Row | Rejected]:
        for item in rows:
            if isinstance(item, Row):
                yield (misshapen(item, shape) if shape else None) or _judged(item, problem(item))
            else:
                yield item

    yield from islice(accepted(checked(), log), limit or None)
    log.check()


def _judged(row: Row, reason: str | None) -> Row | Rejected:
    return Rejected(row.source, row.line, reason, str(row.data)[:500]) if reason else row


def gates(recipe: EvalRecipe, scores: dict[str, dict[str, Any]]) -> tuple[str, ...]:
    """In words, every gate that was not met; a score that is not a number meets none."""
    under, over = names.limits(recipe.fail_under, "")[0], names.limits(recipe.fail_over, "")[0]
    low = [
        f"{name} {_value(scores, name):.4g} is under {limit:g}"
        for name, limit in under.items()
        if not _value(scores, name) >= limit
    ]
    high = [
        f"{name} {_value(scores, name):.4g} is over {limit:g}"
        for name, limit in over.items()
        if not _value(scores, name) <= limit
    ]
    return (*low, *high)


def _value(scores: dict[str, dict[str, Any]], name: str) -> float:
    return float(scores[name]["score"])
