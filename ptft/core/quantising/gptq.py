"""GPTQ: columns are rounded one after another, and what each is off by is made up for in those that follow.

Frantar et al. 2022, "GPTQ: Accurate Post-Training Quantization for Generative Pre-trained Transformers" (arXiv 2210.17323),
algorithm 1. The inverse of the Hessian after i columns are done is not updated: its rows are those of the upper Cholesky factor.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ptft.core.errors import InputError
from ptft.core.quantising import rounding
from ptft.core.quantising.scheme import Quantised, Scheme

if TYPE_CHECKING:
    from torch import Tensor
else:
    Tensor = Any

MOST_DAMPING = 1.0


@dataclass(frozen=True)
class Settings:
    """damping: a share of the mean diagonal, added to it. block: columns whose updates are gathered before the rest sees them.

    act_order: columns of the largest inputs first; groups stay where they are in the row, so a format needs no index.
    search: scales of the least error that the inputs' mean squares weigh, in place of those that cover every weight. Not by
    default: it pays on models of a million weights and costs on larger ones (docs/log.md, "export at full depth").
    """

    damping: float = 0.01
    block: int = 128
    act_order: bool = True
    search: bool = False


def gptq(weight: Tensor, hessian: Tensor, scheme: Scheme, settings: Settings | None = None) -> Quantised:
    """A matrix (out, in) quantised for inputs of this Hessian, 2 X^T X (in, in), or any multiple of it.

    Rows for which round-to-nearest turns out better keep that, so the squared error of the outputs on the calibration inputs
    is never above it. Raises `InputError` where the Hessian is not finite.
    """
    settings = settings or Settings()
    weights = rounding.grouped(weight, scheme)  # refuses what is not finite
    hessian = _finite(hessian)
    found = _made(weight.to(hessian.dtype), hessian, scheme, settings)
    nearest = rounding.with_grid(weight, *rounding.plain(weights, scheme), scheme)
    if settings.search:
        importance = hessian.diagonal().float().reshape(weights.shape[1:])
        tried = rounding.with_grid(weight, *rounding.searched(weights, scheme, importance), scheme)
        nearest = _rowwise(weight, hessian, tried, nearest)
    return _rowwise(weight, hessian, found, nearest)


def row_errors(weight: Tensor, quantised: Quantised, hessian: Tensor) -> Tensor:
    """(out,): of each row, (w - q) H (w - q)^T, which is twice the squared error of its outputs on the inputs."""
    gap = quantised.dequantised().to(hessian.dtype) - weight.to(hessian.dtype)
    return ((gap @ hessian) * gap).sum(1)


def _rowwise(weight: Tensor, hessian: Tensor, one: Quantised, other: Quantised) -> Quantised:
    """Of each row the one with the smaller error; rows do not touch one another."""
    import torch

    wins = (row_errors(weight, one, hessian) < row_errors(weight, other, hessian))[:, None]
    zeros = None if one.zeros is None or other.zeros is None else torch.where(wins, one.zeros, other.zeros)
    ints, scales = torch.where(wins, one.ints, other.ints), torch.where(wins, one.scales, other.scales)
    return Quantised(ints, scales, zeros, one.bits, one.group)


def _finite(hessian: Tensor) -> Tensor:
    if not hessian.isfinite().all():
        remedy = "leave out calibration rows on which the model overflows, or use an earlier checkpoint"
        raise InputError("a layer's inputs are not finite on the calibration rows", remedy=remedy)
    return hessian


def inverse_factor(hessian: Tensor, damping: float) -> Tensor:
    """Upper U with U^T U = (H + damping mean(diag H) I)^-1. Inputs that were never active are so rounded to nearest.

    Damping rises tenfold where the matrix is still not positive definite in this precision.
    """
    import torch

    mean = hessian.diagonal().mean().clamp(min=1e-30)
    while True:
        damped = hessian + torch.eye(len(hessian), dtype=hessian.dtype, device=hessian.device) * (damping * mean)
        lower, failed = torch.linalg.cholesky_ex(damped)
        if not failed:
            upper, failed = torch.linalg.cholesky_ex(torch.cholesky_inverse(lower), upper=True)
        if not failed:
            return upper
        if damping >= MOST_DAMPING:
            raise InputError("a layer's calibration inputs give no Cholesky factor", remedy="calibrate on more rows")
        damping = min(MOST_DAMPING, max(damping, 1e-4) * 10)


def _made(weight: Tensor, hessian: Tensor, scheme: Scheme, settings: Settings) -> Quantised:
    import torch

    grid = _Grid(weight, hessian, scheme, settings)
    order = torch.arange(weight.shape[1], device=weight.device)
    if settings.act_order:
        order = hessian.diagonal().argsort(descending=True, stable=True)
    upper = inverse_factor(hessian[order][:, order], settings.damping)
    ints = _columns(weight[:, order].clone(), upper, order.tolist(), grid, settings.block)
    return grid.quantised(ints[:, order.argsort()])


def _columns(weight: Tensor, upper: Tensor, order: list[int], grid: _Grid, block: int) -> Tensor:
    """Integers (out, in) of columns in the order given; `weight` is used up."""
    import torch

    ints, width = torch.empty_like(weight), weight.shape[1]
    for begin in range(0, width, block):
        end = min(width, begin + block)
        errors = weight.new_empty(len(weight), end - begin)
        for at in range(begin, end):
            column = weight[:, at]
            grid.enter(order, at, weight, end)
            ints[:, at], rounded = grid.rounded(column, order[at])
            error = (column - rounded) / upper[at, at]
            weight[:, at + 1 : end] -= error[:, None] * upper[at, at + 1 : end]
            errors[:, at - begin] = error
        weight[:, end:] -= errors @ upper[begin:end, end:]
    return ints


class _Grid:
    """Scales and zero points by group: of the weights as they are at first (act_order), or when their first column comes."""

    def __init__(self, weight: Tensor, hessian: Tensor, scheme: Scheme, settings: Settings) -> None:
        self._scheme, self._search = scheme, settings.search
        self._importance = hessian.diagonal().float()
        self._width = scheme.group or weight.shape[1]
        self._fixed = settings.act_order or not scheme.group or bool(settings.block % self._width)
        scales, zeros = self._of(weight, slice(None))
        self._scales, self._zeros = scales.squeeze(-1), None if zeros is None else zeros.squeeze(-1)

    def _of(self, weight: Tensor, columns: slice) -> tuple[Tensor, Tensor | None]:
        weights = weight.float().reshape(len(weight), -1, self._width)
        if not self._search:
            return rounding.plain(weights, self._scheme)
        importance = self._importance[columns].reshape(-1, self._width)
        return rounding.searched(weights, self._scheme, importance)

    def enter(self, order: list[int], at: int, weight: Tensor, end: int) -> None:
        """Before column `at`: where a group begins, its grid is made of what the weights have become."""
        if self._fixed or at % self._width:
            return
        columns = slice(at, at + self._width)
        scales, zeros = self._of(weight[:, columns], columns)
        group = at // self._width
        self._scales[:, group] = scales[:, 0, 0]
        if self._zeros is not None and zeros is not None:
            self._zeros[:, group] = zeros[:, 0, 0]

    def rounded(self, column: Tensor, original: int) -> tuple[Tensor, Tensor]:
        """The integers of a column (out,), and what they stand for. original: where it is in the row."""
        group = original // self._width
        scales = self._scales[:, group].to(column.dtype)
        zeros = None if self._zeros is None else self._zeros[:, group].to(column.dtype)
        ints = rounding.to_ints(column, scales, zeros, self._scheme.bits, self._scheme.symmetric)
        return ints, rounding.to_weights(ints, scales, zeros)

    def quantised(self, ints: Tensor) -> Quantised:
        zeros = None if self._zeros is None else self._zeros[..., None]
        shaped = ints.reshape(len(ints), -1, self._width)
        return rounding.quantised(shaped, self._scales[..., None], zeros, self._scheme)
