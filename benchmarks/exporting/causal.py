"""The table of a causal model: quality on held-out text and speed, everything by the same scripts."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from pretraining import processes
from tools import Missing, note, table

from exporting.measuring import LLAMA_CPP, Bench, Quality, Speed, measured, middle, ratio, size, speed_of, versions
from exporting.rows import ORIGINAL, Row

MB = 10**6
HEAD = (
    "what", "runtime", "MB", "perplexity x", "en x", "zh x", "KL", "same top 1", "tokens/s", "faster by", "tokens/s, 8 texts",
    "faster by", "first token ms", "load s", "peak MB", "of it for the model",
)  # fmt: skip


@dataclass
class Entry:
    """path: what the runtime reads. failed: why the rest is missing."""

    row: Row
    path: Path | None = None
    quality: Quality | None = None
    speeds: list[Speed] = field(default_factory=list)
    failed: str = ""


def run(bench: Bench, rows: Sequence[Row], rounds: int) -> list[Entry]:
    """Make all, then measure in rounds, every second one from the end, so that no row has the quiet hours to itself."""
    entries = [Entry(row) for row in [ORIGINAL, *(row for row in rows if row is not ORIGINAL)]]
    for entry in entries:
        _try(entry, "made", lambda entry: _make(entry, bench))
    for number in range(rounds):
        for entry in entries[:: -1 if number % 2 else 1]:
            if not entry.failed:
                _try(entry, f"measured, {number + 1} of {rounds}", lambda entry: _measure(entry, bench))
    show(bench, entries, rounds)
    return entries


def _make(entry: Entry, bench: Bench) -> None:
    entry.path = entry.row.made(bench)


def _measure(entry: Entry, bench: Bench) -> None:
    """Everything the first time, speed afterwards."""
    assert entry.path is not None
    if entry.quality is None:
        found = measured(entry.path, entry.row.runtime, bench)
        entry.quality = found.quality
        entry.speeds.append(found.speed)
    else:
        entry.speeds.append(speed_of(entry.path, entry.row.runtime, bench))


def _try(entry: Entry, what: str, work: Callable[[Entry], None]) -> None:
    note(f"{entry.row.name}: {what}")
    try:
        work(entry)
    except (Missing, RuntimeError) as error:
        note(f"{entry.row.name}: {error}")
        entry.failed = processes.last_line(error)


def show(bench: Bench, entries: Sequence[Entry], rounds: int) -> None:
    original = entries[0]
    if original.quality is None or not original.speeds:
        print(f"\n### Exports of {bench.original.name}\n\nfailed: {original.failed}")
        return
    perplexity = np.exp(original.quality.nats.mean())
    table(
        f"Exports of {bench.original.name}, {bench.threads} thread(s)",
        HEAD,
        [_cells(entry, original, bench) for entry in entries],
        bench.held.describe(),
        f"perplexity x: over the original's, which is {perplexity:.2f}, with a paired 95 % interval; KL: nats a token from the "
        f"original, on {bench.compared} windows, as is the share of equal first choices",
        f"tokens/s: generation with the cache, the most probable token each time; medians of {rounds} process(es), by the {bench.clock} clock. torch: bare steps, "
        "without what generate() puts around them",
        "first token: of a prompt of 128 tokens. load: a second time in a process, the file in the page cache. peak: of the process "
        "(VmHWM), of it for the model: above what the imports hold",
        "ptft keeps embeddings and output layer, one matrix here, at 8 bits, or F16 in GGUF where it says so; llm-compressor keeps "
        "them in fp32",
        "llama.cpp "
        + (
            "repacks weights for this processor"
            if LLAMA_CPP.settings["repack"]
            else "without repacking: its AMX kernels crash here"
        )
        + ", with an fp32 cache",
        f"versions: {versions(bench.cache)}",
    )


def _cells(entry: Entry, original: Entry, bench: Bench) -> tuple[str, ...]:
    name, runtime = entry.row.name, entry.row.runtime.name
    if entry.quality is None or original.quality is None or entry.path is None:
        return (name, runtime, f"failed: {entry.failed}", *("",) * (len(HEAD) - 3))
    chinese = np.array(bench.held.chinese)
    (whole, error), (en, _), (zh, _) = (
        ratio(entry.quality, original.quality, rows) for rows in (np.ones_like(chinese), ~chinese, chinese)
    )
    quality = (
        f"{size(entry.path) / MB:.1f}", f"{whole:.4f} ± {error:.4f}", *("-" if math.isnan(one) else f"{one:.4f}" for one in (en, zh)),
        f"{entry.quality.divergence:.2g}", f"{entry.quality.same:.1%}",
    )  # fmt: skip
    return (name, runtime, *quality, *_timed(middle(entry.speeds), middle(original.speeds)))


def _timed(found: Speed, base: Speed) -> tuple[str, ...]:
    agrees = "" if found.cache_agrees > 0.9 else f" (the cache says otherwise: {found.cache_agrees:.0%})"
    return (
        f"{found.speed[1]:,.0f}{agrees}", f"{found.speed[1] / base.speed[1]:.2f}x",
        f"{found.speed[8]:,.0f}", f"{found.speed[8] / base.speed[8]:.2f}x", f"{found.first[1] * 1000:.1f}",
        f"{found.reload:.2f}", f"{found.peak / MB:.0f}", f"{(found.peak - found.before) / MB:.0f}",
    )  # fmt: skip
