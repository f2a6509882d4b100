"""Metrics, computed offline by the reference implementations, each with its 95 % interval.

`names` is what a recipe may ask for and costs nothing to import; `classification`, `text` and `likelihood` compute; a score
is {"score": x, "ci95": [low, high], ...detail}. `as_evaluate` offers each as an `evaluate.Metric`.
"""

from __future__ import annotations

from typing import Any


def as_evaluate(name: str) -> Any:
    """The metric `name` as an `evaluate.Metric` instance, which `evaluate.combine` takes; nothing is fetched from a hub.

    Raises `UsageError` for an unknown name. Importing evaluate takes seconds, so ptft's own stages call the functions.
    """
    from ptft.core.metrics.hub import metric

    return metric(name)
