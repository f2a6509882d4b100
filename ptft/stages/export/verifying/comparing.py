"""`Quality` from what the processes left: the original's and the export's."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from ptft.core.metrics.classification import label_measures
from ptft.core.metrics.entities import tag_measures
from ptft.core.metrics.measure import Measure
from ptft.core.metrics.multi_label import multi_label_measures
from ptft.core.metrics.numbers import number_measures
from ptft.core.models import MANY_LABELS, NUMBER, Loaded
from ptft.core.tagging import scheme_of
from ptft.stages.export.rows import Texts
from ptft.stages.export.verifying.encoding import NO_TARGET, Encoded
from ptft.stages.export.verifying.figures import Quality

Floats = npt.NDArray[np.float64]
Arrays = Mapping[str, npt.NDArray[Any]]
NORMAL_95 = 1.96
SHOWN = {"accuracy": "accuracy", "f1": "macro_f1", "f1_micro": "micro_f1", "mse": "mean_squared_error"}


def of_tokens(old: Arrays, new: Arrays, lines: Encoded) -> Quality:
    """Of a causal or masked model. old, new: nats of every place with a target; new: see alone/judging.rows (the original has none)."""
    before, after = old["nats"].astype(np.float64), new["nats"].astype(np.float64)
    sizes = np.array([int((line.targets != NO_TARGET).sum()) for line in lines.lines])
    found = Quality(
        len(lines.lines), len(before), len(before), float(before.mean()), float(after.mean()),
        scores={"perplexity": (_exp(before.mean()), _exp(after.mean()))},
    )  # fmt: skip
    ratio, low, high = perplexity_ratio(after - before, sizes)
    found = replace(found, perplexity_ratio=ratio, perplexity_ratio_low=low, perplexity_ratio_high=high)
    if "divergence" not in new:
        return found
    largest, mean = (float(value) for value in new["errors"])
    return replace(
        found, compared=len(new["divergence"]), kl=max(0.0, float(new["divergence"].mean())),
        first_choice_equal=float(new["same"].mean()), max_logit_error=largest, mean_logit_error=mean,
    )  # fmt: skip


def _exp(nats: float) -> float:
    return math.exp(min(float(nats), 700.0))


def perplexity_ratio(gaps: Floats, sizes: npt.NDArray[np.int64]) -> tuple[float, float | None, float | None]:
    """exp(mean gap) with the ends of its 95 % interval, None of a single row. gaps: nats (places,); sizes: places of each row (rows,).

    Rows are the sampled units, and the mean is a ratio of sums: its variance is by linearisation (Cochran 1977, section 2.11).
    """
    mean = float(gaps.mean())
    sums = np.add.reduceat(gaps, np.concatenate([[0], np.cumsum(sizes)[:-1]]))
    count = len(sizes)
    if count < 2:
        return math.exp(mean), None, None
    rest = sums - mean * sizes
    error = NORMAL_95 * math.sqrt(count / (count - 1) * float((rest**2).sum())) / len(gaps)
    return math.exp(mean), math.exp(mean - error), math.exp(mean + error)


# ---------------------------------------------------------------- heads


def of_head(old: Arrays, new: Arrays, loaded: Loaded, texts: Texts, lines: Encoded) -> Quality:
    """Of a classifier, a tagger, or a model that finds answers. old, new: its logits of every row, end to end."""
    before, after = (_places(found["logits"].astype(np.float64), loaded, lines) for found in (old, new))
    errors = np.concatenate([np.abs(a - b).reshape(-1) for a, b in zip(before, after, strict=True)])
    found = Quality(
        len(lines.lines), 0, len(before), max_logit_error=float(errors.max()), mean_logit_error=float(errors.mean())
    )
    if loaded.kind == "classifier" and loaded.problem in (MANY_LABELS, NUMBER):
        found = _decisions(found, np.stack(before), np.stack(after), loaded)
    else:
        found = _choices(found, before, after)
    if texts.labels is None:
        return found
    if loaded.kind == "classifier":
        labels = [texts.labels[line.row] for line in lines.lines]
        return _labelled(found, np.stack(before), np.stack(after), labels, loaded)
    return _tagged(found, before, after, loaded, lines) if loaded.kind == "tagger" else found


def _places(flat: Floats, loaded: Loaded, lines: Encoded) -> list[Floats]:
    """The logits of each place apart: of a classifier a row (labels,), of a tagger a token (labels,), of answers two (tokens,)."""
    found: list[Floats] = []
    at = 0
    for line in lines.lines:
        tokens = len(line.ids)
        shape = {"classifier": (1, len(loaded.labels)), "tagger": (tokens, len(loaded.labels))}.get(
            loaded.kind, (2, tokens)
        )
        found += list(flat[at : at + math.prod(shape)].reshape(shape))
        at += math.prod(shape)
    return found


def _choices(found: Quality, before: Sequence[Floats], after: Sequence[Floats]) -> Quality:
    divergence, same = [], []
    for old, new in zip(before, after, strict=True):
        p, q = _log_softmax(old), _log_softmax(new)
        divergence.append(float((np.exp(p) * (p - q)).sum()))
        same.append(int(old.argmax()) == int(new.argmax()))
    return replace(found, kl=max(0.0, float(np.mean(divergence))), first_choice_equal=float(np.mean(same)))


def _decisions(found: Quality, before: Floats, after: Floats, loaded: Loaded) -> Quality:
    """KL of several labels is the sum of each one's; of numbers that of normal distributions of variance 1, whose loss is squared."""
    if loaded.problem == NUMBER:
        divergence = ((before - after) ** 2 / 2).sum(-1)
        return replace(found, kl=float(divergence.mean()), first_choice_equal=_same_order(before[:, 0], after[:, 0]))
    yes, no = (np.logaddexp(0.0, sign * after) - np.logaddexp(0.0, sign * before) for sign in (-1, 1))
    chance = 1 / (1 + np.exp(-before))
    divergence = (chance * yes + (1 - chance) * no).sum(-1)
    same = float(((before > 0) == (after > 0)).mean())
    return replace(found, kl=max(0.0, float(divergence.mean())), first_choice_equal=same)


def _same_order(before: Floats, after: Floats) -> float:
    one, other = (np.sign(values[:, None] - values[None]) for values in (before, after))
    pairs = np.triu_indices(len(before), 1)
    return float((one[pairs] == other[pairs]).mean()) if len(before) > 1 else 1.0


def _labelled(found: Quality, before: Floats, after: Floats, labels: Sequence[Any], loaded: Loaded) -> Quality:
    losses, metrics = zip(*(_of_labels(logits, labels, loaded) for logits in (before, after)), strict=True)
    return replace(found, loss_before=losses[0], loss_after=losses[1], scores=_paired(*metrics))


def _of_labels(logits: Floats, labels: Sequence[Any], loaded: Loaded) -> tuple[float, dict[str, float]]:
    """(the loss of training, the task's metrics). logits: (rows, labels)."""
    if loaded.problem == NUMBER:
        wanted = np.array(labels, dtype=np.float64)
        return float(((logits[:, 0] - wanted) ** 2).mean()), _scores(
            number_measures(wanted, logits[:, 0], ("mse", "pearson"))
        )
    if loaded.problem == MANY_LABELS:
        flags = np.array([[number in row for number in range(logits.shape[1])] for row in labels])
        loss = float((np.logaddexp(0.0, logits) - logits * flags).mean())
        return loss, _scores(multi_label_measures(flags, logits > 0, loaded.labels, ("f1_micro", "f1")))
    loss = -float(_log_softmax(logits)[np.arange(len(labels)), np.array(labels)].mean())
    names = [[loaded.labels[int(number)] for number in row] for row in (labels, logits.argmax(1))]
    return loss, _scores(label_measures(names[0], names[1], ("accuracy", "f1")))


def _tagged(
    found: Quality, before: Sequence[Floats], after: Sequence[Floats], loaded: Loaded, lines: Encoded
) -> Quality:
    """Loss and metrics of the places that carry a word's tag."""
    rows = [line.targets for line in lines.lines]
    losses, metrics = zip(*(_of_tags(np.stack(logits), rows, loaded) for logits in (before, after)), strict=True)
    count = int(sum((row != NO_TARGET).sum() for row in rows))
    return replace(found, tokens=count, loss_before=losses[0], loss_after=losses[1], scores=_paired(*metrics))


def _of_tags(logits: Floats, rows: Sequence[npt.NDArray[np.int64]], loaded: Loaded) -> tuple[float, dict[str, float]]:
    """logits: (tokens of all rows, tags)."""
    targets = np.concatenate(rows)
    chosen = targets != NO_TARGET
    loss = -float(_log_softmax(logits[chosen])[np.arange(int(chosen.sum())), targets[chosen]].mean())
    said, at = logits.argmax(1), 0
    references, predictions = [], []
    for row in rows:
        places = np.flatnonzero(row != NO_TARGET)
        references.append([loaded.labels[number] for number in row[places]])
        predictions.append([loaded.labels[number] for number in said[at + places]])
        at += len(row)
    scheme = scheme_of(tag for row in references for tag in row)
    names = ("token_accuracy",) if scheme == "plain" else ("token_accuracy", "entity_f1")
    return loss, _scores(tag_measures(references, predictions, names, scheme))


def _scores(measures: Sequence[Measure]) -> dict[str, float]:
    return {SHOWN.get(measure.name, measure.name): measure.score() for measure in measures}


def _paired(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, tuple[float, float]]:
    return {name: (before[name], after[name]) for name in before}


def _log_softmax(logits: Floats) -> Floats:
    shifted = logits - logits.max(-1, keepdims=True)
    found: Floats = shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
    return found
