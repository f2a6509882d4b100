"""A number a text, or a pair of texts.

Learnt as (number - shift) / scale, which any learning rate suits; at the end shift and scale go into the head's last layer, so
that the saved model answers in the user's own units.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ptft.core.errors import InputError
from ptft.core.heads import Head, fold, output_layer
from ptft.core.metrics.names import NUMBERS
from ptft.core.metrics.numbers import number_of, numbers
from ptft.core.models import NUMBER
from ptft.core.rows import Row
from ptft.core.training import Objective
from ptft.stages.finetune.task.given import Given
from ptft.stages.finetune.task.judging import better
from ptft.stages.finetune.task.pooling import pooling_of
from ptft.stages.finetune.task.texts import Array, HeadedTexts, alike, make_rows, text_problem

SHAPES = ("pair-label", "text-label")
USUAL = "pearson"  # as in GLUE; the loss that is learnt from is what keeps the units right
NAME = "value"  # of the one output


def problem(row: Row) -> str | None:
    if number_of(row.data["label"]) is None:
        return f"the label {row.data['label']!r} is not a number"
    return text_problem(row)


def are_numbers(rows: Sequence[Row]) -> bool:
    """Whether the labels are measurements: all are numbers, and one has a fraction. Text and whole numbers name classes."""
    labels = [row.data["label"] for row in rows]
    typed = all(isinstance(label, int | float) and not isinstance(label, bool) for label in labels)
    return typed and any(label != int(label) for label in labels if math.isfinite(label))


def prepare(given: Given) -> Numbers:
    judged_by = better(given.recipe.metric, NUMBERS, USUAL)
    given = alike(given)
    values = [_number(row) for row in given.train.rows]
    if len(set(values)) < 2:
        raise InputError("every row has the same label: there is nothing to learn", remedy="check the field 'label'")
    draft = Head("classifier", (NAME,), problem=NUMBER, pooling=pooling_of(given))
    shift, scale = _units(given, draft, np.array(values))
    made = make_rows(given, lambda row: (_number(row) - shift) / scale)
    counts = {"rows": len(values), "rows_rejected": given.rejected, "rows_cut": made.rows_cut}
    return Numbers(
        recipe=given.recipe, base=given.base.folder, tokenizer=made.tokenizer, kind="classifier", length=given.length,
        rows=len(values), counts=counts, head=replace(draft, pad_id=made.pad_id), train=made.train, val=made.val,
        judged_by=judged_by, shift=shift, scale=scale,
    )  # fmt: skip


def _number(row: Row) -> float:
    found = number_of(row.data["label"])
    assert found is not None  # `problem` refused the others
    return found


def _units(given: Given, head: Head, values: Array) -> tuple[float, float]:
    """(shift, scale): mean and standard deviation; without a bias to take the mean, 0 and the root of the mean square."""
    layer = output_layer(given.base.folder, head)
    if layer is None:
        return 0.0, 1.0
    return (float(values.mean()), float(values.std())) if layer.bias else (0.0, float(np.sqrt((values**2).mean())))


@dataclass(frozen=True, kw_only=True)
class Numbers(HeadedTexts):
    """What is learnt is (number - shift) / scale."""

    shift: float
    scale: float

    @property
    def objective(self) -> Objective:
        return Objective("regression")

    def figures(self, outputs: Array, labels: Array) -> dict[str, float]:
        """The mean squared error as it is learnt, and correlations and errors in the user's units."""
        learnt, right = outputs[:, 0], labels.astype(np.float64)
        scores = numbers(right * self.scale + self.shift, learnt * self.scale + self.shift, NUMBERS, resamples=0)
        found = {name: float(score["score"]) for name, score in scores.items()}
        return {"val_loss": float(((learnt - right) ** 2).mean()), **found}

    def finish(self, model: Any) -> None:
        fold(model, self.shift, self.scale)
