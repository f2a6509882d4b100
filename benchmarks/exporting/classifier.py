"""The table of a classifier: MiniLM fine-tuned on BBC news, as ptft exports it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from pretraining import processes
from tools import Missing, note, table

from exporting.data import LENGTH_OF_NEWS, Held, News
from exporting.making import Made, Row, made, ours
from exporting.measuring import COMPRESSED, Bench, Runtime, classes_of, size
from exporting.rows import HALF, ORIGINAL, original

HEAD = ("what", "runtime", "MB", "macro F1", "points from fp32", "same class", "largest logit error", "ms a text", "ms for 8", "peak MB")  # fmt: skip
CALIBRATED = 128  # texts
ONNX_SCHEMES = (
    "fp32", "int8", "int8-dynamic", "int8-static", "int4-rtn-g32", "int4-hqq-g32", "int4-awq-g32", "int4-gptq-g32", "mixed",
)  # fmt: skip
ROWS: Sequence[Row] = (
    ORIGINAL,
    original("bf16", HALF),
    *(ours(scheme, "onnx") for scheme in ONNX_SCHEMES),
    *(ours(scheme, "torchao") for scheme in ("int8", "int8-dynamic", "int4-gptq-g32")),
    *(ours(scheme, "compressed-tensors", COMPRESSED) for scheme in ("int8", "int4-gptq-g32")),
)


@dataclass(frozen=True)
class Found:
    """seconds: medians by batch size."""

    logits: np.ndarray
    seconds: dict[int, float]
    peak: int
    size: int


def run(news: News, cache: Path, threads: int, clock: str, chosen: Sequence[Row]) -> None:
    """chosen: the first is the original in full precision."""
    options = (f"calibration_rows={CALIBRATED}", f"calibration_length={LENGTH_OF_NEWS}")
    held = Held(windows=news.ids, calibration=news.train, texts=news.train, chinese=(), calibrating=options)
    own = Bench(held, news.model, cache, threads, compared=0, repeats=1, clock=clock)
    base = _found(ORIGINAL, news.model, own, news)
    folders = made(chosen, ROWS, own)
    table(
        f"{news.model.name}: {news.describe()}, {threads} thread(s)",
        HEAD,
        [_cells(row, folders[row.name], own, news, base) for row in chosen],
        f"{len(news.labels)} test rows that no near-duplicate of was trained on, {LENGTH_OF_NEWS} tokens at most; calibration: the first "
        f"{CALIBRATED} training rows",
        "ms: medians over the test rows as they come, each batch as long as its longest row; slower: than fp32 in torch; peak: of the "
        "process",
    )  # fmt: skip


def _found(row: Row, folder: Path, bench: Bench, news: News) -> Found:
    note(f"classifier: {row.name}")
    return Found(*classes_of(folder, trusting(row.runtime), news, bench), size(folder))


def trusting(runtime: Runtime) -> Runtime:
    """A classifier that pools by the mean has its own code in its folder, which transformers runs where it is told to."""
    return replace(runtime, settings={**runtime.settings, "trust": True}) if runtime.name == "torch" else runtime


def macro_f1(logits: np.ndarray, labels: Sequence[int]) -> float:
    """In percent."""
    from sklearn.metrics import f1_score

    return 100 * float(f1_score(labels, logits.argmax(1), average="macro"))


def _cells(row: Row, folder: Made, bench: Bench, news: News, base: Found) -> tuple[str, ...]:
    try:
        if isinstance(folder, Exception):
            raise folder
        found = base if row is ORIGINAL else _found(row, folder, bench, news)
    except (Missing, RuntimeError, OSError) as error:
        note(f"{row.name}: {error}")
        return (row.name, row.runtime.name, f"failed: {processes.last_line(error)}", *("",) * (len(HEAD) - 3))
    return (row.name, row.runtime.name, *shown(found, base, news.labels))


def shown(found: Found, base: Found, labels: Sequence[int]) -> tuple[str, ...]:
    f1 = macro_f1(found.logits, labels)
    one, eight = (
        f"{found.seconds[size] * 1000:.1f}" + (" slower" if found.seconds[size] > 1.02 * base.seconds[size] else "")
        for size in (1, 8)
    )
    return (
        f"{found.size / 10**6:.1f}", f"{f1:.2f}", f"{f1 - macro_f1(base.logits, labels):+.2f}",
        f"{(found.logits.argmax(1) == base.logits.argmax(1)).mean():.1%}", f"{np.abs(found.logits - base.logits).max():.3f}",
        one, eight, f"{found.peak / 10**6:.0f}",
    )  # fmt: skip
