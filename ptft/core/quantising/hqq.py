"""Half-quadratic quantisation: scales and zero points fitted to the weights alone, with a norm that lets outliers go.

Badri & Shaji 2023, "Half-Quadratic Quantization of Large Machine Learning Models" (https://mobiusml.github.io/hqq_blog).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ptft.core.quantising import rounding
from ptft.core.quantising.scheme import Quantised, Scheme

if TYPE_CHECKING:
    from torch import Tensor
else:
    Tensor = Any

NORM, BETA, KAPPA, ITERATIONS = 0.7, 10.0, 1.01, 20  # of the paper; beta is for weights of their own unit, see `fitted`


def hqq(weight: Tensor, scheme: Scheme) -> Quantised:
    """A matrix (out, in) on the grid that half-quadratic splitting finds; by the l_p norm never worse than `rounding.rtn`."""
    grid = rounding.row_by_row(lambda part: fitted(part, scheme), rounding.grouped(weight, scheme))
    return rounding.with_grid(weight, *grid, scheme)


def fitted(weights: Tensor, scheme: Scheme) -> tuple[Tensor, Tensor | None]:
    """Scales and zero points (out, groups, 1) for weights (out, groups, width).

    min |W - Q(W)|_p, p = 0.7, is split in two that are solved in turn: the error E that soft thresholding of W - Q(W) leaves,
    and the grid for which W - E is nearest. The paper fits the zero point alone, as a real number; formats store integers, which
    seldom move, so the scale is fitted too. The thresholds are for weights near 1: each group is measured by its spread.
    """
    import torch

    scales, zeros = rounding.plain(weights, scheme)
    best, least = (scales, zeros), _norm(weights, scales, zeros, scheme)
    unit = weights.std(-1, keepdim=True, correction=0).clamp(min=1e-12)
    beta = BETA
    for _ in range(ITERATIONS):
        error = _shrunk((weights - rounding.rounded(weights, scales, zeros, scheme)) / unit, beta) * unit
        scales, zeros = _refitted(weights, weights - error, scales, zeros, scheme)
        found = _norm(weights, scales, zeros, scheme)
        wins = found < least
        kept = None if zeros is None or best[1] is None else torch.where(wins, zeros, best[1])
        best, least = (torch.where(wins, scales, best[0]), kept), torch.where(wins, found, least)
        beta *= KAPPA
    return best


def _refitted(
    weights: Tensor, wanted: Tensor, scales: Tensor, zeros: Tensor | None, scheme: Scheme
) -> tuple[Tensor, Tensor | None]:
    """The zero point, and then the scale, that bring the integers of `weights` nearest to `wanted`."""
    import torch

    low, high = rounding.levels(scheme.bits, scheme.symmetric)
    ints = rounding.to_ints(weights, scales, zeros, scheme.bits, scheme.symmetric)
    if zeros is not None:
        zeros = (ints - wanted / scales).mean(-1, keepdim=True).round().clamp(low, high)
        ints = ints - zeros
    below = ints.square().sum(-1, keepdim=True)
    fitted = (ints * wanted).sum(-1, keepdim=True) / below
    return rounding.storable(torch.where(below > 0, fitted, scales)), zeros


def _shrunk(error: Tensor, beta: float) -> Tensor:
    """Soft thresholding for the l_p norm: sign(x) max(0, |x| - p |x|^(p-1) / beta) (the paper's equation 4, with |x|^(p-1) / beta)."""
    size = error.abs()
    return error.sign() * (size - (size + 1e-8).pow(NORM - 1) / beta).clamp(min=0)


def _norm(weights: Tensor, scales: Tensor, zeros: Tensor | None, scheme: Scheme) -> Tensor:
    error = rounding.rounded(weights, scales, zeros, scheme) - weights
    return error.abs().pow(NORM).sum(-1, keepdim=True)
