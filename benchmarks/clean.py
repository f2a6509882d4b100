"""Benchmarks of `ptft clean` beside its peers, as Markdown tables.

    python benchmarks/clean.py [quality|speed|rules|noise|scale|all] [--data DIR] [--cache DIR] [--mb 200] [--documents 2000000]

Run it with the Python that ptft is installed in. It needs Linux (memory is read from /proc) and a package index: the real
texts and the peers come from there, each peer into an environment of its own under --cache.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import agreement
import corpora
import noise
import quality
import scale
import speed
from tools import note


@dataclass(frozen=True)
class Setting:
    """data: the real sets. cache: corpora, environments. size: bytes of the speed corpus. documents: the largest of `scale`."""

    data: Path
    cache: Path
    size: int
    documents: int
    seed: int


MODES: dict[str, Callable[[Setting], None]] = {
    "quality": lambda setting: quality.run(setting.data, setting.cache, setting.seed),
    "speed": lambda setting: speed.minhash(setting.data, setting.cache, setting.size, setting.seed),
    "rules": lambda setting: _rules(setting),
    "noise": lambda setting: noise.run(setting.data, setting.cache),
    "scale": lambda setting: scale.run(setting.data, setting.cache, setting.documents, setting.seed),
}


def _rules(setting: Setting) -> None:
    speed.rules(setting.data, setting.cache, setting.size, setting.seed)
    agreement.run(setting.data, setting.cache)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("mode", nargs="?", default="all", choices=[*MODES, "all"])
    parser.add_argument("--data", type=Path, help="a folder with bbc.jsonl, help-zh.jsonl and so on (default: fetched)")
    parser.add_argument(
        "--cache", type=Path, default=Path("build/bench"), help="where corpora and environments are kept"
    )
    parser.add_argument("--mb", type=int, default=200, help="megabytes of text in the speed corpus")
    parser.add_argument("--documents", type=int, default=2_000_000, help="the largest corpus of `scale`")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    cache = given.cache.resolve()
    data = given.data.resolve() if given.data else cache / "real"
    if not given.data:
        corpora.fetch(data, note)
    setting = Setting(data, cache, given.mb * 10**6, given.documents, given.seed)
    print(f"Python {platform.python_version()}, {os.cpu_count()} cores ({_processor()}), load {os.getloadavg()[0]:.1f}")
    for name, run in MODES.items():
        if given.mode in (name, "all"):
            run(setting)


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.machine())


if __name__ == "__main__":
    sys.exit(main())
