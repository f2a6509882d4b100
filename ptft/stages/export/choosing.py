"""The best of several exports, by a rule, and the gate."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ptft.stages.export.recipe import ExportRecipe

if TYPE_CHECKING:
    from ptft.stages.export.verifying import Quality, Speed

TOLERATED = 0.01  # loss increase, where no gate says what may be


@dataclass(frozen=True)
class Candidate:
    """One export as the rule sees it. bytes: of its tensors."""

    bytes: int
    quality: Quality
    speed: Speed | None

    @property
    def harm(self) -> float:
        """The share by which the loss rose; where rows have no loss (a classifier's without labels), of first choices that changed."""
        rise, same = self.quality.loss_increase, self.quality.first_choice_equal
        return rise if rise is not None else 1 - (1.0 if same is None else same)

    @property
    def distance(self) -> float:
        """Nats from the original's predictions; where there are none to compare (a number's), the harm."""
        return self.harm if self.quality.kl is None else self.quality.kl

    @property
    def pace(self) -> float:
        """Tokens (of a model that does not generate: texts) a second, one at a time."""
        if self.speed is None:
            return 0.0
        if self.speed.tokens_per_second:
            return self.speed.tokens_per_second[1]
        return 1 / self.speed.seconds_a_text[1] if self.speed.seconds_a_text else 0.0


def best_of(candidates: Mapping[str, Candidate], recipe: ExportRecipe) -> str:
    """By the rule of `rule`; where every export does more harm than that allows, the one that does the least."""
    limit = recipe.max_loss_increase or TOLERATED
    allowed = {name: one for name, one in candidates.items() if one.harm <= limit}
    if not allowed:
        return min(candidates, key=lambda name: candidates[name].harm)
    keys = {
        "smallest": lambda name: (allowed[name].bytes, allowed[name].harm),
        "fastest": lambda name: (-allowed[name].pace, allowed[name].bytes),
        "closest": lambda name: (allowed[name].distance, allowed[name].bytes),
    }
    return min(allowed, key=keys[recipe.best])


def rule(recipe: ExportRecipe) -> str:
    limit = recipe.max_loss_increase or TOLERATED
    return (
        f"the {recipe.best} of those whose loss rises by no more than {percent(limit)} (rows without a loss: of which no more first "
        "choices change); where there is none, the one that comes nearest"
    )


def gates(candidates: Mapping[str, Candidate], recipe: ExportRecipe) -> tuple[str, ...]:
    """What to say where no export meets `max_loss_increase`."""
    if not recipe.max_loss_increase:
        return ()
    if all(one.quality.loss_increase is None for one in candidates.values()):
        return ("the loss cannot be measured on these --verify rows (a classifier needs labels)",)
    if any(one.harm <= recipe.max_loss_increase for one in candidates.values()):
        return ()
    rises = ", ".join(f"{name}: {percent(one.harm)}" for name, one in candidates.items())
    rises = percent(next(iter(candidates.values())).harm) if len(candidates) == 1 else f"more in every export ({rises})"
    return (f"the loss rose by {rises}, over {percent(recipe.max_loss_increase)}",)


def percent(share: float) -> str:
    return f"{100 * share:.3g}%"
