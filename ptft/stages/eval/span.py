"""A model that finds answers in texts, on questions with their contexts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ptft.core.extracting import answer_problem, answers_of, windows_of
from ptft.core.metrics.names import SPANS
from ptft.core.metrics.spans import span_rows, spans
from ptft.core.models import Loaded
from ptft.core.predicting import answers
from ptft.core.progress import Progress
from ptft.core.rows import Row, RowWriter
from ptft.stages.eval.recipe import EvalRecipe
from ptft.stages.eval.tasks import Measured, blocks, require_rows

STRIDE = 128  # tokens that neighbouring windows share, as in training where nothing else is asked for


def problem(row: Row) -> str | None:
    """Why a row cannot be measured."""
    return answer_problem(row.data)


def measure(
    loaded: Loaded, rows: Iterator[Row], metrics: tuple[str, ...], recipe: EvalRecipe, writer: RowWriter,
    progress: Progress,
) -> Measured:  # fmt: skip
    """Answer every question from its context; write a row each, with its own scores."""
    limit = min(loaded.seq_len, recipe.max_seq_len or loaded.seq_len)
    stride = recipe.stride or STRIDE
    predictions: list[str] = []
    references: list[list[str]] = []
    windows = cut = 0
    with progress.step("answering") as step:
        for block in blocks(rows, 256):
            contexts = [row.data["context"] for row in block]
            made, longer = windows_of(
                loaded.tokenizer, [row.data["question"] for row in block], contexts, limit, stride
            )
            found = answers(loaded, made, contexts, recipe.batch_size)
            wanted = [[answer.text for answer in answers_of(row.data)] for row in block]
            own = span_rows([answer.text for answer in found], wanted, SPANS).tolist()
            for row, answer, reference, scores in zip(block, found, wanted, own, strict=True):
                asked = {"question": row.data["question"], "context": row.data["context"]}
                shown: dict[str, Any] = {"id": row.data["id"], "input": asked, "reference": reference}
                writer.write(
                    {**shown, "prediction": answer.text, "score": answer.score, **dict(zip(SPANS, scores, strict=True))}
                )
            predictions += [answer.text for answer in found]
            references += wanted
            windows, cut = windows + len(made), cut + longer
            step.advance(len(block))
    require_rows(len(predictions))
    if cut:
        progress.warn(f"{cut:,} questions are longer than half of {limit:,} tokens and were cut")
    settings = {
        "max_seq_len": limit, "stride": stride, "windows": windows, "unanswerable": sum(not row for row in references),
    }  # fmt: skip
    return Measured(spans(predictions, references, metrics, resamples=recipe.bootstrap), len(predictions), settings)
