"""Objects in an image that were missed or imagined."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ptft.stages.eval.page.figures import number

SURE, SAME = 0.5, 0.5  # confidence from which a box counts, and overlap from which two boxes are of one object


def box_faults(row: Mapping[str, Any]) -> tuple[int, int]:
    """Objects that no confident box of their label overlaps by half, and confident boxes that match no object."""
    wanted = list(row.get("reference") or ())
    made = [box for box in row.get("prediction") or () if (number(box.get("score", 1.0)) or 0.0) >= SURE]
    imagined = 0
    for box in sorted(made, key=lambda box: -(number(box.get("score", 1.0)) or 0.0)):
        same = [other for other in wanted if other.get("label") == box.get("label")]
        match = max(same, key=lambda other: overlap(other["box"], box["box"]), default=None)
        if match is not None and overlap(match["box"], box["box"]) >= SAME:
            wanted.remove(match)
        else:
            imagined += 1
    return len(wanted), imagined


def overlap(one: Sequence[float], other: Sequence[float]) -> float:
    """Intersection over union of two boxes [x, y, width, height]."""
    width = min(one[0] + one[2], other[0] + other[2]) - max(one[0], other[0])
    height = min(one[1] + one[3], other[1] + other[3]) - max(one[1], other[1])
    shared = max(width, 0.0) * max(height, 0.0)
    union = one[2] * one[3] + other[2] * other[3] - shared
    return shared / union if union > 0 else 0.0
