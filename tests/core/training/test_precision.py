"""What a device cannot do is refused with a remedy, and what is slow is said."""

from __future__ import annotations

import pytest
import torch

from ptft.core.errors import UsageError
from ptft.core.progress import Silent
from ptft.core.training.precision import precision_of, use_liger

cpu_only = pytest.mark.skipif(torch.cuda.is_available(), reason="says what a CPU does")
gpu_only = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")


@cpu_only
def test_a_cpu_trains_in_fp32_and_says_what_it_cannot():
    assert precision_of("auto", Silent()) == "fp32"
    with pytest.raises(UsageError, match="fp16 needs a GPU"):
        precision_of("fp16", Silent())
    with pytest.raises(UsageError, match="fp8 needs a GPU of compute capability"):
        precision_of("fp8", Silent())
    with pytest.raises(UsageError, match="Liger"):
        use_liger(torch.nn.Linear(2, 2))


@cpu_only
@pytest.mark.parametrize("amx", [True, False])
def test_bf16_on_a_cpu_is_done_with_a_warning_where_it_is_slow(monkeypatch, amx):
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
    progress = Silent()
    assert precision_of("bf16", progress) == "bf16"
    assert [("slower" in warning) for warning in progress.warnings] == ([] if amx else [True])


@gpu_only
def test_a_gpu_takes_bf16():
    assert precision_of("auto", Silent()) == "bf16"
