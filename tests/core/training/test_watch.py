"""The guard against divergence, the best validation, and what the progress line says."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from engine_runs import SETTINGS

from ptft.core.errors import Diverged
from ptft.core.training.watch import GUARDED, Guard, best_step, looks_since_best

GUARDING = replace(SETTINGS, spike=1.0)


def feed(guard, losses, start=1):
    for step, loss in enumerate(losses, start):
        guard.check(step, loss)


def test_a_steady_or_noisy_fall_is_not_a_spike(tmp_path):
    guard = Guard(GUARDING, tmp_path)
    feed(guard, [10 * math.exp(-step / 30) + 2 + (0.9 if step % 7 == 0 else 0) for step in range(300)])
    assert not guard.rising


def test_a_lasting_rise_stops_the_run_and_names_the_checkpoint_from_before(tmp_path):
    (tmp_path / "checkpoint-40").mkdir()
    guard = Guard(GUARDING, tmp_path)
    feed(guard, [3.0] * 60)
    with pytest.raises(Diverged, match=r"rose from 3\.00 to 4.* by step 7.") as error:
        feed(guard, [5.0] * 60, start=61)
    assert "checkpoint-40 is from before" in str(error.value) and "--from" in error.value.remedy
    assert f"--lr {SETTINGS.lr / 3:.2g}" in error.value.remedy


def test_a_run_that_is_worse_than_knowing_nothing_is_caught_at_once(tmp_path):
    """Its own first losses are no measure for it."""
    guard = Guard(replace(GUARDING, uniform=math.log(4096)), tmp_path)
    with pytest.raises(Diverged, match=r"rose from 8\.32"):
        feed(guard, [9.0, 600.0])
    feed(Guard(replace(GUARDING, uniform=math.log(4096)), tmp_path), [8.9, 8.6, 8.4])


def test_no_checkpoint_is_taken_on_the_way_up(tmp_path):
    guard = Guard(GUARDING, tmp_path)
    feed(guard, [3.0] * 60)
    feed(guard, [5.0] * 6)
    assert guard.rising
    feed(guard, [3.0] * GUARDED)
    assert not guard.rising


def test_one_step_that_is_not_a_number_is_enough(tmp_path):
    with pytest.raises(Diverged, match="nan at step 2; there is no checkpoint"):
        feed(Guard(replace(SETTINGS, spike=0.0), tmp_path), [3.0, math.nan])


def test_a_resumed_guard_knows_what_came_before(tmp_path):
    losses = [3.0] * 60 + [5.0] * 6
    whole, resumed = Guard(GUARDING, tmp_path), Guard(GUARDING, tmp_path)
    feed(whole, losses)
    resumed.replay([{"loss": loss} for loss in losses])
    assert resumed.rising == whole.rising and resumed.__dict__ == whole.__dict__


def test_the_best_validation_is_the_first_of_equals():
    looks = [{"step": step, "val_loss": value} for step, value in [(2, 3.0), (4, 2.0), (6, 2.0)]]
    assert best_step(looks, SETTINGS) == 4 and looks_since_best(looks, SETTINGS) == 1
    assert best_step([], SETTINGS) is None and looks_since_best([], SETTINGS) == 0


def test_a_score_may_be_better_when_it_is_higher():
    found = [(2, 0.3, 0.1), (4, 0.7, 0.9), (6, 0.7, 0.5)]
    looks = [{"step": step, "val_loss": loss, "f1": value} for step, value, loss in found]
    judged = replace(SETTINGS, judge="f1", higher=True)
    assert best_step(looks, judged) == 6 and looks_since_best(looks, judged) == 1  # as good, and surer
