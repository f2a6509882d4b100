"""How fast: MinHash from text to pairs, and all rules before it, on one corpus in one run, peers side by side."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import corpora
from corpora import Corpus, Recombiner
from tools import Run, attempt, peer, ptft_clean, table

MB = 10**6
HEAD = (
    "what",
    "processes",
    "MB of text",
    "s",
    "MB/s",
    "CPU s",
    "MB/CPU s",
    "removed",
    "peak MB",
    "first row is faster by",
)


def corpus_of(data: Path, cache: Path, size: int, seed: int) -> Corpus:
    made = Recombiner(corpora.english_sentences(data), seed)
    return corpora.large(cache, f"speed-{size // MB}mb", made, size=size)


class Measured:
    """Rows of a table, in the order they were run, and how each compares with one of them."""

    def __init__(self) -> None:
        self.rows: list[tuple[str, int, Corpus, Run, int]] = []
        self.versions: dict[str, str] = {}

    def add(self, name: str, processes: int, corpus: Corpus, work: Callable[[Path], Run]) -> None:
        run = attempt(f"{name}: {corpus.size / MB:.0f} MB", lambda: work(corpus.path))
        if run:
            self.versions |= run.report.get("versions", {})
            self.rows.append((name, processes, corpus, run, _removed(run, corpus)))

    def table(self, title: str, base: str, *notes: str) -> None:
        rates = {name: corpus.size / run.cpu for name, _, corpus, run, _ in self.rows}
        shown = [
            (
                name, processes, f"{corpus.size / MB:.0f}", f"{run.seconds:.1f}", f"{corpus.size / MB / run.seconds:.2f}",
                f"{run.cpu:.1f}", f"{rates[name] / MB:.2f}", f"{removed / corpus.documents:.1%}",
                f"{run.memory / MB:,.0f}", f"{rates[base] / rates[name]:.1f}x",
            )
            for name, processes, corpus, run, removed in self.rows
        ]  # fmt: skip
        notes += (
            "MB/CPU s: megabytes a second a core, by processor time, which other work on the machine hardly moves; ratios are of it",
        )
        versions = ", ".join(f"{name} {version}" for name, version in sorted(self.versions.items()))
        table(title, HEAD, shown, *notes, f"versions: {versions}")


def _removed(run: Run, corpus: Corpus) -> int:
    if "kept" in run.report:
        return corpus.documents - run.report["kept"]
    return len(run.report["removed"]) if "removed" in run.report else run.report["dropped"]


# ---------------------------------------------------------------- MinHash alone

KERNEL = "ptft, functions: text to pairs"
_RENSA = ("rensa", "rensa_minhash.py")
PEERS: tuple[tuple[str, str, str, dict[str, object], int], ...] = (  # shown, environment, script, options, most MB
    ("rensa: RMinHash + RMinHashLSH, candidate pairs", *_RENSA, {"way": "lsh", "words": "quick"}, 200),
    ("rensa: the same, given ptft's words", *_RENSA, {"way": "lsh"}, 200),
    ("rensa: matrix, flags", *_RENSA, {"way": "matrix", "words": "quick"}, 200),
    ("rensa: rho sample, flags", *_RENSA, {"way": "rho", "words": "quick"}, 200),
    ("rensa: RMinHashDeduplicator, estimates checked", *_RENSA, {"way": "deduplicator", "words": "quick"}, 200),
    ("datasketch: bulk + MinHashLSH", "datasketch", "datasketch_minhash.py", {"words": "quick"}, 20),
    ("text-dedup: minhash", "text-dedup", "textdedup_minhash.py", {}, 20),
    ("text-dedup: minhash, 128 permutations", "text-dedup", "textdedup_minhash.py", {"permutations": 128}, 20),
    ("datatrove: signatures, buckets, clusters", "datatrove", "datatrove_minhash.py", {"lang": "en"}, 10),
)


def minhash(data: Path, cache: Path, size: int, seed: int) -> None:
    corpus = corpus_of(data, cache, size, seed)
    measured = Measured()
    measured.add(KERNEL, 1, corpus, lambda path: peer("ptft", "ptft_kernel.py", path, {}, cache))
    for workers in (1, 2):
        options = ("--rules", "off", "--workers", str(workers))
        name = f"ptft clean --rules off --workers {workers}"
        measured.add(name, workers, corpus, lambda path, options=options: ptft_clean(path, cache / "out", *options))
    for shown, name, script, options, most in PEERS:
        part = corpora.head(corpus, most * MB)
        measured.add(shown, 1, part, lambda path, n=name, s=script, o=options: peer(n, s, path, o, cache))
    measured.add(f"{KERNEL} (again)", 1, corpus, lambda path: peer("ptft", "ptft_kernel.py", path, {}, cache))
    measured.table(
        "MinHash, from text to duplicates",
        KERNEL,
        corpus.describe(),
        "a peer with fewer MB ran on the first part of the same corpus: what is slow and linear; its MB/s is taken for the whole",
        "functions: seconds from opening the JSONL to the pairs, without start and imports; `ptft clean`: the whole command, from "
        "start to the written corpus, and it also normalises, hashes and writes every text",
        "rensa and datasketch get five-word shingles of lower-cased words between spaces, as in rensa's own benchmark; \"ptft's "
        'words" leave punctuation out, the same task; ptft verifies every pair exactly, the others do not',
        "flags: whether a row has a neighbour at all; those paths give no pairs (quality: see that mode)",
        "one thread each; peak: the most PSS of the process and its children, every 0.2 s",
    )


# ---------------------------------------------------------------- all rules, then MinHash


def rules(data: Path, cache: Path, size: int, seed: int) -> None:
    corpus = corpus_of(data, cache, size, seed)
    part = corpora.head(corpus, 8 * MB)
    measured = Measured()
    base = "ptft clean --rules web --workers 1"
    for source in (corpora.head(corpus, 80 * MB), part):
        for workers in (1, 2):
            name = f"ptft clean --rules web --workers {workers}" + (", the same part" if source is part else "")
            options = ("--rules", "web", "--workers", str(workers))
            measured.add(name, workers, source, lambda path, options=options: ptft_clean(path, cache / "out", *options))
    theirs = {"lang": "en", "rules": True}
    name = "datatrove: repetition, C4, quality, FineWeb, MinHash"
    measured.add(name, 1, part, lambda path: peer("datatrove", "datatrove_minhash.py", path, theirs, cache))
    measured.table(
        "All rules, then MinHash: text in, clean corpus out",
        base,
        part.describe() + " in the shorter part",
        "ptft: Gopher's, C4's and FineWeb's rules, its own against noise, and the language by fastText; datatrove: its filters as "
        "FineWeb has them, without the language filter, whose model is a download",
        "datatrove on the shorter part alone: linear, and slow",
    )
