"""A causal model and texts to choose from: how likely it finds each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from ptft.core.continuations import Pair, Scored, score_continuations
from ptft.core.errors import InputError
from ptft.core.models import Loaded
from ptft.core.rows import Row
from ptft.stages.eval.recipe import EvalRecipe
from ptft.stages.eval.task.asking import Asked, Asking
from ptft.stages.eval.task.model import Example, Task
from ptft.stages.eval.task.prompts import described


@dataclass(frozen=True)
class Choices:
    """Ranks the continuations of each question by log-likelihood, without writing any: tasks of choices, preference and target.

    shots_rows: where solved examples come from; of a task whose `shots_are_data`, the rows of the data.
    """

    loaded: Loaded
    task: Task
    recipe: EvalRecipe
    shots_rows: Sequence[Row] = ()
    title: str = "ranking choices"
    block: int = 256

    def __post_init__(self) -> None:
        if self.loaded.kind != "causal":
            remedy = "name a causal model, or leave out --task for what this model learnt"
            what = f"choices are ranked by a causal model, and this one is {self.loaded.kind}"
            raise InputError(what, where=str(self.loaded.folder), remedy=remedy)
        _ = self.asking  # too few solved examples are told before any row is read

    @cached_property
    def asking(self) -> Asking:
        return Asking.of(self.loaded, self.task, self.recipe, self.shots_rows)

    @property
    def kind(self) -> str:
        return self.task.predictions

    @property
    def context(self) -> int:
        return min(self.loaded.seq_len, self.recipe.max_seq_len or self.loaded.seq_len)

    def problem(self, row: Row) -> str | None:
        """Also a choice that alone is longer than the context: cutting its question would not help."""
        found = self.asking.problem(row)
        if found is not None:
            return found
        longest = max(self.asking.example(row).continuations, key=lambda text: len(text.encode()))
        if len(longest.encode()) <= self.context:  # a token has a byte at least
            return None
        tokens = len(self.loaded.tokenizer(longest, add_special_tokens=False, verbose=False)["input_ids"])
        return (
            f"a choice of {tokens:,} tokens, where the context has {self.context:,}" if tokens > self.context else None
        )

    def predict(self, rows: Sequence[Row]) -> list[dict[str, Any]]:
        examples = [self.asking.example(row) for row in rows]
        scores = score_continuations(self.loaded, self._pairs(rows, examples), self.recipe.batch_size, self.context)
        return [self._prediction(example, found) for example, found in zip(examples, scores, strict=True)]

    def _pairs(self, rows: Sequence[Row], examples: Sequence[Example]) -> list[list[Pair]]:
        asked: list[Asked] = []
        ends: list[str] = []
        sizes = []
        for row, example in zip(rows, examples, strict=True):
            contexts = self.asking.asked(row, example)
            count = len(example.continuations)
            asked += contexts if len(contexts) == count else contexts * count
            ends += example.continuations
            sizes.append(count)
        pairs = iter(self.asking.pairs(asked, ends))
        return [[next(pairs) for _ in range(size)] for size in sizes]

    def _prediction(self, example: Example, scores: Sequence[Scored]) -> dict[str, Any]:
        cut = max(score.cut for score in scores)
        made = self._target(example, scores[0]) if self.task.kind == "target" else self._ranked(example, scores)
        return {"input": example.question, **made, **({"cut": cut} if cut else {})}

    def _ranked(self, example: Example, scores: Sequence[Scored]) -> dict[str, Any]:
        """Of equally likely choices the first, as numpy has it."""
        nats = [score.loglikelihood for score in scores]
        references, answers = list(example.references), list(example.answers)
        found: dict[str, Any] = {
            "reference": references[0] if len(references) == 1 else references,
            "prediction": example.choices[int(np.argmax(nats))],
            "answer": answers[0] if len(answers) == 1 else answers,
            "choices": list(example.choices), "loglikelihoods": nats, "lengths": [len(choice) for choice in example.choices],
        }  # fmt: skip
        if self.task.choices is not None and isinstance(self.task.choices.source, list) and self.task.kind == "choices":
            chances = np.exp(np.array(nats) - max(nats))
            found["probabilities"] = dict(zip(example.choices, (chances / chances.sum()).tolist(), strict=True))
        return found

    def _target(self, example: Example, score: Scored) -> dict[str, Any]:
        """One continuation. For `acc` it is ranked against the likeliest token at each of its places, and wins where it is those."""
        likeliest = self.loaded.tokenizer.decode(list(score.greedy))
        found: dict[str, Any] = {"reference": example.solution, "prediction": likeliest}
        if self.kind == "choices":
            nats = [score.loglikelihood, score.likeliest]
            return found | {
                "answer": 0,
                "loglikelihoods": nats,
                "lengths": [len(example.solution), max(1, len(likeliest))],
            }
        # the harness counts a target as one word, whatever its tokens
        return found | {"nll": -score.loglikelihood, "tokens": 1, "bytes": len(example.solution.encode())}

    def settings(self, predictions: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        return {"context": self.context, **described(self.asking), "rows_cut": _cut(predictions)}

    def remarks(self, predictions: Sequence[Mapping[str, Any]]) -> list[str]:
        found = list(self.task.notes)
        if cut := _cut(predictions):
            found.append(f"{cut:,} questions are longer than {self.context:,} tokens and lost their beginning")
        return found


def _cut(predictions: Sequence[Mapping[str, Any]]) -> int:
    return sum("cut" in row for row in predictions)
