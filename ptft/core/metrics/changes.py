"""Which rows changed between two runs, for the better or the worse."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ptft.core.metrics.measure import Floats, Measure
from ptft.core.metrics.names import LOWER_IS_BETTER

EXAMPLES, MOST_TEXT = 20, 500  # of scores.json: rows, and characters of a text of theirs
_SAID = (
    "prediction",
    "probabilities",
    "loglikelihoods",
    "nll",
)  # what a run says of a row; the first that it has is shown

Rows = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Flips:
    """Rows whose own score by `metric` differs between two runs.

    gained: rows that are better here. lost: those that are worse. changed: their numbers (rows,), the largest change first.
    own, other: each row's own score, shape (rows,).
    """

    metric: str
    gained: int
    lost: int
    changed: tuple[int, ...]
    here: Rows
    there: Rows
    own: Floats
    other: Floats

    @property
    def right_or_wrong(self) -> bool:
        """Whether every row is one or the other, so that McNemar's test applies."""
        return all(bool(np.isin(side, (0.0, 1.0)).all()) for side in (self.own, self.other))

    def lines(self) -> Iterator[dict[str, Any]]:
        """Every changed row, for flips.jsonl."""
        return map(self._line, self.changed)

    def as_json(self, most: int = EXAMPLES) -> dict[str, Any]:
        """Counts and `most` examples, as many lost as gained where there are, long texts cut."""
        return {
            "metric": self.metric, "gained": self.gained, "lost": self.lost,
            "examples": [_cut(self._line(number)) for number in self._examples(most)],
        }  # fmt: skip

    def _examples(self, most: int) -> list[int]:
        lost = [number for number in self.changed if not self._better(number)]
        gained = [number for number in self.changed if self._better(number)]
        half = min(len(lost), max(most // 2, most - len(gained)))
        return lost[:half] + gained[: most - half]

    def _better(self, number: int) -> bool:
        return bool((self.own[number] < self.other[number]) == (self.metric in LOWER_IS_BETTER))

    def _line(self, number: int) -> dict[str, Any]:
        here, there = self.here[number], self.there[number]
        return {
            "id": here["id"], "change": "gained" if self._better(number) else "lost",
            "input": here.get("input"), "reference": here.get("reference", here.get("answer")),
            "prediction": _said(here), "other": _said(there),
            "score": float(self.own[number]), "other_score": float(self.other[number]),
        }  # fmt: skip


def flips(
    here: Rows,
    there: Rows,
    measures: Mapping[str, Measure],
    others: Mapping[str, Measure],
    judged: str | None,
    metrics: Sequence[str],
) -> Flips | None:
    """By the metric that says whether a row is right, else by the first whose rows have scores of their own; None without one."""
    order = [judged] if judged else list(metrics)
    name = next((name for name in order if measures[name].own is not None and others[name].own is not None), None)
    if name is None:
        return None
    own, other = measures[name].own, others[name].own
    assert own is not None and other is not None
    change = np.nan_to_num(own - other)
    changed = np.flatnonzero(change)
    changed = changed[np.argsort(-np.abs(change[changed]), kind="stable")]
    better = change < 0 if name in LOWER_IS_BETTER else change > 0
    gained = int(better.sum())
    return Flips(name, gained, len(changed) - gained, tuple(changed.tolist()), here, there, own, other)


def _said(row: Mapping[str, Any]) -> Any:
    return next((row[field] for field in _SAID if field in row), None)


def _cut(value: Any) -> Any:
    """The same with its long texts cut."""
    if isinstance(value, dict):
        return {key: _cut(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_cut(item) for item in value[:MOST_TEXT]]
    return f"{value[:MOST_TEXT]} ..." if isinstance(value, str) and len(value) > MOST_TEXT else value
