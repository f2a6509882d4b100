"""What it costs to score many predicted texts: every metric over 100,000 rows of 40 words with 1,000 resamples, and our
parts beside plain rouge_score and sacrebleu.

    python benchmarks/eval_texts.py [--rows 100000] [--resamples 1000] [--workers 1] [--peers 2000]

Every group of metrics has a process of its own, so that its peak of memory is its own.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tools import note, table

GROUPS = {
    "bleu": ("bleu",), "chrf": ("chrf",), "ter": ("ter",), "rouge": ("rouge1", "rouge2", "rougeL", "rougeLsum"),
    "spans": ("exact_match", "token_f1"), "variety": ("distinct1", "distinct2", "distinct3", "repetition"),
    "meteor": ("meteor",),
}  # fmt: skip
WORDS, MEAN_WORDS = 30_000, 40
Texts = tuple[list[str], list[str]]


def texts(count: int, seed: int = 0) -> Texts:
    """Predictions and references: words by Zipf's law, in sentences; a prediction changes, drops and moves some."""
    random_ = random.Random(seed)
    words = [f"{'aeiou'[i % 5]}w{i:x}" for i in range(WORDS)]
    weights = [1 / (i + 1) for i in range(WORDS)]
    stock = random_.choices(words, weights, k=2_000_000)
    predictions, references = [], []
    for _ in range(count):
        start = random_.randrange(len(stock) - 2 * MEAN_WORDS)
        wanted = stock[start : start + random_.randint(MEAN_WORDS - 10, MEAN_WORDS + 10)]
        written = [
            word if random_.random() < 0.75 else random_.choice(stock) for word in wanted if random_.random() < 0.93
        ]
        if random_.random() < 0.5:
            at, to = random_.randrange(len(written)), random_.randrange(len(written))
            moved = written[at : at + 4]
            del written[at : at + 4]
            written[to:to] = moved
        predictions.append(_sentences(written))
        references.append(_sentences(wanted))
    return predictions, references


def _sentences(words: list[str]) -> str:
    return " ".join(" ".join(words[i : i + 14]).capitalize() + "." for i in range(0, len(words), 14))


# ---------------------------------------------------------------- one process


def measured(group: str, rows: int, resamples: int, workers: int) -> dict[str, Any]:
    from ptft.core.metrics.kinds import Options, measures
    from ptft.core.metrics.measure import scores

    predictions, references = texts(rows)
    data = [{"prediction": text, "reference": wanted} for text, wanted in zip(predictions, references, strict=True)]
    before = _peak()
    begun = time.perf_counter()
    counted = measures("texts", data, GROUPS[group], Options(workers=workers))
    counting = time.perf_counter() - begun
    found = scores(counted, resamples)
    return {
        "counting": counting, "resampling": time.perf_counter() - begun - counting, "before": before, "peak": _peak(),
        "scores": {name: score["score"] for name, score in found.items()},
    }  # fmt: skip


def _peak() -> float:
    """MB, of this process and of the largest of its children."""
    return sum(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)) / 1024


def compared(rows: int, resamples: int) -> dict[str, tuple[float, float, float]]:
    """{what: (our seconds, theirs, largest difference)} of the same rows in one process."""
    from rouge_score.rouge_scorer import RougeScorer
    from sacrebleu.metrics import BLEU, TER

    from ptft.core.metrics.text import bleu, rouge, ter

    predictions, references = texts(rows)
    names = GROUPS["rouge"]

    def theirs_rouge() -> list[float]:
        scorer = RougeScorer(list(names))
        made = [scorer.score(wanted, text) for wanted, text in zip(references, predictions, strict=True)]
        return [sum(row[name].fmeasure for row in made) / rows for name in names]

    def ours_rouge() -> list[float]:
        found = rouge(predictions, references, names, split=False, resamples=0)
        return [found[name]["score"] for name in names]

    few = slice(0, max(20, rows // 50))
    return {
        f"ROUGE, all four, {rows:,} rows": _both(ours_rouge, theirs_rouge),
        f"BLEU with {resamples:,} resamples, {rows:,} rows": _both(
            lambda: [bleu(predictions, references, resamples=resamples)["score"]],
            lambda: [BLEU().corpus_score(predictions, [references], n_bootstrap=resamples).score],
        ),
        f"TER, {len(predictions[few]):,} rows": _both(
            lambda: [ter(predictions[few], references[few], resamples=0)["score"]],
            lambda: [TER().corpus_score(predictions[few], [references[few]]).score],
        ),
    }


def _both(ours: Callable[[], list[float]], theirs: Callable[[], list[float]]) -> tuple[float, float, float]:
    begun = time.perf_counter()
    mine = ours()
    between = time.perf_counter()
    other = theirs()
    done = time.perf_counter()
    return between - begun, done - between, max(abs(a - b) for a, b in zip(mine, other, strict=True))


# ---------------------------------------------------------------- all


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--resamples", type=int, default=1000)
    parser.add_argument("--workers", type=int, default=1, help="processes that count (0: one a core)")
    parser.add_argument("--peers", type=int, default=2000, help="rows compared with the peers (0: none)")
    parser.add_argument("--groups", default=",".join(GROUPS))
    parser.add_argument("--only", default="", help=argparse.SUPPRESS)  # what one process does
    given = parser.parse_args()
    if given.only:
        print(json.dumps(measured(given.only, given.rows, given.resamples, given.workers)))
        return
    lines = []
    for group in given.groups.split(","):
        note(group)
        command = [sys.executable, str(Path(__file__)), "--only", group, "--rows", str(given.rows),
                   "--resamples", str(given.resamples), "--workers", str(given.workers)]  # fmt: skip
        done = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])
        lines.append((", ".join(GROUPS[group]), f"{given.rows:,}", f"{done['counting']:.1f}", f"{done['resampling']:.1f}",
                      f"{done['before']:,.0f}", f"{done['peak']:,.0f}"))  # fmt: skip
        note(" | ".join(lines[-1]))
    table(
        f"Scoring texts: {given.rows:,} rows of about {MEAN_WORDS} words, {given.resamples:,} resamples, {given.workers} workers",
        ("metrics", "rows", "s of counting", "s of resampling", "MB before", "peak MB"),
        lines,
        "before: the texts and the imports; aim: 3 GB at 100,000 rows",
    )
    if given.peers:
        table(
            "The same rows by rouge_score and sacrebleu",
            ("what", "ptft s", "theirs s", "times", "largest difference"),
            [
                (what, f"{ours:.2f}", f"{theirs:.2f}", f"{theirs / ours:.1f}", f"{difference:.1e}")
                for what, (ours, theirs, difference) in compared(given.peers, given.resamples).items()
            ],
        )


if __name__ == "__main__":
    main()
