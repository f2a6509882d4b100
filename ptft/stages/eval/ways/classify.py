"""A classifier on labelled rows: of one label, of several, or of a number."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from ptft.core.metrics.numbers import number_of
from ptft.core.models import MANY_LABELS, NUMBER, ONE_LABEL, Loaded
from ptft.core.rows import Row
from ptft.core.scoring import classify, encode_cut
from ptft.stages.eval.recipe import EvalRecipe

Floats = npt.NDArray[np.float64]
Prediction = dict[str, Any]


@dataclass(frozen=True)
class Classify:
    """Every row's label with the model's probability of each; a loss is that of training."""

    loaded: Loaded
    recipe: EvalRecipe
    title: str = "classifying"
    block: int = 1024
    first_is_pair: dict[str, bool] = field(default_factory=dict)

    @property
    def kind(self) -> str:
        return _PROBLEMS[self.loaded.problem].kind

    @property
    def limit(self) -> int:
        return min(self.loaded.seq_len, self.recipe.max_seq_len or self.loaded.seq_len)

    def problem(self, row: Row) -> str | None:
        if found := _PROBLEMS[self.loaded.problem].problem(self.loaded.labels, row):
            return found
        if not row.data["text"].strip():
            return "an empty text"
        return self._unlike(row)

    def _unlike(self, row: Row) -> str | None:
        """Rows are pairs where the first is one: what a model reads must not hang on a row's neighbours."""
        if _is_pair(row) == self.first_is_pair.setdefault("", _is_pair(row)):
            return None
        return (
            "a second text, which the first row lacks" if _is_pair(row) else "no second text, which the first row has"
        )

    def predict(self, rows: Sequence[Row]) -> list[Prediction]:
        encoded, longer = encode_cut(self.loaded.tokenizer, *_texts(rows), self.limit)
        outputs = classify(self.loaded, encoded, self.recipe.batch_size).astype(np.float64)
        found = _PROBLEMS[self.loaded.problem].predictions(self.loaded.labels, outputs, rows)
        cut = set(longer)
        return [
            {"input": _shown(row), **prediction, **({"cut": True} if place in cut else {})}
            for place, (row, prediction) in enumerate(zip(rows, found, strict=True))
        ]

    def settings(self, predictions: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        loss = sum(row["loss"] for row in predictions) / len(predictions)
        return {"max_seq_len": self.limit, "rows_cut": _cut(predictions), "loss": loss}

    def remarks(self, predictions: Sequence[Mapping[str, Any]]) -> list[str]:
        cut = _cut(predictions)
        return [f"{cut:,} rows are longer than {self.limit:,} tokens and were cut"] if cut else []


def _cut(predictions: Sequence[Mapping[str, Any]]) -> int:
    return sum("cut" in row for row in predictions)


def _texts(block: Sequence[Row]) -> tuple[list[str], list[str] | None]:
    """Pairs where the rows are; `problem` has seen to it that all are, or none."""
    pairs = [str(row.data["text_pair"]) for row in block] if _is_pair(block[0]) else None
    return [row.data["text"] for row in block], pairs


def _is_pair(row: Row) -> bool:
    return isinstance(row.data.get("text_pair"), str)


def _shown(row: Row) -> str | dict[str, str]:
    texts = {key: row.data[key] for key in ("text", "text_pair") if isinstance(row.data.get(key), str)}
    return texts if len(texts) > 1 else str(row.data["text"])


# ---------------------------------------------------------------- one label


def _label_problem(labels: Sequence[str], row: Row) -> str | None:
    """Labels are compared as text, so 1 is "1"."""
    return _unknown(labels, [str(row.data["label"])])


def _unknown(labels: Sequence[str], given: Sequence[str]) -> str | None:
    for label in given:
        if label not in labels:
            shown = ", ".join(labels[:20]) + (", ..." if len(labels) > 20 else "")
            return f"the label {label!r} is not one of the model's: {shown}"
    return None


def _one_label(labels: Sequence[str], outputs: Floats, block: Sequence[Row]) -> list[Prediction]:
    chances = np.exp(outputs - outputs.max(axis=1, keepdims=True))
    chances /= chances.sum(axis=1, keepdims=True)
    found = []
    for row, chance in zip(block, chances, strict=True):
        reference = str(row.data["label"])
        found.append(
            {
                "reference": reference,
                "prediction": labels[int(chance.argmax())],
                "probabilities": dict(zip(labels, chance.tolist(), strict=True)),
                "loss": -float(np.log(max(chance[labels.index(reference)], 1e-300))),
            }
        )
    return found


# ---------------------------------------------------------------- several labels


def _labels_problem(labels: Sequence[str], row: Row) -> str | None:
    return _unknown(labels, [str(label) for label in row.data["labels"]])


def _many_labels(labels: Sequence[str], outputs: Floats, block: Sequence[Row]) -> list[Prediction]:
    """A label is predicted where it is likelier than not. The loss is the mean binary cross entropy of a label."""
    chances = 1 / (1 + np.exp(-outputs.clip(-500, 500)))
    wanted = [{str(label) for label in row.data["labels"]} for row in block]
    flags = np.array([[label in row for label in labels] for row in wanted], dtype=bool)
    losses = (np.logaddexp(0.0, outputs) - outputs * flags).mean(axis=1)
    return [
        {
            "reference": [label for label in labels if label in names],
            "prediction": [label for label, chance in zip(labels, row, strict=True) if chance > 0.5],
            "probabilities": dict(zip(labels, row.tolist(), strict=True)),
            "loss": float(loss),
        }
        for names, row, loss in zip(wanted, chances, losses, strict=True)
    ]


# ---------------------------------------------------------------- a number


def _number_problem(labels: Sequence[str], row: Row) -> str | None:
    label = row.data["label"]
    return f"the label {label!r} is not a number" if number_of(label) is None else None


def _number(labels: Sequence[str], outputs: Floats, block: Sequence[Row]) -> list[Prediction]:
    """The loss is the squared error."""
    references = [number_of(row.data["label"]) or 0.0 for row in block]  # rows that are no number were refused
    return [
        {"reference": reference, "prediction": float(output), "loss": float((output - reference) ** 2)}
        for reference, output in zip(references, outputs[:, 0], strict=True)
    ]


@dataclass(frozen=True)
class _Problem:
    """What one kind of head says of rows."""

    kind: str
    problem: Callable[[Sequence[str], Row], str | None]
    predictions: Callable[[Sequence[str], Floats, Sequence[Row]], list[Prediction]]


_PROBLEMS = {
    ONE_LABEL: _Problem("labels", _label_problem, _one_label),
    MANY_LABELS: _Problem("many-labels", _labels_problem, _many_labels),
    NUMBER: _Problem("numbers", _number_problem, _number),
}
