"""What is asked of this device that it cannot do: said at once, before a corpus is packed for hours."""

from __future__ import annotations

import importlib.util
import shutil

import torch

from ptft.core.errors import UsageError
from ptft.core.knobs import Hardware
from ptft.core.progress import Silent
from ptft.core.training.precision import precision_of, refuse_without_liger


def refuse_undoable(wanted: str, hardware: Hardware) -> None:
    """Raise `UsageError` for a precision, kernels, a compiler or an attention that are not to be had here."""
    precision = precision_of(wanted, Silent())
    if hardware.liger:
        refuse_without_liger()
    if hardware.compile and not torch.cuda.is_available() and not shutil.which("c++"):
        raise UsageError(
            "torch.compile on a CPU needs a C++ compiler", remedy="install g++, or leave out hardware.compile"
        )
    _refuse_attention(hardware.attention, precision)


def _refuse_attention(wanted: str, precision: str) -> None:
    remedy = "take hardware.attention=sdpa, which auto does"
    if wanted == "flex_attention" and not torch.cuda.is_available():
        raise UsageError("flex_attention cannot be trained on a CPU: it has no backward pass there", remedy=remedy)
    if wanted != "flash_attention_2":
        return
    if not torch.cuda.is_available() or importlib.util.find_spec("flash_attn") is None:
        raise UsageError("flash_attention_2 needs a GPU, and the package flash-attn", remedy=remedy)
    if precision == "fp32":
        raise UsageError("flash_attention_2 knows no fp32", remedy="take --precision bf16, or hardware.attention=sdpa")
