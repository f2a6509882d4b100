"""A label a text, or a pair of texts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ptft.core.errors import InputError
from ptft.core.heads import Head
from ptft.core.metrics.classification import classification
from ptft.core.metrics.names import LABELS
from ptft.core.rows import Row
from ptft.core.training import Objective
from ptft.stages.finetune.task.given import Given, Part, good
from ptft.stages.finetune.task.judging import better
from ptft.stages.finetune.task.pooling import pooling_of
from ptft.stages.finetune.task.texts import Array, HeadedTexts, alike, label_texts, make_rows

SHAPES = ("pair-label", "text-label")
METRICS = tuple(name for name in LABELS if not name.endswith("_binary"))  # those are of one label against the rest
USUAL = "f1"  # macro: a rare label counts as much as a common one


def prepare(given: Given) -> ClassifiedTexts:
    judged_by = better(given.recipe.metric, METRICS, USUAL)
    given = alike(given)
    labels = _labels(given.everything.rows)
    val = good(given.val.rows, lambda row: unknown_label(labels, [label_texts(row)]), given.log)
    given = replace(given, val=Part(val, given.val.shape))
    ids = {label: index for index, label in enumerate(labels)}
    made = make_rows(given, lambda row: ids[label_texts(row)])
    counts = {
        "rows": len(given.train.rows), "labels": len(labels), "rows_rejected": given.rejected, "rows_cut": made.rows_cut,
    }  # fmt: skip
    head = Head("classifier", labels, pooling=pooling_of(given), pad_id=made.pad_id)
    weights = balanced([ids[label_texts(row)] for row in given.train.rows], len(labels))
    return ClassifiedTexts(
        recipe=given.recipe, base=given.base.folder, tokenizer=made.tokenizer, kind="classifier", length=given.length,
        rows=len(given.train.rows), counts=counts, head=head, train=made.train, val=made.val, judged_by=judged_by,
        weights=weights if given.recipe.class_weights == "balanced" else (),
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class ClassifiedTexts(HeadedTexts):
    """weights: by label, mean 1 over the rows; empty: all alike."""

    weights: tuple[float, ...] = ()

    @property
    def objective(self) -> Objective:
        return Objective("class", self.weights)

    def figures(self, outputs: Array, labels: Array) -> dict[str, float]:
        """Mean cross entropy, each row alike, and accuracy and macro averages as `ptft eval` finds them."""
        truth = [self.head.labels[index] for index in labels]
        guessed = [self.head.labels[index] for index in outputs.argmax(axis=1)]
        scores = classification(truth, guessed, METRICS, resamples=0)
        shifted = outputs - outputs.max(axis=1, keepdims=True)
        right = shifted[np.arange(len(labels)), labels] - np.log(np.exp(shifted).sum(axis=1))
        return {"val_loss": -float(right.mean()), **{name: float(score["score"]) for name, score in scores.items()}}


def _labels(rows: Sequence[Row]) -> tuple[str, ...]:
    """Every label is known, also those few-shot sampling thins out."""
    found = Counter(label_texts(row) for row in rows)
    if len(found) < 2:
        only = next(iter(found), None)
        raise InputError(
            f"every row has the label {only!r}: there is nothing to tell apart", remedy="check the field 'label'"
        )
    return tuple(sorted(found))


def unknown_label(labels: Sequence[str], given: Sequence[str]) -> str | None:
    """Why a row to measure on is refused: a label that training never saw could never be right."""
    new = [label for label in given if label not in labels]
    if not new:
        return None
    shown = ", ".join(labels[:20]) + (", ..." if len(labels) > 20 else "")
    return f"the label {new[0]!r} is not among those learnt: {shown}"


def balanced(ids: Sequence[int], labels: int) -> tuple[float, ...]:
    """rows / (labels that occur x rows of the label), as scikit-learn's "balanced": every label weighs the same in all."""
    counts = np.bincount(np.asarray(ids, dtype=np.int64), minlength=labels)
    occur = int((counts > 0).sum())
    return tuple(float(len(ids) / (occur * count)) if count else 1.0 for count in counts)
