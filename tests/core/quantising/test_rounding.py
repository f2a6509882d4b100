"""Round to nearest: bounds of the error, laws of the grid, agreement with gguf's own Q4_0 and Q8_0."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ptft.core.errors import InputError
from ptft.core.quantising import Scheme
from ptft.core.quantising.rounding import levels, rtn, rtn_searched

SCHEMES = [
    Scheme(bits, group, symmetric) for bits in (4, 8) for group in (0, 32, 64, 128) for symmetric in (True, False)
]  # type: ignore[arg-type]


def weights(rows: int = 8, width: int = 256, seed: int = 0) -> torch.Tensor:
    return torch.randn(rows, width, generator=torch.Generator().manual_seed(seed)) * 0.05


@pytest.mark.parametrize("scheme", SCHEMES, ids=str)
def test_every_weight_is_within_half_a_step(scheme: Scheme) -> None:
    """Of 4 symmetric bits, a weight of the other sign may be as large as the largest, which has one level less: a whole step."""
    weight = weights()
    found = rtn(weight, scheme)
    steps = found.scales.abs().repeat_interleave(weight.shape[1] // found.scales.shape[1], 1)
    allowed = steps * (1.0 if scheme.symmetric and scheme.bits == 4 else 0.5) * 1.01 + 0.005 * weight.abs()
    assert ((found.dequantised() - weight).abs() <= allowed).all()
    low, high = levels(scheme.bits, scheme.symmetric)
    assert low <= int(found.ints.min()) and int(found.ints.max()) <= high
    assert found.ints.dtype == torch.int8 and found.scales.dtype == torch.float32
    assert (found.zeros is None) == scheme.symmetric
    assert found.scales.shape == (8, scheme.groups(256))


@given(st.integers(0, 10_000), st.sampled_from([scheme for scheme in SCHEMES if scheme.symmetric]))
@settings(max_examples=30, deadline=None)
def test_what_is_on_the_grid_stays(seed: int, scheme: Scheme) -> None:
    """Quantising what integers stand for gives the same integers again. (A zero point may move by one, and they with it.)"""
    once = rtn(weights(2, 128, seed), scheme)
    again = rtn(once.dequantised(), scheme)
    assert torch.equal(once.ints * once.scales.sign().int().repeat_interleave(128 // once.scales.shape[1], 1),
                       again.ints * again.scales.sign().int().repeat_interleave(128 // once.scales.shape[1], 1))  # fmt: skip


@pytest.mark.parametrize(("bits", "kind"), [(4, "Q4_0"), (8, "Q8_0")])
def test_groups_of_32_are_those_of_gguf(bits: int, kind: str) -> None:
    """The reference: the gguf package's own quantising. Its Q4_0 rounds half up, and both against a scale not yet in float16."""
    import gguf

    weight = weights(64, 256)
    found = rtn(weight, Scheme(bits, 32)).dequantised().numpy()  # type: ignore[arg-type]
    stored = gguf.GGMLQuantizationType[kind]
    reference = gguf.quants.dequantize(gguf.quants.quantize(weight.numpy(), stored), stored)
    assert np.mean(np.abs(found - reference) > 1e-6) < 0.01
    assert np.square(found - weight.numpy()).sum() <= np.square(reference - weight.numpy()).sum() * 1.001


@pytest.mark.parametrize("scheme", SCHEMES, ids=str)
def test_searched_scales_are_never_worse_also_weighed(scheme: Scheme) -> None:
    weight = weights(seed=1)
    weight[:, 5] *= 8
    importance = torch.rand(256, generator=torch.Generator().manual_seed(2)) ** 4
    for each in (None, importance):
        weigh = torch.ones(256) if each is None else each
        plain, found = rtn(weight, scheme).dequantised(), rtn_searched(weight, scheme, each).dequantised()
        before, after = ((q - weight).square().mul(weigh).sum(1) for q in (plain, found))
        assert (after <= before * 1.0001).all()
        if scheme.bits == 4:
            assert float(after.sum()) < 0.97 * float(before.sum())


def test_zeros_and_one_sided_rows_are_kept() -> None:
    weight = torch.zeros(3, 32)
    weight[1], weight[2] = 0.5, torch.linspace(0.1, 1.0, 32)
    for scheme in (Scheme(4, 32), Scheme(4, 32, False), Scheme(8, 0), Scheme(8, 32, False)):
        found = rtn(weight, scheme).dequantised()
        assert (found[0] == 0).all()
        assert torch.allclose(found[1], weight[1], rtol=1e-3)
        assert (found[2] - weight[2]).abs().max() < (0.07 if scheme.bits == 4 else 0.005)


def test_tiny_and_huge_weights_do_not_become_nan() -> None:
    for size in (1e-12, 1e-7, 1e6):
        weight = weights() * size / 0.05
        for scheme in SCHEMES:
            found = rtn_searched(weight, scheme).dequantised()
            assert found.isfinite().all()
            assert (found - weight).abs().max() < 1.5 * size


def test_weights_that_are_not_finite_are_refused() -> None:
    weight = weights()
    weight[1, 2] = float("nan")
    with pytest.raises(InputError, match="NaN"):
        rtn(weight, Scheme(4, 32))


def test_rows_at_a_time_are_as_good_as_all_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    from ptft.core.quantising import rounding

    weight = weights(20)
    for scheme in SCHEMES:
        whole = rtn_searched(weight, scheme)
        with monkeypatch.context() as patch:
            patch.setattr(rounding, "AT_ONCE", 3 * 256)
            assert torch.equal(rtn_searched(weight, scheme).dequantised(), whole.dequantised())


def test_scales_are_exact_in_float16_unless_they_are_far_too_small_or_large() -> None:
    for size, exact in ((1.0, True), (0.05, True), (1e-9, False), (1e9, False)):
        scales = rtn(weights() * size, Scheme(8, 32)).scales
        assert torch.equal(scales, scales.half().float()) == exact
