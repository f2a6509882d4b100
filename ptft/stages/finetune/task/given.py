"""What every task is made from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ptft.core.contracts import Output
from ptft.core.examples import Shape
from ptft.core.progress import Progress
from ptft.core.rows import Rejected, RejectLog, Row
from ptft.stages.finetune.base import Base
from ptft.stages.finetune.recipe import TaskRecipe


@dataclass(frozen=True)
class Part:
    """Rows of one shape."""

    rows: Sequence[Row]
    shape: Shape


@dataclass(frozen=True)
class Given:
    """train, val: rows to learn from and to measure on, checked by shape. everything: all rows of DATA, before few-shot sampling.

    length: tokens a row at most. log: takes rows that are refused.
    """

    recipe: TaskRecipe
    base: Base
    train: Part
    val: Part
    everything: Part
    length: int
    log: RejectLog
    out: Output
    progress: Progress

    @property
    def rejected(self) -> int:
        """Rows that were refused so far."""
        return self.log.bad


def good(rows: Sequence[Row], problem: Callable[[Row], str | None], log: RejectLog) -> list[Row]:
    """The rows that have no problem; the others go to the log with it. Raises `InputError` where they are too many."""
    kept = []
    for row in rows:
        if reason := problem(row):
            log.ok(-1)  # it was counted as read
            log.reject(Rejected(row.source, row.line, reason, str(row.data)[:500]))
        else:
            kept.append(row)
    log.check()
    return kept
