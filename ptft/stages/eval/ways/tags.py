"""A tagger on rows of words and tags."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ptft.core.models import Loaded
from ptft.core.predicting import tag_logits, tags_from
from ptft.core.rows import Row
from ptft.core.tagging import Scheme, encode_words, fits, row_problem, scheme_of, tags_of
from ptft.stages.eval.recipe import EvalRecipe


@dataclass(frozen=True)
class Tag:
    """A tag for every word. A word that was cut off is not tagged ("O"), and counts."""

    loaded: Loaded
    recipe: EvalRecipe
    title: str = "tagging"
    block: int = 1024

    @property
    def scheme(self) -> Scheme:
        return scheme_of(self.loaded.labels)

    @property
    def kind(self) -> str:
        return "plain-tags" if self.scheme == "plain" else "tags"

    @property
    def limit(self) -> int:
        return min(self.loaded.seq_len, self.recipe.max_seq_len or self.loaded.seq_len)

    def problem(self, row: Row) -> str | None:
        if found := row_problem(row.data):
            return found
        odd = [str(tag) for tag in row.data["tags"] if not fits(str(tag), self.scheme, self.loaded.labels)]
        if not odd:
            return None
        shown = ", ".join(self.loaded.labels[:20]) + (", ..." if len(self.loaded.labels) > 20 else "")
        return f"the tag {odd[0]!r} is not of the model's kind, whose tags are {shown}"

    def predict(self, rows: Sequence[Row]) -> list[dict[str, Any]]:
        words = encode_words(self.loaded.tokenizer, [row.data["tokens"] for row in rows], self.limit)
        made = tags_from(self.loaded, words, tag_logits(self.loaded, words, self.recipe.batch_size))
        found = []
        for row, seen, prediction in zip(rows, words, made, strict=True):
            reference, mended = tags_of(row.data["tags"], self.scheme)
            counts = {"words_cut": len(reference) - len(seen.seen), "tags_mended": mended}
            shown = {name: count for name, count in counts.items() if count}
            found.append({"input": row.data["tokens"], "reference": reference, "prediction": prediction, **shown})
        return found

    def settings(self, predictions: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        totals = {name: sum(row.get(name, 0) for row in predictions) for name in ("words_cut", "tags_mended")}
        return {"max_seq_len": self.limit, **totals, "scheme": self.scheme}

    def remarks(self, predictions: Sequence[Mapping[str, Any]]) -> list[str]:
        lost = self.settings(predictions)["words_cut"]
        if not lost:
            return []
        return [f"{lost:,} words are behind the first {self.limit:,} tokens of their row: they count as not tagged"]
