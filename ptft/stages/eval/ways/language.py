"""A causal model on text: how likely it finds every token."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ptft.core.errors import InputError
from ptft.core.models import Loaded
from ptft.core.rows import Row
from ptft.core.scoring import TextScore, Windows, begins_with, score_texts, sum_nll, windows_for
from ptft.stages.eval.recipe import EvalRecipe
from ptft.stages.eval.task.asking import harness_ids
from ptft.stages.eval.task.model import Task, example_of
from ptft.stages.eval.task.template import Unfit

SHOWN = 1000  # characters of a text in predictions.jsonl


@dataclass(frozen=True)
class Language:
    """Every token of every text but the first (see `prefix`), after as much as the window shows before it.

    task: what the text of a row is; without one it is the field "text". A task of lm-evaluation-harness has its conventions: the
    first token is scored too, and windows do not overlap.
    """

    loaded: Loaded
    recipe: EvalRecipe
    task: Task | None = None
    kind: str = "language"
    title: str = "scoring text"
    block: int = 256

    def __post_init__(self) -> None:
        if self.loaded.kind != "causal":
            remedy = "name a causal model, or leave out --task for what this model learnt"
            what = f"the likelihood of text is a causal model's, and this one is {self.loaded.kind}"
            raise InputError(what, where=str(self.loaded.folder), remedy=remedy)

    def problem(self, row: Row) -> str | None:
        try:
            return None if self._text(row).strip() else "an empty text"
        except Unfit as error:
            return str(error)

    def _text(self, row: Row) -> str:
        return str(row.data["text"]) if self.task is None else example_of(self.task, row.data).solution

    @property
    def _harness(self) -> bool:
        return self.task is not None and self.task.harness

    @property
    def windows(self) -> Windows:
        if not self._harness:
            return windows_for(self.loaded, self.recipe.max_seq_len, self.recipe.stride)
        context = min(self.loaded.seq_len, self.recipe.max_seq_len or self.loaded.seq_len)
        return Windows(context, context)

    def predict(self, rows: Sequence[Row]) -> list[dict[str, Any]]:
        texts = [self._text(row) for row in rows]
        return [
            {"input": text[:SHOWN], "nll": score.nll, "tokens": score.tokens, "bytes": score.bytes}
            for text, score in zip(texts, self._scores(texts), strict=True)
        ]

    def _scores(self, texts: Sequence[str]) -> list[TextScore]:
        if not self._harness:
            return score_texts(self.loaded, texts, self.windows, self.recipe.batch_size, self.recipe.prefix)
        begin = begins_with(self.loaded.tokenizer, "yes")
        ids = [begin + row for row in harness_ids(self.loaded.tokenizer, texts)]
        spans = [list(self.windows.over(len(row))) for row in ids]
        nll = sum_nll(self.loaded, ids, spans, self.recipe.batch_size)
        return [
            TextScore(total, len(row) - 1, len(text.encode())) for total, row, text in zip(nll, ids, texts, strict=True)
        ]

    def settings(self, predictions: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """bos: whether texts begin with a token of their own, after which the first is scored."""
        prefix = "yes" if self._harness else self.recipe.prefix
        begun = bool(begins_with(self.loaded.tokenizer, prefix))
        found = {"context": self.windows.context, "stride": self.windows.stride, "bos": begun}
        return found if self.task is None else {**found, "task_hash": self.task.hash}

    def remarks(self, predictions: Sequence[Mapping[str, Any]]) -> list[str]:
        return [] if self.task is None else list(self.task.notes)
