"""A score with its interval on its axis, as inline SVG. Colours come from the style."""

from __future__ import annotations

from collections.abc import Sequence

from ptft.stages.eval.page.markup import Html, joined, tag

WIDE, HIGH, EDGE = 220, 26, 6  # of an interval's picture, in pixels
SIDE, LEFT, FOOT, COUNTS = (
    300,
    42,
    34,
    64,
)  # of a reliability diagram: its square, margins, and the bars of counts below


def interval(
    value: float | None,
    ends: tuple[float, float] | None,
    axis: tuple[float, float],
    label: str,
    mark: float | None = None,
) -> Html:
    """A point and its interval on an axis. mark: another value to compare with, a dashed line (zero, or the score of all rows)."""
    if value is None:
        return Html("")

    def at(x: float) -> float:
        low, high = axis
        place = (min(max(x, low), high) - low) / (high - low) if high > low else 0.5
        return round(EDGE + place * (WIDE - 2 * EDGE), 1)

    middle = HIGH / 2
    parts = [tag("line", x1=EDGE, x2=WIDE - EDGE, y1=middle, y2=middle, class_="axis")]
    parts += [tag("line", x1=at(x), x2=at(x), y1=middle - 4, y2=middle + 4, class_="axis") for x in axis]
    if mark is not None:
        parts.append(tag("line", x1=at(mark), x2=at(mark), y1=1, y2=HIGH - 1, class_="mark"))
    if ends is not None:
        low, high = at(ends[0]), at(ends[1])
        parts.append(
            tag("rect", x=low, y=middle - 3.5, width=round(max(high - low, 1.5), 1), height=7, class_="interval")
        )
    parts.append(tag("circle", cx=at(value), cy=middle, r=4, class_="point"))
    return picture(WIDE, HIGH, label, parts, "small")


def picture(width: int, height: int, label: str, parts: Sequence[str], class_: str) -> Html:
    return tag("svg", joined(parts), viewBox=f"0 0 {width} {height}", role="img", aria_label=label, class_=class_)
