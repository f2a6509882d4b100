"""The table of a classifier: MiniLM fine-tuned on BBC news, as ptft exports it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from pretraining import processes
from tools import Missing, note, table

from exporting.data import News
from exporting.measuring import ONNX, TORCH, Bench, Runtime, classes_of, size
from exporting.rows import HALF, INT4, INT8, ORIGINAL, Row, ptft

HEAD = ("what", "runtime", "MB", "macro F1", "points from fp32", "same class", "largest logit error", "ms a text", "ms for 8", "peak MB")  # fmt: skip


def _row(name: str, kind: str, scheme: dict[str, Any] | None, runtime: Runtime, **more: Any) -> Row:
    return ptft(f"classifier {name}", kind, scheme, runtime, **more)


ROWS: Sequence[Row] = (
    ORIGINAL,
    _row("bf16", "rounded", None, HALF, dtype="bfloat16"),
    _row("int8 rtn", "rounded", INT8, TORCH),
    *(_row(f"int4 {method}", "rounded", {**INT4, "method": method}, TORCH) for method in ("rtn", "hqq", "gptq", "awq")),
    _row("torchao int8", "torchao", INT8, TORCH),
    _row("torchao int8 dynamic", "torchao", {**INT8, "activations": "dynamic"}, TORCH),
    _row("torchao int4 gptq", "torchao", {**INT4, "method": "gptq"}, TORCH),
    _row("onnx fp32", "onnx", None, ONNX),
    _row("onnx int8 dynamic", "onnx", {**INT8, "activations": "dynamic"}, ONNX),
    _row("onnx int4 gptq", "onnx", {**INT4, "method": "gptq"}, ONNX),
)


def run(bench: Bench, news: News, chosen: Sequence[Row]) -> None:
    """bench: of the causal model; its folders, threads and environments are used."""
    own = replace(bench, original=news.model, held=replace(bench.held, calibration=news.train))
    note("classifier: the original")
    base, _, _ = classes_of(news.model, TORCH, news, own)
    rows = [_cells(row, own, news, base) for row in chosen]
    table(
        f"MiniLM (22.7M parameters) fine-tuned on BBC news, {bench.threads} thread(s)",
        HEAD,
        rows,
        f"{len(news.labels)} test rows that no near-duplicate of was trained on, 128 tokens at most; calibration: the first 128 training "
        "rows that fit",
        "ms: medians over the test rows as they come, each batch as long as its longest row; peak: of the process",
    )


def macro_f1(logits: np.ndarray, labels: Sequence[int]) -> float:
    """In percent."""
    from sklearn.metrics import f1_score

    return 100 * float(f1_score(labels, logits.argmax(1), average="macro"))


def _cells(row: Row, bench: Bench, news: News, base: np.ndarray) -> tuple[str, ...]:
    name, runtime = row.name.removeprefix("classifier "), row.runtime.name
    note(row.name)
    try:
        folder = row.made(bench)
        logits, took, peak = classes_of(folder, row.runtime, news, bench)
    except (Missing, RuntimeError) as error:
        note(f"{row.name}: {error}")
        return (name, runtime, f"failed: {processes.last_line(error)}", *("",) * (len(HEAD) - 3))
    f1 = macro_f1(logits, news.labels)
    return (
        name, runtime, f"{size(folder) / 10**6:.1f}", f"{f1:.2f}", f"{f1 - macro_f1(base, news.labels):+.2f}",
        f"{(logits.argmax(1) == base.argmax(1)).mean():.1%}", f"{np.abs(logits - base).max():.3f}",
        f"{took[1] * 1000:.1f}", f"{took[8] * 1000:.1f}", f"{peak / 10**6:.0f}",
    )  # fmt: skip
