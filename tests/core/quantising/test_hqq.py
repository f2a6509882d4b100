"""Half-quadratic quantisation: by its own norm never worse than round-to-nearest, and better where there are outliers."""

from __future__ import annotations

import pytest
import torch

from ptft.core.quantising import Scheme
from ptft.core.quantising.hqq import NORM, _shrunk, hqq
from ptft.core.quantising.rounding import rtn

SCHEMES = [Scheme(4, group, symmetric, "hqq") for group in (0, 32, 64, 128) for symmetric in (True, False)]  # type: ignore[arg-type]


@pytest.mark.parametrize("scheme", SCHEMES, ids=str)
def test_it_is_never_worse_than_rounding_and_better_with_outliers(scheme: Scheme) -> None:
    weight = torch.distributions.StudentT(4.0).sample((64, 256)) * 0.02
    before, after = (
        (made(weight, scheme).dequantised() - weight).abs().pow(NORM).reshape(64, -1).sum(1) for made in (rtn, hqq)
    )
    assert (after <= before * 1.0001).all()
    assert float(after.sum()) < 0.99 * float(before.sum())


def test_soft_thresholding_solves_its_problem() -> None:
    """The operator is, to first order, argmin_e |e|^p / beta + (e - x)^2 / 2: large errors hardly shrink, small ones vanish."""
    x = torch.tensor([-3.0, -0.001, 0.0, 0.001, 0.5, 3.0])
    found = _shrunk(x, 10.0)
    assert found[1:4].tolist() == [0.0, 0.0, 0.0]
    assert torch.allclose(found[[0, 5]], x[[0, 5]], atol=0.08)
    grid = torch.linspace(-4, 4, 80_001)
    for value, given in zip(found, x, strict=True):
        costs = grid.abs().pow(NORM) * (1 / (NORM * 10.0)) * NORM + (grid - given) ** 2 / 2
        assert abs(float(grid[costs.argmin()]) - float(value)) < 0.06
