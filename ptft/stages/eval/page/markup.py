"""HTML in which everything is escaped that is not markup already, by construction."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

from ptft.core.metrics.writing import UNSPACED

# control characters have pictures of their own; a lone surrogate cannot be written as UTF-8; noncharacters are no HTML
_PICTURES = {code: 0x2400 + code for code in range(32) if code not in (9, 10)} | {127: 0x2421}
_UNWRITABLE = re.compile(r"[\ud800-\udfff\x80-\x9f\ufdd0-\ufdef\ufffe\uffff]")
_KANA, _HANGUL, _HAN = re.compile(r"[\u3040-\u30ff]"), re.compile(r"[\uac00-\ud7af]"), re.compile(f"[{UNSPACED}]")
_TAG, _NUMBER = re.compile(r"<[^>]*>"), re.compile(r"[+-]?[\d,.]+(?:e[+-]?\d+)?%?|< 0\.001")
_VOID = {"br", "meta", "line", "rect", "circle", "path"}


class Html(str):
    """Markup: it is not escaped again."""

    __slots__ = ()


def tag(element: str, *children: str, **attributes: str | float | None) -> Html:
    """An element; children that are not `Html` are escaped. class_ is "class", aria_label is "aria-label"; None leaves out."""
    given = "".join(
        f' {name.rstrip("_").replace("_", "-")}="{escaped(str(value))}"'
        for name, value in attributes.items()
        if value is not None
    )
    if element in _VOID and not children:
        return Html(f"<{element}{given}/>")
    return Html(f"<{element}{given}>{joined(children)}</{element}>")


def joined(children: Iterable[str], between: str = "") -> Html:
    return Html(escaped(between).join(escaped(child) for child in children))


def escaped(text: str) -> Html:
    """`text` as HTML, control characters made visible."""
    return text if isinstance(text, Html) else Html(escape(clean(text)))


def clean(text: str) -> str:
    """Without what no file of UTF-8 or page can hold."""
    return _UNWRITABLE.sub("\ufffd", text.replace("\r\n", "\n").translate(_PICTURES))


def data(text: str, element: str = "span", class_: str | None = None) -> Html:
    """A text of unknown language and direction, marked as such: Chinese needs Chinese glyphs and a Chinese voice."""
    return tag(element, text, class_=class_, lang=language(text), dir="auto")


def language(text: str) -> str:
    """What a browser needs to know to choose glyphs; "" where the letters do not tell."""
    start = text[:2000]
    if _KANA.search(start):
        return "ja"
    if _HANGUL.search(start):
        return "ko"
    return "zh" if _HAN.search(start) else ""


def short(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def name(text: str, most: int = 60) -> Html:
    """A label, an id or a file's name; what is too long is cut and whole, nearly, in its title."""
    shown = short(text, most)
    return tag(
        "span",
        shown,
        lang=language(text),
        dir="auto",
        title=None if shown == text else short(text, 1000),
        class_="name",
    )


# ---------------------------------------------------------------- larger parts


@dataclass(frozen=True)
class Section:
    """A part of the page that a link leads to."""

    ident: str
    title: str
    body: Html

    @property
    def html(self) -> Html:
        heading = f"{self.ident}-title"
        return tag("section", tag("h2", self.title, id=heading), self.body, id=self.ident, aria_labelledby=heading)


def section(ident: str, title: str, *children: str) -> Section:
    return Section(ident, title, joined(children))


def table(caption: str, head: Sequence[str], rows: Iterable[Sequence[str]], class_: str | None = None) -> Html:
    """A table whose first column names the rows; numbers are aligned right. It scrolls sideways within itself where it must."""
    held = list(rows)
    sides = ["number" if place and _are_numbers([row[place] for row in held]) else None for place in range(len(head))]
    top = tag("tr", *(tag("th", column, scope="col", class_=side) for column, side in zip(head, sides, strict=True)))
    body = (tag("tr", tag("th", row[0], scope="row"), *_cells(row[1:], sides[1:])) for row in held)
    whole = tag("table", tag("caption", caption), tag("thead", top), tag("tbody", joined(body, "\n")), class_=class_)
    return scrolling(caption, whole)


def _cells(row: Sequence[str], sides: Sequence[str | None]) -> Iterable[Html]:
    return (tag("td", cell, class_=side) for cell, side in zip(row, sides, strict=True))


def _are_numbers(cells: Sequence[str]) -> bool:
    texts = [_TAG.sub("", cell) for cell in cells]
    return any(map(_NUMBER.fullmatch, texts)) and all(
        _NUMBER.fullmatch(text) or text in ("", "-", "no value") for text in texts
    )


def scrolling(label: str, *children: str) -> Html:
    return tag("div", *children, class_="scroll", tabindex=0, role="region", aria_label=label)


def details(summary: str, *children: str) -> Html:
    return tag("details", tag("summary", summary), *children)


def keep(text: str) -> Html:
    """A text that stays on one line."""
    return tag("span", text, class_="keep")


def note(*children: str) -> Html:
    return tag("p", *children, class_="note")


def warning(*children: str) -> Html:
    return tag("p", tag("strong", "Warning: "), *children, class_="warning", role="note")
