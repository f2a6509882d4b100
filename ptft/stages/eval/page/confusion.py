"""The confusion matrix as a shaded table."""

from __future__ import annotations

from collections.abc import Sequence

from ptft.stages.eval.page import figures
from ptft.stages.eval.page.figures import Scores
from ptft.stages.eval.page.markup import Html, Section, joined, language, name, note, scrolling, section, short, tag

MOST, UPRIGHT = 60, 8  # labels that can be read at all, and whose names fit above their columns
DARKEST = 0.55  # of the shade: text on it keeps its contrast, on white and on black


def section_of(scores: Scores) -> Section | None:
    found = figures.confusion(scores)
    if found is None or not found[0]:
        return None
    labels, counts = found
    if len(labels) > MOST:
        return section("confusion", "Confusion matrix", note(f"{len(labels):,} labels are too many for a matrix."))
    text = "A row is a reference, a column a prediction. Shades grow with the share of the row; point at a cell for it."
    return section("confusion", "Confusion matrix", _matrix(labels, counts), note(text))


def _matrix(labels: Sequence[str], counts: Sequence[Sequence[int]]) -> Html:
    caption = "Confusion matrix: references down, predictions across"
    head = (tag("th", _label(label), scope="col") for label in labels)
    top = tag("tr", tag("th", "reference \\ prediction", scope="col"), *head, tag("th", "rows", scope="col"))
    body = joined((_row(labels, place, line) for place, line in enumerate(counts)), "\n")
    class_ = (
        "confusion" if len(labels) <= UPRIGHT else "confusion many" if len(labels) <= 25 else "confusion many dense"
    )
    return scrolling(
        caption, tag("table", tag("caption", caption), tag("thead", top), tag("tbody", body), class_=class_)
    )


def _label(label: str) -> Html:
    """The name of a column: where that is narrow, Latin letters lie on their side and Chinese ones stand."""
    return tag("span", name(label, 24), class_="turned upright" if language(label) else "turned")


def _row(labels: Sequence[str], place: int, line: Sequence[int]) -> Html:
    whole = sum(line)
    cells = (_cell(count, whole, labels[place], labels[column], column == place) for column, count in enumerate(line))
    return tag("tr", tag("th", name(labels[place], 24), scope="row"), *cells, tag("td", f"{whole:,}", class_="sum"))


def _cell(count: int, whole: int, wanted: str, made: str, right: bool) -> Html:
    if not count:
        return Html('<td class="zero">0</td>')
    colour = "--right" if right else "--wrong"
    part = DARKEST * (count / whole) ** 0.5  # a few errors are seen, too
    said = f"{short(wanted, 40)} predicted as {short(made, 40)}: {figures.share(count, whole)} of {whole:,}"
    return tag("td", f"{count:,}", style=f"background:rgb(var({colour})/{part:.2f})", title=said)
