"""AWQ: input channels with large activations are scaled up before rounding, and the layer before gives them smaller.

Lin et al. 2023, "AWQ: Activation-aware Weight Quantization for LLM Compression and Acceleration" (arXiv 2306.00978): s = m^a of
each channel's mean magnitude m, with `a` from a grid. Scales are only used where the layer before takes them in exactly, so no
format needs to know of them: a norm's weight, or the rows of v (for o) and of up (for down). Whether it is exact is tried out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ptft.core.quantising import rounding
from ptft.core.quantising.scheme import Scheme
from ptft.core.quantising.statistics import Inputs

if TYPE_CHECKING:
    from torch import Tensor
else:
    Tensor = Any

STEPS = 20  # exponents tried, as in the reference implementation
EXACT = 1e-4  # of the largest output: what folding may change by rounding
PAIRS = (("v_proj", "o_proj"), ("v_proj", "out_proj"), ("value", "attention.output.dense"), ("up_proj", "down_proj"))


@dataclass(frozen=True, eq=False)
class Fold:
    """Layers that share an input, and what makes it: a norm, or a layer (rows). By name within the block.

    repeats: how many heads share a row of the source (grouped-query attention), each of head_dim rows.
    """

    source: str
    layers: tuple[str, ...]
    repeats: int = 1
    head_dim: int = 1

    def shared(self, values: Tensor) -> Tensor:
        """(in,) -> (in,), the mean where heads share what scales them."""
        if self.repeats == 1:
            return values
        return self.spread(values.reshape(-1, self.repeats, self.head_dim).mean(1).reshape(-1))

    def spread(self, values: Tensor) -> Tensor:
        """(source's,) -> (in,)"""
        if self.repeats == 1:
            return values
        return values.reshape(-1, 1, self.head_dim).expand(-1, self.repeats, -1).reshape(-1)

    def narrowed(self, values: Tensor) -> Tensor:
        """(in,) -> (source's,), of values that are alike where heads share them."""
        return values if self.repeats == 1 else values.reshape(-1, self.repeats, self.head_dim)[:, 0].reshape(-1)


# ---------------------------------------------------------------- which


def folds(block: Any, run: Callable[[], Tensor], layers: Sequence[str]) -> list[Fold]:
    """What might take scales in: each norm with the layers that are given just what it makes, and the known pairs."""
    given, made = _traced(block, run, layers)
    found = []
    for norm, output in made.items():
        users = tuple(name for name in layers if given.get(name) is output)
        if users:
            found.append(Fold(norm, users))
    return found + [fold for first, second in PAIRS for fold in _pairs(block, layers, first, second)]


def _traced(
    block: Any, run: Callable[[], Tensor], layers: Sequence[str]
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The tensors that layers are given and that norms (modules with one vector of weights) make, in one pass."""
    given: dict[str, Tensor] = {}
    made: dict[str, Tensor] = {}
    handles = []
    for name, module in block.named_modules():
        if name in layers:
            handles.append(module.register_forward_pre_hook(lambda _m, args, name=name: given.update({name: args[0]})))
        elif getattr(getattr(module, "weight", None), "ndim", 0) == 1:
            handles.append(module.register_forward_hook(lambda _m, _a, out, name=name: made.update({name: out})))
    try:
        run()
    finally:
        for handle in handles:
            handle.remove()
    return given, made


def _pairs(block: Any, layers: Sequence[str], first: str, second: str) -> list[Fold]:
    """Pairs that lie beside one another: up and down of one expert, v and o of one attention."""
    found = []
    for name in layers:
        if not name.endswith(second):
            continue
        stem = name.removesuffix(second)
        for other in layers:
            if other.endswith(first) and other.startswith(stem):
                found += _pair(block, other, name)
    return found


def _pair(block: Any, source: str, layer: str) -> list[Fold]:
    rows, width = len(_rows(block.get_submodule(source))), _rows(block.get_submodule(layer)).shape[1]
    head = getattr(block.get_submodule(source.rpartition(".")[0]), "head_dim", None)
    if rows == width:
        return [Fold(source, (layer,))]
    return [Fold(source, (layer,), width // rows, int(head))] if head and width % rows == 0 else []


# ---------------------------------------------------------------- how much


def best_scales(
    fold: Fold, weights: Mapping[str, Tensor], schemes: Mapping[str, Scheme], inputs: Inputs
) -> Tensor | None:
    """(in,), float32: the scales with which rounding to nearest errs least on the calibration inputs, summed over the layers.

    weights: (out, in) by layer, of those that are quantised. None where no scales are better.
    """
    hessian = inputs.hessian.float()
    magnitude = fold.shared(inputs.mean_magnitude.float()).clamp(min=1e-8)
    best, least = None, _damage(weights, schemes, hessian, None)
    for step in range(1, STEPS + 1):
        scales = magnitude.pow(step / STEPS)
        scales = (scales / (scales.max() * scales.min()).sqrt()).clamp(1e-4, 1e4)
        damage = _damage(weights, schemes, hessian, scales)
        if damage < least:
            best, least = scales, damage
    return best


def _damage(
    weights: Mapping[str, Tensor], schemes: Mapping[str, Scheme], hessian: Tensor, scales: Tensor | None
) -> float:
    """sum over layers of tr(D H D^T), D what rounding the scaled weights changes, scaled back."""
    total = 0.0
    for name, weight in weights.items():
        scaled = weight.float() if scales is None else weight.float() * scales
        grouped = rounding.grouped(scaled, schemes[name])
        rounded = rounding.rounded(grouped, *rounding.plain(grouped, schemes[name]), schemes[name])
        gap = rounded.reshape(scaled.shape) - scaled
        gap = (gap if scales is None else gap / scales).to(hessian.dtype)
        total += float(((gap @ hessian) * gap).sum())
    return total


# ---------------------------------------------------------------- folding


def folded(block: Any, fold: Fold, scales: Tensor, run: Callable[[], Tensor]) -> bool:
    """Scale the layers' columns up and their source down, in place; False, and nothing is changed, where that is not exact."""
    before = run()
    modules = [block.get_submodule(fold.source), *(block.get_submodule(name) for name in fold.layers)]
    kept = [(parameter, parameter.data.clone()) for module in modules for parameter in module.parameters(recurse=False)]
    for offset in (0.0, 1.0):  # Gemma's norms multiply by 1 + weight
        for name in fold.layers:
            _rows(block.get_submodule(name)).mul_(scales)
        _divide(block.get_submodule(fold.source), fold.narrowed(scales), offset)
        if float((run() - before).abs().max()) <= EXACT * float(before.abs().max()):
            return True
        for parameter, values in kept:
            parameter.data.copy_(values)
    return False


def _divide(source: Any, scales: Tensor, offset: float) -> None:
    if source.weight.ndim == 1:
        source.weight.data.copy_((source.weight.data + offset) / scales - offset)
    else:
        _rows(source).div_(scales[:, None])
    if getattr(source, "bias", None) is not None:
        source.bias.data.div_(scales)


def _rows(module: Any) -> Tensor:
    """(out, in), not a copy."""
    from ptft.core.quantising.blocks import is_conv1d

    return module.weight.data.T if is_conv1d(module) else module.weight.data
