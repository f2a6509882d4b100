"""Q6_K blocks, read back by gguf's own code, which was not used to write them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ptft.stages.export.formats import gguf_blocks, gguf_q6_k


def read(blocks: Any) -> Any:
    from gguf import GGMLQuantizationType, quants

    return quants.dequantize(blocks, GGMLQuantizationType.Q6_K)


def drawn(rows: int, columns: int = 512) -> Any:
    return np.random.default_rng(rows).standard_t(4, (rows, columns)).astype(np.float32) * 0.03


def off(found: Any, wanted: Any) -> float:
    return float(np.sqrt(((found - wanted) ** 2).sum() / (wanted**2).sum()))


def test_every_value_of_every_place_is_found_again():
    """Weights that six bits hold exactly: a factor a part, integers at random, each range met at both ends."""
    draw = np.random.default_rng(1)
    ints = draw.integers(-31, 32, (6, 2, 16, 16))
    ints[..., 0] = -32  # the largest of a part leads to its scale
    factors = draw.integers(-128, 128, (6, 2, 16, 1))
    factors[:, :, 3] = -128  # and the largest factor of a block to its
    factors[0, 0, 5] = 0
    exact = (ints * factors * 2.0**-14).astype(np.float32).reshape(6, 512)
    blocks = gguf_q6_k.packed(exact)
    assert blocks.shape == (6, 2 * 210) and blocks.dtype == np.uint8
    assert (read(blocks) == exact).all()


def test_it_is_closer_than_five_bits_and_than_the_nearest_scale():
    weight = drawn(64)
    found = off(read(gguf_q6_k.packed(weight)), weight)
    assert 0.005 < found < 0.6 * off(gguf_rounded(weight, "Q5_1"), weight)
    assert found < 0.98 * off(nearest(weight), weight)


def gguf_rounded(weight: Any, kind: str) -> Any:
    from gguf import GGMLQuantizationType, quants

    of = GGMLQuantizationType[kind]
    return quants.dequantize(quants.quantize(weight, of), of)


def nearest(weight: Any) -> Any:
    """Six bits with a scale of 32 bits for each 16 weights, from the largest of them."""
    parts = weight.reshape(-1, 16)
    scale = np.take_along_axis(parts, np.abs(parts).argmax(1)[:, None], 1) / -32
    return (np.clip(np.rint(parts / scale), -32, 31) * scale).reshape(weight.shape)


@pytest.mark.parametrize(
    "place", [(slice(None), slice(None)), (0, slice(None)), (1, slice(16, 32)), (2, slice(1, None))]
)
def test_zeros_stay_zeros_and_disturb_nothing(place):
    weight = drawn(4)
    weight[place] = 0
    found = read(gguf_q6_k.packed(weight))
    assert (found[place] == 0).all() and np.isfinite(found).all()
    assert np.abs(found - weight).max() <= np.abs(weight).max() / 32


def test_many_blocks_are_packed_as_few_are(monkeypatch):
    weight = drawn(9)
    whole = gguf_q6_k.packed(weight)
    monkeypatch.setattr(gguf_q6_k, "AT_ONCE", 7)
    assert (gguf_q6_k.packed(weight) == whole).all()


@pytest.mark.parametrize(
    ("width", "kind", "fits"),
    [
        (512, "Q6_K", "Q6_K"), (320, "Q6_K", "Q8_0"), (40, "Q6_K", "F16"), (40, "Q4_0", "F16"), (64, "Q4_0", "Q4_0"),
        (40, "BF16", "BF16"),
    ],
)  # fmt: skip
def test_rows_that_are_too_short_for_a_type(width, kind, fits):
    assert gguf_blocks.fitting(width, kind) == fits
