"""Any number of labels a text, or a pair of texts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ptft.core.errors import InputError
from ptft.core.heads import Head
from ptft.core.metrics.multi_label import multi_label
from ptft.core.metrics.names import MANY_LABELS as METRICS
from ptft.core.models import MANY_LABELS
from ptft.core.rows import Row
from ptft.core.training import Objective
from ptft.stages.finetune.task.classification import unknown_label
from ptft.stages.finetune.task.given import Given, Part, good
from ptft.stages.finetune.task.judging import better
from ptft.stages.finetune.task.pooling import pooling_of
from ptft.stages.finetune.task.texts import Array, HeadedTexts, alike, make_rows, text_problem

SHAPES = ("labels",)
USUAL = (
    "f1_micro"  # a tenth of the rows holds few of a rare label, whose own F1 then jumps from one validation to the next
)


def problem(row: Row) -> str | None:
    """Why a row cannot be learnt from. A row without a label is fine: none applies."""
    if any(not isinstance(label, str | int | float) for label in row.data["labels"]):
        return "the field 'labels' holds something else than names"
    return text_problem(row)


def labels_of(row: Row) -> list[str]:
    return [str(label) for label in row.data["labels"]]


def prepare(given: Given) -> ManyLabels:
    judged_by = better(given.recipe.metric, METRICS, USUAL)
    given = alike(given)
    labels = _labels(given.everything.rows)
    val = good(given.val.rows, lambda row: unknown_label(labels, labels_of(row)), given.log)
    given = replace(given, val=Part(val, given.val.shape))
    made = make_rows(given, lambda row: _flags(labels, row))
    counts = {
        "rows": len(given.train.rows), "labels": len(labels), "rows_rejected": given.rejected, "rows_cut": made.rows_cut,
    }  # fmt: skip
    head = Head("classifier", labels, problem=MANY_LABELS, pooling=pooling_of(given), pad_id=made.pad_id)
    weights = balanced([_flags(labels, row) for row in given.train.rows])
    return ManyLabels(
        recipe=given.recipe, base=given.base.folder, tokenizer=made.tokenizer, kind="classifier", length=given.length,
        rows=len(given.train.rows), counts=counts, head=head, train=made.train, val=made.val, judged_by=judged_by,
        weights=weights if given.recipe.class_weights == "balanced" else (),
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class ManyLabels(HeadedTexts):
    """weights: of what is 1, by label; empty: as what is 0."""

    weights: tuple[float, ...] = ()

    @property
    def objective(self) -> Objective:
        return Objective("multi-label", self.weights)

    def figures(self, outputs: Array, labels: Array) -> dict[str, float]:
        """Mean binary cross entropy of a label, and F1 and the like with what is likelier than not."""
        scores = multi_label(labels > 0.5, outputs > 0, self.head.labels, METRICS, resamples=0)
        loss = np.logaddexp(0.0, outputs) - outputs * labels
        return {"val_loss": float(loss.mean()), **{name: float(score["score"]) for name, score in scores.items()}}


def _labels(rows: Sequence[Row]) -> tuple[str, ...]:
    found = {label for row in rows for label in labels_of(row)}
    if not found:
        raise InputError("no row has a label: there is nothing to learn", remedy="check the field 'labels'")
    return tuple(sorted(found))


def _flags(labels: Sequence[str], row: Row) -> list[float]:
    return [float(label in labels_of(row)) for label in labels]


def balanced(flags: Sequence[Sequence[float]]) -> tuple[float, ...]:
    """Rows without a label / rows with it, as `pos_weight` of torch: both sides of each label weigh the same in all."""
    table = np.asarray(flags)
    with_it = table.sum(axis=0)
    return tuple(float((len(table) - count) / count) if 0 < count < len(table) else 1.0 for count in with_it)
