"""What this machine can do, by measurement, and what named GPUs can do, by their data sheets."""

from __future__ import annotations

import functools
import os
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MEASURING = 0.3  # seconds
TERA = 1e12
CGROUP = Path("/sys/fs/cgroup")  # version 2, seen from inside a container


@dataclass(frozen=True)
class Gpu:
    """Peak TFLOP/s of dense products with float32 accumulation (no sparsity), by precision; 0: it has none. memory: GiB."""

    name: str
    memory: int
    fp32: float
    tf32: float
    fp16: float
    bf16: float
    fp8: float
    source: str

    def flops(self, precision: str) -> float:
        """FLOP/s at a precision: fp32 is that of plain float32, as PyTorch multiplies unless TF32 is allowed."""
        return float(getattr(self, precision)) * TERA


_GA102 = "NVIDIA Ampere GA102 white paper, table 9"
_A100 = "NVIDIA A100 data sheet"
_HOPPER = "NVIDIA H100 and H200 data sheets (SXM), halved where given with sparsity"
GPUS = (
    Gpu("T4", 16, 8.1, 0, 65, 0, 0, "NVIDIA T4 data sheet"),
    Gpu("V100 32GB", 32, 15.7, 0, 125, 0, 0, "NVIDIA V100 data sheet (SXM2)"),
    Gpu("RTX 3090", 24, 35.6, 35.6, 71, 71, 0, _GA102),
    Gpu("RTX 4090", 24, 82.6, 82.6, 165.2, 165.2, 330.3, "NVIDIA Ada white paper, appendix A"),
    Gpu("RTX 5090", 32, 104.8, 104.8, 209.5, 209.5, 419, "NVIDIA RTX Blackwell white paper, appendix A"),
    Gpu("L4", 24, 30.3, 60, 121, 121, 242.5, "NVIDIA L4 data sheet, halved where given with sparsity"),
    Gpu("L40S", 48, 91.6, 183, 362.05, 362.05, 733, "NVIDIA L40S data sheet"),
    Gpu("A100 40GB", 40, 19.5, 156, 312, 312, 0, _A100),
    Gpu("A100 80GB", 80, 19.5, 156, 312, 312, 0, _A100),
    Gpu("H100", 80, 67, 494.5, 989.5, 989.5, 1979, _HOPPER),
    Gpu("H200", 141, 67, 494.5, 989.5, 989.5, 1979, _HOPPER),
    Gpu("B200", 180, 80, 1100, 2250, 2250, 4500, "NVIDIA DGX B200 data sheet and Blackwell architecture brief (HGX)"),
)


def device_name() -> str:
    """The GPU's name, or the processor's with the threads that torch uses."""
    import torch

    if torch.cuda.is_available():
        return str(torch.cuda.get_device_name())
    threads = torch.get_num_threads()
    return f"{_processor()}, {threads} thread{'s' if threads > 1 else ''}"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, "") or platform.processor() or platform.machine()


def memory_available() -> int:
    """Bytes that may still be taken: of the GPU's memory if there is one, else of the host's (within its control group)."""
    import torch

    if torch.cuda.is_available():
        return int(torch.cuda.mem_get_info()[0])
    return min(filter(None, (_host_available(), _group_available())), default=0)


def _host_available() -> int:
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration, ValueError):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _group_available() -> int | None:
    """What the container's limit leaves; None where there is no limit."""
    try:
        limit, used = (int((CGROUP / name).read_text()) for name in ("memory.max", "memory.current"))
    except (OSError, ValueError):  # "max" is no number
        return None
    return max(1, limit - used)


@functools.cache
def measured_peak(precision: str) -> float:
    """FLOP/s of the fastest large matrix product in this precision on this device, found in under half a second.

    Sizes grow until one product takes long enough to time; the best of all is kept. fp8 is that of torch's scaled product.
    """
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    best, size, largest = 0.0, 256, 16_384 if device == "cuda" else 2048
    end = time.perf_counter() + MEASURING
    while True:
        product = _product(size, precision, device)
        seconds = _seconds(product, device)
        best = max(best, 2 * size**3 / seconds)
        if time.perf_counter() + 12 * seconds > end:
            return best
        if seconds < 0.01 and size < largest:
            size *= 2


def _product(size: int, precision: str, device: str) -> Callable[[], Any]:
    import torch

    dtype = {"fp32": torch.float32, "fp16": torch.float16}.get(precision, torch.bfloat16)
    left, right = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    if precision != "fp8" or device == "cpu":
        return lambda: left @ right
    one = torch.ones((), device=device)
    a, b = left.to(torch.float8_e4m3fn), right.to(torch.float8_e4m3fn).t()
    return lambda: torch._scaled_mm(a, b, one, one, out_dtype=torch.bfloat16)


def _seconds(product: Callable[[], Any], device: str) -> float:
    """Of one call, after one that does not count."""
    import torch

    wait = torch.cuda.synchronize if device == "cuda" else (lambda: None)
    product()
    wait()
    start = time.perf_counter()
    product()
    wait()
    return max(time.perf_counter() - start, 1e-9)


def shown_bytes(size: int) -> str:
    """In GiB, or in MiB where that is less than one."""
    return f"{size / 2**30:,.2f} GiB" if size >= 2**30 else f"{size / 2**20:,.1f} MiB"


def shown_seconds(seconds: float) -> str:
    """Two digits of the largest unit that fits."""
    for unit, size in (("days", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 1.5 * size:
            return f"{seconds / size:,.3g} {unit}" if seconds < 1000 * size else f"{seconds / size:,.0f} {unit}"
    return f"{max(seconds, 0.1):.2g} s"
