"""Calibration: the expected calibration error, and a reliability diagram as inline SVG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ptft.stages.eval.page import figures
from ptft.stages.eval.page.figures import Scores, number
from ptft.stages.eval.page.markup import Html, Section, details, note, section, table, tag
from ptft.stages.eval.page.plots import picture

SIDE, LEFT, FOOT, COUNTS = 300, 42, 34, 64  # pixels: the diagram's square, margins, and the bars of counts below


def section_of(scores: Scores) -> Section | None:
    bins = list(((scores.get("figures") or {}).get("calibration") or {}).get("bins") or [])
    if not any(item.get("n") for item in bins):
        return None
    ece = figures.number(figures.metrics(scores).get("ece", {}).get("score"))
    said = f"Expected calibration error (ECE) {calibration_error(bins) if ece is None else ece:.4f}: the mean gap between confidence and accuracy, by rows."
    key = note(
        "Bars: accuracy of the rows of a bin. ", tag("span", "Solid lines", class_="key-confidence"),
        ": their mean confidence. Dashed: perfect calibration. A bar below its line is overconfident.",
    )  # fmt: skip
    rows = [
        (f"{item['low']:.2f} to {item['high']:.2f}", f"{item['n']:,}", *(figures.shown("accuracy", item.get(part)) for part in ("confidence", "accuracy")))
        for item in bins[:100]
        if item.get("n")
    ]  # fmt: skip
    numbers = table("Calibration by bins of confidence", ("confidence", "rows", "mean confidence", "accuracy"), rows)
    return section(
        "calibration", "Calibration", tag("p", said), reliability(bins[:100]), key, details("numbers", numbers)
    )


def calibration_error(bins: Sequence[Mapping[str, Any]]) -> float:
    """Guo et al. 2017, equation 3."""
    filled = [item for item in bins if item.get("n")]
    gaps = (item["n"] * abs(item["accuracy"] - item["confidence"]) for item in filled)
    return float(sum(gaps) / sum(item["n"] for item in filled))


# ---------------------------------------------------------------- the diagram


def reliability(bins: Sequence[Mapping[str, Any]]) -> Html:
    """Accuracy by confidence (Guo et al. 2017, figure 1): a bar a bin, the bin's mean confidence as a line, counts below."""
    filled = [item for item in bins if item.get("n") and number(item.get("accuracy")) is not None]
    most = max((item["n"] for item in filled), default=1)
    parts = [*_frame(), *(part for item in filled for part in _bin(item, most))]
    bottom = SIDE + FOOT + COUNTS
    parts += [
        tag("line", x1=LEFT, x2=LEFT + SIDE, y1=bottom, y2=bottom, class_="axis"),
        tag("text", f"{most:,}", x=LEFT - 6, y=SIDE + FOOT + 10, text_anchor="end"),
        tag("text", "0", x=LEFT - 6, y=bottom, text_anchor="end"),
        tag("text", "rows by confidence", x=LEFT + SIDE / 2, y=bottom + 16, text_anchor="middle"),
    ]
    said = f"Reliability diagram of {len(filled)} bins: accuracy against confidence. The table below has its numbers."
    return picture(LEFT + SIDE + 12, bottom + 24, said, parts, "large")


def _frame() -> list[Html]:
    parts = [
        tag("rect", x=LEFT, y=4, width=SIDE, height=SIDE, class_="frame"),
        tag("line", x1=LEFT, x2=LEFT + SIDE, y1=4 + SIDE, y2=4, class_="mark"),
        tag("text", "accuracy", x=0, y=0, transform=f"translate(12 {SIDE / 2}) rotate(-90)", text_anchor="middle"),
    ]
    for tick in (0.0, 0.5, 1.0):
        parts.append(tag("text", f"{tick:g}", x=LEFT + tick * SIDE, y=SIDE + 18, text_anchor="middle"))
        parts.append(tag("text", f"{tick:g}", x=LEFT - 6, y=8 + SIDE - tick * (SIDE - 4), text_anchor="end"))
    return parts


def _bin(item: Mapping[str, Any], most: int) -> list[Html]:
    left, width = LEFT + item["low"] * SIDE + 1, max(1.0, (item["high"] - item["low"]) * SIDE - 2)
    confidence, accuracy = number(item.get("confidence")), float(item["accuracy"])
    said = tag("title", f"{item['low']:.2f} to {item['high']:.2f}: {item['n']:,} rows, accuracy {accuracy:.3f}")
    place = {"x": round(left, 1), "width": round(width, 1)}
    tall = round(item["n"] / most * COUNTS, 1)
    parts = [
        tag(
            "rect", said, y=round(4 + SIDE * (1 - accuracy), 1), height=round(SIDE * accuracy, 1), class_="bar", **place
        ),
        tag("rect", said, y=round(SIDE + FOOT + COUNTS - tall, 1), height=tall, class_="count", **place),
    ]
    if confidence is not None:
        y = round(4 + SIDE * (1 - confidence), 1)
        parts.append(tag("line", x1=place["x"], x2=round(left + width, 1), y1=y, y2=y, class_="confidence"))
    return parts
