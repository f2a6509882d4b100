"""One dial: from a number of parameters to depth, width and heads."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

from ptft.core.errors import UsageError
from ptft.stages.pretrain.architectures.families import Ends, Family, Shape
from ptft.stages.pretrain.recipe import Architecture

HEAD_WIDTH = 64
TOLERANCE = 0.1  # how far from the wanted number a network may be
UNUSUAL = 0.05  # a depth off by a factor of two weighs as much as this error in the number


def shape_for(family: Family, ends: Ends, given: Architecture, wanted: int) -> Shape:
    """The shape nearest to `wanted` parameters and to the usual depth for its width; given sizes stay as they are.

    Raises `UsageError` where sizes do not fit one another, or no network comes within 10 % of `wanted`.
    """
    _refuse_unfitting(family, given)
    if given.layers and given.width:
        return shaped(family, given, given.layers, given.width)
    thin = [shape for width in _widths(given) if (shape := _maybe(family, given, 1, width))]
    if not thin:
        what = f"{given.width:,}" if given.width else "no usual width"
        remedy = "set architecture.width to an even multiple of architecture.heads"
        raise UsageError(f"{what} cannot be divided among {given.heads} heads", remedy=remedy)
    counted = [pair for shape in thin for pair in _deepened(family, ends, given, shape)]
    near = [pair for pair in counted if abs(pair[0] / wanted - 1) <= TOLERANCE]
    if not near:
        raise _unreachable(family, ends, wanted, min((count for count, _, _ in counted), key=lambda n: abs(n - wanted)))
    _, shape, layers = min(near, key=lambda pair: _oddity(family, wanted, *pair))
    return replace(shape, layers=layers)


def _deepened(family: Family, ends: Ends, given: Architecture, thin: Shape) -> Iterator[tuple[int, Shape, int]]:
    """(parameters, shape of one layer, layers) for every depth: each further layer adds the same number of parameters."""
    first, second = (family.count(replace(thin, layers=layers), ends) for layers in (1, 2))
    for layers in _depths(family, given, thin.width):
        yield first + (layers - 1) * (second - first), thin, layers


def _oddity(family: Family, wanted: int, count: int, shape: Shape, layers: int) -> float:
    """How far off in number, and in depth by factors of two."""
    depth = abs(math.log2(layers / usual_depth(shape.width, family.aspect)))
    return abs(math.log(count / wanted)) + UNUSUAL * depth


def usual_depth(width: int, aspect: int) -> float:
    """Layers for a width: width / aspect up to 768; beyond, depth grows as width^0.6, as from GPT-2 (12 x 768) to Llama 7B (32 x 4,096)."""
    return float(min(width, 768) / aspect * max(1.0, width / 768) ** 0.6)


def _depths(family: Family, given: Architecture, width: int) -> Iterator[int]:
    """Given, or up to eight times what is usual: nobody means a hundred layers of sixteen units."""
    if given.layers:
        yield given.layers
        return
    yield from range(1, max(8, round(8 * usual_depth(width, family.aspect))) + 1)


def _widths(given: Architecture) -> Iterator[int]:
    """Multiples of 64, as matrix units like them; finer below 256, where a step of 64 is a jump; coarser above 2,048."""
    if given.width:
        yield given.width
        return
    yield from (
        *range(16, 64, 8),
        *range(64, 128, 16),
        *range(128, 256, 32),
        *range(256, 2048, 64),
        *range(2048, 8193, 128),
    )


def _maybe(family: Family, given: Architecture, layers: int, width: int) -> Shape | None:
    heads = given.heads or heads_for(width, given.kv_heads)
    if width % heads or (width // heads) % 2 or heads % (given.kv_heads or 1):
        return None
    kv = given.kv_heads or heads
    experts = (given.experts, given.experts_per_token) if family.experts else (0, 0)
    return Shape(
        layers, width, heads, kv, width // heads, family.feed_forward(width, given.experts_per_token), *experts
    )


def shaped(family: Family, given: Architecture, layers: int, width: int) -> Shape:
    """A shape of exactly these layers and this width. Raises `UsageError` where the heads do not divide it."""
    shape = _maybe(family, given, layers, width)
    if shape is not None:
        return shape
    heads = given.heads or heads_for(width, given.kv_heads)
    if heads % (given.kv_heads or 1):
        what = f"{heads} heads cannot share {given.kv_heads} key and value heads evenly"
        raise UsageError(what, remedy="set architecture.kv_heads to a divisor of architecture.heads")
    what = f"the width {width} cannot be divided among {heads} heads of an even width"
    raise UsageError(what, remedy="set architecture.heads to a divisor of half the width")


def heads_for(width: int, kv_heads: int = 0) -> int:
    """Heads as near to 64 wide as divide the width evenly, a multiple of `kv_heads`; two at least from a width of 32 on."""
    fewest = 2 if width >= 32 else 1
    fits = [n for n in range(fewest, width // 2 + 1) if width % (2 * n) == 0 and n % (kv_heads or 1) == 0]
    return min(fits, key=lambda n: (abs(math.log(width / n / HEAD_WIDTH)), n), default=fewest)


def _refuse_unfitting(family: Family, given: Architecture) -> None:
    if given.kv_heads and not family.grouped:
        what = f"{family.model_type} has a key and value head for every head"
        raise UsageError(what, remedy="leave out architecture.kv_heads, or choose --model llama or qwen3")


def _unreachable(family: Family, ends: Ends, wanted: int, nearest: int) -> UsageError:
    what = f"no {family.model_type} of {wanted:,} parameters: with a vocabulary of {ends.vocab_size:,} the nearest has {nearest:,}"
    return UsageError(
        what, remedy=f"--params {nearest}, another vocabulary, or other sizes (--set architecture.layers=...)"
    )
