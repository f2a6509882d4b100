"""Round to nearest: a scale (and zero point) for every group of weights, and integers for those.

Everything here takes weights as (out, groups, width) and scales and zero points as (out, groups, 1).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ptft.core.errors import InputError
from ptft.core.quantising.scheme import Quantised, Scheme

if TYPE_CHECKING:
    from torch import Tensor
else:
    Tensor = Any

NEAR = 2**-9  # what float16 may change of a scale: it holds down to 1.5e-5, and above that to 65,504
SHRINKING = 20  # candidates of a searched scale
SMALLEST_SHARE = 0.5  # the most that a searched scale shrinks the range
AT_ONCE = (
    2**17
)  # weights that are searched at a time: what a processor's cache holds (three times faster than whole matrices)


def levels(bits: int, symmetric: bool) -> tuple[int, int]:
    """The lowest and the highest integer. Symmetric 8 bits leave -128 out, so that weights and their negatives mirror."""
    return (-127, 127) if bits == 8 and symmetric else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)


def grouped(weight: Tensor, scheme: Scheme) -> Tensor:
    """(out, in) as float32 (out, groups, width). Raises `InputError` where weights are not finite."""
    if not weight.isfinite().all():
        remedy = "use an earlier checkpoint: the training diverged, or the file is damaged"
        raise InputError("the weights hold NaN or infinity", remedy=remedy)
    return weight.float().reshape(len(weight), scheme.groups(weight.shape[1]), -1)


def to_ints(weights: Tensor, scales: Tensor, zeros: Tensor | None, bits: int, symmetric: bool = True) -> Tensor:
    """Nearest integers, as floats; half goes to even."""
    low, high = levels(bits, symmetric)
    return ((weights / scales).round() + (0 if zeros is None else zeros)).clamp(low, high)


def to_weights(ints: Tensor, scales: Tensor, zeros: Tensor | None) -> Tensor:
    return (ints if zeros is None else ints - zeros) * scales


def rounded(weights: Tensor, scales: Tensor, zeros: Tensor | None, scheme: Scheme) -> Tensor:
    """The weights as they are after quantising."""
    return to_weights(to_ints(weights, scales, zeros, scheme.bits, scheme.symmetric), scales, zeros)


# ---------------------------------------------------------------- scales


def storable(scales: Tensor) -> Tensor:
    """Scales rounded to float16, in which most formats store them, where it has a number near them; 1 in place of 0."""
    import torch

    halved = scales.half().to(scales.dtype)
    kept = torch.where((halved - scales).abs() <= NEAR * scales.abs(), halved, scales)
    return torch.where(kept == 0, torch.ones_like(kept), kept)


def plain(weights: Tensor, scheme: Scheme) -> tuple[Tensor, Tensor | None]:
    """Scales and zero points that cover every weight: the largest magnitude, or the least and the greatest.

    Of 4 symmetric bits, whose integers reach -8 but only 7, the largest weight becomes -8, with a scale of the other sign where
    it is positive (so do llama.cpp's Q4_0 and ONNX Runtime's blocks).
    """
    if not scheme.symmetric:
        return _between(weights.amin(-1, keepdim=True), weights.amax(-1, keepdim=True), scheme)
    if scheme.bits == 8:
        return storable(weights.abs().amax(-1, keepdim=True) / 127), None
    largest = weights.gather(-1, weights.abs().argmax(-1, keepdim=True))
    return storable(largest / -8), None


def _between(least: Tensor, most: Tensor, scheme: Scheme) -> tuple[Tensor, Tensor]:
    """Scales and zero points whose integers reach from least to most, and have 0 among them."""
    low, high = levels(scheme.bits, symmetric=False)
    least, most = least.clamp(max=0), most.clamp(min=0)
    scales = storable((most - least) / (high - low))
    return scales, (low - least / scales).round().clamp(low, high)


def row_by_row(fit: Callable[[Tensor], tuple[Tensor, Tensor | None]], weights: Tensor) -> tuple[Tensor, Tensor | None]:
    """Scales and zero points that `fit` finds for some rows at a time."""
    import torch

    found = [fit(part) for part in weights.split(max(1, AT_ONCE // max(1, weights[0].numel())))]
    zeros = [zero for _, zero in found if zero is not None]
    return torch.cat([scales for scales, _ in found]), torch.cat(zeros) if zeros else None


def searched(weights: Tensor, scheme: Scheme, importance: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
    """Scales whose rounding has the least squared error, of narrower and narrower ranges; never worse than `plain`.

    importance: (groups, width), what an error of that input weighs (the mean square of the input: then the sum is what the
    layer's output is off by, if its inputs were independent). The winner's scale is fitted by least squares.
    """
    return row_by_row(lambda part: _searched(part, scheme, importance), weights)


def _searched(weights: Tensor, scheme: Scheme, importance: Tensor | None) -> tuple[Tensor, Tensor | None]:
    best = plain(weights, scheme)
    least = _error(weights, best, scheme, importance)
    for step in range(1, SHRINKING + 1):
        share = 1 - step * (1 - SMALLEST_SHARE) / SHRINKING
        for candidate in _narrower(weights, scheme, share):
            best, least = _better(weights, candidate, best, least, scheme, importance)
    fitted = _fitted(weights, best, scheme, importance)
    return _better(weights, fitted, best, least, scheme, importance)[0]


def _narrower(weights: Tensor, scheme: Scheme, share: float) -> list[tuple[Tensor, Tensor | None]]:
    if not scheme.symmetric:
        least, most = weights.amin(-1, keepdim=True), weights.amax(-1, keepdim=True)
        return [_between(least * share, most * share, scheme), _between(least, most * share, scheme),
                _between(least * share, most, scheme)]  # fmt: skip
    scales, _ = plain(weights, scheme)
    shrunk = storable(scales * share)
    return [(shrunk, None)] if scheme.bits == 8 else [(shrunk, None), (-shrunk, None)]


def _fitted(
    weights: Tensor, grid: tuple[Tensor, Tensor | None], scheme: Scheme, importance: Tensor | None
) -> tuple[Tensor, Tensor | None]:
    """The scale that least squares gives for these integers: sum(h q w) / sum(h q^2)."""
    import torch

    scales, zeros = grid
    ints = to_ints(weights, scales, zeros, scheme.bits, scheme.symmetric) - (0 if zeros is None else zeros)
    weighed = ints if importance is None else ints * importance
    below = (weighed * ints).sum(-1, keepdim=True)
    fitted = (weighed * weights).sum(-1, keepdim=True) / below
    return storable(torch.where(below > 0, fitted, scales)), zeros


def _error(weights: Tensor, grid: tuple[Tensor, Tensor | None], scheme: Scheme, importance: Tensor | None) -> Tensor:
    """(out, groups, 1)"""
    squares = (rounded(weights, *grid, scheme) - weights).square()
    return (squares if importance is None else squares * importance).sum(-1, keepdim=True)


def _better(
    weights: Tensor, new: tuple[Tensor, Tensor | None], old: tuple[Tensor, Tensor | None], least: Tensor,
    scheme: Scheme, importance: Tensor | None,
) -> tuple[tuple[Tensor, Tensor | None], Tensor]:  # fmt: skip
    """Of each group the grid with the smaller error, and that error."""
    import torch

    error = _error(weights, new, scheme, importance)
    wins = error < least
    zeros = None if old[1] is None or new[1] is None else torch.where(wins, new[1], old[1])
    return (torch.where(wins, new[0], old[0]), zeros), torch.where(wins, error, least)


# ---------------------------------------------------------------- matrices


def quantised(ints: Tensor, scales: Tensor, zeros: Tensor | None, scheme: Scheme) -> Quantised:
    """From (out, groups, width) and (out, groups, 1) to what is passed on."""
    import torch

    found = ints.reshape(len(ints), -1).to(torch.int8)
    kept = None if zeros is None else zeros.squeeze(-1).to(torch.int8)
    return Quantised(found, scales.squeeze(-1).float(), kept, scheme.bits, scheme.group)


def with_grid(weight: Tensor, scales: Tensor, zeros: Tensor | None, scheme: Scheme) -> Quantised:
    """A matrix (out, in) rounded to nearest on a given grid."""
    ints = to_ints(grouped(weight, scheme), scales, zeros, scheme.bits, scheme.symmetric)
    return quantised(ints, scales, zeros, scheme)


def rtn(weight: Tensor, scheme: Scheme) -> Quantised:
    """A matrix (out, in) rounded to nearest, with scales that cover every weight."""
    return with_grid(weight, *plain(grouped(weight, scheme), scheme), scheme)


def rtn_searched(weight: Tensor, scheme: Scheme, importance: Tensor | None = None) -> Quantised:
    """As `rtn`, with scales that are searched. importance: (in,), the mean square of each input."""
    weights = grouped(weight, scheme)
    each = None if importance is None else importance.float().reshape(weights.shape[1:])
    return with_grid(weight, *searched(weights, scheme, each), scheme)
