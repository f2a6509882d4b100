"""`ptft finetune task`: a classification head on a checkpoint, trained on labelled rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ptft.core import models
from ptft.core.contracts import Inputs, Output, Plan, Result
from ptft.core.encoding import encode_texts
from ptft.core.errors import InputError
from ptft.core.examples import sample_per_label
from ptft.core.metrics.classification import classification
from ptft.core.models import Loaded
from ptft.core.progress import Progress
from ptft.core.rows import RejectLog, Row
from ptft.core.scoring import classify
from ptft.stages.finetune import common
from ptft.stages.finetune.recipe import TaskRecipe

SHAPES = ("pair-label", "text-label")


def run(recipe: TaskRecipe, inputs: Inputs, out: Output, progress: Progress) -> Result:
    from ptft.core.training import LabelledRows, train

    log = RejectLog(out.new / "rejected.jsonl", recipe.max_bad_rows)
    rows, labels, paired = _rows(recipe, inputs, log)
    base = common.load_base(inputs, recipe)
    folder = _plain_folder(base, inputs, out)
    length = common.seq_len_of(recipe, base)
    model = _classifier(recipe, folder, labels)
    if recipe.method == "lora":
        headless = _classifier(recipe, folder, labels)
    tuned = common.attach(recipe, model, "classifier", folder)
    source = LabelledRows(
        _encoded(base.tokenizer, rows, paired, length), [labels.index(str(row.data["label"])) for row in rows]
    )
    settings = common.settings_for(recipe, tuned, len(rows), length, progress)
    common.announce(tuned, recipe.method, len(rows), settings, progress)
    collate = common.collate_with(base.tokenizer)
    trained = train(tuned, source, settings, loss="class", collate=collate, out=out, progress=progress)
    common.save(recipe, tuned, base.tokenizer, out)
    if recipe.method == "lora":
        common.save_head_base(headless, base.tokenizer, labels, out)
    counts = {
        "rows": len(rows),
        "labels": len(labels),
        **common.training_counts(tuned, settings),
        "rows_rejected": log.bad,
    }
    metrics = common.training_metrics(trained, settings)
    if "eval_data" in inputs.rows:
        measured = Loaded(tuned.eval(), base.tokenizer, "classifier", labels, length, out.final)
        metrics |= _evaluate(recipe, inputs, measured, log)
    return Result(counts, metrics)


def _plain_folder(base: Loaded, inputs: Inputs, out: Output) -> Path:
    """Where the base's weights are as a plain checkpoint: an adapter, merged by now, is written out first."""
    folder = inputs.folders["model"]
    if not (folder / common.ADAPTER).is_file():
        return folder
    if base.kind == "classifier":
        remedy = "start from the language model that the classifier was made from"
        raise InputError("the base is a classifier's adapter", where=str(folder), remedy=remedy)
    models.save(base.model, base.tokenizer, out.state / "merged")
    return out.state / "merged"


def _classifier(recipe: TaskRecipe, folder: Path, labels: tuple[str, ...]) -> Any:
    import transformers

    transformers.set_seed(recipe.seed)
    scratch = recipe.init == "scratch"
    return models.with_head(folder, labels, pooling=recipe.pooling, scratch=scratch, dtype="float32")


def _rows(recipe: TaskRecipe, inputs: Inputs, log: RejectLog) -> tuple[list[Row], tuple[str, ...], bool]:
    """The rows to learn from, the label names in order, and whether the rows are pairs; every label is known, also those few-shot sampling thins out."""
    rows, shape = common.read_shaped(inputs.data, SHAPES, dict(recipe.columns), log)
    found = Counter(str(row.data["label"]) for row in rows)
    if len(found) < 2:
        only = next(iter(found))
        raise InputError(
            f"every row has the label {only!r}: there is nothing to tell apart", remedy="check the field 'label'"
        )
    if recipe.per_label:
        rows = sample_per_label(rows, recipe.per_label, recipe.seed)
    return rows, tuple(sorted(found)), shape.name == "pair-label"


def _encoded(tokenizer: Any, rows: Sequence[Row], paired: bool, length: int) -> list[list[int]]:
    texts = [row.data["text"] for row in rows]
    pairs = [row.data["text_pair"] for row in rows] if paired else None
    return encode_texts(tokenizer, texts, pairs, length)


def _evaluate(recipe: TaskRecipe, inputs: Inputs, model: Loaded, log: RejectLog) -> dict[str, float]:
    """Accuracy and macro F1 on --eval-data, as `ptft eval` finds them."""
    rows, shape = common.read_shaped(inputs.rows["eval_data"], SHAPES, dict(recipe.columns), log)
    logits = classify(model, _encoded(model.tokenizer, rows, shape.name == "pair-label", model.seq_len), 16)
    guessed = [model.labels[index] for index in logits.argmax(axis=1)]
    truth = [str(row.data["label"]) for row in rows]
    scores = classification(truth, guessed, ("accuracy", "f1"), resamples=0)
    return {f"eval_{name}": score["score"] for name, score in scores.items()}


def plan(recipe: TaskRecipe, inputs: Inputs, progress: Progress) -> Plan:
    def used(rows: list[Row]) -> list[Row]:
        return sample_per_label(rows, recipe.per_label, recipe.seed) if recipe.per_label else rows

    return common.plan_for(recipe, inputs, SHAPES, used)
