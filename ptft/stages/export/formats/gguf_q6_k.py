"""Q6_K, the type that llama.cpp keeps embeddings in: 6.56 bits a weight, about as good as 8 bits. gguf's Python reads it alone.

256 weights of a row share a float16 scale; each 16 of them have a factor of it, int8. weight = scale * factor * (integer - 32), where
integers are 0..63: their lower four bits in 128 bytes, their upper two in 64 (block_q6_K in ggml's `ggml-common.h`).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

BLOCK, PART = 256, 16  # weights that share a scale, and a factor
LOWEST, HIGHEST = -32, 31
AT_ONCE = 4096  # blocks
_STEPS = np.arange(-9, 10, dtype=np.float32) / 10  # around the integer that a part's largest weight would be

Floats = npt.NDArray[np.float32]


def packed(weight: Floats) -> npt.NDArray[np.uint8]:
    """The blocks of a matrix (out, in), uint8 (out, bytes a row). `in` is a multiple of 256."""
    blocks = weight.reshape(-1, BLOCK // PART, PART)
    found = [_packed(blocks[start : start + AT_ONCE]) for start in range(0, len(blocks), AT_ONCE)]
    return np.concatenate(found).reshape(len(weight), -1)


def _packed(blocks: Floats) -> npt.NDArray[np.uint8]:
    """(blocks, 16, 16) -> (blocks, 210)."""
    fitted = _scales(blocks)
    largest = np.take_along_axis(fitted, np.abs(fitted).argmax(axis=1)[:, None], axis=1)
    scale = (largest / -128).astype(np.float16)
    factors = np.clip(_rounded(fitted, scale.astype(np.float32)), -128, 127).astype(np.int8)
    step = (scale.astype(np.float32) * factors)[..., None]
    ints = (np.clip(_rounded(blocks, step), LOWEST, HIGHEST) - LOWEST).astype(np.uint8)
    return np.concatenate([_bits(ints), factors.view(np.uint8), scale.view(np.uint8)], axis=1)


def _scales(blocks: Floats) -> Floats:
    """(blocks, 16): of each part, the scale with the least squared error among those that `_STEPS` lead to."""
    peak = np.take_along_axis(blocks, np.abs(blocks).argmax(axis=2)[..., None], axis=2)
    best, gained = np.zeros_like(peak), np.zeros_like(peak)
    for step in _STEPS:
        ints = np.clip(_rounded(blocks, peak / (LOWEST + step)), LOWEST, HIGHEST)
        along, power = (blocks * ints).sum(axis=2, keepdims=True), (ints * ints).sum(axis=2, keepdims=True)
        scale = np.divide(along, power, out=np.zeros_like(along), where=power > 0)  # the best for these integers
        better = scale * along > gained  # by how much the error is less than that of zeros
        best, gained = np.where(better, scale, best), np.where(better, scale * along, gained)
    return best[..., 0]


def _rounded(values: Floats, scale: Floats) -> Floats:
    return np.rint(np.divide(values, scale, out=np.zeros_like(values), where=scale != 0))


def _bits(ints: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """0..63, (blocks, 16, 16) -> (blocks, 192). Of each half of a block: weight j beside weight j + 64, then four, 32 apart."""
    low = (ints & 15).reshape(-1, 2, 2, 64)
    high = (ints >> 4).reshape(-1, 2, 4, 32)
    lower = low[:, :, 0] | low[:, :, 1] << 4
    upper = high[:, :, 0] | high[:, :, 1] << 2 | high[:, :, 2] << 4 | high[:, :, 3] << 6
    return np.concatenate([lower.reshape(len(ints), -1), upper.reshape(len(ints), -1)], axis=1)
