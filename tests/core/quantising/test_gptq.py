"""GPTQ against a slow version from the paper's equations, and against round-to-nearest on its own inputs."""

from __future__ import annotations

import pytest
import torch

from ptft.core.errors import InputError
from ptft.core.quantising import Scheme, rounding
from ptft.core.quantising.gptq import Settings, _made, gptq, inverse_factor, row_errors
from ptft.core.quantising.rounding import rtn, to_ints, to_weights


def problem(rows: int = 16, width: int = 64, tokens: int = 200) -> tuple[torch.Tensor, torch.Tensor]:
    """Weights (out, in), and the Hessian 2 X^T X / tokens of inputs that hang together."""
    draw = torch.Generator().manual_seed(3)
    weight = torch.randn(rows, width, generator=draw, dtype=torch.float64) * 0.05
    mix = torch.randn(width, width, generator=draw, dtype=torch.float64) * torch.logspace(0.5, -1, width)[:, None]
    inputs = torch.randn(tokens, width, generator=draw, dtype=torch.float64) @ mix
    return weight, 2 * inputs.T @ inputs / tokens


def textbook(weight: torch.Tensor, hessian: torch.Tensor, scheme: Scheme, settings: Settings) -> torch.Tensor:
    """Integers (out, in) by the equations (2) and (3) of Frantar et al. 2022: each column is rounded, and the others that are
    left move by -(w - q) / [F^-1]_qq [F^-1]_q, with F the Hessian of those left, inverted anew each time.
    """
    weight = weight.clone()
    width = scheme.group or weight.shape[1]
    mean = hessian.diagonal().mean()
    damped = hessian + settings.damping * mean * torch.eye(len(hessian), dtype=hessian.dtype)
    order = (
        hessian.diagonal().argsort(descending=True, stable=True) if settings.act_order else torch.arange(len(hessian))
    )
    fixed = settings.act_order or not scheme.group
    scales, zeros = rounding.plain(weight.float().reshape(len(weight), -1, width), scheme)
    ints = torch.empty_like(weight)
    for step, column in enumerate(order.tolist()):
        group = column // width
        if not fixed and column % width == 0:
            part = rounding.plain(weight[:, None, column : column + width].float(), scheme)
            scales[:, group] = part[0][:, 0]
            if zeros is not None and part[1] is not None:
                zeros[:, group] = part[1][:, 0]
        scale, zero = scales[:, group, 0].double(), None if zeros is None else zeros[:, group, 0].double()
        ints[:, column] = to_ints(weight[:, column], scale, zero, scheme.bits, scheme.symmetric)
        error = weight[:, column] - to_weights(ints[:, column], scale, zero)
        left = order[step:]
        inverse = torch.linalg.inv(damped[left][:, left])
        weight[:, left] -= error[:, None] / inverse[0, 0] * inverse[0]
    return ints.to(torch.int8)


@pytest.mark.parametrize("act_order", [False, True])
@pytest.mark.parametrize("block", [32, 64])
@pytest.mark.parametrize(
    "scheme", [Scheme(4, 0), Scheme(4, 32), Scheme(4, 32, False), Scheme(8, 0), Scheme(8, 32, False)], ids=str
)
def test_integers_are_those_of_the_textbook(scheme: Scheme, block: int, act_order: bool) -> None:
    weight, hessian = problem()
    settings = Settings(block=block, act_order=act_order, search=False)
    found = _made(weight, hessian, scheme, settings)
    assert torch.equal(found.ints, textbook(weight, hessian, scheme, settings))


@pytest.mark.parametrize("search", [False, True])
@pytest.mark.parametrize("scheme", [Scheme(4, 0), Scheme(4, 32), Scheme(4, 32, False), Scheme(8, 64)], ids=str)
def test_no_row_is_worse_than_rounding_on_the_calibration_inputs(scheme: Scheme, search: bool) -> None:
    weight, hessian = problem(rows=48)
    found = gptq(weight.float(), hessian, scheme, Settings(search=search))
    before = row_errors(weight, rtn(weight.float(), scheme), hessian)
    after = row_errors(weight, found, hessian)
    assert (after <= before * (1 + 1e-9)).all()
    assert float(after.sum()) < 0.8 * float(before.sum())


def test_errors_of_rows_are_those_of_the_outputs() -> None:
    weight, _ = problem()
    inputs = torch.randn(50, 64, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    found = rtn(weight.float(), Scheme(4, 32))
    gap = inputs @ (found.dequantised().double() - weight).T
    assert torch.allclose(row_errors(weight, found, 2 * inputs.T @ inputs), 2 * gap.square().sum(0))


def test_inputs_that_are_never_active_do_not_matter_and_are_rounded_to_nearest() -> None:
    weight, hessian = problem()
    hessian[7], hessian[:, 7] = 0, 0
    found = gptq(weight.float(), hessian, Scheme(8, 0))
    assert (found.dequantised() - weight).abs()[:, 7].max() <= found.scales.max() * 0.51


def test_fewer_tokens_than_inputs_and_no_token_work() -> None:
    weight, hessian = problem(tokens=5)
    assert gptq(weight.float(), hessian, Scheme(4, 32)).dequantised().isfinite().all()
    nothing = gptq(weight.float(), torch.zeros_like(hessian), Scheme(4, 32), Settings(search=False))
    assert torch.equal(nothing.ints, rtn(weight.float(), Scheme(4, 32)).ints)


def test_the_factor_is_that_of_the_inverse() -> None:
    _, hessian = problem()
    upper = inverse_factor(hessian, 0.01)
    damped = hessian + 0.01 * hessian.diagonal().mean() * torch.eye(64, dtype=torch.float64)
    assert torch.allclose(upper.T @ upper, torch.linalg.inv(damped), rtol=1e-6)
    assert torch.equal(upper, upper.triu())


def test_inputs_that_are_not_finite_are_refused() -> None:
    weight, hessian = problem()
    hessian[0, 0] = float("inf")
    with pytest.raises(InputError, match="not finite"):
        gptq(weight.float(), hessian, Scheme(4, 32))
