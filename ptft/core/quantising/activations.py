"""The inputs of layers in 8 bits: ranges found on calibration rows, and a model that computes as if its inputs were rounded."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ptft.core.errors import InputError, UsageError
from ptft.core.quantising.matrices import matrices
from ptft.core.quantising.scheme import Plan
from ptft.core.quantising.statistics import Calibration, padding_in, tokens_of, watching

if TYPE_CHECKING:
    from torch import Tensor
else:
    Tensor = Any

BINS = 4096  # of the histogram that percentiles are read from
LOW, HIGH = -128, 127


@dataclass(frozen=True)
class Activation:
    """How a layer's input is quantised, all of it alike: value = (int - zero) * scale, ints of -128..127."""

    scale: float
    zero: int

    def rounded(self, values: Tensor) -> Tensor:
        ints = ((values / self.scale).round() + self.zero).clamp(LOW, HIGH)
        return (ints - self.zero) * self.scale


def ranges(
    model: Any, plan: Plan, calibration: Calibration, percentile: float = 100.0, *, symmetric: bool = False
) -> dict[str, Activation]:
    """A scale and zero point for the input of every layer whose scheme has static activations, by weight name.

    percentile 100: from the least to the greatest value seen; else that much of the values lies below the upper end, and above
    the lower (99.99 lets outliers be clipped), to within a 4096th of the range. Raises `UsageError` for a percentile outside
    (50, 100], `InputError` where a layer's inputs are not finite.
    """
    if not 50 < percentile <= 100:
        raise UsageError(f"a percentile of {percentile}", remedy="above 50 and at most 100, such as 99.99")
    layers = {matrix.name: matrix for matrix in matrices(model) if _static(plan, matrix.name) and not matrix.embedding}
    watch = _Watch({name: matrix.module for name, matrix in layers.items()})
    watch.run(model, calibration, watch.extremes)
    if percentile < 100:
        watch.run(model, calibration, watch.counts)
    return {name: watch.activation(name, percentile, symmetric) for name in layers if name in watch.least}


def _static(plan: Plan, name: str) -> bool:
    scheme = plan.get(name)
    return scheme is not None and scheme.activations == "static"


class _Watch:
    """Least and greatest inputs by layer, and in a second pass how many lie where between them."""

    def __init__(self, modules: Mapping[str, Any]) -> None:
        self._modules = modules
        self.least: dict[str, float] = {}
        self.most: dict[str, float] = {}
        self.bins: dict[str, Tensor] = {}

    def run(self, model: Any, calibration: Calibration, take: Callable[[str, Tensor], None]) -> None:
        import torch

        for batch in calibration.batches:
            mask = padding_in(batch.get("attention_mask"))

            def unpadded(name: str, given: Tensor, mask: Tensor | None = mask) -> None:
                take(name, tokens_of(given, mask))

            with torch.no_grad(), watching(self._modules, unpadded):
                model(**batch)

    def extremes(self, name: str, values: Tensor) -> None:
        least, most = (float(value) for value in values.aminmax())
        if not abs(least) + abs(most) < float("inf"):
            remedy = "leave out the calibration rows on which the model overflows, or use an earlier checkpoint"
            raise InputError("a layer's inputs are not finite", where=name, remedy=remedy)
        self.least[name] = min(least, self.least.get(name, 0.0))
        self.most[name] = max(most, self.most.get(name, 0.0))

    def counts(self, name: str, values: Tensor) -> None:
        found = values.float().histc(BINS, self.least[name], self.most[name]).double()
        self.bins[name] = self.bins.get(name, 0) + found

    def activation(self, name: str, percentile: float, symmetric: bool) -> Activation:
        least, most = self.least[name], self.most[name]
        if percentile < 100 and most > least:
            least, most = self._inner(name, percentile)
        if symmetric:
            return Activation(max(-least, most, 1e-8) / HIGH, 0)
        scale = max(most - least, 1e-8) / (HIGH - LOW)
        return Activation(scale, max(LOW, min(HIGH, round(LOW - least / scale))))

    def _inner(self, name: str, percentile: float) -> tuple[float, float]:
        """The values below and above which (100 - percentile) % lie; 0 stays inside."""
        least, most = self.least[name], self.most[name]
        below = self.bins[name].cumsum(0) / self.bins[name].sum()
        outside, width = 1 - percentile / 100, (most - least) / BINS
        first, last = int((below <= outside).sum()), int((below < 1 - outside).sum())
        return min(0.0, least + first * width), max(0.0, least + (last + 1) * width)


# ---------------------------------------------------------------- measuring


def rounded_by_token(values: Tensor) -> Tensor:
    """Dynamic: a symmetric scale for each token's vector (..., in), 127 its largest magnitude."""
    scales = values.abs().amax(-1, keepdim=True).clamp(min=1e-8) / HIGH
    return (values / scales).round() * scales


@contextmanager
def quantised_inputs(model: Any, plan: Plan, found: Mapping[str, Activation] | None = None) -> Iterator[None]:
    """While open, layers compute on rounded inputs as their schemes say. found: of static ones, from `ranges`.

    Raises `UsageError` where a static layer has no range.
    """
    known = found or {}
    with ExitStack() as stack:
        for matrix in matrices(model):
            scheme = plan.get(matrix.name)
            if scheme is None or scheme.activations == "none" or matrix.embedding:
                continue
            if scheme.activations == "static" and matrix.name not in known:
                remedy = "give what activations.ranges finds on calibration rows"
                raise UsageError("static activations without a range", where=matrix.name, remedy=remedy)
            round_ = rounded_by_token if scheme.activations == "dynamic" else known[matrix.name].rounded
            stack.callback(matrix.module.register_forward_pre_hook(_with_first(round_)).remove)
        yield


def _with_first(change: Callable[[Tensor], Tensor]) -> Any:
    return lambda module, args: (change(args[0]), *args[1:])
