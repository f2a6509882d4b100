"""One result as one HTML page: everything is inside it, it runs no script, and fetches nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ptft.stages.eval.page import calibration, compared, confusion, figures, overview, sections
from ptft.stages.eval.page.figures import Scores
from ptft.stages.eval.page.markup import Html, Section, joined, tag
from ptft.stages.eval.page.style import STYLE


@dataclass(frozen=True)
class Facts:
    """What scores.json does not say. worst: rows that are listed; the rest is shown where it is given, or where scores hold it."""

    title: str = ""
    worst: int = 20
    command: tuple[str, ...] = ()
    versions: Mapping[str, str] = field(default_factory=dict)


def html(scores: Scores, rows: Sequence[Mapping[str, Any]], facts: Facts | None = None) -> str:
    """The page of scores.json's content and its prediction rows.

    Its size is bounded: of the rows only the worst are there, with at most 3,000 characters of a text. The same scores and
    rows make the same bytes.
    """
    facts = facts or Facts()
    title = facts.title or figures.title(scores)
    parts = [part for part in _parts(scores, rows, facts) if part is not None]
    links = (tag("a", part.title, href=f"#{part.ident}") for part in parts)
    body = [
        tag("header", tag("h1", "ptft eval: ", title), overview.warnings(scores), overview.overview(scores)),
        tag("nav", joined(links, " "), aria_label="Sections"),
        tag("main", joined((part.html for part in parts), "\n")),
    ]
    return f'<!doctype html>\n<html lang="en">\n{_head(title)}\n{tag("body", joined(body, chr(10)))}\n</html>\n'


def _parts(scores: Scores, rows: Sequence[Mapping[str, Any]], facts: Facts) -> list[Section | None]:
    return [
        sections.metrics(scores), compared.section_of(scores), sections.classes(scores), confusion.section_of(scores),
        calibration.section_of(scores), sections.slices(scores), sections.worst_rows(scores, rows, facts.worst),
        sections.overlap(scores), sections.settings(scores), sections.reproduce(scores, facts.command, facts.versions),
    ]  # fmt: skip


def _head(title: str) -> Html:
    policy = {"http_equiv": "Content-Security-Policy", "content": "default-src 'none'; style-src 'unsafe-inline'"}
    return tag(
        "head", tag("meta", charset="utf-8"), tag("meta", **policy), tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"), tag("title", "ptft eval: ", title), tag("style", Html(STYLE)),
    )  # fmt: skip
