"""What verifying finds, as data."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

DIGITS = 6  # significant ones of a number in export.json


@dataclass(frozen=True)
class Quality:
    """How far an export is from its original on `rows` rows. None: it cannot be had of this model, or of these rows.

    loss: nats a token (a row, of classifiers; squared, of numbers). loss_increase: a share. perplexity_ratio: with a 95 %
    interval, paired by rows. kl: nats a place, of the original from the export. first_choice_equal: share of places (of several
    labels: of decisions; of numbers: of pairs of rows that stand in the original's order). compared: places that kl, first choices
    and logits are of; tokens: places that the loss is of. scores: metrics of (the original, the export).
    """

    rows: int
    tokens: int
    compared: int
    loss_before: float | None = None
    loss_after: float | None = None
    perplexity_ratio: float | None = None
    perplexity_ratio_low: float | None = None
    perplexity_ratio_high: float | None = None
    kl: float = 0.0
    first_choice_equal: float = 1.0
    max_logit_error: float = 0.0
    mean_logit_error: float = 0.0
    scores: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    @property
    def loss_increase(self) -> float | None:
        if self.loss_before is None or self.loss_after is None:
            return None
        return self.loss_after / max(self.loss_before, 1e-12) - 1

    def as_json(self) -> dict[str, Any]:
        """The same bytes for the same figures; what is None is left out."""
        found = {item.name: getattr(self, item.name) for item in dataclasses.fields(self) if item.name != "scores"}
        found["loss_increase"] = self.loss_increase
        for name, (before, after) in self.scores.items():
            found |= {f"{name}_before": before, f"{name}_after": after}
        return {name: _rounded(value) for name, value in found.items() if value is not None}


@dataclass(frozen=True)
class Speed:
    """Seconds, tokens a second and bytes; by batch size. reload: a second time in the process. model_bytes: peak above the imports.

    Of causal models first_token_seconds and tokens_per_second (all texts of a batch together), of others seconds_a_text.
    cache_agrees: share of generated tokens that one pass over the whole text gives too.
    """

    load_seconds: float
    reload_seconds: float
    peak_bytes: int
    model_bytes: int
    first_token_seconds: Mapping[int, float] = field(default_factory=dict)
    tokens_per_second: Mapping[int, float] = field(default_factory=dict)
    seconds_a_text: Mapping[int, float] = field(default_factory=dict)
    cache_agrees: float | None = None

    def as_json(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for item in dataclasses.fields(self):
            value = getattr(self, item.name)
            if isinstance(value, Mapping):
                value = {str(size): _rounded(each) for size, each in value.items()}
            if value not in (None, {}):
                found[item.name] = value if isinstance(value, dict) else _rounded(value)
        return found


@dataclass(frozen=True)
class Verified:
    """quality: beside the original. speed: None where it was not asked for, or is not the file's. claims: by language, see judging.

    note: what a reader must know; "" where there is nothing.
    """

    quality: Quality
    speed: Speed | None
    claims: dict[str, Any]
    note: str = ""


def _rounded(value: Any) -> Any:
    return float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value
