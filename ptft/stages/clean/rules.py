"""Which measures break which limits. A rule is a knob: `gopher_quality.min_words` holds the measure `words` to its limit.

To add a rule is to add a knob min_X or max_X to a rule set of the recipe, and X to `signals.measure` if it is new.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ptft.stages.clean.recipe import CleanRecipe
from ptft.stages.clean.signals.measure import CHINESE, F32, NAMES, UNSPACED

ALPHABETIC = ("gopher_quality", "gopher_repetition", "c4", "fineweb")  # rule sets for text with spaces between words
LANGUAGE_SCORE = "language_score"


@dataclass(frozen=True)
class Reason:
    """A rule that a text breaks: its measured value, and the limit it is held to."""

    rule: str
    value: float | int | str
    limit: float | int | str


@dataclass(frozen=True)
class Rule:
    """name: the knob's. measure: a column of the table, or "language_score"."""

    name: str
    rule_set: str
    measure: str
    least: bool  # the limit is the least that is allowed, not the most
    limit: float | int

    def broken(self, values: F32) -> npt.NDArray[np.bool_]:
        """values: (n,). NaN, where the measure does not apply, breaks nothing."""
        limit = np.float32(self.limit)  # measures are float32: 0.3 is not more than 0.3
        return np.asarray(values < limit if self.least else values > limit)


def rules_of(recipe: CleanRecipe) -> tuple[Rule, ...]:
    """The rules in force, in the order of the recipe's knobs."""
    return tuple(
        Rule(f"{name}.{knob}", name, measure, kind == "min", getattr(getattr(recipe, name), knob))
        for name in recipe.rule_sets
        for knob, kind, measure in _knobs(type(getattr(recipe, name)))
    )


def _knobs(limits: type) -> list[tuple[str, str, str]]:
    """Each knob's name, whether it is a min or a max, and of what."""
    parts = [(field.name, *field.name.partition("_")) for field in dataclasses.fields(limits)]
    return [
        (knob, kind, measure) for knob, kind, _, measure in parts if kind in ("min", "max") and measure in _MEASURES
    ]


_MEASURES = frozenset((*NAMES, LANGUAGE_SCORE))


def broken_rules(rules: Sequence[Rule], table: F32, languages: Sequence[str], scores: F32) -> list[list[Reason]]:
    """Every rule that each of n texts breaks, in order. table: (n, len(NAMES)) as `measure` returns it; scores: (n,)."""
    reasons: list[list[Reason]] = [[] for _ in range(len(table))]
    applies = {
        name: np.array([_is_for(name, lang) for lang in languages], bool) for name in {r.rule_set for r in rules}
    }
    for rule in rules:
        values = scores if rule.measure == LANGUAGE_SCORE else table[:, NAMES.index(rule.measure)]
        for number in np.flatnonzero(rule.broken(values) & applies[rule.rule_set]).tolist():
            reasons[number].append(Reason(rule.name, _shown(values[number], rule.limit), rule.limit))
    return reasons


def _is_for(rule_set: str, lang: str) -> bool:
    if rule_set == "fineweb2":
        return lang in CHINESE
    return rule_set not in ALPHABETIC or lang not in UNSPACED


def _shown(value: np.float32, limit: float | int) -> float | int:
    return int(value) if isinstance(limit, int) else round(float(value), 4)
