from __future__ import annotations

import time

import pytest
import torch

from ptft.core import hardware


@pytest.fixture
def unmeasured():
    hardware.measured_peak.cache_clear()
    yield
    hardware.measured_peak.cache_clear()


def test_the_peak_is_the_best_product_by_its_clock(unmeasured, monkeypatch):
    """A product of n x n matrices has 2 n^3 operations; sizes grow while they are too short to time."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    seconds = iter([0.001, 0.001, 0.02, 0.02, 1.0])
    monkeypatch.setattr(hardware, "_seconds", lambda product, device: next(seconds))
    assert hardware.measured_peak("fp32") == pytest.approx(2 * 512**3 / 0.001)  # sizes 256, 512, 1024, ...


def test_the_measured_peak_is_a_processors(unmeasured):
    assert 1e8 < hardware.measured_peak("fp32") < 1e16


def test_the_peak_is_measured_once_and_fast(unmeasured):
    start = time.perf_counter()
    first = hardware.measured_peak("fp32")
    took = time.perf_counter() - start
    start = time.perf_counter()
    assert hardware.measured_peak("fp32") == first
    assert time.perf_counter() - start < 0.01
    assert took < 2  # 0.3 s on an idle machine


def test_memory_is_what_the_system_has():
    total = torch.cuda.mem_get_info()[1] if torch.cuda.is_available() else 2**50
    assert 2**20 < hardware.memory_available() < total


def test_memory_keeps_to_the_control_groups_limit(tmp_path, monkeypatch):
    (tmp_path / "memory.max").write_text(f"{300 * 2**20}\n")
    (tmp_path / "memory.current").write_text(f"{100 * 2**20}\n")
    monkeypatch.setattr(hardware, "CGROUP", tmp_path)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert hardware.memory_available() == 200 * 2**20
    (tmp_path / "memory.max").write_text("max\n")
    assert hardware.memory_available() > 200 * 2**20


def test_the_device_has_a_name():
    assert len(hardware.device_name()) > 3


@pytest.mark.parametrize("gpu", hardware.GPUS, ids=lambda gpu: gpu.name)
def test_a_gpu_is_faster_in_fewer_bits(gpu):
    assert gpu.source and gpu.memory >= 16
    assert gpu.flops("fp32") < gpu.flops("fp16")
    assert gpu.bf16 in (0, gpu.fp16) and gpu.fp8 in (0, pytest.approx(2 * gpu.fp16, rel=0.02))
    assert gpu.tf32 <= gpu.fp16 / 2 * 1.02


def test_names_are_unique():
    assert len({gpu.name for gpu in hardware.GPUS}) == len(hardware.GPUS)
