"""A label a text, or a pair of texts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ptft.core import models
from ptft.core.encoding import encode_texts
from ptft.core.errors import InputError
from ptft.core.heads import Head, with_head
from ptft.core.metrics.classification import classification
from ptft.core.models import Loaded
from ptft.core.rows import Row
from ptft.core.scoring import classify
from ptft.core.training import Objective, Padding, Rows
from ptft.stages.finetune.purpose import Better, Collate, Prepared, pad_id
from ptft.stages.finetune.recipe import TaskRecipe
from ptft.stages.finetune.task.given import Given, Part

SHAPES = ("pair-label", "text-label")


def prepare(given: Given) -> ClassifiedTexts:
    base, state = given.base, given.out.state
    labels = _labels(given.everything.rows)
    for name, part in {"train": given.train, "val": given.val}.items():
        _encoded(base.tokenizer, part, labels, given.length).save(state / name)
    counts = {"rows": len(given.train.rows), "labels": len(labels), "rows_rejected": given.rejected}
    return ClassifiedTexts(
        recipe=given.recipe, base=base.folder, tokenizer=state / "tokenizer", kind="classifier", length=given.length,
        rows=len(given.train.rows), counts=counts, head=Head("classifier", labels, pooling=given.recipe.pooling),
        train=state / "train", val=state / "val",
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class ClassifiedTexts(Prepared):
    """train, val: folders of `Rows`."""

    recipe: TaskRecipe
    head: Head
    train: Path
    val: Path

    @property
    def objective(self) -> Objective:
        return Objective("class")

    @property
    def better(self) -> Better:
        return Better("f1", higher=True)

    @property
    def changes_base(self) -> bool:
        return True

    def new_model(self, dtype: str = "float32") -> Any:
        import transformers

        transformers.set_seed(self.recipe.seed)
        return with_head(self.base, self.head, scratch=self.recipe.init == "scratch", dtype=dtype)

    def source(self) -> Rows:
        return Rows.load(self.train)

    def collate(self) -> Collate:
        return Padding(pad_id(models.load_tokenizer(self.tokenizer)), token_labels=False)

    @property
    def held_out(self) -> int:
        return len(Rows.load(self.val))

    def measure(self, model: Any) -> dict[str, float]:
        """Loss, accuracy and macro F1, as `ptft eval` finds them."""
        rows = Rows.load(self.val)
        loaded = Loaded(
            model.eval(), models.load_tokenizer(self.tokenizer), "classifier", self.head.labels, self.length, self.base
        )
        logits = classify(loaded, [rows[index]["input_ids"].tolist() for index in range(len(rows))], 16)
        assert rows.labels is not None
        truth = [self.head.labels[index] for index in rows.labels]
        guessed = [self.head.labels[index] for index in logits.argmax(axis=1)]
        scores = classification(truth, guessed, ("accuracy", "f1"), resamples=0)
        shifted = logits - logits.max(axis=1, keepdims=True)
        right = shifted[np.arange(len(rows)), rows.labels] - np.log(np.exp(shifted).sum(axis=1))
        model.train()
        return {"val_loss": -float(right.mean()), **{name: score["score"] for name, score in scores.items()}}


def _labels(rows: Sequence[Row]) -> tuple[str, ...]:
    """Every label is known, also those few-shot sampling thins out."""
    found = Counter(str(row.data["label"]) for row in rows)
    if len(found) < 2:
        only = next(iter(found))
        raise InputError(
            f"every row has the label {only!r}: there is nothing to tell apart", remedy="check the field 'label'"
        )
    return tuple(sorted(found))


def _encoded(tokenizer: Any, part: Part, labels: tuple[str, ...], length: int) -> Rows:
    rows = part.rows
    texts = [row.data["text"] for row in rows]
    pairs = [row.data["text_pair"] for row in rows] if part.shape.name == "pair-label" else None
    ids = encode_texts(tokenizer, texts, pairs, length) if texts else []
    return Rows.of(({"input_ids": row} for row in ids), [labels.index(str(row.data["label"])) for row in rows])
