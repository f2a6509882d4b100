"""A causal model on text: perplexity and bits per byte."""

from __future__ import annotations

from collections.abc import Iterator

from ptft.core.metrics.likelihood import likelihood
from ptft.core.models import Loaded
from ptft.core.progress import Progress
from ptft.core.rows import Row, RowWriter
from ptft.core.scoring import TextScore, adds_bos, score_texts, windows_for
from ptft.stages.eval.recipe import EvalRecipe
from ptft.stages.eval.tasks import Measured, blocks, require_rows

SHOWN = 200  # characters of a text in predictions.jsonl


def text_problem(row: Row) -> str | None:
    return None if row.data["text"].strip() else "an empty text"


def measure(
    loaded: Loaded,
    rows: Iterator[Row],
    metrics: tuple[str, ...],
    recipe: EvalRecipe,
    writer: RowWriter,
    progress: Progress,
) -> Measured:
    """Score every token of every text but its first; write a row of sums each."""
    windows = windows_for(loaded, recipe.max_seq_len, recipe.stride)
    scores: list[TextScore] = []
    with progress.step("scoring text") as step:
        for block in blocks(rows, 256):
            found = score_texts(loaded, [row.data["text"] for row in block], windows, recipe.batch_size)
            for row, score in zip(block, found, strict=True):
                writer.write({"id": row.data["id"], "input": row.data["text"][:SHOWN], **sums(score)})
            scores.extend(found)
            step.advance(len(block))
    require_rows(len(scores))
    settings = {"context": windows.context, "stride": windows.stride, "bos": adds_bos(loaded.tokenizer)}
    return Measured(likelihoods(scores, metrics, recipe), len(scores), settings)


def likelihoods(scores: list[TextScore], metrics: tuple[str, ...], recipe: EvalRecipe) -> dict[str, dict[str, object]]:
    """Perplexity and bits per byte of texts from their sums."""
    columns = [score.nll for score in scores], [score.tokens for score in scores], [score.bytes for score in scores]
    return likelihood(*columns, metrics, resamples=recipe.bootstrap)


def sums(score: TextScore) -> dict[str, float]:
    return {"nll": score.nll, "tokens": score.tokens, "bytes": score.bytes}
