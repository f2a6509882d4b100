"""The benchmark of training measures what it says: the schedule, the score, the clock and the power law on known cases."""

import importlib
import math
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch):
    """A module of benchmarks/ or of its peers' scripts, which finds its neighbours as when it is run."""
    before = set(sys.modules)
    for folder in (FOLDER, FOLDER / "pretrain_peers"):
        monkeypatch.syspath_prepend(str(folder))
    yield importlib.import_module
    for name in set(sys.modules) - before:
        if str(FOLDER) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


def test_the_bare_loops_schedule_is_ptfts(module) -> None:
    from ptft.core.training.schedule import Schedule

    common: ModuleType = module("common")
    ours = Schedule("cosine", 40, 4, 8, 0.0)
    for step in range(40):
        assert common.cosine(step, 40, 4) == pytest.approx(ours.factor(step), abs=1e-12)


def test_every_row_is_seen_once_an_epoch(module) -> None:
    seen = list(module("common").order(10, 25, seed=3))
    assert sorted(seen[:10]) == sorted(seen[10:20]) == list(range(10))
    assert len(seen) == 25 and seen[:10] != seen[10:20]


def test_a_model_that_knows_nothing_scores_the_logarithm_of_the_vocabulary(module) -> None:
    common = module("common")
    rows = np.arange(60, dtype=np.uint16).reshape(6, 10) % 7
    nothing = lambda ids: torch.zeros(*ids.shape, 7)  # noqa: E731
    assert common.causal_nll(nothing, rows, batch=4) == pytest.approx(6 * 9 * math.log(7), rel=1e-6)
    labels = np.full((6, 10), -100)
    labels[:, 3] = 1
    assert common.masked_nll(nothing, rows.astype(np.int64), labels, batch=4) == pytest.approx(
        6 * math.log(7), rel=1e-6
    )


def test_a_model_that_sees_the_next_token_scores_nothing(module) -> None:
    rows = np.random.default_rng(0).integers(0, 7, (5, 8)).astype(np.uint16)

    def knows(ids: torch.Tensor) -> torch.Tensor:
        return 100.0 * torch.nn.functional.one_hot(ids.roll(-1, 1), 7)

    assert module("common").causal_nll(knows, rows) == pytest.approx(0, abs=1e-6)


def test_the_clock_leaves_out_the_first_steps_and_a_single_pause(module) -> None:
    trainers = module("pretraining.trainers")
    at = list(np.cumsum([5.0] * trainers.SETTLED + [0.5] * 7 + [60.0] + [0.5] * 7))
    assert trainers._median_step(at) == pytest.approx(0.5)


@pytest.mark.parametrize("exponent", [0.08, 0.3])
def test_the_slope_of_a_power_law(module, exponent: float) -> None:
    sizes = np.array([1e5, 3e5, 1e6, 3e6])
    found = module("pretraining.scaling").slope_of(sizes, 20 * sizes**-exponent)
    assert found.exponent == pytest.approx(exponent, abs=1e-9) and found.error < 1e-9
    assert found.at(sizes) == pytest.approx(20 * sizes**-exponent)


def test_a_law_with_a_floor_is_found_again(module) -> None:
    sizes = np.array([1e5, 3e5, 1e6, 3e6])
    found = module("pretraining.scaling").with_floor(sizes, 1.7 + 400 * sizes**-0.34)
    assert (found.floor, found.exponent) == (pytest.approx(1.7, rel=1e-3), pytest.approx(0.34, rel=1e-3))
    assert module("pretraining.scaling").with_floor(sizes, np.array([5.0, 4.9, 4.7, 4.3])) is None


def test_the_launcher_counts_steps_and_memory(tmp_path: Path) -> None:
    import json
    import subprocess

    script = tmp_path / "train.py"
    script.write_text(
        "import torch\nmodel = torch.nn.Linear(4, 4)\noptimizer = torch.optim.SGD(model.parameters(), lr=0.1)\n"
        "for step in range(3):\n    model(torch.ones(2, 4)).sum().backward()\n    optimizer.step()\n"
        "held = torch.ones(50 * 2**18)\n"
    )
    marks = tmp_path / "marks.json"
    launch = FOLDER / "pretrain_peers" / "launch.py"
    subprocess.run([sys.executable, str(launch), str(marks), str(script)], check=True)
    found = json.loads(marks.read_text())
    assert len(found["at"]) == len(found["cpu"]) == 3
    assert 50 * 2**20 <= found["peak"] - found["before"] < 120 * 2**20
