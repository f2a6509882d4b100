"""Sequences of the domain, and general ones among them against forgetting."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from ptft.core.training.data import Example, Source

PASSES_HELD = 64  # orders of the general text held at a time


class Mixture:
    """Every sequence of the domain once an epoch, and so many general ones that they are `share` of all, rounded up.

    General text goes its own way: pass after pass over all of it, each in its own seeded order, whatever the epochs of the domain are.
    So a short one comes again, and of a long one every epoch has another part. Which it is depends on the seed and on the place in
    the run's stream alone.
    """

    def __init__(self, domain: Source, general: Source, share: float, seed: int) -> None:
        self.domain, self.general, self.seed = domain, general, seed
        self.places = general_places(len(domain), share)
        self._order = lru_cache(PASSES_HELD)(self._drawn)

    def __len__(self) -> int:
        return len(self.domain) + self.places

    def __getitem__(self, index: int) -> Example:
        return self.at(index, index)

    def at(self, index: int, when: int) -> Example:
        """index: in 0..len; from len(domain) on the places of general text. when: place in the run's stream."""
        if index < len(self.domain):
            return _at(self.domain, index, when)
        return _at(self.general, self.general_at(index, when), when)

    def general_at(self, index: int, when: int) -> int:
        """Which general sequence fills a place."""
        turn = when // len(self) * self.places + index - len(self.domain)
        passed, place = divmod(turn, len(self.general))
        return int(self._order(passed)[place])

    def _drawn(self, passed: int) -> npt.NDArray[np.int64]:
        return np.random.default_rng((self.seed, passed, 2)).permutation(len(self.general))


def general_places(domain: int, share: float) -> int:
    """How many general sequences join so many of the domain: `share` of all, rounded up."""
    return math.ceil(round(domain * share / (1 - share), 6))


def _at(source: Source, index: int, when: int) -> Example:
    """Sources that draw at random (masks) draw by the place in the stream."""
    at = getattr(source, "at", None)
    found: Example = at(index, when) if at is not None else source[index]
    return found
