"""Our metrics as `evaluate.Metric`: what `evaluate.load` would fetch from a hub, from here."""

from __future__ import annotations

from typing import Any

import datasets
import evaluate
import numpy as np

from ptft.core.errors import UsageError
from ptft.core.metrics import names
from ptft.core.metrics.classification import classification
from ptft.core.metrics.entities import tagging
from ptft.core.metrics.likelihood import likelihood
from ptft.core.metrics.multi_label import multi_label
from ptft.core.metrics.numbers import numbers
from ptft.core.metrics.spans import spans
from ptft.core.metrics.text import bleu, chrf, rouge
from ptft.core.tagging import scheme_of

_CITATION = "see the docstrings of ptft.core.metrics"


class _Local(evaluate.Metric):
    """One metric; its result has the score under the metric's own name, and the rest of the score beside it."""

    def __init__(self, name: str, **kwargs: Any) -> None:
        self.metric_name = name
        super().__init__(**kwargs)
        self.info.metric_name = name

    def _info(self) -> evaluate.MetricInfo:
        prediction, reference = _fields(self.metric_name)
        fields = {"predictions": prediction, "references": reference}
        return evaluate.MetricInfo(
            description=f"{self.metric_name}, computed by ptft", citation=_CITATION, features=datasets.Features(fields)
        )

    def _compute(self, predictions: Any = None, references: Any = None, **options: Any) -> dict[str, Any]:
        score = compute(self.metric_name, predictions, references, **options)
        detail = {f"{self.metric_name}_{key}": value for key, value in score.items() if key != "score"}
        return {self.metric_name: score["score"], **detail}


def compute(name: str, predictions: Any, references: Any, **options: Any) -> dict[str, Any]:
    """One score by name. Of perplexity, predictions are nats a text and references its tokens; of bits_per_byte, its bytes."""
    if name in names.LABELS:
        return classification(list(references), list(predictions), (name,), **options)[name]
    if name in names.LIKELIHOODS:
        return likelihood(predictions, references, references, (name,), **options)[name]
    if name in names.NUMBERS:
        return numbers(references, predictions, (name,), **options)[name]
    if name in names.MANY_LABELS:
        flags = np.asarray(references, dtype=bool), np.asarray(predictions, dtype=bool)
        return multi_label(*flags, [str(label) for label in range(flags[0].shape[1])], (name,), **options)[name]
    if name in names.ENTITIES:
        scheme = scheme_of(tag for rows in (references, predictions) for row in rows for tag in row)
        return tagging(references, predictions, (name,), scheme, **options)[name]
    if name in names.SPANS:
        return spans(predictions, [[text] for text in references], (name,), **options)[name]
    if name.startswith("rouge"):
        return rouge(predictions, references, (name,), **options)[name]
    return {"bleu": bleu, "chrf": chrf}[name](predictions, references, **options)


def _fields(name: str) -> tuple[Any, Any]:
    """What a prediction and a reference are; of several labels a 0 or 1 for each label, in a fixed order."""
    if name in names.LIKELIHOODS:
        return datasets.Value("float64"), datasets.Value("int64")
    if name in names.NUMBERS:
        return datasets.Value("float64"), datasets.Value("float64")
    if name in names.MANY_LABELS and name not in names.LABELS:
        return datasets.Sequence(datasets.Value("int64")), datasets.Sequence(datasets.Value("int64"))
    if name in names.ENTITIES:
        return datasets.Sequence(datasets.Value("string")), datasets.Sequence(datasets.Value("string"))
    return datasets.Value("string"), datasets.Value("string")


def metric(name: str) -> evaluate.Metric:
    problems = names.unknown([name]) or ([f"{name!r} is several metrics"] if name in names.GROUPS else [])
    if problems:
        raise UsageError("; ".join(problems), remedy=f"the metrics are {', '.join(names.ALL)}")
    return _Local(name)
