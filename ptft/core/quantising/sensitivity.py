"""What each weight's bits are worth, and plans of so many bits a weight that put them where they matter.

The rule: a weight's damage under a scheme is the KL divergence (nats a token) of the model's predictions from the original's when
that weight alone has the scheme and all others the best one. Bits are then spent step by step, each time on the step that takes
away the most damage for a stored bit (scales and zero points count), as long as it fits: the greedy solution of the multiple-choice
knapsack over each weight's lower convex hull, at most one step from the optimum (Sinha & Zoltners 1979).
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from ptft.core.errors import UsageError
from ptft.core.quantising import rounding
from ptft.core.quantising.matrices import Matrix, matrices
from ptft.core.quantising.planning import fitting, is_outer
from ptft.core.quantising.scheme import Plan, Scheme
from ptft.core.quantising.statistics import Calibration, padding_in

if TYPE_CHECKING:
    from torch import Tensor
else:
    Tensor = Any

MOST_LOGITS = 2**27  # of the original that are kept to compare with: 0.5 GB in float32

# weight name -> what it may be, from the fewest stored bits to the most
Choices: TypeAlias = Mapping[str, Sequence[Scheme]]
Damage: TypeAlias = Mapping[str, Mapping[Scheme, float]]


def choices_of(model: Any, plan: Plan, schemes: Sequence[Scheme]) -> dict[str, tuple[Scheme, ...]]:
    """What each weight of the blocks that the plan quantises may be: the schemes, fitted to its width, fewest bits first.

    Embeddings, output layers and heads are as the plan says.
    """
    found = {}
    for matrix in matrices(model):
        if plan.get(matrix.name) is not None and not is_outer(model, matrix):
            rows, width = matrix.shape
            fitted = {fitting(scheme, width) for scheme in schemes}
            found[matrix.name] = tuple(
                sorted(fitted, key=lambda scheme: (scheme.stored_bits(rows, width), str(scheme)))
            )
    return found


# ---------------------------------------------------------------- damage


def damages(model: Any, choices: Choices, rows: Calibration) -> Iterator[tuple[str, Scheme, float]]:
    """(weight, scheme, damage) of every choice; of the best one 0. A forward pass over the rows each, the first as many as fit.

    Measured with scales that are searched, without calibration: what matters is how weights compare. The model is as it was
    afterwards, if the iterator is run to its end or closed.
    """
    import torch

    there = {matrix.name: matrix for matrix in matrices(model) if matrix.name in choices}
    kept = {name: matrix.read().clone() for name, matrix in there.items()}
    with torch.no_grad():
        batches, original = _reference(model, rows)
        try:
            for name, matrix in there.items():
                matrix.write(_rounded(kept[name], choices[name][-1]))
            least = _divergence(model, batches, original)
            for name, matrix in there.items():
                yield from _of_one(model, matrix, kept[name], choices[name], batches, original, least)
        finally:
            for name, matrix in there.items():
                matrix.write(kept[name])


def _of_one(
    model: Any, matrix: Matrix, weight: Tensor, schemes: Sequence[Scheme], batches: Sequence[dict[str, Tensor]],
    original: Sequence[Tensor], least: float,
) -> Iterator[tuple[str, Scheme, float]]:  # fmt: skip
    for scheme in schemes[:-1]:
        matrix.write(_rounded(weight, scheme))
        found = _divergence(model, batches, original)
        matrix.write(_rounded(weight, schemes[-1]))
        yield matrix.name, scheme, max(0.0, found - least)
    yield matrix.name, schemes[-1], 0.0


def _rounded(weight: Tensor, scheme: Scheme) -> Tensor:
    return rounding.rtn_searched(weight, scheme).dequantised()


def _reference(model: Any, rows: Calibration) -> tuple[list[dict[str, Tensor]], list[Tensor]]:
    """The batches that are compared, and the original's log-probabilities there."""
    batches: list[dict[str, Tensor]] = []
    found: list[Tensor] = []
    for batch in rows.batches:
        batches.append(batch)
        found.append(_log_probabilities(model, batch))
        if sum(logits.numel() for logits in found) >= MOST_LOGITS:
            break
    return batches, found


def _log_probabilities(model: Any, batch: dict[str, Tensor]) -> Tensor:
    """(places, classes): of every token that is not padding, or of every row of a classifier."""
    logits = model(**batch).logits.float()
    mask = padding_in(batch.get("attention_mask"))
    chosen = logits[mask] if mask is not None and logits.dim() == 3 else logits.reshape(-1, logits.shape[-1])
    return chosen.log_softmax(-1)


def _divergence(model: Any, batches: Sequence[dict[str, Tensor]], original: Sequence[Tensor]) -> float:
    """Mean over places of KL(original || model)."""
    total = places = 0.0
    for batch, before in zip(batches, original, strict=True):
        after = _log_probabilities(model, batch)
        total += float((before.exp() * (before - after)).sum())
        places += len(before)
    return total / max(1.0, places)


# ---------------------------------------------------------------- spending


def spent(model: Any, choices: Choices, damage: Damage, bits_per_weight: float) -> dict[str, Scheme]:
    """A scheme for each weight, of at most so many stored bits a weight on the mean over them all.

    Raises `UsageError` where even the fewest bits are more.
    """
    shapes = {matrix.name: matrix.shape for matrix in matrices(model) if matrix.name in choices}
    weights = sum(rows * width for rows, width in shapes.values())
    sizes = {name: {scheme: scheme.stored_bits(*shapes[name]) for scheme in choices[name]} for name in shapes}
    chosen = {name: choices[name][0] for name in shapes}
    left = bits_per_weight * weights - sum(sizes[name][scheme] for name, scheme in chosen.items())
    if left < -1e-6 * weights:
        least = bits_per_weight - left / weights
        remedy = f"at least {least:.2f} with these schemes (scales count); larger groups take less"
        raise UsageError(f"{bits_per_weight:g} bits a weight are too few", remedy=remedy)
    hulls = {name: _hull(sizes[name], damage[name]) for name in shapes}
    steps = [(-_worth(hull, 0, sizes[name], damage[name]), name, 0) for name, hull in hulls.items() if len(hull) > 1]
    heapq.heapify(steps)
    while steps:
        _, name, at = heapq.heappop(steps)
        hull, size = hulls[name], sizes[name]
        more = size[hull[at + 1]] - size[hull[at]]
        if more > left:
            continue
        left, chosen[name] = left - more, hull[at + 1]
        if at + 2 < len(hull):
            heapq.heappush(steps, (-_worth(hull, at + 1, size, damage[name]), name, at + 1))
    return chosen


def _worth(hull: Sequence[Scheme], at: int, size: Mapping[Scheme, int], damage: Mapping[Scheme, float]) -> float:
    """What a step from one scheme to the next takes away a stored bit."""
    return (damage[hull[at]] - damage[hull[at + 1]]) / (size[hull[at + 1]] - size[hull[at]])


def _hull(size: Mapping[Scheme, int], damage: Mapping[Scheme, float]) -> list[Scheme]:
    """The schemes, fewest bits first, of which each step is worth less than the one before."""
    hull: list[Scheme] = []
    for scheme in sorted(size, key=lambda scheme: (size[scheme], damage[scheme])):
        if hull and (size[scheme] == size[hull[-1]] or damage[scheme] >= damage[hull[-1]]):
            continue
        hull.append(scheme)
        while len(hull) > 2 and _worth(hull, len(hull) - 2, size, damage) >= _worth(hull, len(hull) - 3, size, damage):
            del hull[-2]
    return hull


def mixed(
    model: Any, plan: Plan, schemes: Sequence[Scheme], rows: Calibration, bits_per_weight: float,
    watch: Callable[[], None] = lambda: None,
) -> dict[str, Scheme | None]:  # fmt: skip
    """The plan with the blocks' weights at these schemes as the rule says. bits_per_weight: the blocks' mean, scales counted.

    watch: called after each choice (`choices_of`) is measured.
    """
    choices = choices_of(model, plan, schemes)
    damage: dict[str, dict[Scheme, float]] = {name: {} for name in choices}
    for name, scheme, found in damages(model, choices, rows):
        damage[name][scheme] = found
        watch()
    return {**plan, **spent(model, choices, damage, bits_per_weight)}
