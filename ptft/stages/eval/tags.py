"""A tagger on rows of words and tags."""

from __future__ import annotations

from collections.abc import Iterator

from ptft.core.metrics.entities import tagging
from ptft.core.models import Loaded
from ptft.core.predicting import tag_logits, tags_from
from ptft.core.progress import Progress
from ptft.core.rows import Row, RowWriter
from ptft.core.tagging import encode_words, fits, row_problem, scheme_of, tags_of
from ptft.stages.eval.recipe import EvalRecipe
from ptft.stages.eval.tasks import Measured, blocks, require_rows


def problem(loaded: Loaded, row: Row) -> str | None:
    """Why a row cannot be measured."""
    if found := row_problem(row.data):
        return found
    scheme = scheme_of(loaded.labels)
    odd = [str(tag) for tag in row.data["tags"] if not fits(str(tag), scheme, loaded.labels)]
    if not odd:
        return None
    shown = ", ".join(loaded.labels[:20]) + (", ..." if len(loaded.labels) > 20 else "")
    return f"the tag {odd[0]!r} is not of the model's kind, whose tags are {shown}"


def measure(
    loaded: Loaded, rows: Iterator[Row], metrics: tuple[str, ...], recipe: EvalRecipe, writer: RowWriter,
    progress: Progress,
) -> Measured:  # fmt: skip
    """Tag every word; write a row each. A word that was cut off is not tagged ("O"), and counts."""
    limit, scheme = min(loaded.seq_len, recipe.max_seq_len or loaded.seq_len), scheme_of(loaded.labels)
    references: list[list[str]] = []
    predictions: list[list[str]] = []
    lost = mended = 0
    with progress.step("tagging") as step:
        for block in blocks(rows):
            words = encode_words(loaded.tokenizer, [row.data["tokens"] for row in block], limit)
            made = tags_from(loaded, words, tag_logits(loaded, words, recipe.batch_size))
            for row, seen, prediction in zip(block, words, made, strict=True):
                reference, changed = tags_of(row.data["tags"], scheme)
                lost, mended = lost + len(reference) - len(seen.seen), mended + changed
                writer.write(
                    {
                        "id": row.data["id"],
                        "input": row.data["tokens"],
                        "reference": reference,
                        "prediction": prediction,
                    }
                )
                references.append(reference)
            predictions += made
            step.advance(len(block))
    require_rows(len(references))
    if lost:
        progress.warn(f"{lost:,} words are behind the first {limit:,} tokens of their row: they count as not tagged")
    scores = tagging(references, predictions, metrics, scheme, resamples=recipe.bootstrap)
    settings = {"max_seq_len": limit, "words_cut": lost, "tags_mended": mended, "scheme": scheme}
    return Measured(scores, len(references), settings)
