"""Our metrics as `evaluate.Metric`: what `evaluate.load` would fetch from a hub, from here."""

from __future__ import annotations

from typing import Any

import datasets
import evaluate

from ptft.core.errors import UsageError
from ptft.core.metrics import names
from ptft.core.metrics.classification import classification
from ptft.core.metrics.likelihood import likelihood
from ptft.core.metrics.text import bleu, chrf, rouge

_CITATION = "see the docstrings of ptft.core.metrics"


class _Local(evaluate.Metric):
    """One metric; its result has the score under the metric's own name, and the rest of the score beside it."""

    def __init__(self, name: str, **kwargs: Any) -> None:
        self.metric_name = name
        super().__init__(**kwargs)
        self.info.metric_name = name

    def _info(self) -> evaluate.MetricInfo:
        if self.metric_name in names.LIKELIHOODS:
            fields = {"predictions": datasets.Value("float64"), "references": datasets.Value("int64")}
        else:
            fields = {"predictions": datasets.Value("string"), "references": datasets.Value("string")}
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
    if name.startswith("rouge"):
        return rouge(predictions, references, (name,), **options)[name]
    return {"bleu": bleu, "chrf": chrf}[name](predictions, references, **options)


def metric(name: str) -> evaluate.Metric:
    problems = names.unknown([name]) or ([f"{name!r} is several metrics"] if name in names.GROUPS else [])
    if problems:
        raise UsageError("; ".join(problems), remedy=f"the metrics are {', '.join(names.ALL)}")
    return _Local(name)
