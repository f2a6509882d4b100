"""Benchmarks of `ptft export` beside llm-compressor and llama.cpp, as Markdown tables.

    python benchmarks/export.py [causal|classifier|gpu|all] [--model DIR --split DIR] [--classifier DIR --news DIR] [--data DIR] [--cache DIR] [--threads N]

causal: quality and speed of every scheme and format. classifier: the same of a BERT. gpu: a table of its own, on a GPU. all: the
first two. Run it with the Python that ptft is installed in. It needs Linux (memory is read from /proc) and a package index: the
texts and the peers come from there, each peer into an environment of its own under --cache (llama.cpp is built, ten minutes).
Without --model it first trains the model that it exports, 13M parameters on real text: an hour and more.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path

import corpora
from clean import _processor
from exporting import aims, causal, classifier, data, gpu, rows
from exporting.making import Row
from exporting.measuring import Bench
from tools import note


def chosen(known: Sequence[Row], only: str) -> list[Row]:
    """Rows whose name fits one of the patterns; without any, all. fp32 in torch, what all else is compared with, is always there."""
    patterns = [word for word in only.split(",") if word]
    fitting = [row for row in known if not patterns or any(fnmatch(row.name, pattern) for pattern in patterns)]
    return fitting if known[0] in fitting else [known[0], *fitting]


def _real(given: argparse.Namespace, cache: Path) -> Path:
    """Where the texts are; fetched where nobody gave a folder."""
    if given.data:
        return Path(given.data.resolve())
    corpora.fetch(cache / "real", note)
    return cache / "real"


def _model(given: argparse.Namespace, cache: Path) -> tuple[Path, Path]:
    if given.model:
        return given.model.resolve(), given.split.resolve()
    return data.model(_real(given, cache), cache, given.tokens, given.threads)


def _news(given: argparse.Namespace, cache: Path) -> data.News:
    if not given.classifier:
        return data.classifier(_real(given, cache), cache, given.threads)
    train, test = (given.news.resolve() / name for name in ("train.jsonl", "test.jsonl"))
    return data.encoded(given.classifier.resolve(), train, test, cache / "export" / "news.npz")


def _causal(given: argparse.Namespace, cache: Path) -> None:
    original, split = _model(given, cache)
    held = data.held(original, split, cache / "export" / original.name, given.windows, given.calibration, given.seed)
    bench = Bench(held, original, cache, given.threads, given.compared, given.repeats, given.clock)
    if given.mode == "gpu":
        gpu.run(bench, chosen(gpu.ROWS, given.only), given.rounds)
        return
    also = [rows.folder(name) for name in given.also]
    aims.show(causal.run(bench, [*chosen(rows.ROWS, given.only), *also], rows.ROWS, given.rounds))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("mode", nargs="?", default="all", choices=["causal", "classifier", "gpu", "all"])
    parser.add_argument("--model", type=Path, help="a causal checkpoint in fp32 (default: trained here)")
    parser.add_argument("--split", type=Path, help="train.jsonl and test.jsonl of --model, made by `ptft split`")
    parser.add_argument("--classifier", type=Path, help="a BERT classifier (default: MiniLM fine-tuned here)")
    parser.add_argument("--news", type=Path, help="train.jsonl and test.jsonl of --classifier, with labels")
    parser.add_argument("--data", type=Path, help="a folder with bbc.jsonl, minilm/ and so on (default: fetched)")
    parser.add_argument("--cache", type=Path, default=Path("build/bench"), help="models, exports, environments")
    parser.add_argument("--tokens", default="10M", help="to train the model on")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="of each process, one at a time")
    parser.add_argument("--windows", type=int, default=160, help="held-out windows of 256 tokens")
    parser.add_argument("--compared", type=int, default=32, help="of these, windows whose logits are compared")
    parser.add_argument("--calibration", type=int, default=128, help="windows of training text")
    parser.add_argument("--rounds", type=int, default=3, help="timed processes of each row")
    parser.add_argument("--repeats", type=int, default=3, help="timed generations of each process")
    parser.add_argument(
        "--clock", default="wall", choices=["wall", "cpu"], help="cpu: on a machine with other work, one thread"
    )
    parser.add_argument("--only", default="", help="rows whose name fits one of these patterns, e.g. *gguf*")
    parser.add_argument("--also", action="append", default=[], help="NAME=RUNTIME:PATH, a folder to measure too")
    given = parser.parse_args()
    if bool(given.model) != bool(given.split) or bool(given.classifier) != bool(given.news):
        parser.error(
            "--model and --split go together, and --classifier and --news: rows it was not trained on are needed"
        )
    if given.clock == "cpu" and given.threads != 1:
        parser.error("--clock cpu needs --threads 1: waiting threads use the processor too")
    cache = given.cache.resolve()
    print(f"Python {platform.python_version()}, {os.cpu_count()} cores ({_processor()}), load {os.getloadavg()[0]:.1f}")
    if given.mode == "gpu" and gpu.absent():
        return 0
    if given.mode != "classifier":
        _causal(given, cache)
    if given.mode in ("classifier", "all"):
        classifier.run(_news(given, cache), cache, given.threads, given.clock, chosen(classifier.ROWS, given.only))
    return 0


if __name__ == "__main__":
    sys.exit(main())
