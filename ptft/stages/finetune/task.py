"""`ptft finetune task`: a classification head on a checkpoint, trained on labelled rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from ptft.core import models
from ptft.core.contracts import Inputs, Output, Plan, Result
from ptft.core.encoding import encode_texts
from ptft.core.errors import InputError
from ptft.core.examples import sample_per_label
from ptft.core.progress import Progress
from ptft.core.rows import RejectLog, Row
from ptft.stages.finetune import common
from ptft.stages.finetune.recipe import TaskRecipe

SHAPES = ("pair-label", "text-label")


def run(recipe: TaskRecipe, inputs: Inputs, out: Output, progress: Progress) -> Result:
    from ptft.core.training import LabelledRows, train

    log = RejectLog(out.new / "rejected.jsonl", recipe.max_bad_rows)
    rows, labels = _rows(recipe, inputs, log)
    base = models.load(inputs.folders["model"], dtype="float32")
    length = common.seq_len_of(recipe, base)
    model = _classifier(recipe, inputs, labels)
    if recipe.method == "lora":
        headless = _classifier(recipe, inputs, labels)
    tuned = common.attach(recipe, model, "classifier", inputs.folders["model"])
    source = LabelledRows(
        encode_rows(base.tokenizer, rows, length), [labels.index(str(row.data["label"])) for row in rows]
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
        metrics |= _evaluate(recipe, inputs, tuned, base.tokenizer, labels, length, log)
    return Result(counts, metrics)


def _classifier(recipe: TaskRecipe, inputs: Inputs, labels: tuple[str, ...]) -> Any:
    import transformers

    transformers.set_seed(recipe.seed)
    scratch = recipe.init == "scratch"
    return models.with_head(inputs.folders["model"], labels, pooling=recipe.pooling, scratch=scratch, dtype="float32")


def _rows(recipe: TaskRecipe, inputs: Inputs, log: RejectLog) -> tuple[list[Row], tuple[str, ...]]:
    """The rows to learn from, and the label names in order; every label is known, also those few-shot sampling thins out."""
    rows, _ = common.read_shaped(inputs.data, SHAPES, dict(recipe.columns), log)
    found = Counter(str(row.data["label"]) for row in rows)
    if len(found) < 2:
        only = next(iter(found))
        raise InputError(
            f"every row has the label {only!r}: there is nothing to tell apart", remedy="check the field 'label'"
        )
    if recipe.per_label:
        rows = sample_per_label(rows, recipe.per_label, recipe.seed)
    return rows, tuple(sorted(found))


def encode_rows(tokenizer: Any, rows: Sequence[Row], length: int) -> list[list[int]]:
    texts = [row.data["text"] for row in rows]
    pairs = [row.data["text_pair"] for row in rows] if rows and "text_pair" in rows[0].data else None
    return encode_texts(tokenizer, texts, pairs, length)


def _evaluate(
    recipe: TaskRecipe, inputs: Inputs, model: Any, tokenizer: Any, labels: tuple[str, ...], length: int, log: RejectLog
) -> dict[str, float]:
    """Accuracy and macro F1 on --eval-data, as `ptft eval` would find them."""
    import torch
    from sklearn.metrics import accuracy_score, f1_score

    rows, _ = common.read_shaped(inputs.rows["eval_data"], SHAPES, dict(recipe.columns), log)
    collate, guessed = common.collate_with(tokenizer), []
    ids = encode_rows(tokenizer, rows, length)
    model.eval()
    for start in range(0, len(ids), 16):
        batch = collate(
            [{"input_ids": torch.tensor(one), "labels": torch.tensor(0)} for one in ids[start : start + 16]]
        )
        with torch.no_grad():
            logits = model(
                input_ids=batch["input_ids"].to(model.device), attention_mask=batch["attention_mask"].to(model.device)
            ).logits
        guessed += [labels[index] for index in logits.argmax(-1).tolist()]
    truth = [str(row.data["label"]) for row in rows]
    return {
        "eval_accuracy": float(accuracy_score(truth, guessed)),
        "eval_f1": float(f1_score(truth, guessed, average="macro", labels=sorted(set(truth)))),
    }


def plan(recipe: TaskRecipe, inputs: Inputs, progress: Progress) -> Plan:
    return common.plan_for(recipe, inputs, SHAPES)
