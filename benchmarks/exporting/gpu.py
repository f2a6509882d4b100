"""One table on a GPU: full precision, torchao, and ONNX Runtime with CUDA and TensorRT."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from exporting import causal
from exporting.making import Row, ours
from exporting.measuring import GENERATE, ONNX, TORCH, Bench
from exporting.rows import BFLOAT, HALF, original

CUDA = replace(ONNX, settings={"provider": "cuda"})
TENSORRT = replace(ONNX, settings={"provider": "tensorrt"})
PROVIDERS = {"cuda": "CUDAExecutionProvider", "tensorrt": "TensorrtExecutionProvider"}
ROWS: Sequence[Row] = (
    original("fp32", TORCH),
    original("fp32, generate()", GENERATE),
    original("bf16", HALF),
    original("bf16, generate()", replace(GENERATE, settings=BFLOAT)),
    ours("int8", "torchao"),
    ours("int4-gptq-g32", "torchao"),
    *(ours(scheme, "onnx", CUDA, name=f"ptft onnx {scheme}, CUDA") for scheme in ("fp16", "int8", "int4-gptq-g32")),
    ours("int8-static", "onnx", TENSORRT, "operators=standard", name="ptft onnx int8-static, TensorRT"),
)


def absent() -> bool:
    """Whether there is no GPU; then says so."""
    import torch

    if not torch.cuda.is_available():
        print("\n### Exports on a GPU\n\nskipped: torch sees no GPU here")
    return not torch.cuda.is_available()


def run(bench: Bench, rows: Sequence[Row], rounds: int) -> None:
    """Says of each row whose provider ONNX Runtime lacks that it is left out."""
    import torch

    there, missing = usable(rows, _providers())
    title = f"Exports of {bench.original.name} on {torch.cuda.get_device_name(0)}"
    causal.run(bench, there, ROWS, rounds, title)
    for line in missing:
        print(line)


def _providers() -> list[str]:
    import onnxruntime

    found: list[str] = onnxruntime.get_available_providers()
    return found


def usable(rows: Sequence[Row], providers: Sequence[str]) -> tuple[list[Row], list[str]]:
    """The rows that can be run here, and of the others why not."""
    there, missing = [], []
    for row in rows:
        wanted = PROVIDERS.get(row.runtime.settings.get("provider", ""), "")
        if wanted and wanted not in providers:
            missing.append(f"- {row.name}: skipped, onnxruntime has no {wanted} here (pip install onnxruntime-gpu)")
        else:
            there.append(row)
    return there, missing
