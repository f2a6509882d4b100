"""Each schedule against its formula, and the laws all of them keep."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptft.core.training import Schedule

KINDS = ("cosine", "linear", "wsd", "constant")


def test_cosine_is_transformers_own():
    import torch
    from transformers import get_cosine_schedule_with_warmup

    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    theirs = get_cosine_schedule_with_warmup(optimizer, 0, 100)
    ours = Schedule("cosine", 100)
    for step in range(100):
        assert ours.factor(step) == pytest.approx(theirs.get_last_lr()[0], abs=1e-12)
        optimizer.step()
        theirs.step()


def test_linear_and_floor():
    schedule = Schedule("linear", 110, warmup=10, floor=0.1)
    assert schedule.factor(0) == 0.1 and schedule.factor(9) == 1.0
    assert schedule.factor(60) == pytest.approx(0.1 + 0.9 * 0.5)
    assert schedule.factor(110) == pytest.approx(0.1)


def test_warmup_stable_decay():
    """1 - sqrt over the last tenth (Haegele et al. 2024, section 4.1)."""
    schedule = Schedule("wsd", 100, warmup=5, decay=20)
    assert all(schedule.factor(step) == 1.0 for step in range(5, 80))
    assert schedule.factor(85) == pytest.approx(1 - math.sqrt(5 / 20))
    assert schedule.factor(100) == pytest.approx(0.0)


@given(st.sampled_from(KINDS), st.integers(2, 500), st.data())
def test_it_rises_through_warmup_and_never_rises_again(kind, steps, data):
    warmup = data.draw(st.integers(0, steps - 1))
    schedule = Schedule(kind, steps, warmup, decay=data.draw(st.integers(1, steps)), floor=data.draw(st.floats(0, 0.5)))
    factors = [schedule.factor(step) for step in range(steps)]
    assert all(0 <= factor <= 1 for factor in factors)
    assert all(a < b for a, b in pairwise(factors[:warmup]))
    assert all(a >= b - 1e-12 for a, b in pairwise(factors[warmup:]))


def test_a_decay_longer_than_what_warmup_leaves_is_cut_to_it():
    schedule = Schedule("wsd", 100, warmup=10, decay=100)
    assert schedule.factor(9) == schedule.factor(10) == 1.0 and schedule.factor(11) < 1.0
