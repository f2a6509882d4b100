"""Benchmarks of `ptft pretrain` beside its peers, as Markdown tables.

    python benchmarks/pretrain.py [peers|masked|memory|scaling|gpu|all] [--data DIR] [--cache DIR] [--threads N]

Run it with the Python that ptft is installed in. It needs Linux (memory is read from /proc), a package index and git: the real
texts and the peers come from there, litgpt into an environment of its own and nanoGPT as a clone, both under --cache. A clone
that lies in CACHE/repositories/nanoGPT already is taken as it is.
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
from pretraining import gpu, memory, peers, scaling
from tools import note


@dataclass(frozen=True)
class Setting:
    """data: the real sets. cache: tokens, environments, models. tokens: to train on in `peers` and `masked`. only: of `gpu`."""

    data: Path
    cache: Path
    seed: int
    threads: int
    tokens: int
    repeats: int
    only: str


MODES: dict[str, Callable[[Setting], None]] = {
    "peers": lambda s: peers.causal(s.data, s.cache, s.seed, s.threads, s.tokens, s.repeats),
    "masked": lambda s: peers.masked(s.data, s.cache, s.seed, s.threads, s.tokens, s.repeats),
    "memory": lambda s: memory.run(s.data, s.cache, s.seed, s.threads),
    "scaling": lambda s: scaling.run(s.data, s.cache, s.seed, s.threads),
    "gpu": lambda s: gpu.run(s.data, s.cache, s.seed, s.only),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("mode", nargs="?", default="all", choices=[*MODES, "all"])
    parser.add_argument("--data", type=Path, help="a folder with bbc.jsonl, help-zh.jsonl and so on (default: fetched)")
    parser.add_argument(
        "--cache", type=Path, default=Path("build/bench"), help="where tokens, models and environments are kept"
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="of every trainer, one at a time")
    parser.add_argument("--tokens", type=int, default=1_000_000, help="to train on in `peers` and `masked`")
    parser.add_argument("--repeats", type=int, default=3, help="runs of each trainer in `peers` and `masked`")
    parser.add_argument("--only", default="", help="a part of the names of the models to take in `gpu`, e.g. 1B")
    given = parser.parse_args()
    cache = given.cache.resolve()
    data = given.data.resolve() if given.data else cache / "real"
    if not given.data:
        corpora.fetch(data, note)
    setting = Setting(data, cache, given.seed, given.threads, given.tokens, given.repeats, given.only)
    print(f"Python {platform.python_version()}, {os.cpu_count()} cores ({_processor()}), load {os.getloadavg()[0]:.1f}")
    for name, run in MODES.items():
        if given.mode in (name, "all"):
            run(setting)


if __name__ == "__main__":
    sys.exit(main())
