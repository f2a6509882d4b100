"""The Markdown summary, read back by a Markdown parser."""

from __future__ import annotations

import re
from itertools import pairwise

import evaluated
import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token

from ptft.stages.eval.page.markdown import markdown, table, text
from ptft.stages.eval.page.markup import clean


def parsed(page: str) -> list[Token]:
    return MarkdownIt("commonmark").enable("table").parse(page)


def cells(page: str) -> list[list[str]]:
    """The text of every table's cells, by rows."""
    rows: list[list[str]] = []
    tokens = parsed(page)
    for before, token in pairwise(tokens):
        if before.type == "tr_open":
            rows.append([])
        if token.type == "inline" and before.type in ("td_open", "th_open"):
            rows[-1].append("".join(child.content for child in token.children or []))
    return rows


@pytest.mark.parametrize("kind", evaluated.EVERY)
def test_every_kind_has_its_scores(kind: str) -> None:
    scores, rows = evaluated.EVERY[kind]()
    found = cells(markdown(scores, rows))
    assert found[0] == ["metric", "score", "95 % interval", "better"]
    assert [row[0] for row in found[1 : 1 + len(scores["metrics"])]] == list(scores["metrics"])


def test_what_is_said_of_labels() -> None:
    page = markdown(*evaluated.labels())
    found = cells(page)
    for row in (
        ["accuracy", "0.8500", "0.7667 - 0.9333", "higher"], ["auroc", "no value", "only one label occurs", "higher"],
        ["metric", "this run", "baseline <i>", "difference", "95 % interval", "p"],
        ["log_loss", "0.4321", "0.4", "+0.0321", "+0.01 to +0.05", "< 0.001"],
        ["体育 <b>sport</b>", "0.9000", "0.8500", "0.8700", "20"], ["lang", "rows", "accuracy", "f1", "mcc", "auroc", "log_loss", "ece"],
        ["row-56", "tech|科技", "business", "probability 0.873"],
    ):  # fmt: skip
        assert row in found, row
    assert "**Warning:** 3 of 60 rows" in page and "6 rows gained (better here), 2 lost by accuracy." in page
    html_blocks = {token.content.strip() for token in parsed(page) if token.type == "html_block"}
    assert {block.split(">")[0] for block in html_blocks} == {"<details", "</details"}


def test_signatures_are_said() -> None:
    assert "`nrefs:1|case:mixed|eff:no|tok:zh|smooth:exp|version:2.6.0`" in markdown(*evaluated.texts())


@given(st.text(min_size=1, max_size=40).filter(lambda value: value.strip()))
def test_any_text_in_a_cell_is_just_that_text(value: str) -> None:
    page = "\n".join(table(("name", "n"), [(text(value), "1")]))
    found = cells(page)
    assert found == [["name", "n"], [" ".join(re.split(r"\s+", clean(value))).strip(), "1"]]
    assert not [
        token for token in parsed(page) for child in token.children or [] if child.type not in ("text", "text_special")
    ]


@pytest.mark.parametrize("value", ["a|b", "a\nb", "<script>", "**bold**", "[x](y)", "\\|", "`code`", "&lt;", "# head"])
def test_markup_is_shown_not_done(value: str) -> None:
    found = cells("\n".join(table(("name", "n"), [(text(value), "1")])))
    assert found[1] == [" ".join(value.split()), "1"]
