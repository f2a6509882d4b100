"""Benchmarks of `ptft finetune` beside its peers, as Markdown tables.

    python benchmarks/finetune.py [peers|methods|tasks|gpu|all] [--data DIR] [--cache DIR] [--threads N] [--steps N]

Run it with the Python that ptft is installed in, with its `dev` extra: TRL is in it. It needs Linux (memory is read from /proc)
and a package index: the models, the texts and LLaMA-Factory come from there, the last into an environment of its own under --cache.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import corpora
from clean import _processor
from finetuning import methods, peers, tasks
from tools import note


@dataclass(frozen=True)
class Setting:
    """data: the real sets and models. cache: what is made of them. steps: 0 for each mode's own. only: methods to take, or all."""

    data: Path
    cache: Path
    seed: int
    threads: int
    steps: int
    repeats: int
    precision: str
    only: tuple[str, ...]

    def chosen(self, names: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(name for name in names if name in self.only) if self.only else names


def _peers(s: Setting) -> None:
    size = peers.Size(s.steps or 10, 16, 8, s.precision, "cpu")
    peers.run(s.data, s.cache, s.seed, s.threads, s.repeats or 2, size, s.chosen(("full", "lora")))


MODES: dict[str, Callable[[Setting], None]] = {
    "peers": _peers,
    "methods": lambda s: methods.run(s.data, s.cache, s.seed, s.threads, s.steps or 6, s.chosen(methods.METHODS)),
    "tasks": lambda s: tasks.run(s.data, s.cache, s.seed, s.threads, s.steps, s.repeats or 1, s.chosen(tasks.METHODS)),
    "gpu": lambda s: peers.gpu(s.data, s.cache, s.seed, s.repeats or 2, s.steps),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("mode", nargs="?", default="all", choices=[*MODES, "all"])
    parser.add_argument(
        "--data", type=Path, help="a folder with chat.jsonl, bbc.jsonl, smollm2/, minilm/ (default: fetched)"
    )
    parser.add_argument(
        "--cache", type=Path, default=Path("build/bench"), help="where models, runs and environments are kept"
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="of every trainer, one at a time")
    parser.add_argument("--steps", type=int, default=0, help="optimizer steps of each run (default: each mode's own)")
    parser.add_argument(
        "--repeats", type=int, default=0, help="runs of each trainer in `peers` (default: 2), seeds in `tasks` (1)"
    )
    parser.add_argument("--precision", default="fp32", choices=["fp32", "bf16"], help="of all trainers in `peers`")
    parser.add_argument("--only", default="", help="methods to take, e.g. full,lora (default: all of the mode)")
    given = parser.parse_args()
    cache = given.cache.resolve()
    data = given.data.resolve() if given.data else cache / "real"
    if not given.data:
        corpora.fetch(data, note)
    only = tuple(name for name in given.only.split(",") if name)
    setting = Setting(data, cache, given.seed, given.threads, given.steps, given.repeats, given.precision, only)
    print(f"Python {platform.python_version()}, {os.cpu_count()} cores ({_processor()}), load {os.getloadavg()[0]:.1f}")
    for name, run in MODES.items():
        if given.mode in (name, "all"):
            run(setting)


if __name__ == "__main__":
    sys.exit(main())
