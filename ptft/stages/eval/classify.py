"""A classifier on labelled rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ptft.core.metrics.classification import classification
from ptft.core.models import Loaded
from ptft.core.progress import Progress
from ptft.core.rows import Row, RowWriter
from ptft.core.scoring import classify, encode_rows
from ptft.stages.eval.recipe import EvalRecipe
from ptft.stages.eval.tasks import Measured, blocks, require_rows


def label_problem(labels: Sequence[str], row: Row) -> str | None:
    """Why a row cannot be measured. Labels are compared as text, so 1 is "1"."""
    label = str(row.data["label"])
    if label not in labels:
        shown = ", ".join(labels[:20]) + (", ..." if len(labels) > 20 else "")
        return f"the label {label!r} is not one of the model's: {shown}"
    return None if row.data["text"].strip() else "an empty text"


@dataclass
class _Sums:
    references: list[str] = field(default_factory=list)
    predictions: list[str] = field(default_factory=list)
    loss: float = 0.0
    cut: int = 0


def measure(
    loaded: Loaded,
    rows: Iterator[Row],
    metrics: tuple[str, ...],
    recipe: EvalRecipe,
    writer: RowWriter,
    progress: Progress,
) -> Measured:
    """Predict the label of every row; write a row of predictions each."""
    limit = min(loaded.seq_len, recipe.max_seq_len or loaded.seq_len)
    sums = _Sums()
    with progress.step("classifying") as step:
        for block in blocks(rows):
            for row in _measure_block(loaded, block, limit, recipe.batch_size, sums):
                writer.write(row)
            step.advance(len(block))
    require_rows(len(sums.references))
    if sums.cut:
        progress.warn(f"{sums.cut:,} rows are longer than {limit:,} tokens and were cut")
    scores = classification(sums.references, sums.predictions, metrics, resamples=recipe.bootstrap)
    loss = sums.loss / len(sums.references)
    return Measured(scores, len(sums.references), {"max_seq_len": limit, "rows_cut": sums.cut, "loss": loss})


def _measure_block(
    loaded: Loaded, block: list[Row], limit: int, batch_size: int, sums: _Sums
) -> Iterator[dict[str, Any]]:
    texts = [row.data["text"] for row in block]
    pairs = [row.data["text_pair"] for row in block] if isinstance(block[0].data.get("text_pair"), str) else None
    encoded, cut = encode_rows(loaded, texts, pairs, limit)
    logits = classify(loaded, encoded, batch_size).astype(np.float64)
    chances = np.exp(logits - logits.max(axis=1, keepdims=True))
    chances /= chances.sum(axis=1, keepdims=True)
    sums.cut += cut
    for row, chance in zip(block, chances, strict=True):
        reference, prediction = str(row.data["label"]), loaded.labels[int(chance.argmax())]
        loss = -float(np.log(max(chance[loaded.labels.index(reference)], 1e-300)))
        sums.references.append(reference)
        sums.predictions.append(prediction)
        sums.loss += loss
        shown = {key: row.data[key] for key in ("text", "text_pair") if key in row.data}
        yield {
            "id": row.data["id"], "input": shown if pairs else shown["text"], "reference": reference,
            "prediction": prediction, "probability": float(chance.max()), "loss": loss,
        }  # fmt: skip
