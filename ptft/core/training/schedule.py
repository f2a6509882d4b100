"""The learning rate over a run, as a share of its peak."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Schedule:
    """steps: of the whole run. warmup, decay: optimizer steps at its beginning and, for wsd, at its end. floor: where it ends.

    cosine (Loshchilov and Hutter 2017), linear, constant, or wsd: warmup, stable, then 1 - sqrt (Haegele et al. 2024).
    """

    kind: Literal["cosine", "linear", "wsd", "constant"]
    steps: int
    warmup: int = 0
    decay: int = 0
    floor: float = 0.0

    def factor(self, step: int) -> float:
        """The share of the peak at an optimizer step (the first is 0): in (0, 1], from 1 / warmup up."""
        if step < self.warmup:
            return (step + 1) / self.warmup
        return self.floor + (1 - self.floor) * self._after_warmup(step)

    def _after_warmup(self, step: int) -> float:
        if self.kind == "constant":
            return 1.0
        if self.kind == "wsd":
            left, decay = self.steps - step, max(1, min(self.decay, self.steps - self.warmup))
            return 1.0 if left > decay else 1 - math.sqrt(max(0.0, 1 - left / decay))
        done = min(1.0, (step - self.warmup) / max(1, self.steps - self.warmup))
        return 1 - done if self.kind == "linear" else 0.5 * (1 + math.cos(math.pi * done))
