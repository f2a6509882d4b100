"""One model, some tasks, one tool: run its command, and read what it found into one form."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tools
from pretraining import processes
from tools import python_of

from evaluating.tasks import ANSWER, CHOICE, METRICS, Task

PEER = "lm-eval"
CLOCK = Path(__file__).parents[1] / "eval_peers" / "clocked.py"
tools.PEERS.setdefault(PEER, ("python3", ("torch==2.13.0", "transformers==5.23.0", "lm-eval[hf]==0.4.13")))


@dataclass(frozen=True)
class Model:
    """context: tokens that it reads at most. vocabulary: ids of its embedding layer at least, by which passes are known."""

    name: str
    folder: Path
    context: int
    vocabulary: int


@dataclass(frozen=True)
class Row:
    """prompt: what the model read before the answer. nats: of each choice, or of a text. wrote: its answer in words."""

    prompt: str
    nats: tuple[float, ...] = ()
    wrote: str = ""


@dataclass(frozen=True)
class Scored:
    """scores by metric; rows by id."""

    scores: dict[str, float]
    rows: dict[str, Row]


@dataclass(frozen=True)
class Timed:
    """seconds, cpu: of the whole command, on the wall clock and of the processors. model, model_cpu: the same between the first
    forward pass's begin and the last one's end. tokens: shown to the model, padding included.
    """

    seconds: float
    cpu: float
    model: float
    model_cpu: float
    passes: int
    tokens: int


def _clocked(python: Path, model: Model, arguments: Sequence[object], marks: Path, threads: int) -> Timed:
    marks.parent.mkdir(parents=True, exist_ok=True)
    marks.unlink(missing_ok=True)
    command = [python, "-P", CLOCK, marks, model.vocabulary, "-m", *arguments]
    done = processes.run([str(part) for part in command], threads)
    clock = json.loads(marks.read_text())
    if clock["threads"] != threads:
        raise RuntimeError(f"{arguments[0]} did not run on {threads} thread(s)")
    wall, busy = clock["last"] - clock["first"], clock["cpu_last"] - clock["cpu_first"]
    return Timed(done.seconds, done.cpu, wall, busy, clock["passes"], clock["tokens"])


# ---------------------------------------------------------------- lm-evaluation-harness


def harness(
    model: Model, tasks: Sequence[Task], files: Path, out: Path, batch: int, cache: Path, threads: int
) -> Timed:
    """All tasks in one command, so the model is loaded once. Samples lie in `out` afterwards."""
    shutil.rmtree(out, ignore_errors=True)
    settings = f"pretrained={model.folder},dtype=float32,max_length={model.context}"
    names = ",".join(task.name for task in tasks)
    arguments = [
        "lm_eval", "run", "--model", "hf", "--model_args", settings, "--device", "cpu", "--batch_size", batch, "--tasks", names,
        "--include_path", files, "--log_samples", "--output_path", out,
    ]  # fmt: skip
    return _clocked(python_of(PEER, cache), model, arguments, out.with_suffix(".marks.json"), threads)


def harness_scored(out: Path, task: Task) -> Scored:
    results = json.loads(next(out.glob("*/results_*.json")).read_text(encoding="utf-8"))["results"][task.name]
    scores = {key.split(",")[0]: value for key, value in results.items() if isinstance(value, float | int)}
    samples = next(out.glob(f"*/samples_{task.name}_2*.jsonl")).read_text(encoding="utf-8").splitlines()
    rows = {sample["doc"]["id"]: _harness_row(sample, task.kind) for sample in map(json.loads, samples)}
    return Scored({metric: float(scores[metric]) for metric in METRICS[task.kind]}, rows)


def _harness_row(sample: dict[str, Any], kind: str) -> Row:
    """Numbers are strings in its samples, and a likelihood comes with whether it was the greedy answer."""
    prompt, answers = sample["arguments"]["gen_args_0"]["arg_0"], sample["filtered_resps"]
    if kind == CHOICE:
        return Row(prompt, tuple(float(likelihood) for likelihood, _ in answers))
    return Row(prompt, wrote=answers[0]) if kind == ANSWER else Row(prompt, (float(answers[0]),))


# ---------------------------------------------------------------- ptft


def ptft(model: Model, file: Path, out: Path, batch: int, threads: int, *settings: str) -> Timed:
    """One task. batch 0: as many rows a pass as it finds itself."""
    shutil.rmtree(out, ignore_errors=True)
    knobs = (f"max_seq_len={model.context}", "overlap=0", *settings)
    arguments = [
        "ptft", "eval", model.folder, "--task", file, "--batch-size", batch, "--dtype", "float32", "-o", out, "-q",
        *(part for knob in knobs for part in ("--set", knob)),
    ]  # fmt: skip
    return _clocked(Path(sys.executable), model, arguments, out.with_suffix(".marks.json"), threads)


def ptft_scored(out: Path, task: Task) -> Scored:
    metrics = json.loads((out / "scores.json").read_text(encoding="utf-8"))["metrics"]
    lines = (out / "predictions.jsonl").read_text(encoding="utf-8").splitlines()
    rows = {row["id"]: _ptft_row(row, task.kind) for row in map(json.loads, lines)}
    return Scored({metric: float(metrics[metric]["score"]) for metric in METRICS[task.kind]}, rows)


def _ptft_row(row: dict[str, Any], kind: str) -> Row:
    if kind == CHOICE:
        return Row(row["input"], tuple(row["loglikelihoods"]))
    return Row(row["input"], wrote=row["prediction"]) if kind == ANSWER else Row(row["input"], (-row["nll"],))


def reason(error: Exception) -> str:
    """What to show in a cell of a table: ptft says first what is wrong, others last."""
    lines = [line.strip() for line in str(error).splitlines() if line.startswith("error:")]
    return lines[-1].replace("|", "/")[:140] if lines else processes.last_line(error)
