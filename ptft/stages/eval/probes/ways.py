"""How a probe is run on a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ptft.core.encoding import plain_ids
from ptft.core.errors import InputError
from ptft.core.models import Loaded
from ptft.core.rows import Row
from ptft.core.scoring import Response, score_responses
from ptft.stages.eval.probes.file import Bias, read
from ptft.stages.eval.prompts import Plain, begin_ids
from ptft.stages.eval.recipe import EvalRecipe
from ptft.stages.eval.tasks import metrics_for
from ptft.stages.eval.way import Way
from ptft.stages.eval.ways.answers import Answers


@dataclass(frozen=True)
class Probe:
    """by: the slices that its scores are read by. remarks of the way say what it does not show."""

    name: str
    rows: tuple[Row, ...]
    way: Way
    metrics: tuple[str, ...]
    by: tuple[str, ...] = ()


def probe_for(path: str | Path, loaded: Loaded, recipe: EvalRecipe) -> Probe:
    """Raises `InputError` for a file with problems, and for a model that is not causal."""
    made = read(path)
    if loaded.kind != "causal":
        what = f"a probe asks how a causal model goes on, and this is a {loaded.kind} one"
        raise InputError(what, where=str(loaded.folder), remedy="name a causal checkpoint, or leave out --task")
    rows = tuple(made.rows(Path(path).name))
    if isinstance(made, Bias):
        return Probe(
            made.name, rows, Likelier(loaded, recipe), metrics_for(recipe, "preferences"), ("dimension", "attribute")
        )
    metrics = metrics_for(recipe, "generations", ("flagged",))
    recipe = replace(recipe, decoding=made.decoding(recipe.decoding))
    return Probe(made.name, rows, Answers(loaded, Plain(loaded), recipe, metrics), metrics)


@dataclass(frozen=True)
class Likelier:
    """Of two sentences that differ in a group, how likely the attribute and what follows it are: the same tokens after each.

    What stands before is read, not scored: that "he" is more frequent than "she", or works more often, is no judgement of
    nurses (CrowS-Pairs leaves the words that differ out of its score, too).
    """

    loaded: Loaded
    recipe: EvalRecipe
    kind: str = "preferences"
    title: str = "scoring pairs"
    block: int = 256

    def problem(self, row: Row) -> str | None:
        return None

    def predict(self, rows: Sequence[Row]) -> list[dict[str, Any]]:
        """ "loglikelihoods" in nats, of the first and of the second."""
        begin = begin_ids(self.loaded.tokenizer)
        before = plain_ids(self.loaded.tokenizer, [text for row in rows for text in row.data["before"]])
        after = plain_ids(self.loaded.tokenizer, [row.data["after"] for row in rows])
        responses = [
            Response(
                [*begin, *ids, *after[place // 2]], len(begin) + len(ids), len(rows[place // 2].data["after"].encode())
            )
            for place, ids in enumerate(before)
        ]
        scores = score_responses(self.loaded, responses, self.loaded.seq_len, self.recipe.batch_size)
        return [
            {
                "input": [text + row.data["after"] for text in row.data["before"]],
                "loglikelihoods": [-scores[2 * place].nll, -scores[2 * place + 1].nll],
                **{name: row.data[name] for name in ("dimension", "groups", "attribute")},
            }
            for place, row in enumerate(rows)
        ]

    def settings(self, predictions: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        return {"scored": "the attribute and what follows it, in nats", "preferred": "the first of each pair of groups"}

    def remarks(self, predictions: Sequence[Mapping[str, Any]]) -> list[str]:
        return [
            "preference is the share of pairs whose first group is likelier: 0.5 leans to neither side, but attributes that lean "
            "to opposite sides cancel out: read it by attribute, and the mean gap. Sentences from a template show a model's "
            "lean, not how it treats people"
        ]
