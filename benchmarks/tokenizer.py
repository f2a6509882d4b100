"""`ptft tokenizer` beside its peers, as Markdown tables: speed, memory, and bytes per token on text that was held out.

    python benchmarks/tokenizer.py [--data DIR] [--cache DIR] [--vocab-size 32768]

Run it with the Python that ptft is installed in. The real texts and the peers come from a package index, as in clean.py.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import sys
from pathlib import Path

import corpora
import tools
from tools import Run, attempt, note, python_of, table, watched

from ptft.stages.tokenizer.presets import pattern

MB = 10**6
SLOW = 4  # sentencepiece gets one row in so many: Chinese sentences are single words to it
HELD = 20  # of each set, one document in so many is held out
MOST = {"linux-doc": 6 * MB}  # so that Chinese is a quarter
SCRIPT = Path(__file__).with_name("tokenizer_peers.py")
PEERS = {
    "sentencepiece": ("python3", ("sentencepiece==0.2.1",)),
    "rustbpe": ("python3", ("rustbpe==0.1.0", "tiktoken")),
}
PRESETS = ("bilingual", "cl100k", "gpt2", "qwen")
HEAD = ("what", "s", "CPU s", "MB/CPU s", "peak MB", "bytes per token, en", "bytes per token, zh")


def texts(data: Path, cache: Path) -> tuple[Path, Path, int]:
    """The file to learn from, the one held out, and bytes of the first's text as far as it is learnt from."""
    train, held, size = cache / "tokenizer-train.jsonl", cache / "tokenizer-held.jsonl", 0
    with train.open("w", encoding="utf-8") as learnt, held.open("w", encoding="utf-8") as other:
        for name in (*corpora.ENGLISH, *corpora.CHINESE):
            language, taken = "zh" if name in corpora.CHINESE else "en", 0
            for number, text in enumerate(corpora.texts(data, [name])):
                row = json.dumps({"id": f"{name}-{number}", "text": text, "language": language}, ensure_ascii=False)
                if number % HELD == 0:
                    other.write(row + "\n")
                elif taken < MOST.get(name, 10**12):
                    learnt.write(row + "\n")
                    taken += len(text[:10_000].encode())
            size += taken
    return train, held, size


def part(train: Path, every: int) -> tuple[Path, int]:
    """One row in so many, and bytes of their text as far as it is learnt from."""
    path = train.with_name(f"tokenizer-train-{every}.jsonl")
    rows = train.read_text(encoding="utf-8").splitlines(keepends=True)[::every]
    path.write_text("".join(rows), encoding="utf-8")
    return path, sum(len(json.loads(row)["text"][:10_000].encode()) for row in rows)


def peer(way: str, train: Path, held: Path, cache: Path, vocabulary: int, preset: str) -> Run:
    report = cache / "reports" / f"tokenizer-{way}-{preset}.json"
    report.parent.mkdir(parents=True, exist_ok=True)
    python = python_of("ptft" if way == "tokenizers" else way, cache)
    command = [python, SCRIPT, way, train, held, report, vocabulary, preset, pattern(preset)]  # type: ignore[arg-type]
    run = watched(list(map(str, command)), threads=1)
    found = json.loads(report.read_text())
    return Run(found, found["seconds"], found["cpu"], run.memory)


def whole(train: Path, cache: Path, vocabulary: int, preset: str) -> Run:
    out = cache / "out"
    shutil.rmtree(out, ignore_errors=True)
    command = [sys.executable, "-P", "-m", "ptft", "tokenizer", str(train), "-o", str(out), "--preset", preset]
    return watched([*command, "--vocab-size", str(vocabulary), "--workers", "1"])


def line(name: str, run: Run, size: int) -> tuple[object, ...]:
    held = run.report.get("bytes_per_token", {})
    figures = [f"{held[language]:.3f}" if held else "" for language in ("en", "zh")]
    speed = f"{size / MB / run.cpu:.2f}"
    return name, f"{run.seconds:.1f}", f"{run.cpu:.1f}", speed, f"{run.memory / MB:,.0f}", *figures


def beside_peers(train: Path, held: Path, size: int, cache: Path, vocabulary: int) -> None:
    rows, versions = [], []
    less, less_size = part(train, SLOW)
    for name, way, source, source_size in (
        ("ptft tokenizer: learning", "ptft", train, size),
        ("tokenizers alone", "tokenizers", train, size),
        ("rustbpe", "rustbpe", train, size),
        ("ptft tokenizer: learning (again)", "ptft", train, size),
        (f"ptft tokenizer: learning, {less_size / MB:.1f} MB", "ptft", less, less_size),
        (f"sentencepiece, {less_size / MB:.1f} MB", "sentencepiece", less, less_size),
    ):
        run = attempt(name, lambda w=way, s=source: peer(w, s, held, cache, vocabulary, "cl100k"))  # type: ignore[misc]
        if run:
            rows.append(line(name, run, source_size))
            versions.append(run.report["version"])
    run = attempt("ptft tokenizer: the whole command", lambda: whole(train, cache, vocabulary, "cl100k"))
    if run:
        rows.append(line("ptft tokenizer: the whole command", run, size))
    table(
        f"A vocabulary of {vocabulary:,} from {size / MB:.1f} MB of text, one thread", HEAD, rows,
        "cl100k's pieces for all but sentencepiece (BPE with byte fallback, no normalisation), which has rules of its own",
        "the whole command also encodes, decodes and compares every row, and writes a report; s of the other rows: without start and imports",
        "peak: the most PSS of the process, every 0.2 s, held-out encoding included",
        "versions: " + ", ".join(dict.fromkeys(versions)),
    )  # fmt: skip


def presets(train: Path, held: Path, size: int, cache: Path, vocabulary: int) -> None:
    runs = [
        (preset, attempt(preset, lambda p=preset: peer("ptft", train, held, cache, vocabulary, p)))
        for preset in PRESETS
    ]  # type: ignore[misc]
    rows = [line(preset, run, size) for preset, run in runs if run]
    table(
        "Presets, the same text and vocabulary", HEAD, rows, "bytes per token: of documents that were not learnt from"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="a folder with bbc.jsonl, help-zh.jsonl and so on (default: fetched)")
    parser.add_argument("--cache", type=Path, default=Path("build/bench"), help="where texts and environments are kept")
    parser.add_argument("--vocab-size", type=int, default=32_768)
    given = parser.parse_args()
    cache = given.cache.resolve()
    cache.mkdir(parents=True, exist_ok=True)
    data = given.data.resolve() if given.data else cache / "real"
    if not given.data:
        corpora.fetch(data, note)
    tools.PEERS.update(PEERS)
    print(f"Python {platform.python_version()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    train, held, size = texts(data, cache)
    beside_peers(train, held, size, cache, given.vocab_size)
    presets(train, held, size, cache, given.vocab_size)


if __name__ == "__main__":
    sys.exit(main())
