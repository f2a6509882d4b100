"""Several processes on gloo learn what one does: data parallel and sharded, killed and resumed, with another number of them."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from engine_runs import SETTINGS, llama, output, trained, weights

from ptft.core.errors import RunError
from ptft.core.training import processes
from ptft.core.training.settings import Settings

pytestmark = pytest.mark.slow
TOLERANCE = 1e-4


@dataclass(frozen=True)
class Job:
    folder: Path
    name: str
    settings: Settings


def beside(job: Job) -> None:
    trained(job.folder, job.name, job.settings)


def die(job: Job) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def in_two(tmp_path: Path, name: str, settings: Settings, work=beside):
    llama(tmp_path)  # made before others read it
    output(tmp_path / name)
    with processes.spread(work, Job(tmp_path, name, settings), 2):
        return trained(tmp_path, name, settings)


def losses(result):
    return [entry["loss"] for entry in result.history]


@pytest.fixture(autouse=True)
def importable(monkeypatch):
    """The other processes import this module."""
    here = Path(__file__).parent
    paths = [str(here), str(here.parents[1]), str(here.parents[1] / "stages")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([*paths, os.environ.get("PYTHONPATH", "")]))


@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_two_processes_learn_what_one_does(tmp_path, parallel):
    settings = replace(SETTINGS, micro_batch=2, parallel=parallel)
    one, alone = trained(tmp_path, "one", settings)
    two, together = in_two(tmp_path, "two", settings)
    assert max(abs(a - b) for a, b in zip(losses(alone), losses(together), strict=True)) < TOLERANCE
    assert torch.allclose(weights(one), weights(two), atol=TOLERANCE)
    assert not torch.distributed.is_initialized() and "WORLD_SIZE" not in os.environ


def test_sharded_then_whole_goes_on_as_if_nothing_had_changed(tmp_path):
    """What is on disk is whole: two processes begin, one goes on."""
    from transformers import AutoModelForCausalLM

    settings = replace(SETTINGS, micro_batch=2, parallel="fsdp")
    one, _ = trained(tmp_path, "one", settings)
    in_two(tmp_path, "two", replace(settings, steps=4))
    AutoModelForCausalLM.from_pretrained(tmp_path / "two" / "checkpoint-4")
    again, result = trained(tmp_path, "two", settings)
    assert result.steps == 2 and torch.allclose(weights(one), weights(again), atol=TOLERANCE)


def test_one_then_sharded(tmp_path):
    settings = replace(SETTINGS, micro_batch=2, parallel="fsdp")
    one, _ = trained(tmp_path, "one", settings)
    trained(tmp_path, "two", replace(settings, steps=4))
    again, result = in_two(tmp_path, "two", settings)
    assert result.steps == 2 and torch.allclose(weights(one), weights(again), atol=TOLERANCE)


def test_the_death_of_another_process_is_said(tmp_path):
    with pytest.raises(RunError, match="process 2 of 2 failed: it was killed by signal 9") as error:
        in_two(tmp_path, "dead", replace(SETTINGS, micro_batch=2), work=die)
    assert "goes on from the last checkpoint" in error.value.remedy
