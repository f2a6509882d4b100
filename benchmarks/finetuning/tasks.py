"""MiniLM on BBC news, method by method, beside TF-IDF and logistic regression on the very same rows."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pretraining import processes
from tools import Missing, note, table

from finetuning import data

METHODS = ("full", "lora", "adapter", "prompt", "ia3", "partial")
LENGTH, EPOCHS = 128, 1
RATES = {"full": 1e-4, "lora": 1e-3, "adapter": 1e-3, "prompt": 1e-2, "ia3": 1e-2, "partial": 5e-4}
TFIDF = Path(__file__).parents[2] / "recipes" / "demo" / "tfidf.py"


@dataclass(frozen=True)
class News:
    base: Path
    train: Path
    val: Path
    test: Path


@dataclass(frozen=True)
class Scored:
    """f1: macro, on the test rows. trainable: parameters that learn. seconds: of training alone."""

    f1: float
    accuracy: float
    trainable: int = 0
    seconds: float = 0.0


def run(
    data_folder: Path, cache: Path, seed: int, threads: int, steps: int, seeds: int, methods: Sequence[str]
) -> None:
    """steps: stop there, for a look; 0: train to the end."""
    try:
        base = data.minilm(data_folder, cache)
        found = data.news(data_folder, cache, lambda *arguments: _ptft(*arguments, threads=threads))
    except Missing as error:
        print(f"\n### MiniLM on BBC news\n\nskipped: {error}")
        return
    news, runs = News(base, *found), cache / "finetune" / "runs"
    rows = [_row(method, news, runs, range(seed, seed + seeds), threads, steps) for method in methods]
    baseline = _tfidf(news, runs, seed, threads)
    table(
        "MiniLM (22.7M parameters) on BBC news, five topics",
        ("method", "macro F1, mean", "by seed", "accuracy, mean", "trainable", "training s"),
        [*rows, ("TF-IDF, logistic regression", f"{baseline.f1:.4f}", "", f"{baseline.accuracy:.4f}", "", "")],
        f"{_count(news.train):,} rows to learn from, {_count(news.val):,} to choose the best epoch by, {_count(news.test):,} to score; "
        "copies taken out by `ptft clean`, near-duplicates kept together by `ptft split`",
        f"{EPOCHS} pass(es), 16 rows a step, {LENGTH} tokens a row at most (TF-IDF reads all of the text), "
        f"{threads} thread(s); learning rates {', '.join(f'{name} {RATES[name]:g}' for name in methods)}",
        "scored by `ptft eval`",
    )


def _row(method: str, news: News, runs: Path, seeds: Sequence[int], threads: int, steps: int) -> tuple[str, ...]:
    try:
        scored = [_scored(method, news, runs, seed, threads, steps) for seed in seeds]
    except RuntimeError as error:
        note(str(error))
        return (method, f"failed: {processes.last_line(error)}", "", "", "", "")
    return (
        method, f"{statistics.fmean(one.f1 for one in scored):.4f}", ", ".join(f"{one.f1:.4f}" for one in scored),
        f"{statistics.fmean(one.accuracy for one in scored):.4f}", f"{scored[0].trainable:,}",
        f"{statistics.fmean(one.seconds for one in scored):.0f}",
    )  # fmt: skip


def _scored(method: str, news: News, runs: Path, seed: int, threads: int, steps: int) -> Scored:
    note(f"tasks: {method}, seed {seed}")
    out, scores = runs / f"task-{method}", runs / f"task-{method}-scores"
    epochs = steps * 16 / _count(news.train) if steps else EPOCHS
    _ptft(
        "finetune", "task", news.base, news.train, "--eval-data", news.val, "--method", method, "--lr", RATES[method],
        "--epochs", epochs, "--batch-size", 16, "--seq-len", LENGTH, "--seed", seed, "-o", out, threads=threads,
    )  # fmt: skip
    # no longer rows than it learnt from
    _ptft(
        "eval",
        out,
        news.test,
        "--metrics",
        "accuracy,f1",
        "--set",
        f"max_seq_len={LENGTH}",
        "-o",
        scores,
        threads=threads,
    )
    record: dict[str, Any] = json.loads((out / "run.json").read_text())
    found = _metrics(scores)
    return Scored(*found, record["counts"]["trainable"], record["metrics"]["seconds_training"])


def _tfidf(news: News, runs: Path, seed: int, threads: int) -> Scored:
    guesses, scores = runs / "tfidf.jsonl", runs / "tfidf-scores"
    command = [sys.executable, str(TFIDF), str(news.train), str(news.test), "--seed", str(seed)]
    guesses.write_text(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    _ptft("eval", "-p", guesses, "--metrics", "accuracy,f1", "-o", scores, threads=threads)
    return Scored(*_metrics(scores))


def _metrics(folder: Path) -> tuple[float, float]:
    """(macro F1, accuracy) of a folder of scores."""
    found = json.loads((folder / "scores.json").read_text())["metrics"]
    return found["f1"]["score"], found["accuracy"]["score"]


def _ptft(*arguments: object, threads: int) -> None:
    """A ptft command; another result in its folder is made again."""
    command = [sys.executable, "-P", "-m", "ptft", *map(str, arguments)]
    try:
        processes.run(command, threads)
    except RuntimeError as error:
        if "--force" not in str(error):
            raise
        processes.run([*command, "--force"], threads)


def _count(path: Path) -> int:
    return sum(1 for _ in path.open(encoding="utf-8"))
