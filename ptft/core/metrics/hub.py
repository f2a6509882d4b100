"""Our metrics as `evaluate.Metric`: what `evaluate.load` would fetch from a hub, from here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import datasets
import evaluate
import numpy as np

from ptft.core.errors import UsageError
from ptft.core.metrics import kinds, names
from ptft.core.metrics.measure import RESAMPLES, Measure, scores
from ptft.core.metrics.multi_label import multi_label_measures
from ptft.core.metrics.probabilities import probability_measures

_CITATION = "see the docstrings of ptft.core.metrics"
_TEXT, _WHOLE, _REAL = datasets.Value("string"), datasets.Value("int64"), datasets.Value("float64")
_TEXTS, _WHOLES, _REALS = (datasets.Sequence(kind) for kind in (_TEXT, _WHOLE, _REAL))
_KNOWN = {"label": _TEXT, "box": _REALS}  # an object in an image
Fields = Mapping[str, Any]
Row = Callable[[Any, Any, int, Mapping[str, Any]], dict[str, Any]]  # prediction, reference, its place, other arguments


class _Local(evaluate.Metric):
    """One metric; its result has the score under the metric's own name, and the rest of the score beside it."""

    def __init__(self, name: str, **kwargs: Any) -> None:
        self.metric_name = name
        super().__init__(**kwargs)
        self.info.metric_name = name

    def _info(self) -> evaluate.MetricInfo:
        family = _family(self.metric_name)
        described = f"{self.metric_name}, computed by ptft. {family.note}".strip()
        features = [datasets.Features(dict(fields)) for fields in family.fields]
        return evaluate.MetricInfo(
            description=described, citation=_CITATION, features=features[0] if len(features) == 1 else features
        )

    def _compute(self, predictions: Any = None, references: Any = None, **options: Any) -> dict[str, Any]:
        score = compute(self.metric_name, predictions, references, **options)
        detail = {f"{self.metric_name}_{key}": value for key, value in score.items() if key != "score"}
        return {self.metric_name: score["score"], **detail}


def metric(name: str) -> evaluate.Metric:
    problems = names.unknown([name]) or ([f"{name!r} is several metrics"] if name in names.GROUPS else [])
    if problems:
        raise UsageError("; ".join(problems), remedy=f"the metrics are {', '.join(names.ALL)}")
    return _Local(name)


def compute(
    name: str, predictions: Any, references: Any = None, *, resamples: int = RESAMPLES, **others: Any
) -> dict[str, Any]:
    """One score by name. others: fields of `kinds.Options` and, for acc_norm, `lengths`: characters, by row and choice."""
    family = _family(name)
    measures = _columns(name, predictions, references, others) or _measured(
        family, name, predictions, references, others
    )
    return scores(measures, resamples)[name]


# ---------------------------------------------------------------- families


@dataclass(frozen=True)
class _Family:
    """names: metrics of it. fields: what a prediction and a reference may be. row: both as a row of predictions.jsonl."""

    names: Sequence[str]
    kind: str
    fields: Sequence[Fields]
    row: Row = field(default=lambda made, wanted, place, others: {"prediction": made, "reference": wanted})
    note: str = ""


def _family(name: str) -> _Family:
    return next(family for family in _FAMILIES if name in family.names)


def _measured(
    family: _Family, name: str, predictions: Any, references: Any, others: Mapping[str, Any]
) -> list[Measure]:
    wanted = [None] * len(predictions) if references is None else references
    pairs = enumerate(zip(predictions, wanted, strict=True))
    rows = [family.row(made, known, place, others) for place, (made, known) in pairs]
    options = kinds.Options(**{key: value for key, value in others.items() if key != "lengths"})
    return kinds.measures(family.kind, rows, (name,), options)


def _columns(name: str, predictions: Any, references: Any, others: Mapping[str, Any]) -> list[Measure]:
    """Measures of what comes with a column for each label, whether it occurs or not; none of anything else."""
    if name in names.PROBABILITIES:
        table = np.asarray(predictions, dtype=np.float64)
        table = np.column_stack([1 - table, table]) if table.ndim == 1 else table
        labels = [str(label) for label in range(table.shape[1])]
        return probability_measures([str(label) for label in references], labels, table, (name,), **others)
    if name in names.MANY_LABELS and len(predictions) and np.ndim(predictions[0]) == 1:
        flags = np.asarray(references, dtype=bool), np.asarray(predictions, dtype=bool)
        return multi_label_measures(*flags, [str(label) for label in range(flags[0].shape[1])], (name,))
    return []


def _choice(made: Any, answer: Any, place: int, others: Mapping[str, Any]) -> dict[str, Any]:
    lengths = others["lengths"][place] if "lengths" in others else None
    return {"answer": answer, "loglikelihoods": made, "lengths": lengths or [1] * len(made)}


def _of(prediction: Any, reference: Any = None) -> Fields:
    return {"predictions": prediction} if reference is None else {"predictions": prediction, "references": reference}


_FAMILIES = (
    _Family(names.PROBABILITIES, "labels", (_of(_REALS, _WHOLE), _of(_REAL, _WHOLE)),
            note="A prediction is the probability of each label, or of label 1 of two; a reference the label's number."),
    _Family([name for name in names.LABELS if name in names.MANY_LABELS], "labels",
            (_of(_TEXT, _TEXT), _of(_WHOLES, _WHOLES), _of(_WHOLE, _WHOLE)),
            note="One label a row, or for several a 0 or 1 for each label in a fixed order."),
    _Family(names.LABELS, "labels", (_of(_TEXT, _TEXT), _of(_WHOLE, _WHOLE))),
    _Family(names.MANY_LABELS, "many-labels", (_of(_WHOLES, _WHOLES),), note="A 0 or 1 for each label in a fixed order."),
    _Family(names.NUMBERS, "numbers", (_of(_REAL, _REAL),)),
    _Family(names.ENTITIES, "tags", (_of(_TEXTS, _TEXTS),)),
    _Family((*names.SPANS, *names.TEXTS), "texts", (_of(_TEXT, _TEXT), _of(_TEXT, _TEXTS))),
    _Family((*names.VARIETY, *names.SAFETY), "generations", (_of(_TEXT),)),
    _Family(("perplexity",), "language", (_of(_REAL, _WHOLE),),
            lambda nll, tokens, place, others: {"nll": nll, "tokens": tokens, "bytes": tokens},
            "A prediction is the nats of a text, a reference its tokens."),
    _Family(("bits_per_byte",), "language", (_of(_REAL, _WHOLE),),
            lambda nll, size, place, others: {"nll": nll, "tokens": size, "bytes": size},
            "A prediction is the nats of a text, a reference its bytes."),
    _Family(names.CHOICES, "choices", (_of(_REALS, _WHOLE), _of(_REALS, _WHOLES)), _choice,
            "A prediction is the log-likelihood of each choice, a reference the number of the right one."),
    _Family(names.PREFERENCE, "preferences", (_of(_REALS),),
            lambda made, wanted, place, others: {"loglikelihoods": made}, "The log-likelihoods of two texts."),
    _Family(names.RANKINGS, "rankings", (_of(_TEXTS, _TEXTS),), note="A prediction is a list with the best first."),
    _Family(names.BOXES, "boxes", (_of([{**_KNOWN, "score": _REAL}], [_KNOWN]),), note="Boxes are [x, y, width, height]."),
)  # fmt: skip
