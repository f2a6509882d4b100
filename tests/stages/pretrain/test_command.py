"""The real command: killed with SIGKILL between steps, with --nproc, under torchrun. The result is that of one unbroken process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from safetensors.torch import load_file
from small import history, inputs_in

pytestmark = pytest.mark.slow
KNOBS = [
    "--tokens", "6144", "--batch-tokens", "128", "--seq-len", "32", "--lr", "5e-3", "--set", "architecture.layers=1",
    "--set", "architecture.width=32", "--set", "architecture.dropout=0.1", "--set", "val=0.1", "--set", "save_every=4",
    "--set", "eval_every=8", "-q",
]  # fmt: skip
ENV = {**os.environ, "OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    folder = tmp_path_factory.mktemp("given")
    inputs_in(folder)
    return folder


@pytest.fixture(scope="module")
def whole(given):
    assert run(given, "whole") == 0
    return given / "whole"


def command(given: Path, name: str, *more: str) -> list[str]:
    return [
        "-m",
        "ptft",
        "pretrain",
        str(given / "in.jsonl"),
        "-t",
        str(given / "tok"),
        *KNOBS,
        *more,
        "-o",
        str(given / name),
    ]


def run(given: Path, name: str, *more: str, by: tuple[str, ...] = (sys.executable,)) -> int:
    return subprocess.run([*by, *command(given, name, *more)], env=ENV).returncode


def test_killed_between_steps_it_goes_on_to_the_same_bytes(given, whole):
    for step in (4, 20):
        process = subprocess.Popen([sys.executable, *command(given, "cut")], env=ENV)
        while process.poll() is None and not any(number >= step for number in steps(given / "cut")):
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL and not (given / "cut" / "run.json").exists()
    assert run(given, "cut") == 0
    names = {path.relative_to(whole).as_posix() for path in whole.rglob("*") if path.is_file()} - {"run.json"}
    assert {"model.safetensors", "metrics.jsonl", "samples.jsonl", "loss.png"} <= names
    assert all((whole / name).read_bytes() == (given / "cut" / name).read_bytes() for name in names)


def steps(folder: Path) -> list[int]:
    return [int(path.name.split("-")[1]) for path in folder.glob("checkpoint-*")]


@pytest.mark.parametrize("by", ["nproc", "torchrun"])
def test_two_processes_learn_what_one_does(given, by):
    """Without dropout, whose draws differ from process to process."""
    still = ("--set", "architecture.dropout=0")
    if not (given / "still").exists():
        assert run(given, "still", *still) == 0
    torchrun = (sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", "29417")
    if by == "nproc":
        assert run(given, by, *still, "--nproc", "2") == 0
    else:
        assert run(given, by, *still, by=torchrun) == 0
        assert run(given, by, *still, by=torchrun) == 0  # up to date: the other process is let go
    one, two = history(given / "still"), history(given / by)
    assert [entry["step"] for entry in one] == [entry["step"] for entry in two]
    assert max(abs(a["loss"] - b["loss"]) for a, b in zip(one, two, strict=True) if "loss" in a) < 1e-4
    a, b = (load_file(given / name / "model.safetensors") for name in ("still", by))
    assert max(float((a[name] - b[name]).abs().max()) for name in a) < 1e-3
