"""How a stage speaks while it works. The stage reports; whoever called it decides what to show."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Table:
    """Rows for people. Every cell is text already; numbers are aligned right."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Piece:
    """A part of a text. marked: it stands out."""

    text: str
    marked: bool


class Step(Protocol):
    """One bar: advanced by units of work, with a short line of current figures."""

    def advance(self, amount: int = 1, info: str = "") -> None: ...


class Progress(Protocol):
    def step(self, name: str, total: int | None = None, unit: str = "rows") -> AbstractContextManager[Step]: ...

    def note(self, text: str) -> None:
        """A line that a person should see, once."""

    def warn(self, text: str) -> None:
        """A line about something that may not be what the user meant."""

    def table(self, table: Table) -> None: ...

    def marked(self, title: str, pieces: Sequence[Piece]) -> None:
        """A text of which parts are to be told from the rest: an example, and what is learnt of it."""


class _NoStep:
    def advance(self, amount: int = 1, info: str = "") -> None:
        return None


class Silent:
    """Progress that nobody watches; it keeps what was said, which tests read."""

    def __init__(self) -> None:
        self.warnings: list[str] = []
        self.notes: list[str] = []
        self.tables: list[Table] = []

    @contextmanager
    def step(self, name: str, total: int | None = None, unit: str = "rows") -> Iterator[Step]:
        yield _NoStep()

    def note(self, text: str) -> None:
        self.notes.append(text)

    def warn(self, text: str) -> None:
        self.warnings.append(text)

    def table(self, table: Table) -> None:
        self.tables.append(table)

    def marked(self, title: str, pieces: Sequence[Piece]) -> None:
        self.notes.append(f"{title}\n{bracketed(pieces)}")


def bracketed(pieces: Sequence[Piece]) -> str:
    """The text, with ⟦⟧ around what is marked."""
    return "".join(f"⟦{piece.text}⟧" if piece.marked else piece.text for piece in pieces)


def table_of(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> Table:
    """A `Table` from any values, printed the house way: 1,234 and 0.1235."""
    return Table(title, tuple(columns), tuple(tuple(cell(value) for value in row) for row in rows))


def cell(value: object) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "-"}[value]
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.1f}" if abs(value) >= 1000 else f"{value:.4g}"
    return str(value)
