"""How time and memory grow: `ptft clean` on 2 cores over 0.5, 1 and 2 million documents of 1 KB."""

from __future__ import annotations

from pathlib import Path

import corpora
from corpora import Corpus, Recombiner
from tools import Run, note, ptft_clean, table

MB = 10**6
STEPS = (0.25, 0.5, 1.0)


def run(data: Path, cache: Path, documents: int, seed: int) -> None:
    sentences = corpora.english_sentences(data)
    shown: list[tuple[Corpus, Run]] = []
    for step in STEPS:
        count = int(documents * step)
        corpus = corpora.large(cache, f"scale-{count}", Recombiner(sentences, seed, mean_bytes=1000), documents=count)
        note(f"{count:,} documents")
        shown.append((corpus, ptft_clean(corpus.path, cache / "out", "--workers", "2")))
    first = shown[0][0].documents / shown[0][1].seconds
    table(
        "Scale: `ptft clean --workers 2`, all else as it comes",
        ("documents", "MB of text", "s", "documents/s", "of the first row's", "removed", "peak MB"),
        [
            (
                f"{corpus.documents:,}", f"{corpus.size / MB:,.0f}", f"{run.seconds:.0f}",
                f"{corpus.documents / run.seconds:,.0f}", f"{corpus.documents / run.seconds / first:.0%}",
                f"{run.report['dropped'] / corpus.documents:.1%}", f"{run.memory / MB:,.0f}",
            )
            for corpus, run in shown
        ],
        shown[-1][0].describe(),
        "aim: 2 million documents of 1 KB within 3 GB, in linear time",
        "peak: the most PSS (shared pages counted once) of the command and its workers together, every 0.2 s",
    )  # fmt: skip
