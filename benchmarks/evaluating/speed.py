"""How fast lm-evaluation-harness and ptft read the same rows with the same model, side by side in one run."""

from __future__ import annotations

import os
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tools import Missing, note, table

from evaluating import runs
from evaluating.runs import Model, Timed
from evaluating.tasks import Task

HARNESS_BATCHES = (1, 8)  # 1 is its default; padding makes larger ones slower on a CPU
HEAD = (
    "model", "task", "rows", "tool", "rows/s", "faster than lm-eval", "processor s", "less by", "whole command s", "faster",
    "processor s, whole", "less by, whole", "passes", "tokens shown",
)  # fmt: skip


@dataclass
class Entry:
    """A tool on a task: `work` runs it once."""

    tool: str
    work: Callable[[], Timed]
    runs: list[Timed] = field(default_factory=list)
    failed: str = ""

    def median(self, name: str) -> float:
        return float(statistics.median(getattr(run, name) for run in self.runs))

    def turn(self) -> None:
        if not self.failed:
            try:
                self.runs.append(self.work())
            except (Missing, RuntimeError) as error:
                note(str(error))
                self.failed = runs.reason(error)


def run(
    models: Sequence[Model], tasks: Sequence[Task], rows: Callable[[Task], int], files: Path, out: Path, cache: Path,
    threads: int, repeats: int,
) -> None:  # fmt: skip
    before = os.getloadavg()[0]
    lines = []
    for model in models:
        for task in tasks:
            entries = _entries(model, task, files, out, cache, threads)
            for turn in range(repeats):
                note(f"speed: {model.name}, {task.name}, run {turn + 1}")
                for entry in entries[:: 1 if turn % 2 == 0 else -1]:
                    entry.turn()
            lines += lines_of(model.name, task.name, rows(task), entries)
    table(
        "lm-evaluation-harness and ptft, the same rows and model", HEAD, lines,
        f"fp32, {threads} thread(s), medians of {repeats} runs in alternating order; load when it began {before:.1f}, "
        f"when it ended {os.getloadavg()[0]:.1f}",
        "rows/s and processor s: between the first forward pass's begin and the last one's end; whole command: with imports, "
        "loading, reading and scores (with 1,000 resamples in ptft). Other work on the machine moves processor seconds little",
        "lm-eval finds no batch size on a CPU, so it is given some; the best of them counts. ptft finds its own",
    )  # fmt: skip


def _entries(model: Model, task: Task, files: Path, out: Path, cache: Path, threads: int) -> list[Entry]:
    def theirs(batch: int) -> Callable[[], Timed]:
        folder = out / f"speed-{model.name}-{task.name}-lm-eval-{batch}"
        return lambda: runs.harness(model, [task], files, folder, batch, cache, threads)

    own = out / f"speed-{model.name}-{task.name}-ptft"
    peers = [Entry(f"lm-eval, batches of {batch}", theirs(batch)) for batch in HARNESS_BATCHES]
    return [*peers, Entry("ptft", lambda: runs.ptft(model, files / f"{task.name}.yaml", own, 0, threads))]


TIMES = ("model", "model_cpu", "seconds", "cpu")


def lines_of(model: str, task: str, rows: int, entries: Sequence[Entry]) -> list[tuple[str, ...]]:
    """A line a tool; the last entry is ptft, and each ratio is to the best of the others."""
    others = [entry for entry in entries[:-1] if entry.runs and not entry.failed]
    best = {name: min((entry.median(name) for entry in others), default=0.0) for name in TIMES}
    lines = []
    for entry in entries:
        name = (model, task, f"{rows:,}", entry.tool)
        if entry.failed or not entry.runs:
            lines.append((*name, f"failed: {entry.failed}", *[""] * (len(HEAD) - len(name) - 1)))
            continue
        is_ours = entry is entries[-1]
        shown = [f"{rows / entry.median('model'):.2f}", *(f"{entry.median(time):.1f}" for time in TIMES[1:])]
        ratios = [f"{best[time] / entry.median(time):.2f}x" if is_ours and best[time] else "" for time in TIMES]
        pairs = [cell for pair in zip(shown, ratios, strict=True) for cell in pair]
        lines.append((*name, *pairs, f"{entry.median('passes'):,.0f}", f"{entry.median('tokens'):,.0f}"))
    return lines
