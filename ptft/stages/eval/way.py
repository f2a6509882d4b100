"""A way to evaluate: it turns rows into predictions, and knows nothing of scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from ptft.core.rows import Row


class Way(Protocol):
    """kind: of the predictions it makes, a name of `ptft.core.metrics.kinds.KINDS`. title: what it does, for a progress bar.

    block: rows at a time, after each of which an interrupted run can go on; so a block's predictions must not depend on others.
    """

    @property
    def kind(self) -> str: ...

    @property
    def title(self) -> str: ...

    @property
    def block(self) -> int: ...

    def problem(self, row: Row) -> str | None:
        """Why a row cannot be measured."""

    def predict(self, rows: Sequence[Row]) -> list[dict[str, Any]]:
        """A row of predictions.jsonl each, in order, without its id: "input", "reference", "prediction", and what its kind needs."""

    def settings(self, predictions: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """What a reader must know to compare the scores; counts are taken from the predictions, which outlive an interruption."""

    def remarks(self, predictions: Sequence[Mapping[str, Any]]) -> list[str]:
        """Sentences to warn with: how many rows were cut, for example."""
