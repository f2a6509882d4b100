"""The rows of an optimizer step, divided into forward passes that hold little padding and are of like size."""

from __future__ import annotations

from collections.abc import Sequence


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
