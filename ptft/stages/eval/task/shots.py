"""Which solved examples stand before a question."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

from ptft.core.errors import InputError
from ptft.core.rows import Row
from ptft.stages.eval.task.distractors import Distractors
from ptft.stages.eval.task.model import Example, Task, example_of
from ptft.stages.eval.task.template import Unfit

HARNESS_SEED = 1234  # lm-evaluation-harness draws solved examples with it unless told otherwise


class Shots:
    """count: of solved examples a question. pool: the rows they are taken from.

    "fixed" examples are the same for every row, so that a model reads them once: drawn with the seed; a row that is among them,
    or a copy of it, is passed over. "sequence" is the harness's: one random sequence runs through the rows in their order, so
    what a row gets hangs on how many came before it. Raises `InputError` where the pool holds fewer than asked for.
    """

    def __init__(self, task: Task, count: int, pool: Sequence[Row], seed: int, distractors: Distractors) -> None:
        self.task, self.count, self.seed, self.distractors = task, count, seed, distractors
        self.pool = [_plain(row) for row in pool] if not task.shots_given else [dict(row) for row in task.shots_given]
        self._numbers = {(row.source, row.line): number for number, row in enumerate(pool)}
        self._drawn: list[tuple[int, ...]] = []
        self._random = random.Random(HARNESS_SEED)
        needed = count + (count > 0 and task.excluded and (task.shots_are_data or task.drawn == "sequence"))
        if needed > len(self.pool):
            what = f"{count} solved examples are asked for, and there are {len(self.pool)} to take them from"
            raise InputError(what, remedy="ask for fewer with --shots, or name more under shots_from")

    def of(self, row: Row) -> list[Example]:
        """Raises `Unfit` where too few examples are left beside the row itself."""
        if not self.count:
            return []
        found = self._sequence(row) if self.task.drawn == "sequence" else self._in_order(row)
        if len(found) < self.count:
            raise Unfit(f"{len(found)} solved examples beside the row itself, where {self.count} are asked for")
        return [self._example(shot) for shot in found]

    def _example(self, data: Mapping[str, Any]) -> Example:
        return example_of(self.task, self.distractors.added_to(data))

    # ------------------------------------------------------------ the same for all rows

    @cached_property
    def _order(self) -> list[int]:
        numbers = list(range(len(self.pool)))
        if self.task.drawn == "fixed":
            random.Random(self.seed).shuffle(numbers)
            numbers = [number for number in numbers if self._fits(self.pool[number])]
        return numbers

    def _fits(self, data: Mapping[str, Any]) -> bool:
        try:
            self._example(data)
        except Unfit:
            return False
        return True

    def _in_order(self, row: Row) -> list[Mapping[str, Any]]:
        own = _content(_plain(row)) if self.task.excluded else None
        found: list[Mapping[str, Any]] = []
        for number in self._order:
            if len(found) == self.count:
                break
            if _content(self.pool[number]) != own:
                found.append(self.pool[number])
        return found

    # ------------------------------------------------------------ the harness's

    def _sequence(self, row: Row) -> list[Mapping[str, Any]]:
        number = self._number(row)
        while len(self._drawn) <= number:
            self._drawn.append(self._next(len(self._drawn)))
        return [self.pool[index] for index in self._drawn[number]]

    def _number(self, row: Row) -> int:
        """The row's place among the rows, from 0. A table's first line is its header."""
        known = self._numbers.get((row.source, row.line)) if self.task.shots_are_data else None
        header = row.source.split(".")[-1] in ("csv", "tsv")
        return known if known is not None else max(0, row.line - 1 - header)

    def _next(self, number: int) -> tuple[int, ...]:
        everything = range(len(self.pool))
        if not self.task.excluded:
            return tuple(self._random.sample(everything, self.count))
        own = self.pool[number] if self.task.shots_are_data and number < len(self.pool) else None
        found = [index for index in self._random.sample(everything, self.count + 1) if self.pool[index] != own]
        if len(found) < self.count:  # copies of the row were drawn
            others = [index for index in everything if self.pool[index] != own]
            found = self._random.sample(others, min(self.count, len(others)))
        return tuple(found[: self.count])


def _plain(row: Row) -> dict[str, Any]:
    """A row's data without the id that reading gave it."""
    given = f"{row.source}:{row.line}"
    return {name: value for name, value in row.data.items() if name != "id" or value != given}


def _content(data: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in data.items() if name != "id"}
