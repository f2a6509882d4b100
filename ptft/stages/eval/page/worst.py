"""The rows that went worst; rows without a fault are never among them."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass

from ptft.stages.eval.page.faults import Row, rule_of
from ptft.stages.eval.page.figures import Scores


@dataclass(frozen=True)
class Worst:
    """title: how they were chosen. faulty: how many rows have a fault. rows: the worst of them, each with what is said of it."""

    title: str
    faulty: int
    rows: tuple[tuple[Row, str], ...]


def worst(scores: Scores, rows: Sequence[Row], count: int) -> Worst | None:
    """The `count` worst rows, the worst first; of equally bad ones the first. None where no rule fits the rows."""
    rule = rule_of(scores, rows) if rows else None
    if rule is None:
        return None
    bad = [(badness, -place) for place, row in enumerate(rows) if (badness := rule.badness(row)) is not None]
    chosen = [rows[-place] for _, place in heapq.nlargest(count, bad)]
    return Worst(rule.title, len(bad), tuple((row, rule.said(row)) for row in chosen))
