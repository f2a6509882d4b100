"""What people see, all of it on standard error: progress, tables, warnings, the error line and its hint.

Plain text where standard error is not a terminal, and no progress bars at all there.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table as RichTable
from rich.text import Text

from ptft.core.contracts import Plan
from ptft.core.errors import PtftError
from ptft.core.progress import Piece, Step, Table, bracketed, cell
from ptft.core.record import RunRecord

_NUMBER = re.compile(r"(?=.*\d)[<+\d,.%e±\- ]+( to [+\d,.%e\-]+)?\s*")
WIDE = 200  # columns of a log file or a pipe: nothing is folded there


class _Bar:
    def __init__(self, bars: Progress, task: Any) -> None:
        self._bars, self._task = bars, task

    def advance(self, amount: int = 1, info: str = "") -> None:
        self._bars.update(self._task, advance=amount)
        if info:
            self._bars.update(self._task, info=info)


class _NoBar:
    def advance(self, amount: int = 1, info: str = "") -> None:
        return None


class Terminal:
    """The `Progress` that stages report to. quiet: only warnings and errors."""

    def __init__(self, quiet: bool = False) -> None:
        self.console = Console(stderr=True, highlight=False, soft_wrap=True)
        if not self.console.is_terminal:
            self.console.width = WIDE
        self.quiet = quiet

    @contextmanager
    def step(self, name: str, total: int | None = None, unit: str = "rows") -> Iterator[Step]:
        if self.quiet or not self.console.is_terminal:
            yield _NoBar()
            return
        columns = (
            SpinnerColumn(), TextColumn("{task.description}"), BarColumn(bar_width=24), MofNCompleteColumn(), TextColumn(unit),
            TimeElapsedColumn(), TimeRemainingColumn(), TextColumn("[dim]{task.fields[info]}"),
        )  # fmt: skip
        with Progress(*columns, console=self.console, transient=True) as bars:
            yield _Bar(bars, bars.add_task(name, total=total, info=""))

    def note(self, text: str) -> None:
        if not self.quiet:
            self.console.print(escape(text))

    def warn(self, text: str) -> None:
        self.console.print(f"[yellow]warning:[/] {escape(text)}")

    def table(self, table: Table) -> None:
        if self.quiet:
            return
        if table.title:
            self.console.print(f"[bold]{escape(table.title)}[/]")
        shown = RichTable(box=None, pad_edge=False, show_header=any(table.columns), header_style="dim")
        for number, column in enumerate(table.columns):
            numeric = all(_is_number(row[number]) for row in table.rows)
            shown.add_column(escape(column), justify="right" if numeric and number else "left", overflow="fold")
        for row in table.rows:
            shown.add_row(*(escape(text) for text in row))
        self.console.print(shown, soft_wrap=False)

    def marked(self, title: str, pieces: Sequence[Piece]) -> None:
        """What is marked is in colour; in brackets where there are no colours."""
        if self.quiet:
            return
        coloured = self.console.is_terminal and not self.console.no_color
        how = "what is learnt is green" if coloured else "what is learnt in ⟦⟧"
        self.console.print(f"[bold]{escape(title)}[/]; {how}:")
        if coloured:
            self.console.print(Text.assemble(*((piece.text, "bold green" if piece.marked else "") for piece in pieces)))
        else:
            self.console.print(escape(bracketed(pieces)))

    def error(self, error: PtftError) -> None:
        first, *rest = str(error).split("\n")
        self.console.print(f"[bold red]error:[/] [red]{escape(first)}[/]")
        for line in rest:
            self.console.print(f"[red]{escape(line)}[/]")
        self.console.print(f"[dim]  try:[/] {escape(error.remedy)}")

    def bug(self, error: BaseException) -> None:
        self.console.print(f"[bold red]error:[/] [red]a bug in ptft: {type(error).__name__}: {escape(str(error))}[/]")
        self.console.print("[dim]  try:[/] the same command with --debug shows where; please report it")

    def finished(self, record: RunRecord, out: str, up_to_date: bool) -> None:
        if up_to_date:
            self.note(f"{record.stage}: {out} is up to date")
            return
        rows = [
            (name, value)
            for name, value in {**record.counts, **record.metrics}.items()
            if not isinstance(value, dict | list)
        ]
        self.table(_pairs(f"{record.stage}: {out} ({record.seconds:.1f} s)", rows))

    def plan(self, stage: str, plan: Plan) -> None:
        self.table(_pairs(f"{stage} would do this; nothing was written", plan.lines))
        for table in plan.tables:
            self.table(table)


def _pairs(title: str, rows: Any) -> Table:
    return Table(title, ("", ""), tuple((name.replace("_", " "), cell(value)) for name, value in rows))


def _is_number(text: str) -> bool:
    """Also an interval, a difference, and what is less than a number."""
    return text == "-" or _NUMBER.fullmatch(text) is not None
