"""What every task is made from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ptft.core.contracts import Output
from ptft.core.examples import Shape
from ptft.core.progress import Progress
from ptft.core.rows import Row
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

    length: tokens a row at most. rejected: rows that were refused so far.
    """

    recipe: TaskRecipe
    base: Base
    train: Part
    val: Part
    everything: Part
    length: int
    rejected: int
    out: Output
    progress: Progress
