"""A model that writes: it answers greedily, and its answers are compared with the references; so is the likelihood of those."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from ptft.core.metrics import names
from ptft.core.metrics.text import bleu, chrf, rouge_of, rouge_rows
from ptft.core.models import Loaded
from ptft.core.predicting import texts
from ptft.core.progress import Progress
from ptft.core.rows import Row, RowWriter
from ptft.core.scoring import score_responses
from ptft.stages.eval.language import likelihoods, sums
from ptft.stages.eval.prompts import Prompts
from ptft.stages.eval.recipe import EvalRecipe
from ptft.stages.eval.tasks import Measured, Score, require_rows


def measure(
    loaded: Loaded, prompts: Prompts, rows: Iterator[Row], metrics: tuple[str, ...], recipe: EvalRecipe,
    writer: RowWriter, progress: Progress,
) -> Measured:  # fmt: skip
    """Answer every row (where BLEU or ROUGE is asked for) and score the reference; write a row each."""
    kept = list(rows)
    require_rows(len(kept))
    context = min(loaded.seq_len, recipe.max_seq_len or loaded.seq_len)
    written: list[dict[str, Any]] = []
    for row in kept:
        asked, reference = prompts.parts(row)
        written.append({"id": row.data["id"], "input": asked, "reference": reference})
    found: dict[str, Score] = {}
    settings: dict[str, Any] = {"context": context}
    compared = tuple(name for name in metrics if name in names.TEXTS)
    if compared:
        found |= _answer(loaded, prompts, written, compared, context, recipe, settings, progress)
    likely = tuple(name for name in metrics if name in names.LIKELIHOODS)
    if likely:
        responses = [prompts.response(row["input"], row["reference"]) for row in written]
        scores = score_responses(loaded, responses, context, recipe.batch_size)
        found |= {name: {**score, "of": prompts.of} for name, score in likelihoods(scores, likely, recipe).items()}
        for shown, score in zip(written, scores, strict=True):
            shown.update(sums(score))
    for shown in written:
        writer.write(shown)
    return Measured({name: found[name] for name in metrics}, len(kept), settings)


def _answer(
    loaded: Loaded, prompts: Prompts, rows: list[dict[str, Any]], metrics: tuple[str, ...], context: int,
    recipe: EvalRecipe, settings: dict[str, Any], progress: Progress,
) -> dict[str, Score]:  # fmt: skip
    """Answer every row and compare; the answer and the row's own ROUGE are put into it."""
    room = min(recipe.max_new_tokens, max(1, context // 2))
    # an encoder-decoder writes elsewhere than it reads
    ids, cut = prompts.prompts([row["input"] for row in rows], context if loaded.kind == "seq2seq" else context - room)
    if cut:
        progress.warn(f"{cut:,} prompts leave no room for {room:,} new tokens and lost their {prompts.cuts}")
    settings |= {"max_new_tokens": room, "decoding": "greedy", "prompts_cut": cut}
    with progress.step("answering", total=len(rows)) as step:
        answers = texts(loaded, ids, room, recipe.batch_size, step.advance)
    references = [row["reference"] for row in rows]
    found, own = compare(answers, references, metrics, recipe.bootstrap)
    for row, answer, scores in zip(rows, answers, own, strict=True):
        row.update({"prediction": answer, **scores})
    return found


def compare(
    predictions: Sequence[str], references: Sequence[Any], metrics: tuple[str, ...], resamples: int
) -> tuple[dict[str, Score], list[dict[str, float]]]:
    """BLEU, chrF and ROUGE of predictions against references; and every row's own ROUGE."""
    found: dict[str, Score] = {}
    if "bleu" in metrics:
        found["bleu"] = bleu(predictions, references, resamples=resamples)
    if "chrf" in metrics:
        found["chrf"] = chrf(predictions, references, resamples=resamples)
    rouges = tuple(name for name in metrics if name.startswith("rouge"))
    if not rouges:
        return found, [{} for _ in predictions]
    rows, tokenizer = rouge_rows(predictions, references, rouges)
    own = [dict(zip(rouges, row, strict=True)) for row in rows.tolist()]
    return found | rouge_of(rows, tokenizer, rouges, resamples=resamples), own
