"""The same model and rows through lm-evaluation-harness and ptft: scores, and every row's likelihoods."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tools import Missing, note, table

from evaluating import runs
from evaluating.runs import Model, Scored
from evaluating.tasks import TASKS, TEXT, Task

EQUAL = 1e-4  # difference of scores
BATCHES = (1, 8, 32)
HEAD = (
    "model", "task", "file", "rows", "score", "lm-eval", "ptft", "difference", "batch sizes differ by", "questions that differ",
    "largest difference of a row", "agrees",
)  # fmt: skip


@dataclass(frozen=True)
class Apart:
    """questions: rows that were not asked the same. rows: largest difference of a row's nats, or how many were answered otherwise."""

    questions: int
    rows: float


@dataclass(frozen=True)
class Bench:
    """made: rows and task files. out: where runs go. batches: batch sizes of ptft, which must agree."""

    made: Path
    out: Path
    cache: Path
    threads: int
    batches: Sequence[int]


@dataclass(frozen=True)
class Line:
    cells: tuple[str, ...]
    agrees: bool


def run(models: Sequence[Model], bench: Bench) -> bool:
    """Print the table; whether everything agrees."""
    found = [line for model in models for line in _of_model(model, bench)]
    table(
        "The same rows through lm-evaluation-harness and ptft",
        HEAD, [line.cells for line in found],
        f"{sum(line.agrees for line in found)} of {len(found)} scores agree to {EQUAL:g}, at every batch size",
        f"fp32, {bench.threads} thread(s); lm-eval with batches of 8, ptft with {', '.join(map(str, bench.batches))}",
        "file: theirs is lm-eval's task file, which ptft reads as it is; own is a task file of ptft's",
        "largest difference of a row: nats of a choice or of a whole text; of answers that are written, how many are others",
    )  # fmt: skip
    return all(line.agrees for line in found)


def _of_model(model: Model, bench: Bench) -> list[Line]:
    note(f"agreement: lm-eval on {model.name}")
    theirs = bench.out / f"{model.name}-lm-eval"
    try:
        runs.harness(model, TASKS, bench.made / "harness", theirs, 8, bench.cache, bench.threads)
    except (Missing, RuntimeError) as error:
        return [_failed((model.name, "all", "theirs", "", f"lm-eval failed: {runs.reason(error)}"))]
    return [
        line for task in TASKS for place in ("harness", "own") if (bench.made / place / f"{task.name}.yaml").exists()
        for line in _of_task(model, task, place, runs.harness_scored(theirs, task), bench)
    ]  # fmt: skip


def _of_task(model: Model, task: Task, place: str, theirs: Scored, bench: Bench) -> list[Line]:
    """A line a score. An own file says nothing of windows: those of the harness do not overlap, and begin after a first token."""
    settings = (f"stride={model.context}", "prefix=yes") if place == "own" and task.kind == TEXT else ()
    name = (model.name, task.name, "own" if place == "own" else "theirs")
    ours: list[Scored] = []
    try:
        for batch in bench.batches if place == "harness" else bench.batches[-1:]:
            note(f"agreement: ptft on {', '.join(name)}, batches of {batch}")
            folder = bench.out / f"{model.name}-ptft-{place}-{task.name}-{batch}"
            file = bench.made / place / f"{task.name}.yaml"
            runs.ptft(model, file, folder, batch, bench.threads, "bootstrap=0", *settings)
            ours.append(runs.ptft_scored(folder, task))
    except (RuntimeError, KeyError, OSError) as error:
        note(str(error))
        return [_failed((*name, "", f"ptft failed: {runs.reason(error)}"))]
    return [_line((*name, f"{len(theirs.rows):,}", metric), metric, theirs, ours) for metric in theirs.scores]


def _failed(cells: tuple[str, ...]) -> Line:
    return Line((*cells, *[""] * (len(HEAD) - len(cells) - 1), "NO"), False)


def _line(name: tuple[str, ...], metric: str, theirs: Scored, ours: Sequence[Scored]) -> Line:
    scores = [scored.scores[metric] for scored in ours]
    difference = max(abs(score - theirs.scores[metric]) for score in scores)
    apart = [compare(theirs, scored) for scored in ours]
    agrees = difference <= EQUAL and not any(one.questions for one in apart)
    cells = (
        *name, f"{theirs.scores[metric]:.6f}", f"{scores[-1]:.6f}", f"{difference:.1e}", f"{max(scores) - min(scores):.1e}",
        str(max(one.questions for one in apart)), f"{max(one.rows for one in apart):.1e}", "yes" if agrees else "NO",
    )  # fmt: skip
    return Line(cells, agrees)


def compare(theirs: Scored, ours: Scored) -> Apart:
    """Row by row. A row that one of them lacks is infinitely apart."""
    if theirs.rows.keys() != ours.rows.keys():
        return Apart(len(theirs.rows.keys() ^ ours.rows.keys()), math.inf)
    pairs = [(row, ours.rows[name]) for name, row in theirs.rows.items()]
    # theirs has what stands before a question too; ours is the question, or the beginning of a text
    same = (their.prompt.endswith(our.prompt) or their.prompt.startswith(our.prompt) for their, our in pairs)
    questions = len(pairs) - sum(same)
    others = sum(their.wrote != our.wrote for their, our in pairs)
    differences = [abs(a - b) for their, our in pairs for a, b in zip(their.nats, our.nats, strict=True)]
    return Apart(questions, max(differences, default=others))
