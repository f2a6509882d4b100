"""What people see: parts of a text that stand out, in colour on a terminal and in brackets elsewhere."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from ptft.core.progress import Piece, Silent, bracketed
from ptft.ui import Terminal

PIECES = [Piece("[user] 你好\n", False), Piece("[bold]hi[/]", True), Piece("\n", False)]


def shown(monkeypatch: pytest.MonkeyPatch, *, terminal: bool, quiet: bool = False, no_color: bool = False) -> str:
    ui = Terminal(quiet=quiet)
    file = io.StringIO()
    colours = "standard" if terminal else None
    console = Console(
        file=file, force_terminal=terminal, highlight=False, soft_wrap=True, no_color=no_color, color_system=colours
    )
    monkeypatch.setattr(ui, "console", console)
    ui.marked("3 rows; the first", PIECES)
    return file.getvalue()


def test_what_is_marked_is_in_brackets_where_there_are_no_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = shown(monkeypatch, terminal=False)
    assert plain == "3 rows; the first; what is learnt in ⟦⟧:\n[user] 你好\n⟦[bold]hi[/]⟧\n\n"
    assert "⟦[bold]hi[/]⟧" in shown(monkeypatch, terminal=True, no_color=True)


def test_what_is_marked_is_in_colour_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    coloured = shown(monkeypatch, terminal=True)
    assert "\x1b[1;32m[bold]hi[/]\x1b[0m" in coloured and "⟦" not in coloured
    assert "[user] 你好\n\x1b" in coloured  # what is not learnt has no colour


def test_a_quiet_terminal_shows_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert shown(monkeypatch, terminal=True, quiet=True) == ""


def test_silence_keeps_it_for_tests() -> None:
    progress = Silent()
    progress.marked("title", PIECES)
    assert progress.notes == [f"title\n{bracketed(PIECES)}"] and bracketed(PIECES) == "[user] 你好\n⟦[bold]hi[/]⟧\n"
