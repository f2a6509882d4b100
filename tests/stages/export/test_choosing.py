"""The best of several, and the gate."""

from __future__ import annotations

from typing import Any

from ptft.stages.export.choosing import Candidate, best_of, gates, rule
from ptft.stages.export.recipe import ExportRecipe
from ptft.stages.export.verifying import Quality, Speed


def candidate(
    size: int, after: float | None, kl: float | None = 0.01, tokens: float = 1.0, same: float = 1.0
) -> Candidate:
    before = None if after is None else 2.0
    quality = Quality(10, 100, 100, before, after, kl=kl, first_choice_equal=same)
    return Candidate(size, quality, Speed(0.1, 0.1, 5, 5, tokens_per_second={1: tokens, 8: tokens}))


FOUND = {
    "large": candidate(100, 2.001, 0.001, 3.0),
    "middle": candidate(60, 2.015, 0.01, 9.0),
    "small": candidate(40, 2.1, 0.1, 20.0),
}


def best(**knobs: Any) -> str:
    return best_of(FOUND, ExportRecipe(**knobs))


def test_the_best_is_the_smallest_that_does_little_harm() -> None:
    assert best() == "middle" and best(max_loss_increase=0.1, verify="x") == "small"
    assert best(max_loss_increase=0.005, verify="x") == "large"
    assert best(best="closest") == "large" and best(best="fastest") == "middle"


def test_where_all_do_harm_it_is_the_least() -> None:
    assert best(max_loss_increase=1e-5, verify="x") == "large"


def test_without_a_loss_first_choices_count() -> None:
    found = {"a": candidate(10, None, None, same=0.9), "b": candidate(20, None, None, same=0.999)}
    assert best_of(found, ExportRecipe()) == "b" and best_of(found, ExportRecipe(best="closest")) == "b"


def test_texts_a_second_count_where_nothing_is_generated() -> None:
    slow, fast = (
        Candidate(1, Quality(1, 0, 1, 1.0, 1.0), Speed(0.1, 0.1, 5, 5, seconds_a_text={1: seconds, 8: seconds}))
        for seconds in (0.2, 0.1)
    )
    assert best_of({"slow": slow, "fast": fast}, ExportRecipe(best="fastest")) == "fast"


def test_the_gate_is_met_by_one_and_missed_by_all() -> None:
    assert gates(FOUND, ExportRecipe()) == () and gates(FOUND, ExportRecipe(max_loss_increase=0.01, verify="x")) == ()
    missed = gates(FOUND, ExportRecipe(max_loss_increase=1e-5, verify="x"))
    assert missed == ("the loss rose by more in every export (large: 0.05%, middle: 0.75%, small: 5%), over 0.001%",)
    alone = gates({"small": FOUND["small"]}, ExportRecipe(max_loss_increase=0.02, verify="x"))
    assert alone == ("the loss rose by 5%, over 2%",)
    unknown = gates({"a": candidate(1, None)}, ExportRecipe(max_loss_increase=0.02, verify="x"))
    assert "needs labels" in unknown[0]


def test_the_rule_is_said() -> None:
    assert "smallest of those whose loss rises by no more than 1%" in rule(ExportRecipe())
