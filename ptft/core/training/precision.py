"""Which arithmetic a device can do, and what to say where it cannot."""

from __future__ import annotations

from typing import Any, cast

import torch

from ptft.core.errors import UsageError
from ptft.core.progress import Progress
from ptft.core.training.settings import Precision

FP8_MULTIPLE = 16  # float8 matrix products take sizes in such multiples


def precision_of(wanted: str, progress: Progress) -> Precision:
    """The precision to train in. auto: bf16 on a GPU that has it, else fp32.

    Raises `UsageError` for what this device cannot do: fp16 on a CPU (nothing scales the loss there, and libraries ignore
    the request in silence), fp8 below compute capability 8.9.
    """
    gpu = torch.cuda.is_available()
    if wanted == "auto":
        return "bf16" if gpu and torch.cuda.is_bf16_supported() else "fp32"
    if wanted == "fp16" and not gpu:
        raise UsageError("fp16 needs a GPU", remedy="take --precision fp32 on a CPU, which auto does")
    if wanted == "fp8" and (not gpu or torch.cuda.get_device_capability() < (8, 9)):
        raise UsageError("fp8 needs a GPU of compute capability 8.9 or more", remedy="take --precision auto")
    if wanted == "bf16" and not gpu and not torch.cpu._is_amx_tile_supported():
        progress.warn(
            "bf16 is many times slower than fp32 on a CPU without AMX; --precision fp32 is what auto would take"
        )
    if wanted == "bf16" and gpu and not torch.cuda.is_bf16_supported():
        raise UsageError("this GPU has no bf16", remedy="take --precision fp16")
    return cast(Precision, wanted)


def to_fp8(model: torch.nn.Module) -> None:
    """Make the linear layers inside `model` multiply in float8 with dynamic scales (torchao); the head stays as it is."""
    from torchao.float8 import convert_to_float8_training

    head = getattr(model, "get_output_embeddings", lambda: None)()

    def fits(module: Any, name: str) -> bool:
        linear = isinstance(module, torch.nn.Linear) and module is not head
        return linear and module.in_features % FP8_MULTIPLE == 0 and module.out_features % FP8_MULTIPLE == 0

    convert_to_float8_training(model, module_filter_fn=fits)


def refuse_without_liger() -> None:
    """Raise `UsageError` where Liger's kernels cannot run."""
    import importlib.util

    if not torch.cuda.is_available():
        raise UsageError("Liger's kernels need a GPU", remedy="leave out hardware.liger")
    if importlib.util.find_spec("liger_kernel") is None:
        raise UsageError("liger-kernel is not installed", remedy="pip install liger-kernel")


def use_liger(model: Any) -> None:
    """Put Liger's kernels into the layers of `model`: norms, rotary positions, gated units. The loss stays ours."""
    from transformers.integrations.liger import apply_liger_kernel

    refuse_without_liger()

    apply_liger_kernel(model, {"fused_linear_cross_entropy": False, "cross_entropy": False})
