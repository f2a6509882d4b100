"""Benchmarks of `ptft eval` beside lm-evaluation-harness, as Markdown tables.

    python benchmarks/eval.py [agreement|speed|all] [--data DIR] [--cache DIR] [--threads N] [--rows N]

Run it with the Python that ptft is installed in. It needs Linux and a package index: the model, the texts and lm-eval come from
there, the last into an environment of its own under --cache. A model of `make demo`, where there is one, is scored too.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from dataclasses import dataclass
from pathlib import Path

import corpora
from clean import _processor
from evaluating import agreement, data, speed, tasks
from evaluating.runs import Model
from finetuning.data import smollm2
from tools import note

SMALL = Path("build/demo/pretrain")
TIMED = (
    "about",
    "reply-en-4-shots",
    "topic-4-shots",
    "long",
    "topic-said",
)  # several tokens, shared shots, one token, texts, answers


@dataclass(frozen=True)
class Setting:
    """made: rows and task files. rows: of each task. only: tasks to take, or all."""

    data: Path
    cache: Path
    made: Path
    models: tuple[Model, ...]
    threads: int
    rows: int
    repeats: int
    batches: tuple[int, ...]
    only: tuple[str, ...]


def _models(wanted: str, real: Path, cache: Path, small: Path) -> tuple[Model, ...]:
    """SmolLM2 with 512 tokens of context, and a small model with what it was made for."""
    found = []
    if wanted in ("all", "smollm2"):
        found.append(Model("SmolLM2-135M", smollm2(real, cache), 512, 49000))
    if wanted in ("all", "small"):
        if (small / "config.json").exists():
            config = json.loads((small / "config.json").read_text())
            context = int(config["max_position_embeddings"])
            found.append(Model("small", small.resolve(), context, int(config["vocab_size"])))
        else:
            note(f"{small} is left out: it is not there; `make demo` makes it")
    return tuple(found)


def _counts(rows: int) -> data.Counts:
    return data.Counts(rows, rows, max(4, rows // 5), rows)


def _agreement(s: Setting) -> bool:
    return agreement.run(s.models, agreement.Bench(s.made, s.cache / "eval" / "runs", s.cache, s.threads, s.batches))


def _speed(s: Setting) -> bool:
    chosen = [task for task in tasks.TASKS if task.name in (s.only or TIMED)]

    def count(task: tasks.Task) -> int:
        return len((s.made / f"{task.rows}.jsonl").read_text(encoding="utf-8").splitlines())

    out = s.cache / "eval" / "runs"
    speed.run(s.models, chosen, count, s.made / "harness", out, s.cache, s.threads, s.repeats)
    return True


MODES = {"agreement": _agreement, "speed": _speed}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("mode", nargs="?", default="all", choices=[*MODES, "all"])
    parser.add_argument("--data", type=Path, help="a folder with chat.jsonl, bbc.jsonl, smollm2/ (default: fetched)")
    parser.add_argument(
        "--cache", type=Path, default=Path("build/bench"), help="where models, runs and environments are kept"
    )
    parser.add_argument("--models", default="all", choices=["all", "smollm2", "small"])
    parser.add_argument("--small", type=Path, default=SMALL, help="the small model's folder")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="of each tool, one at a time")
    parser.add_argument("--rows", type=int, default=40, help="of each task; long texts: a fifth of it")
    parser.add_argument("--repeats", type=int, default=3, help="timed runs of each tool")
    parser.add_argument(
        "--batches", default=",".join(map(str, agreement.BATCHES)), help="batch sizes that ptft agrees with"
    )
    parser.add_argument("--only", default="", help="tasks to time, e.g. about,long (default: some of every kind)")
    given = parser.parse_args()
    cache = given.cache.resolve()
    os.environ.setdefault("HF_DATASETS_CACHE", str(cache / "eval" / "datasets"))  # what the tools make of the rows
    real = given.data.resolve() if given.data else cache / "real"
    if not given.data:
        corpora.fetch(real, note)
    made = cache / "eval" / f"rows-{given.rows}-{given.seed}"
    data.make(real, cache, made, _counts(given.rows), given.seed)
    tasks.write(made, made)
    setting = Setting(
        real, cache, made, _models(given.models, real, cache, given.small), given.threads, given.rows, given.repeats,
        tuple(int(part) for part in given.batches.split(",")), tuple(name for name in given.only.split(",") if name),
    )  # fmt: skip
    print(f"Python {platform.python_version()}, {os.cpu_count()} cores ({_processor()}), load {os.getloadavg()[0]:.1f}")
    done = [run(setting) for name, run in MODES.items() if given.mode in (name, "all")]
    return 0 if all(done) else 1


if __name__ == "__main__":
    sys.exit(main())
