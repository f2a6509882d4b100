"""A task whose answers are written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ptft.core.models import Loaded
from ptft.core.rows import Row
from ptft.core.scoring import Response
from ptft.stages.eval.recipe import EvalRecipe
from ptft.stages.eval.task.asking import Asking
from ptft.stages.eval.task.model import Task


@dataclass(frozen=True)
class TaskPrompts:
    """`ptft.stages.eval.prompts.Prompts` of a task of the kind "generate". trims: the harness keeps the space before an answer."""

    asking: Asking
    of: str = "answers"
    cuts: str = "beginning"
    answered: bool = True

    @classmethod
    def of_task(cls, loaded: Loaded, task: Task, recipe: EvalRecipe, shots_rows: Sequence[Row]) -> TaskPrompts:
        return cls(Asking.of(loaded, task, recipe, shots_rows))

    @property
    def trims(self) -> bool:
        return self.asking.task.trims

    def problem(self, row: Row) -> str | None:
        found = self.asking.problem(row)
        if found is None and not self.parts(row)[1]:
            return "an empty reference"
        return found

    def parts(self, row: Row) -> tuple[Any, Any]:
        """The whole prompt, solved examples included, and the reference, or the list of them."""
        example = self.asking.example(row)
        references = list(example.references)
        return self.asking.asked(row, example)[0], references[0] if len(references) == 1 else references

    def prompts(self, asked: Sequence[Any], room: int) -> tuple[list[list[int]], list[int]]:
        whole = self.asking.prompts(asked)
        return [ids[-room:] for ids in whole], [max(0, len(ids) - room) for ids in whole]

    def responses(self, asked: Sequence[Any], references: Sequence[str]) -> list[Response]:
        """The reference after the task's separator, as in a solved example."""
        separator = "" if self.asking.chat else self.asking.task.separator
        pairs = self.asking.pairs(asked, [separator + text for text in references])
        return [
            Response([*context, *answer], len(context), len(text.encode()))
            for (context, answer), text in zip(pairs, references, strict=True)
        ]

    def settings(self) -> dict[str, Any]:
        return described(self.asking)


def described(asking: Asking) -> dict[str, Any]:
    """What a reader must know of a task to compare scores."""
    task = asking.task
    return {
        "task_hash": task.hash, "shots": asking.shots.count, "shots_drawn": task.drawn, "chat": asking.chat,
        "conventions": "lm-evaluation-harness" if task.harness else "ptft",
    }  # fmt: skip
