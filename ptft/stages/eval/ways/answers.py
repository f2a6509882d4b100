"""A model that writes: its answers, and the likelihood of the references."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ptft.core.decoding import described
from ptft.core.metrics import names
from ptft.core.models import Loaded
from ptft.core.predicting import texts
from ptft.core.rows import Row
from ptft.core.scoring import score_responses
from ptft.stages.eval.prompts import Prompts
from ptft.stages.eval.recipe import EvalRecipe


def kind_of(loaded: Loaded, prompts: Prompts) -> str:
    """Of the predictions that `Answers` makes: an encoder-decoder has no likelihood here, rows that only ask no reference."""
    if not prompts.answered:
        return "generations"
    return "texts" if loaded.kind == "seq2seq" else "answers"


@dataclass(frozen=True)
class Answers:
    """Writes where a metric compares or judges what is written, and scores the references where their likelihood is asked for.

    The sample of a row is drawn of the recipe's seed and the row's id: see `ptft.core.decoding`.
    """

    loaded: Loaded
    prompts: Prompts
    recipe: EvalRecipe
    metrics: tuple[str, ...]
    block: int = 128

    @property
    def kind(self) -> str:
        return kind_of(self.loaded, self.prompts)

    @property
    def title(self) -> str:
        return "answering" if self._writes else "scoring answers"

    @property
    def _writes(self) -> bool:
        return not set(self.metrics) <= set(names.LIKELIHOODS)

    @property
    def _scores(self) -> bool:
        return bool(set(self.metrics) & set(names.LIKELIHOODS))

    @property
    def context(self) -> int:
        return min(self.loaded.seq_len, self.recipe.max_seq_len or self.loaded.seq_len)

    @property
    def room(self) -> int:
        """New tokens; half of the context is the prompt's. An encoder-decoder writes elsewhere than it reads."""
        most = self.recipe.decoding.max_new_tokens
        return most if self.loaded.kind == "seq2seq" else min(most, max(1, self.context // 2))

    def problem(self, row: Row) -> str | None:
        return self.prompts.problem(row)

    def predict(self, rows: Sequence[Row]) -> list[dict[str, Any]]:
        parts = [self.prompts.parts(row) for row in rows]
        made: list[dict[str, Any]] = [
            {"input": asked, **({} if reference is None else {"reference": reference})} for asked, reference in parts
        ]
        asked = [each for each, _ in parts]
        added = self._written(asked, [str(row.data["id"]) for row in rows]) if self._writes else []
        for row, more in zip(made, added, strict=False):
            row.update(more)
        added = self._scored(asked, [_first(reference) for _, reference in parts]) if self._scores else []
        for row, more in zip(made, added, strict=False):
            row.update(more)
        return made

    def _written(self, asked: Sequence[Any], keys: Sequence[str]) -> list[dict[str, Any]]:
        room = self.context if self.loaded.kind == "seq2seq" else self.context - self.room
        ids, lost = self.prompts.prompts(asked, room)
        answers = texts(
            self.loaded, ids, replace(self.recipe.decoding, max_new_tokens=self.room), self.recipe.seed,
            self.recipe.batch_size, keys=keys, trim=self.prompts.trims,
        )  # fmt: skip
        return [
            {"prediction": text, **({"cut": tokens} if tokens else {})}
            for text, tokens in zip(answers, lost, strict=True)
        ]

    def _scored(self, asked: Sequence[Any], references: Sequence[str]) -> list[dict[str, Any]]:
        responses = self.prompts.responses(asked, references)
        scores = score_responses(self.loaded, responses, self.context, self.recipe.batch_size)
        return [{"nll": score.nll, "tokens": score.tokens, "bytes": score.bytes} for score in scores]

    def settings(self, predictions: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """decoding in words; likelihood_of: what of an answer is scored."""
        found: dict[str, Any] = {"context": self.context, **self.prompts.settings()}
        if self._writes:
            decoding = self.recipe.decoding
            found |= {"max_new_tokens": self.room, "decoding": described(decoding), "stop": list(decoding.stop)}
            found |= {"seed": self.recipe.seed} if decoding.temperature else {}
            found["prompts_cut"] = sum("cut" in row for row in predictions)
        return found | ({"likelihood_of": self.prompts.of} if self._scores else {})

    def remarks(self, predictions: Sequence[Mapping[str, Any]]) -> list[str]:
        found = []
        if self._writes and self.room < self.recipe.decoding.max_new_tokens:
            asked = self.recipe.decoding.max_new_tokens
            found.append(
                f"answers have at most {self.room:,} new tokens, not {asked:,}: half of a context of {self.context:,}"
            )
        if empty := sum(row.get("prediction") == "" for row in predictions):
            found.append(f"{empty:,} of {len(predictions):,} answers are empty")
        if not (cut := sum("cut" in row for row in predictions)):
            return found
        room = f"room for {self.room:,} new tokens in a context of {self.context:,}"
        return [*found, f"{cut:,} of {len(predictions):,} prompts were cut at the {self.prompts.cuts} to leave {room}"]


def _first(reference: Any) -> str:
    """The reference whose likelihood counts, of several."""
    return str(reference[0]) if isinstance(reference, list) else str(reference)
