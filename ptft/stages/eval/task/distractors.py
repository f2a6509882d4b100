"""Wrong answers for a question whose data holds only the right one: answers of other rows."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from ptft.core.errors import InputError
from ptft.core.rows import Row
from ptft.stages.eval.task.model import DRAWN, Task
from ptft.stages.eval.task.template import Unfit

ANY = ""


class Distractors:
    """The answers of all rows, by the value of the field that a question's choices must share.

    A row's choices hang on the seed and its id alone, so that they are the same in any order of rows and for any model.
    """

    def __init__(self, task: Task, pool: Sequence[Row], seed: int) -> None:
        self.task, self.seed = task, seed
        self.known: dict[str, list[str]] = defaultdict(list)
        if not task.distractors:
            return
        seen: set[tuple[str, str]] = set()
        for row in pool:
            try:
                key = self._key(row.data), self._answer(row.data)
            except Unfit:
                continue
            if key not in seen:
                seen.add(key)
                self.known[key[0]].append(key[1])
        if not self.known:
            raise InputError("no row has an answer to choose from", remedy="mend the task's answer, or name other data")

    def added_to(self, data: Mapping[str, Any]) -> Mapping[str, Any]:
        """The row with its choices: the right one and the drawn ones, in a random order."""
        if not self.task.distractors:
            return data
        answer, others = self._answer(data), self.known.get(self._key(data), [])
        draw = random.Random(f"{self.seed}:{data.get('id')}")
        found = [text for text in draw.sample(others, min(len(others), self.task.distractors + 1)) if text != answer]
        choices = [answer, *found[: self.task.distractors]]
        if len(choices) <= self.task.distractors:
            raise Unfit(f"{len(choices) - 1} other answers, where {self.task.distractors} are to be drawn")
        draw.shuffle(choices)
        return {**data, DRAWN: choices}

    def _key(self, data: Mapping[str, Any]) -> str:
        return self.task.distractors_by.text(data) if self.task.distractors_by else ANY

    def _answer(self, data: Mapping[str, Any]) -> str:
        assert self.task.answer is not None
        text = self.task.answer.text(data)
        if not text:
            raise Unfit("an empty answer")
        return text
