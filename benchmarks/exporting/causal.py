"""The table of a causal model: quality on held-out text and speed, everything by the same scripts."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from pretraining import processes
from tools import Missing, note, table

from exporting.making import Row, made
from exporting.measuring import AMX, Bench, Quality, Speed, measured, middle, ratio, size, speed_of, versions

MB = 10**6
HEAD = (
    "what", "runtime", "MB", "perplexity x", "en x", "zh x", "KL", "same top 1", "tokens/s", "x steps", "x generate()",
    "tokens/s, 8 texts", "x steps", "x generate()", "first token ms", "load s", "peak MB", "of it for the model",
)  # fmt: skip


@dataclass
class Entry:
    """path: what the runtime reads. failed: why the rest is missing."""

    row: Row
    path: Path | None = None
    quality: Quality | None = None
    speeds: list[Speed] = field(default_factory=list)
    failed: str = ""

    @property
    def speed(self) -> Speed:
        """The median of each figure."""
        return middle(self.speeds)

    @property
    def size(self) -> int:
        assert self.path is not None
        return size(self.path)


def run(bench: Bench, rows: Sequence[Row], known: Sequence[Row], rounds: int, title: str = "") -> list[Entry]:
    """Make all, then measure in rounds, every second one from the end, so that no row has the quiet hours to itself.

    rows: the first is the original in full precision, which all else is compared with. known: also those that rows need.
    """
    folders = made(rows, known, bench)
    entries = [_entry(row, folders[row.name]) for row in rows]
    for number in range(rounds):
        for entry in entries[:: -1 if number % 2 else 1]:
            if not entry.failed:
                _try(entry, f"measured, {number + 1} of {rounds}", lambda entry: _measure(entry, bench))
    show(bench, entries, rounds, title or f"Exports of {bench.original.name}, {bench.threads} thread(s)")
    return entries


def _entry(row: Row, found: Path | Exception) -> Entry:
    if isinstance(found, Path):
        return Entry(row, found)
    return Entry(row, failed=processes.last_line(found))


def _measure(entry: Entry, bench: Bench) -> None:
    """Everything the first time, speed afterwards."""
    assert entry.path is not None
    if entry.speeds:
        entry.speeds.append(speed_of(entry.path, entry.row.runtime, bench))
        return
    found = measured(entry.path, entry.row.runtime, bench)
    entry.quality = found.quality
    entry.speeds.append(found.speed)


def _try(entry: Entry, what: str, work: Callable[[Entry], None]) -> None:
    note(f"{entry.row.name}: {what}")
    try:
        work(entry)
    except (Missing, RuntimeError) as error:
        note(f"{entry.row.name}: {error}")
        entry.failed = processes.last_line(error)


def show(bench: Bench, entries: Sequence[Entry], rounds: int, title: str) -> None:
    original = entries[0]
    if original.quality is None or not original.speeds:
        print(f"\n### {title}\n\nfailed: {original.failed}")
        return
    perplexity = np.exp(original.quality.nats.mean())
    table(
        title,
        HEAD,
        [cells(entry, entries, bench.held.chinese) for entry in entries],
        bench.held.describe(),
        f"perplexity x: over the original's, which is {perplexity:.2f}, with a paired 95 % interval; KL: nats a token from the "
        f"original, on {min(bench.compared, len(bench.held.chinese))} windows, as is the share of equal first choices",
        f"tokens/s: generation with the cache, the most probable token each time, after a prompt of 128 tokens; medians of {rounds} "
        f"process(es), by the {bench.clock} clock. x steps: over torch's bare steps in fp32; x generate(): over transformers' generate(), "
        "which users call. slower: than torch's bare steps",
        "first token: of that prompt. load: a second time in a process, the file in the page cache. peak: of the process (VmHWM; on a "
        "GPU what torch took of its memory), of it for the model: above what the imports hold",
        "groups of 32 where a name says none; ptft keeps embeddings and output layer, one matrix here, at 8 bits in onnx and gguf, and "
        "as they are in torchao and compressed-tensors, as llm-compressor does; mixed: 4.5 bits a block's weight, scales counted",
        f"llama.cpp: {'built without its AMX kernels, which crash; ' if AMX else ''}with an fp32 cache; versions: {versions(bench.cache)}",
    )  # fmt: skip


def base_of(entries: Sequence[Entry], kind: str) -> Speed | None:
    """Of fp32 in torch: kind torch for bare steps, generate for generate()."""
    for entry in entries:
        runtime = entry.row.runtime
        if runtime.name == kind and entry.path == entries[0].path and "dtype" not in runtime.settings and entry.speeds:
            return entry.speed
    return None


def cells(entry: Entry, entries: Sequence[Entry], chinese: Sequence[bool]) -> tuple[str, ...]:
    """One line. A row that failed in a later round shows what it had before, and says so."""
    name, runtime = entry.row.name, entry.row.runtime.name
    if not entry.speeds or entry.path is None:
        return (name, runtime, f"failed: {entry.failed}", *("",) * (len(HEAD) - 3))
    name += f" (failed later: {entry.failed})" if entry.failed else ""
    quality = _judged(entry.quality, entries[0].quality, np.array(chinese))
    return (name, runtime, f"{entry.size / MB:.1f}", *quality, *_timed(entry.speed, entries))


def _judged(found: Quality | None, original: Quality | None, chinese: np.ndarray) -> tuple[str, ...]:
    """generate() has none of its own."""
    if found is None or original is None:
        return ("",) * 5
    (whole, error), (en, _), (zh, _) = (ratio(found, original, rows) for rows in (None, ~chinese, chinese))
    return (
        f"{whole:.4f} ± {error:.4f}", *("-" if math.isnan(one) else f"{one:.4f}" for one in (en, zh)),
        f"{found.divergence:.2g}", f"{found.same:.1%}",
    )  # fmt: skip


def _timed(found: Speed, entries: Sequence[Entry]) -> tuple[str, ...]:
    steps, generate = base_of(entries, "torch"), base_of(entries, "generate")
    agrees = "" if found.cache_agrees > 0.9 else f" (the cache says otherwise: {found.cache_agrees:.0%})"
    one, eight = (
        (f"{found.speed[size]:,.0f}", times(found, steps, size, "slower"), times(found, generate, size))
        for size in (1, 8)
    )
    return (
        one[0] + agrees, *one[1:], *eight, f"{found.first[1] * 1000:.1f}", f"{found.reload:.2f}", f"{found.peak / MB:.0f}",
        f"{(found.peak - found.before) / MB:.0f}",
    )  # fmt: skip


def times(found: Speed, base: Speed | None, size: int, below: str = "") -> str:
    """How many times as fast; below: what to say of less than 0.98."""
    if base is None:
        return ""
    ratio_of = found.speed[size] / base.speed[size]
    return f"{ratio_of:.2f}x" + (f" {below}" if below and ratio_of < 0.98 else "")
