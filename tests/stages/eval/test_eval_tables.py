"""The tables of the terminal: what they say, and that they fit 80 columns."""

from __future__ import annotations

import io

import evaluated
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from ptft.core.progress import Table
from ptft.stages.eval.page.terminal import cut, tables
from ptft.ui import Terminal


def printed(table: Table) -> list[str]:
    terminal = Terminal()
    terminal.console = Console(file=io.StringIO(), width=200, highlight=False)
    terminal.table(table)
    return [line.rstrip() for line in terminal.console.file.getvalue().splitlines()]  # type: ignore[attr-defined]


@pytest.mark.parametrize("kind", evaluated.EVERY)
def test_tables_fit_and_begin_with_the_scores(kind: str) -> None:
    scores, rows = evaluated.EVERY[kind]()
    found = tables(scores)
    assert found[0].title == (f"scores of {len(rows)} rows" if len(rows) > 1 else "scores of 1 row")
    assert [row[0] for row in found[0].rows] == list(scores["metrics"])
    assert max(cell_len(line) for table in found for line in printed(table)) <= 80


def test_what_is_said_of_labels() -> None:
    scores, _ = evaluated.labels()
    titles = {table.title: table for table in tables(scores)}
    assert list(titles) == [
        "scores of 60 rows", "compared with baseline <i> on 58 rows; 6 gained, 2 lost, McNemar's p 0.289", "each label",
        "references down, predictions across", "by lang (4 of 6 metrics)",
    ]  # fmt: skip
    assert titles["scores of 60 rows"].rows[3] == ("auroc", "no value", "only one label occurs", "higher")
    assert titles["by lang (4 of 6 metrics)"].rows[0][:5] == ("en", "30", "0.9000", "0.8000 - 0.9700", "0.8900")
    assert titles["references down, predictions across"].rows[0] == ("business", "17", "3", "0")


def test_what_is_too_much_for_a_terminal_is_left_to_the_page() -> None:
    many = {str(place): {"precision": 1.0, "recall": 1.0, "f1": 1.0, "support": 1} for place in range(13)}
    figure = {"labels": list(many), "counts": [[1] * 13] * 13}
    scores = evaluated.scores_of(
        "labels", {"f1": {"score": 1.0, "ci95": None, "per_class": many}}, [], figures={"confusion": figure}
    )
    assert [table.title for table in tables(scores)] == ["scores of 0 rows"]


@given(st.text(max_size=40), st.integers(1, 40))
def test_a_cut_text_is_no_wider_than_asked(text: str, width: int) -> None:
    assert cell_len(cut(text, width)) <= width or not all(character.isprintable() for character in text)


def test_a_chinese_character_takes_two_columns() -> None:
    assert cut("体育新闻", 8) == "体育新闻" and cut("体育新闻", 7) == "体育新…"
