"""Every metric that has a name can be had as an `evaluate.Metric`, and finds what is perfect to be so."""

from __future__ import annotations

from typing import Any

import pytest

from ptft.core.metrics import names
from ptft.core.metrics.hub import metric

PERFECT: dict[str, list[Any]] = {
    **{name: [1.0, 2.0, 4.0] for name in names.NUMBERS}, "f1_micro": [[0, 1], [1, 1]], "subset_accuracy": [[0, 1], [1, 1]],
    **{name: [["B-X", "I-X", "O"], ["O"]] for name in names.ENTITIES},
}  # fmt: skip


@pytest.mark.parametrize("name", [name for name in names.ALL if name not in names.LIKELIHOODS])
def test_what_is_perfect_is_found_so(name: str) -> None:
    rows = PERFECT.get(name, ["the cat sat on the mat", "a dog"])
    found = metric(name).compute(predictions=rows, references=rows, resamples=10)
    best = 0 if name in names.LOWER_IS_BETTER else 100 if name in ("bleu", "chrf") else 1
    assert found[name] == pytest.approx(best)
