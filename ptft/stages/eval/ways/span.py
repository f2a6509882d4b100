"""A model that finds answers in texts, on questions with their contexts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ptft.core.extracting import answer_problem, answers_of, windows_of
from ptft.core.models import Loaded
from ptft.core.predicting import answers
from ptft.core.rows import Row
from ptft.stages.eval.recipe import EvalRecipe

STRIDE = 128  # tokens that neighbouring windows share, as in training where nothing else is asked for


@dataclass(frozen=True)
class Extract:
    """Every question's answer out of its context; score: of the answer less that of no answer, in logits."""

    loaded: Loaded
    recipe: EvalRecipe
    title: str = "answering"
    block: int = 256
    kind: str = "spans"

    @property
    def limit(self) -> int:
        return min(self.loaded.seq_len, self.recipe.max_seq_len or self.loaded.seq_len)

    @property
    def stride(self) -> int:
        return self.recipe.stride or STRIDE

    def problem(self, row: Row) -> str | None:
        return answer_problem(row.data)

    def predict(self, rows: Sequence[Row]) -> list[dict[str, Any]]:
        questions, contexts = ([row.data[name] for row in rows] for name in ("question", "context"))
        windows, longer = windows_of(self.loaded.tokenizer, questions, contexts, self.limit, self.stride)
        found = answers(self.loaded, windows, contexts, self.recipe.batch_size)
        many, cut = Counter(window.row for window in windows), set(longer)
        return [
            {
                "input": {"question": row.data["question"], "context": row.data["context"]},
                "reference": [answer.text for answer in answers_of(row.data)], "prediction": answer.text,
                "score": answer.score, "windows": many[place], **({"cut": True} if place in cut else {}),
            }
            for place, (row, answer) in enumerate(zip(rows, found, strict=True))
        ]  # fmt: skip

    def settings(self, predictions: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        return {
            "max_seq_len": self.limit, "stride": self.stride, "windows": sum(row["windows"] for row in predictions),
            "unanswerable": sum(not row["reference"] for row in predictions),
        }  # fmt: skip

    def remarks(self, predictions: Sequence[Mapping[str, Any]]) -> list[str]:
        cut = sum("cut" in row for row in predictions)
        return [f"{cut:,} questions are longer than half of {self.limit:,} tokens and were cut"] if cut else []
