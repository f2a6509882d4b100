"""Benchmarks of `ptft export` beside llm-compressor and llama.cpp, as Markdown tables.

    python benchmarks/export.py [causal|classifier|all] [--model DIR --split DIR] [--classifier DIR --news DIR] [--data DIR] [--cache DIR] [--threads N]

Run it with the Python that ptft is installed in. It needs Linux (memory is read from /proc) and a package index: the texts and
the peers come from there, each peer into an environment of its own under --cache (llama.cpp is built, ten minutes). Without
--model it first trains the model that it exports, 13M parameters on real text: an hour and more.
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
from exporting import causal, classifier, data, rows
from exporting.measuring import Bench
from tools import note


def _chosen(all_rows: Sequence[rows.Row], only: str) -> list[rows.Row]:
    """Rows whose name fits one of the patterns; without any, all."""
    patterns = [word for word in only.split(",") if word]
    return [row for row in all_rows if not patterns or any(fnmatch(row.name, pattern) for pattern in patterns)]


def _model(given: argparse.Namespace, real: Path, cache: Path) -> tuple[Path, Path]:
    if given.model:
        return given.model.resolve(), given.split.resolve()
    return data.model(real, cache, given.tokens, given.threads)


def _news(given: argparse.Namespace, real: Path, cache: Path) -> data.News:
    if not given.classifier:
        return data.classifier(real, cache, given.threads)
    train, test = (given.news.resolve() / name for name in ("train.jsonl", "test.jsonl"))
    return data.encoded(given.classifier.resolve(), train, test, cache / "export" / "news.npz")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("mode", nargs="?", default="all", choices=["causal", "classifier", "all"])
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
    real = given.data.resolve() if given.data else cache / "real"
    if not given.data:
        corpora.fetch(real, note)
    print(f"Python {platform.python_version()}, {os.cpu_count()} cores ({_processor()}), load {os.getloadavg()[0]:.1f}")
    original, split = _model(given, real, cache)
    held = data.held(original, split, cache / "export", given.windows, given.calibration, given.seed)
    bench = Bench(held, original, cache, given.threads, given.compared, given.repeats, given.clock)
    if given.mode in ("causal", "all"):
        also = [rows.folder(name) for name in given.also]
        causal.run(bench, [*_chosen(rows.ROWS, given.only), *also], given.rounds)
    if given.mode in ("classifier", "all"):
        classifier.run(bench, _news(given, real, cache), _chosen(classifier.ROWS, given.only))
    return 0


if __name__ == "__main__":
    sys.exit(main())
