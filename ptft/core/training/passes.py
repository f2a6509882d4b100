"""Forward passes: how many examples one takes, and how the rows of an optimizer step are divided into passes of like size."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch

from ptft.core.training.data import Source
from ptft.core.training.rows import Flat

# Of one length; padded to the longest; one behind the other, where attention is the square of them all
Passes = Literal["even", "padded", "flat"]
PASS_TOKENS: dict[str, dict[Passes, int]] = {
    "cpu": {"even": 2048, "padded": 512, "flat": 512}, "cuda": {"even": 16_384, "padded": 16_384, "flat": 4096},
}  # fmt: skip


def passes_of(source: Source, collate: Callable[..., Any]) -> Passes:
    """How the examples of a source lie in a forward pass."""
    if not hasattr(source, "lengths"):
        return "even"
    return "flat" if isinstance(collate, Flat) else "padded"


def micro_batch_of(batch: int, wanted: int, length: int, processes: int = 1, passes: Passes = "even") -> int:
    """Examples a forward pass: the largest divisor of a process's share of `batch` that is at most `wanted`.

    A divisor, so that accumulation is exact. wanted 0: what fills a GPU, or stays within a CPU's cache (measured:
    docs/log.md), given `length` tokens an example, the mean where they are of unequal length. passes: how examples lie in one.
    """
    tokens = PASS_TOKENS["cuda" if torch.cuda.is_available() else "cpu"][passes]
    share = max(1, batch // processes)
    most = wanted or max(1, tokens // length)
    return next(size for size in range(min(most, share), 0, -1) if share % size == 0)


def even_passes(lengths: Sequence[int], count: int) -> list[list[int]]:
    """Indices of rows in `count` groups, longest rows first, such that the largest group is as small as can be.

    A group's size is its rows times its longest: what a padded batch holds. What is learnt does not depend on the division,
    for the loss is summed over the rows of the step. Raises ValueError for fewer rows than groups.
    """
    if not 0 < count <= len(lengths):
        raise ValueError(f"{len(lengths)} rows cannot make {count} groups")
    order = sorted(range(len(lengths)), key=lambda row: -lengths[row])  # stable: of equals, the earlier first
    low, high = lengths[order[0]], lengths[order[0]] * len(order)
    while low < high:
        middle = (low + high) // 2
        if len(_filled([lengths[row] for row in order], middle)) <= count:
            high = middle
        else:
            low = middle + 1
    sizes = _exactly([lengths[row] for row in order], _filled([lengths[row] for row in order], low), count)
    ends = [sum(sizes[: number + 1]) for number in range(count)]
    return [order[end - size : end] for size, end in zip(sizes, ends, strict=True)]


def even_sums(lengths: Sequence[int], count: int) -> list[list[int]]:
    """Indices of rows in `count` groups of like sums: the longest first, each to the group that holds least.

    For rows that lie one behind the other in a pass. Raises ValueError for fewer rows than groups.
    """
    if not 0 < count <= len(lengths):
        raise ValueError(f"{len(lengths)} rows cannot make {count} groups")
    groups: list[list[int]] = [[] for _ in range(count)]
    held = [0] * count
    for row in sorted(range(len(lengths)), key=lambda row: -lengths[row]):
        least = min(range(count), key=lambda group: (held[group], len(groups[group])))
        groups[least].append(row)
        held[least] += lengths[row]
    return groups


def _filled(lengths: Sequence[int], most: int) -> list[int]:
    """How many rows each group takes where none is larger than `most`; lengths fall, so a group's first row is its longest."""
    sizes: list[int] = []
    start = 0
    while start < len(lengths):
        size = max(1, min(len(lengths) - start, most // max(lengths[start], 1)))
        sizes.append(size)
        start += size
    return sizes


def _exactly(lengths: Sequence[int], sizes: list[int], count: int) -> list[int]:
    """The same groups, the largest ones halved until there are `count`."""
    sizes = list(sizes)
    while len(sizes) < count:
        starts = [sum(sizes[:number]) for number in range(len(sizes))]
        held = [size * lengths[start] if size > 1 else 0 for size, start in zip(sizes, starts, strict=True)]
        largest = held.index(max(held))
        half = sizes[largest] // 2
        sizes[largest : largest + 1] = [half, sizes[largest] - half]
    return sizes
