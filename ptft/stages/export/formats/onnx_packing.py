"""Integers and scales of a weight matrix in the layouts that ONNX Runtime's kernels read. Arrays in, arrays out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ptft.core.errors import InputError

if TYPE_CHECKING:
    import numpy.typing as npt

    from ptft.core.quantising.scheme import Quantised

SMALLEST_BLOCK, LARGEST_BLOCK = 16, 256  # what MatMulNBits takes, and where the fast kernels end
MIDDLE = 128  # what stands for 0 in unsigned bytes
_EXACT = ("vnni", "amx_int8", "avxvnni")  # parts of the names of instructions that multiply bytes without saturating


@dataclass(frozen=True)
class Blocks:
    """A matrix (out, in) as `MatMulNBits` stores it, blocks along `in`; what is past its end is padding.

    packed: uint8 (out, blocks, block * bits / 8), the first of two 4-bit weights in the lower half of a byte. scales: float32
    (out, blocks). zeros: uint8 (out, bytes) or None (2 ** (bits - 1) everywhere).
    """

    packed: npt.NDArray[np.uint8]
    scales: npt.NDArray[np.float32]
    zeros: npt.NDArray[np.uint8] | None
    bits: int
    block: int
    width: int

    @property
    def rows(self) -> int:
        return len(self.packed)

    @property
    def padding(self) -> int:
        """Weights past the end of a row."""
        return int(self.scales.shape[1]) * self.block - self.width


@dataclass(frozen=True)
class Columns:
    """A matrix (out, in) with a scale an output channel, for integer arithmetic. ints: int8 (out, in). scales: float32 (out,)."""

    ints: npt.NDArray[np.int8]
    scales: npt.NDArray[np.float32]


def blocks(weight: Quantised) -> Blocks:
    """`weight` block by block; a group 0 (a scale an output channel) becomes blocks of one scale.

    Raises `InputError` for groups or bits that the kernels do not take.
    """
    ints, zeros = _unsigned(weight)
    scales = _array(weight.scales).astype(np.float32)
    width = ints.shape[1]
    block = weight.group or largest_block(width)
    if weight.bits not in (4, 8) or block < SMALLEST_BLOCK or block & (block - 1):
        what = f"{weight.bits} bits in groups of {block}: MatMulNBits takes 4 or 8, in groups that are a power of 2 from 16"
        raise InputError(what, remedy="choose groups of 32, 64 or 128")
    count = -(-width // block)
    middle = 1 << (weight.bits - 1)
    padded = np.pad(ints, ((0, 0), (0, count * block - width)), constant_values=middle).reshape(len(ints), count, block)
    spread = [_each(array, count) for array in (scales, zeros)]
    packed_zeros = None if spread[1] is None else _packed(_even(spread[1], weight.bits), weight.bits)
    return Blocks(_packed(padded, weight.bits), spread[0], packed_zeros, weight.bits, block, width)


def columns(weight: Quantised) -> Columns:
    """Raises `InputError` unless `weight` has 8 bits, a scale an output channel, and no zero points."""
    if weight.bits != 8 or weight.group or weight.zeros is not None:
        what = "integer arithmetic (INT8 dynamic or static) wants 8 bits, a scale an output channel, and no zero points"
        raise InputError(what, remedy="quantise with group 0 and symmetric, or choose weight-only")
    return Columns(_array(weight.ints).astype(np.int8), _array(weight.scales).reshape(-1).astype(np.float32))


def largest_block(width: int) -> int:
    """The largest block that divides a row of `width` weights, from 16 to 256; 16, padded, where none does."""
    return next((size for size in (LARGEST_BLOCK, 128, 64, 32) if width % size == 0), SMALLEST_BLOCK)


def _unsigned(weight: Quantised) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8] | None]:
    """Integers and zero points from 0, as the kernels want them: those below 0 are moved up by half the range."""
    ints, zeros = _array(weight.ints).astype(np.int16), weight.zeros
    half = 1 << (weight.bits - 1)
    points = None if zeros is None else _array(zeros).astype(np.int16)
    shift = 0 if points is not None and ints.max(initial=0) >= half else half
    shifted = [None if part is None else part + shift for part in (ints, points)]
    for part in shifted:
        if part is not None and (part.min(initial=0) < 0 or part.max(initial=0) >= 2 * half):
            what = f"integers or zero points that {weight.bits} bits do not hold"
            raise InputError(what, remedy="quantise the model again")
    return tuple(None if part is None else part.astype(np.uint8) for part in shifted)  # type: ignore[return-value]


def _each(array: Any, count: int) -> Any:
    """(out, groups) as (out, count): one group becomes `count` blocks of the same numbers."""
    if array is None or array.shape[1] == count:
        return array
    return np.repeat(array, count, axis=1)


def _even(zeros: Any, bits: int) -> Any:
    """4-bit zero points are packed two a byte, so their number is made even."""
    return np.pad(zeros, ((0, 0), (0, zeros.shape[1] % 2))) if bits == 4 else zeros


def _packed(values: Any, bits: int) -> Any:
    """uint8 of 4-bit values along the last axis, the first in the lower half; 8-bit ones as they are."""
    return values if bits == 8 else np.ascontiguousarray(values[..., ::2] | (values[..., 1::2] << 4))


def _array(tensor: Any) -> Any:
    """numpy's of torch's tensor or an array."""
    return tensor.detach().cpu().numpy() if hasattr(tensor, "detach") else np.asarray(tensor)


def saturates(flags: str) -> bool:
    """Whether a CPU with these flags (a line of /proc/cpuinfo) adds products of an unsigned and a signed byte in 16 bits.

    So it is with AVX2 or AVX-512 and no VNNI: large products are cut off, and weights are better unsigned too (ONNX Runtime,
    "Quantize ONNX models", on U8S8 and reduce_range). Where there is VNNI, signed weights are up to five times as fast.
    """
    return ("avx2" in flags or "avx512" in flags) and not any(name in flags for name in _EXACT)
