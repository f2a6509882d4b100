"""The export against the original: how far the outputs moved, and what that does to the loss."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np

from ptft.core.contracts import Inputs
from ptft.core.errors import InputError
from ptft.core.examples import row_text
from ptft.core.formats import read_rows
from ptft.core.models import Loaded
from ptft.core.rows import Rejected, RejectLog, Row, accepted
from ptft.core.scoring import classify, encode_cut, score_texts, windows_for
from ptft.stages.export.recipe import ExportRecipe

BUILT_IN = (
    "The committee said on Tuesday that the new rules would take effect next year, after a long public debate.",
    "Water boils at a lower temperature on a mountain, because the air presses less on its surface.",
    "昨天下午，市政府宣布将在三年内新建四条地铁线路，以缓解交通拥堵。",
    "学习一门语言需要时间和耐心，每天读一点、写一点，就会慢慢进步。",
)
BATCH = 8
TIMED = 3  # forward passes, of which the fastest counts


@dataclass(frozen=True)
class Sample:
    """What is compared on. labels: of a classifier's rows, where they have one that it knows."""

    texts: list[str]
    pairs: list[str] | None
    labels: list[int] | None
    built_in: bool


def sample_of(loaded: Loaded, inputs: Inputs, recipe: ExportRecipe, log: RejectLog) -> Sample:
    """The first rows of --verify, or a few sentences in English and Chinese."""
    if "verify" not in inputs.rows:
        return Sample(list(BUILT_IN), None, None, True)
    rows = list(islice(accepted(_usable(loaded, inputs, recipe), log), recipe.verify_rows))
    log.check()
    if not rows:
        raise InputError("--verify holds no rows that can be used", remedy="see rejected.jsonl for the reasons")
    if loaded.kind != "classifier":
        return Sample([row_text(row.data) for row in rows], None, None, False)
    labels = [loaded.labels.index(str(row.data["label"])) for row in rows] if "label" in rows[0].data else None
    pairs = [row.data["text_pair"] for row in rows] if "text_pair" in rows[0].data else None
    return Sample([row.data["text"] for row in rows], pairs, labels, False)


def _usable(loaded: Loaded, inputs: Inputs, recipe: ExportRecipe) -> Iterator[Row | Rejected]:
    first: Row | None = None
    for item in read_rows(inputs.rows["verify"], columns=recipe.columns):
        if isinstance(item, Row):
            first = first or item
            reason = _problem(loaded, item, first)
            yield Rejected(item.source, item.line, reason, str(item.data)[:500]) if reason else item
        else:
            yield item


def _problem(loaded: Loaded, row: Row, first: Row) -> str | None:
    if not row_text(row.data).strip():
        return "no text: a row has text, text and label, or one of the shapes of examples"
    if loaded.kind != "classifier":
        return None
    if not isinstance(row.data.get("text"), str) or (
        "text_pair" in first.data and not isinstance(row.data.get("text_pair"), str)
    ):
        return "no field 'text' (and 'text_pair', as the first row has)"
    if "label" in first.data and str(row.data.get("label")) not in loaded.labels:
        return f"the label {str(row.data.get('label'))!r} is not one of the model's: {', '.join(loaded.labels[:20])}"
    return None


def compare(before: Loaded, after: Loaded, sample: Sample) -> dict[str, Any]:
    """Largest and mean absolute difference of logits, share of equal first choices; loss and accuracy where they can be had."""
    if before.kind == "classifier":
        return _compare_classes(before, after, sample)
    found = _compare_tokens(before, after, sample)
    return found | (_compare_losses(before, after, sample) if before.kind == "causal" else {})


def _compare_classes(before: Loaded, after: Loaded, sample: Sample) -> dict[str, Any]:
    encoded, _ = encode_cut(before.tokenizer, sample.texts, sample.pairs, before.seq_len)
    old, new = (classify(model, encoded, BATCH).astype(np.float64) for model in (before, after))
    found = _differences([old], [new])
    if sample.labels is None:
        return found
    labels = np.array(sample.labels)
    return found | {
        "accuracy_before": float((old.argmax(1) == labels).mean()),
        "accuracy_after": float((new.argmax(1) == labels).mean()),
        "loss_before": _cross_entropy(old, labels),
        "loss_after": _cross_entropy(new, labels),
    }


def _cross_entropy(logits: Any, labels: Any) -> float:
    shifted = logits - logits.max(axis=1, keepdims=True)
    return float((np.log(np.exp(shifted).sum(axis=1)) - shifted[np.arange(len(labels)), labels]).mean())


def _compare_tokens(before: Loaded, after: Loaded, sample: Sample) -> dict[str, Any]:
    import torch

    old, new = [], []
    ids = before.tokenizer(sample.texts)["input_ids"]
    for row in ids:
        batch = torch.tensor([row[: windows_for(before).context]], device=before.model.device)
        with torch.inference_mode():
            old.append(before.model(input_ids=batch).logits[0].float().cpu().numpy())
            new.append(after.model(input_ids=batch).logits[0].float().cpu().numpy())
    return _differences(old, new)


def _differences(old: Sequence[Any], new: Sequence[Any]) -> dict[str, Any]:
    gaps = [np.abs(a - b) for a, b in zip(old, new, strict=True)]
    agreed = sum(int((a.argmax(-1) == b.argmax(-1)).sum()) for a, b in zip(old, new, strict=True))
    return {
        "max_logit_error": max(float(gap.max()) for gap in gaps),
        "mean_logit_error": sum(float(gap.sum()) for gap in gaps) / sum(gap.size for gap in gaps),
        "first_choice_equal": agreed / sum(gap.size // gap.shape[-1] for gap in gaps),
    }


def _compare_losses(before: Loaded, after: Loaded, sample: Sample) -> dict[str, Any]:
    found = {}
    for name, model in (("loss_before", before), ("loss_after", after)):
        scores = score_texts(model, sample.texts, windows_for(model), BATCH)
        found[name] = sum(score.nll for score in scores) / max(1, sum(score.tokens for score in scores))
    return found


def seconds_a_pass(loaded: Loaded) -> float:
    """The fastest of a few forward passes over the built-in text, one row at a time, as generation runs."""
    import torch

    rows = [torch.tensor([row], device=loaded.model.device) for row in loaded.tokenizer(list(BUILT_IN))["input_ids"]]
    taken = []
    for _ in range(TIMED):
        start = time.perf_counter()
        with torch.inference_mode():
            for row in rows:
                loaded.model(input_ids=row[:, : loaded.seq_len])
        taken.append(time.perf_counter() - start)
    return min(taken)
