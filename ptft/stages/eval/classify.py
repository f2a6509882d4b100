"""A classifier on labelled rows: of one label, of several, or of a number."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from ptft.core.metrics.classification import classification
from ptft.core.metrics.multi_label import multi_label
from ptft.core.metrics.numbers import number_of, numbers
from ptft.core.models import MANY_LABELS, NUMBER, ONE_LABEL, Loaded
from ptft.core.progress import Progress
from ptft.core.rows import Row, RowWriter
from ptft.core.scoring import classify, encode_cut
from ptft.stages.eval.recipe import EvalRecipe
from ptft.stages.eval.tasks import Measured, Score, blocks, require_rows

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Answer:
    """What a model says of a row, beside what is right. loss: of training. more: for predictions.jsonl."""

    reference: Any
    prediction: Any
    loss: float
    more: Mapping[str, Any] = field(default_factory=dict)


def measure(
    loaded: Loaded,
    rows: Iterator[Row],
    metrics: tuple[str, ...],
    recipe: EvalRecipe,
    writer: RowWriter,
    progress: Progress,
) -> Measured:
    """Predict what every row is labelled with; write a row of predictions each."""
    limit = min(loaded.seq_len, recipe.max_seq_len or loaded.seq_len)
    answers: list[Answer] = []
    cut = 0
    with progress.step("classifying") as step:
        for block in blocks(rows):
            encoded, longer = encode_cut(loaded.tokenizer, *_texts(block), limit)
            outputs = classify(loaded, encoded, recipe.batch_size).astype(np.float64)
            found = _PROBLEMS[loaded.problem].answers(loaded.labels, outputs, block)
            for row, answer in zip(block, found, strict=True):
                writer.write(_shown(row, answer))
            answers, cut = [*answers, *found], cut + longer
            step.advance(len(block))
    require_rows(len(answers))
    if cut:
        progress.warn(f"{cut:,} rows are longer than {limit:,} tokens and were cut")
    scores = _PROBLEMS[loaded.problem].scores(loaded.labels, answers, metrics, recipe.bootstrap)
    loss = sum(answer.loss for answer in answers) / len(answers)
    return Measured(scores, len(answers), {"max_seq_len": limit, "rows_cut": cut, "loss": loss})


def row_problem(loaded: Loaded, row: Row) -> str | None:
    """Why a row cannot be measured."""
    return _PROBLEMS[loaded.problem].problem(loaded.labels, row) or (
        None if row.data["text"].strip() else "an empty text"
    )


def _texts(block: Sequence[Row]) -> tuple[list[str], list[str] | None]:
    """Pairs where the first row is one; a row without a second text has an empty one."""
    pairs = [str(row.data.get("text_pair") or "") for row in block] if block[0].data.get("text_pair") else None
    return [row.data["text"] for row in block], pairs


def _shown(row: Row, answer: Answer) -> dict[str, Any]:
    texts = {key: row.data[key] for key in ("text", "text_pair") if isinstance(row.data.get(key), str)}
    return {
        "id": row.data["id"], "input": texts if len(texts) > 1 else row.data["text"], "reference": answer.reference,
        "prediction": answer.prediction, **answer.more, "loss": answer.loss,
    }  # fmt: skip


# ---------------------------------------------------------------- one label


def label_problem(labels: Sequence[str], row: Row) -> str | None:
    """Labels are compared as text, so 1 is "1"."""
    return _unknown(labels, [str(row.data["label"])])


def _unknown(labels: Sequence[str], given: Sequence[str]) -> str | None:
    for label in given:
        if label not in labels:
            shown = ", ".join(labels[:20]) + (", ..." if len(labels) > 20 else "")
            return f"the label {label!r} is not one of the model's: {shown}"
    return None


def _one_label(labels: Sequence[str], outputs: Floats, block: Sequence[Row]) -> list[Answer]:
    chances = np.exp(outputs - outputs.max(axis=1, keepdims=True))
    chances /= chances.sum(axis=1, keepdims=True)
    found = []
    for row, chance in zip(block, chances, strict=True):
        reference = str(row.data["label"])
        loss = -float(np.log(max(chance[labels.index(reference)], 1e-300)))
        found.append(Answer(reference, labels[int(chance.argmax())], loss, {"probability": float(chance.max())}))
    return found


def _one_label_scores(
    labels: Sequence[str], answers: Sequence[Answer], metrics: Sequence[str], resamples: int
) -> dict[str, Score]:
    references, predictions = [answer.reference for answer in answers], [answer.prediction for answer in answers]
    return classification(references, predictions, metrics, resamples=resamples)


# ---------------------------------------------------------------- several labels


def _labels_problem(labels: Sequence[str], row: Row) -> str | None:
    return _unknown(labels, [str(label) for label in row.data["labels"]])


def _many_labels(labels: Sequence[str], outputs: Floats, block: Sequence[Row]) -> list[Answer]:
    """A label is predicted where it is likelier than not. The loss is the mean binary cross entropy of a label."""
    chances = 1 / (1 + np.exp(-outputs.clip(-500, 500)))
    references = _flags(labels, [[str(label) for label in row.data["labels"]] for row in block])
    losses = (np.logaddexp(0.0, outputs) - outputs * references).mean(axis=1)
    return [
        Answer(
            [label for label, flag in zip(labels, wanted, strict=True) if flag],
            [label for label, chance in zip(labels, row, strict=True) if chance > 0.5],
            float(loss),
            {"probabilities": dict(zip(labels, map(float, row), strict=True))},
        )
        for row, wanted, loss in zip(chances, references, losses, strict=True)
    ]


def _flags(labels: Sequence[str], rows: Sequence[Sequence[str]]) -> npt.NDArray[np.bool_]:
    return np.array([[label in row for label in labels] for row in rows], dtype=bool)


def _many_labels_scores(
    labels: Sequence[str], answers: Sequence[Answer], metrics: Sequence[str], resamples: int
) -> dict[str, Score]:
    references = _flags(labels, [answer.reference for answer in answers])
    predictions = _flags(labels, [answer.prediction for answer in answers])
    return multi_label(references, predictions, labels, metrics, resamples=resamples)


# ---------------------------------------------------------------- a number


def _number_problem(labels: Sequence[str], row: Row) -> str | None:
    label = row.data["label"]
    return f"the label {label!r} is not a number" if number_of(label) is None else None


def _number(labels: Sequence[str], outputs: Floats, block: Sequence[Row]) -> list[Answer]:
    """The loss is the squared error."""
    references = [number_of(row.data["label"]) or 0.0 for row in block]  # rows that are no number were refused
    return [
        Answer(reference, float(output), float((output - reference) ** 2))
        for reference, output in zip(references, outputs[:, 0], strict=True)
    ]


def _number_scores(
    labels: Sequence[str], answers: Sequence[Answer], metrics: Sequence[str], resamples: int
) -> dict[str, Score]:
    references, predictions = [answer.reference for answer in answers], [answer.prediction for answer in answers]
    return numbers(references, predictions, metrics, resamples=resamples)


@dataclass(frozen=True)
class _Problem:
    """How one kind of head is measured."""

    problem: Callable[[Sequence[str], Row], str | None]
    answers: Callable[[Sequence[str], Floats, Sequence[Row]], list[Answer]]
    scores: Callable[[Sequence[str], Sequence[Answer], Sequence[str], int], dict[str, Score]]


_PROBLEMS = {
    ONE_LABEL: _Problem(label_problem, _one_label, _one_label_scores),
    MANY_LABELS: _Problem(_labels_problem, _many_labels, _many_labels_scores),
    NUMBER: _Problem(_number_problem, _number, _number_scores),
}
