"""The whole command: in two processes, killed with SIGKILL, planned, refused. The result is that of one unbroken process."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from finetuning import make_folder
from safetensors.torch import load_file

from ptft.cli import run as ptft

pytestmark = pytest.mark.slow
KNOBS = ["--lr", "3e-3", "--batch-size", "4", "--set", "save_every=4", "--seq-len", "32", "-q"]
INSTRUCTION = ["instruction", "causal", "chat.jsonl", "--epochs", "2"]
TASK = ["task", "causal", "task.jsonl", "--epochs", "2", "--method", "lora", "--rank", "4"]
KILLED = [*INSTRUCTION[:3], "--method", "lora", "--set", "lora.dropout=0.2", "--epochs", "12"]


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    return make_folder(tmp_path_factory.mktemp("given"))


@pytest.fixture(autouse=True)
def there(given, monkeypatch):
    monkeypatch.chdir(given)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


def finetune(out: str, *words: str) -> int:
    return ptft(["finetune", *words, *KNOBS, "-o", out])


def history(folder: str) -> list[dict]:
    return [json.loads(line) for line in (Path(folder) / "metrics.jsonl").read_text().splitlines()]


# ---------------------------------------------------------------- several processes


@pytest.mark.parametrize(
    ("words", "weights"),
    [(INSTRUCTION, "model.safetensors"), (TASK, "adapter_model.safetensors")],
    ids=["full", "lora"],
)
def test_two_processes_learn_what_one_does(words, weights):
    name = words[0]
    held_out = ["--eval-data", words[2]]
    assert finetune(f"{name}-1", *words, *held_out) == 0
    assert finetune(f"{name}-2", *words, *held_out, "--nproc", "2") == 0
    one, two = history(f"{name}-1"), history(f"{name}-2")
    assert [sorted(entry) for entry in one] == [sorted(entry) for entry in two] and any("val_loss" in e for e in one)
    for figure in ("loss", "val_loss", "grad_norm"):
        assert all(
            a[figure] == pytest.approx(b[figure], abs=1e-4) for a, b in zip(one, two, strict=True) if figure in a
        )
    a, b = (load_file(f"{name}-{count}/{weights}") for count in (1, 2))
    assert a.keys() == b.keys() and max(float((a[key] - b[key]).abs().max()) for key in a) < 1e-3


# ---------------------------------------------------------------- killed


def test_killed_it_goes_on_to_the_same_bytes(given):
    """With dropout, whose draws must go on where they stopped."""
    assert finetune("whole", *KILLED) == 0
    command = [sys.executable, "-m", "ptft", "finetune", *KILLED, *KNOBS, "-o", "cut"]
    process = subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"})
    while process.poll() is None and not list(Path("cut").glob("checkpoint-*")):
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL and not Path("cut/run.json").exists()
    assert finetune("cut", *KILLED) == 0
    names = {path.relative_to("whole") for path in Path("whole").rglob("*") if path.is_file()} - {Path("run.json")}
    assert {Path("adapter_model.safetensors"), Path("metrics.jsonl")} <= names
    assert [name for name in names if (Path("whole") / name).read_bytes() != (Path("cut") / name).read_bytes()] == []
    assert not list(Path("cut").glob("checkpoint-*"))


# ---------------------------------------------------------------- speed and memory


def test_checkpointing_changes_nothing_that_is_learnt():
    assert finetune("plain", *INSTRUCTION) == 0
    assert finetune("recomputed", *INSTRUCTION, "--set", "hardware.checkpointing=true") == 0
    plain, recomputed = history("plain"), history("recomputed")
    assert [e["loss"] for e in plain] == pytest.approx([e["loss"] for e in recomputed], abs=1e-5)


def test_bf16_runs_and_is_stored_whole():
    assert finetune("bf16", *INSTRUCTION, "--precision", "bf16", "--set", "hardware.checkpointing=true") == 0
    losses = [entry["loss"] for entry in history("bf16")]
    assert losses[-1] < losses[0]
    assert all(str(weight.dtype) == "torch.float32" for weight in load_file("bf16/model.safetensors").values())


# ---------------------------------------------------------------- planned, repeated, refused


@pytest.mark.parametrize("words", [["domain", "causal", "text.jsonl", "--new-tokens", "9"], INSTRUCTION, TASK])
def test_a_dry_run_writes_nothing(given, words, capsys):
    before = sorted(path for path in given.rglob("*"))
    assert ptft(["finetune", *words, "--dry-run", "-o", "planned"]) == 0
    assert "memory" in capsys.readouterr().err and sorted(path for path in given.rglob("*")) == before


def test_the_same_command_again_is_up_to_date(capsys):
    words = ["domain", "causal", "text.jsonl", "--general", "chat.txt", "--epochs", "0.5"]
    Path("chat.txt").write_text("General text about nothing much. " * 30)
    assert finetune("again", *words) == 0
    stamp = Path("again/model.safetensors").stat().st_mtime_ns
    assert finetune("again", *words) == 0 and Path("again/model.safetensors").stat().st_mtime_ns == stamp
    assert finetune("again", *words, "--seed", "7") == 2 and "--force" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["instruction", "causal", "text.jsonl"], 3, "messages"),
        (["task", "causal", "text.jsonl"], 3, "label"),
        (["domain", "causal", "chat.jsonl"], 3, "columns.text"),
        (["domain", "causal", "text.jsonl", "--general", "nowhere.jsonl"], 3, "nowhere.jsonl"),
        (["instruction", "masked", "chat.jsonl"], 3, "--objective causal"),
        (["domain", "nowhere", "text.jsonl"], 3, "check the path"),
        (["domain", "causal", "text.jsonl", "--method", "lore"], 2, "lora"),
        (["domain", "causal", "text.jsonl", "--set", "lora.dropout=0.5"], 2, "lora: does nothing with --method full"),
        (["domain", "causal", "text.jsonl", "--set", "general_share=0.5"], 2, "--general"),
        (["domain", "causal", "text.jsonl", "--seq-len", "-1", "--set", "epoch=1"], 2, "2 problems"),
    ],
)
def test_what_cannot_be_done_says_what_can(given, words, code, said, capsys):
    assert ptft(["finetune", *words, "-o", "refused"]) == code
    captured = capsys.readouterr()
    assert said in captured.err and "Traceback" not in captured.err and captured.out == ""
    assert not Path("refused/run.json").exists()
    shutil.rmtree("refused", ignore_errors=True)
