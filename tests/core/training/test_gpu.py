"""What only a GPU shows: half precision with a scaled loss, float8, Liger's kernels, memory counted by the device."""

from __future__ import annotations

import importlib.util
from dataclasses import replace

import pytest
import torch
from engine_runs import SETTINGS, llama, trained

from ptft.core.training.settings import Settings

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")


def losses(tmp_path, name: str, settings: Settings) -> list[float]:
    _, result = trained(tmp_path, name, settings, model=llama(tmp_path))
    return [entry["loss"] for entry in result.history]


@pytest.mark.parametrize("precision", ["bf16", "fp16", "fp8"])
def test_low_precision_follows_fp32(tmp_path, precision):
    if precision == "fp8" and torch.cuda.get_device_capability() < (8, 9):
        pytest.skip("fp8 needs compute capability 8.9")
    exact = losses(tmp_path, "fp32", SETTINGS)
    rough = losses(tmp_path, precision, replace(SETTINGS, precision=precision))
    assert max(abs(a - b) for a, b in zip(exact, rough, strict=True)) < (0.2 if precision == "fp8" else 0.05)


def test_liger_changes_nothing(tmp_path):
    if importlib.util.find_spec("liger_kernel") is None:
        pytest.skip("liger-kernel is not installed")
    usual = losses(tmp_path, "usual", SETTINGS)
    fast = losses(tmp_path, "liger", replace(SETTINGS, liger=True))
    assert max(abs(a - b) for a, b in zip(usual, fast, strict=True)) < 1e-3


def test_the_peak_is_the_devices(tmp_path):
    _, result = trained(tmp_path, "peak", SETTINGS, model=llama(tmp_path))
    assert 0 < result.peak <= torch.cuda.max_memory_allocated()
