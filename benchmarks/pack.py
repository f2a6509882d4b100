"""Benchmarks of `ptft pack` beside `datasets.map` as transformers' run_clm does it, as Markdown tables.

    python benchmarks/pack.py [--data DIR] [--cache DIR] [--copies 1]

Run it with the Python that ptft is installed in. It needs Linux (memory is read from /proc) and, without --data, a package
index: the real texts come from there.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import corpora
import numpy as np
from tools import Run, attempt, note, table, watched

MB = 10**6
SEQ_LEN = 1024
VOCABULARY = 32_000
MIXED = ("linux-doc", "help-en", "bbc", "brown", "help-zh", "fortunes-zh")
SETS = {"English": corpora.ENGLISH, "Chinese": corpora.CHINESE, "English and Chinese": MIXED}
LENGTHS = (256, 512, 1024, 2048, 4096, 8192)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="a folder with bbc.jsonl, help-zh.jsonl and so on (default: fetched)")
    parser.add_argument("--cache", type=Path, default=Path("build/bench"), help="where corpora and results are kept")
    parser.add_argument(
        "--copies", type=int, default=1, help="how often the text is repeated, each time a little changed"
    )
    parser.add_argument("--peer", nargs=5, help=argparse.SUPPRESS)  # way, source, tokenizer, report, processes
    given = parser.parse_args()
    if given.peer:
        way, source, tokenizer, report, processes = given.peer
        _measured(WAYS[way], Path(source), Path(tokenizer), Path(report), int(processes))
        return
    cache = given.cache.resolve() / "pack"
    cache.mkdir(parents=True, exist_ok=True)
    data = given.data.resolve() if given.data else given.cache.resolve() / "real"
    if not given.data:
        corpora.fetch(data, note)
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    tokenizer = _tokenizer(data, cache)
    for name, sets in SETS.items():
        speed(name, _corpus(data, cache, name, sets, given.copies), tokenizer, cache)
    sequences(cache)
    a_million(cache)


def _corpus(data: Path, cache: Path, name: str, sets: tuple[str, ...], copies: int) -> Path:
    """The sets in one file. A copy has its number in every paragraph, so that no two documents are alike."""
    path = cache / f"{name.replace(' ', '-')}-{copies}.jsonl"
    with path.open("w", encoding="utf-8") as file:
        for copy in range(copies):
            for number, text in enumerate(corpora.texts(data, sets)):
                changed = text.replace("\n\n", f" {copy}\n\n") if copy else text
                file.write(json.dumps({"id": f"{copy}-{number}", "text": changed}, ensure_ascii=False) + "\n")
    return path


def _tokenizer(data: Path, cache: Path) -> Path:
    folder = cache / "tokenizer"
    if not (folder / "run.json").exists():
        shutil.rmtree(folder, ignore_errors=True)
        source = _corpus(data, cache, "tokenizer", MIXED, 1)
        command = [sys.executable, "-P", "-m", "ptft", "tokenizer", str(source), "--vocab-size", str(VOCABULARY)]
        subprocess.run([*command, "-o", str(folder)], check=True, capture_output=True)
    return folder


# ---------------------------------------------------------------- speed


def speed(name: str, source: Path, tokenizer: Path, cache: Path) -> None:
    size = sum(len(json.loads(line)["text"].encode()) for line in source.open(encoding="utf-8"))
    runs: list[tuple[str, int, Run]] = []

    def add(shown: str, processes: int, work: Callable[[], Run]) -> None:
        run = attempt(f"{name}: {shown}, {processes}", work)
        if run:
            runs.append((shown, processes, run))

    for processes in (1, 2):
        add("ptft pack", processes, lambda n=processes: ptft_pack(source, tokenizer, cache / name, n))
        for way in WAYS if processes == 1 else ("run_clm", "run_clm, ids alone"):
            add(way, processes, lambda n=processes, way=way: peer(way, source, tokenizer, cache, n))
    add("ptft pack (again)", 1, lambda: ptft_pack(source, tokenizer, cache / name, 1))
    ours = {processes: run for shown, processes, run in reversed(runs) if shown == "ptft pack"}
    rows = [
        (
            shown, processes, f"{run.seconds:.1f}", f"{run.cpu:.1f}", f"{size / MB / run.cpu:.1f}", f"{run.memory / MB:,.0f}",
            f"{run.seconds / ours[processes].seconds:.1f}x", f"{run.cpu / ours[processes].cpu:.1f}x", run.report["tokens"],
            run.report.get("digest", "")[:8],
        )
        for shown, processes, run in runs
    ]  # fmt: skip
    head = (
        "what", "processes", "s", "CPU s", "MB/CPU s", "peak MB", "ptft is faster by", "by CPU time", "tokens", "digest of ids",
    )  # fmt: skip
    table(
        f"Packing {size / MB:.1f} MB of {name} text, vocabulary {VOCABULARY:,}, sequences of {SEQ_LEN}", head, rows,
        "ptft pack: the whole command, from start to the published folder, its input hashed, every document ended by eos",
        "run_clm: `datasets.map` of the tokenizer, then of `group_texts`, both batched, as in transformers' examples: ids, attention "
        "mask and labels; without start and imports. Each batch's remainder is dropped, and documents are not told apart",
        "ids alone: the same with neither mask nor labels, which is kinder to it than its own example",
        "tokenizers: `encode_batch_fast` to one array of ids with eos, nothing written: what the library itself takes",
        "the digest is that of all ids: the same ids in the same order",
    )  # fmt: skip


def ptft_pack(source: Path, tokenizer: Path, out: Path, workers: int) -> Run:
    shutil.rmtree(out, ignore_errors=True)
    command = [sys.executable, "-P", "-m", "ptft", "pack", str(source), "-t", str(tokenizer), "-o", str(out)]
    run = watched([*command, "--seq-len", str(SEQ_LEN), "--workers", str(workers)])
    counts = json.loads((out / "run.json").read_text())["counts"]
    ids = [np.load(path) for path in sorted(out.glob("train-?????.npy"))]
    return replace(run, report={"tokens": counts["train_tokens"], "digest": _digest(np.concatenate(ids))})


def peer(way: str, source: Path, tokenizer: Path, cache: Path, processes: int) -> Run:
    report = cache / "report.json"
    run = watched([sys.executable, __file__, "--peer", way, str(source), str(tokenizer), str(report), str(processes)])
    found = json.loads(report.read_text())
    return Run(found, found["seconds"], found["cpu"], run.memory)


def _digest(ids: Any) -> str:
    import xxhash

    return xxhash.xxh3_128_hexdigest(np.ascontiguousarray(ids, "<u2").tobytes())


# ---------------------------------------------------------------- the peers, in a process of their own


def _measured(
    way: Callable[[Path, Path, Path, int], dict[str, Any]], source: Path, tokenizer: Path, report: Path, processes: int
) -> None:
    import datasets
    import tokenizers
    import transformers

    assert datasets and tokenizers and transformers  # imports are not what is measured
    work = report.parent / "datasets"
    shutil.rmtree(work, ignore_errors=True)
    clock, spent = time.perf_counter(), _spent()
    found = way(source, tokenizer, work, processes)
    report.write_text(json.dumps({**found, "seconds": time.perf_counter() - clock, "cpu": _spent() - spent}))
    shutil.rmtree(work, ignore_errors=True)


def _spent() -> float:
    own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


def _run_clm(source: Path, tokenizer: Path, work: Path, processes: int, *, ids_alone: bool = False) -> dict[str, Any]:
    """tokenize_function and group_texts of transformers' examples/pytorch/language-modeling/run_clm.py."""
    import datasets
    from transformers import AutoTokenizer

    loaded = AutoTokenizer.from_pretrained(tokenizer)
    raw = datasets.load_dataset("json", data_files=str(source), split="train", cache_dir=str(work))
    several = processes if processes > 1 else None

    def tokenize_function(examples: Any) -> Any:
        return loaded(examples["text"], **({"return_attention_mask": False} if ids_alone else {}))

    def group_texts(examples: Any) -> Any:
        concatenated = {key: list(itertools.chain(*examples[key])) for key in examples}
        total = len(concatenated[next(iter(examples))]) // SEQ_LEN * SEQ_LEN
        result = {
            key: [values[start : start + SEQ_LEN] for start in range(0, total, SEQ_LEN)]
            for key, values in concatenated.items()
        }
        if not ids_alone:
            result["labels"] = result["input_ids"].copy()
        return result

    tokenised = raw.map(tokenize_function, batched=True, num_proc=several, remove_columns=raw.column_names)
    grouped = tokenised.map(group_texts, batched=True, num_proc=several)
    return {"tokens": len(grouped) * SEQ_LEN}


def _ids_alone(source: Path, tokenizer: Path, work: Path, processes: int) -> dict[str, Any]:
    return _run_clm(source, tokenizer, work, processes, ids_alone=True)


def _library(source: Path, tokenizer: Path, work: Path, processes: int) -> dict[str, Any]:
    from ptft.core.packing import fast_tokenizer

    fast, eos = fast_tokenizer(tokenizer)
    parts = []
    with source.open("rb") as lines:
        while texts := [json.loads(line)["text"] for line in itertools.islice(lines, 1000)]:
            for found in fast.encode_batch_fast(texts, add_special_tokens=False):
                parts += [np.array(found.ids, "<u2"), np.array([eos], "<u2")]
    ids = np.concatenate(parts)
    return {"tokens": len(ids), "digest": _digest(ids)}


WAYS = {"run_clm": _run_clm, "run_clm, ids alone": _ids_alone, "tokenizers": _library}


# ---------------------------------------------------------------- what sequences waste and cut


def sequences(cache: Path) -> None:
    from ptft.core.packing import Packed
    from ptft.stages.pack.figures import WAYS as FILLS

    rows = []
    for name in SETS:
        lengths = Packed(cache / name).lengths["train"]
        for seq_len in LENGTHS:
            found = {way: fill(lengths, seq_len) for way, fill in FILLS.items()}
            shares = [f"{share:.2%}" for one in found.values() for share in (one.waste, one.cut)]
            rows.append((name, f"{len(lengths):,}", seq_len, *shares))
    table(
        "Filling sequences", ("text", "documents", "tokens a sequence", "concat: waste", "documents cut", "best-fit: waste", "documents cut"),
        rows, "waste: the share that is padding or skipped; best-fit cuts only documents that are longer than a sequence",
    )  # fmt: skip


def a_million(cache: Path) -> None:
    """How long a million documents take to lay out, lengths drawn from those of the real text."""
    from ptft.core.best_fit import bins_of
    from ptft.core.packing import Packed

    real = Packed(cache / "English and Chinese").lengths["train"]
    lengths = np.random.default_rng(1).choice(real, 1_000_000)
    rows = []
    for seq_len in LENGTHS:
        clock = time.process_time()
        bins = bins_of(lengths, seq_len)
        seconds = time.process_time() - clock
        rows.append((seq_len, f"{len(bins):,}", f"{1 - lengths.sum() / len(bins) / seq_len:.3%}", f"{seconds:.2f}"))
    table("Best-fit over a million documents, one core", ("tokens a sequence", "sequences", "waste", "CPU s"), rows)


if __name__ == "__main__":
    sys.exit(main())
