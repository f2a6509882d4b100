"""Integers and scales as the blocks of GGUF: 32 weights of a row share one float16 scale.

The layouts: block_q4_0, block_q4_1 and block_q8_0 in ggml's `ggml-common.h`. Scales of wider groups are repeated in every block of
the group, so groups of 32, 64, 128 and whole rows all fit, and no integer changes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ptft.core.errors import InputError
from ptft.stages.export.formats import gguf_q6_k

if TYPE_CHECKING:
    from ptft.core.quantising.scheme import Quantised

BLOCK = 32  # weights
TYPES = ("F32", "F16", "BF16", "Q8_0", "Q6_K", "Q5_1", "Q5_0", "Q4_1", "Q4_0")  # what a weight can be rounded to
REMEDY = "export to another format, or choose groups of 32 (int4 symmetric or not, int8 symmetric)"


def type_of(weight: Quantised | str) -> str:
    """The ggml type that holds a weight. Raises `InputError` for 8 bits with zero points, which no type has."""
    if isinstance(weight, str):
        return weight
    if weight.bits == 4:
        return "Q4_0" if weight.zeros is None else "Q4_1"
    if weight.bits == 8 and weight.zeros is None:
        return "Q8_0"
    kind = "asymmetric" if weight.zeros is not None else "symmetric"
    raise InputError(f"GGUF has no type for {weight.bits} bits, {kind}", remedy=REMEDY)


def fitting(width: int, kind: str) -> str:
    """This type where rows of `width` weights can be stored in it; else the nearest that holds them and is no coarser."""
    if kind in ("F32", "F16", "BF16") or width % (gguf_q6_k.BLOCK if kind == "Q6_K" else BLOCK) == 0:
        return kind
    return fitting(width, "Q8_0") if kind == "Q6_K" else "F16"


def packed(weight: Quantised, name: str) -> npt.NDArray[np.uint8]:
    """The blocks of a matrix, uint8 (out, bytes a row). Raises `InputError` for groups that blocks cannot follow, and scales that
    float16 cannot hold.
    """
    kind, ints = type_of(weight), weight.ints.cpu().numpy()
    rows, columns = ints.shape
    group = weight.group or columns
    if columns % BLOCK or group % BLOCK:
        raise InputError(f"{name}: groups of {group} in rows of {columns} are no multiples of {BLOCK}", remedy=REMEDY)
    repeats = group // BLOCK
    scales = _half(np.repeat(weight.scales.cpu().numpy(), repeats, axis=1), name)
    blocks = ints.reshape(rows, columns // BLOCK, BLOCK)
    if kind == "Q8_0":
        return _joined(scales, blocks.view(np.uint8))
    if kind == "Q4_0":
        return _joined(scales, _nibbles(blocks.astype(np.int16) + 8, name))
    lowest = 0 if int(ints.min()) >= 0 else -8
    zeros = np.repeat(weight.zeros.cpu().numpy(), repeats, axis=1).astype(np.float32)  # type: ignore[union-attr]
    least = _half((lowest - zeros) * scales[..., 0].astype(np.float32), name)  # what the integer 0 of ggml stands for
    return _joined(scales, least, _nibbles(blocks.astype(np.int16) - lowest, name))


def _half(scales: npt.NDArray[Any], name: str) -> npt.NDArray[np.float16]:
    """(out, blocks, 1)."""
    with np.errstate(over="ignore"):
        half = scales.astype(np.float16)
    if not np.isfinite(half).all():
        raise InputError(f"{name}: its scales are too large for float16", remedy="store this weight in F16 or F32")
    return half[..., None]


def _nibbles(values: npt.NDArray[np.int16], name: str) -> npt.NDArray[np.uint8]:
    """0..15, (out, blocks, 32), two a byte: weight j in the low half of byte j, weight j + 16 in the high one."""
    if values.min() < 0 or values.max() > 15:
        raise InputError(f"{name}: its integers do not fit in 4 bits", remedy="quantise it to 4 bits, or store it at 8")
    half = BLOCK // 2
    return (values[..., :half] | values[..., half:] << 4).astype(np.uint8)


def _joined(*parts: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """(out, blocks, bytes) side by side, then the blocks of a row."""
    blocks = np.concatenate([np.ascontiguousarray(part).view(np.uint8) for part in parts], axis=-1)
    return blocks.reshape(blocks.shape[0], -1)


def converted(weight: npt.NDArray[np.float32], kind: str) -> npt.NDArray[Any]:
    """A tensor in one of `TYPES`, rounded by gguf's own code (to nearest where the type has blocks), which does not write Q6_K."""
    from gguf import GGMLQuantizationType, quants

    if kind == "Q6_K":
        return gguf_q6_k.packed(np.ascontiguousarray(weight))
    found: npt.NDArray[Any] = quants.quantize(np.ascontiguousarray(weight), GGMLQuantizationType[kind])
    return found
