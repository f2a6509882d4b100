"""What a task takes from a row: a column by its name, or the text of a Jinja template, as in lm-evaluation-harness."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

_WORD = re.compile(r"\w+")


class Unfit(Exception):
    """Why a row does not fit a task."""


@dataclass(frozen=True)
class Field:
    """source: a column's name, or a template; a list or a number is itself. constant: a plain word may be text of its own."""

    source: Any
    constant: bool = False

    def value(self, row: Mapping[str, Any]) -> Any:
        """The column's value, or the template's text. Raises `Unfit` where the row lacks what it asks for."""
        if not isinstance(self.source, str):
            return self.source
        if self.source in row:
            return row[self.source]
        if not self.constant and _WORD.fullmatch(self.source):
            raise Unfit(f"no field {self.source!r}; the row has {_fields(row)}")
        return _rendered(self.source, row)

    def text(self, row: Mapping[str, Any]) -> str:
        value = self.value(row)
        if value is None:
            raise Unfit(f"the field {self.source!r} is empty (null)")
        return value if isinstance(value, str) else str(value)

    def listed(self, row: Mapping[str, Any]) -> list[Any]:
        """A list: of the column, of the file, or what the template writes as Python does. Raises `Unfit` for anything else."""
        value = self.value(row)
        if isinstance(value, str):
            try:
                value = ast.literal_eval(value)
            except (SyntaxError, ValueError) as error:
                raise Unfit(f"{self.source!r} is not a list: {value[:60]!r}") from error
        if isinstance(value, Mapping):  # a column as the hub's data sets have it: {"text": [...], "label": [...]}
            value = value.get("text", list(value.values()))
        if not isinstance(value, list | tuple):
            raise Unfit(f"{self.source!r} is {type(value).__name__}, not a list")
        return list(value)


def problem_of(source: Any) -> str | None:
    """What is wrong with a template as it is written."""
    from jinja2 import TemplateSyntaxError

    if not isinstance(source, str):
        return None
    try:
        _compiled(source)
    except TemplateSyntaxError as error:
        return f"not a valid template: {error.message}"
    return None


def _fields(row: Mapping[str, Any]) -> str:
    return ", ".join(repr(name) for name in row if name != "id")  # a row without one was given its place


def _rendered(source: str, row: Mapping[str, Any]) -> str:
    from jinja2 import UndefinedError

    if "{" not in source:
        return source
    try:
        return str(_compiled(source).render(**row))
    except UndefinedError as error:
        raise Unfit(f"the template {_short(source)}: {error.message}; the row has {_fields(row)}") from error
    except Exception as error:  # a template may call anything that its values have
        raise Unfit(f"the template {_short(source)} fails on it: {error}") from error


def _short(source: str) -> str:
    return repr(source if len(source) <= 60 else source[:57] + "...")


@cache
def _environment() -> Any:
    """Sandboxed: a task file may come from anywhere. Strict: a missing field is an error. The rest is as the harness has it."""
    from jinja2 import BaseLoader, StrictUndefined
    from jinja2.sandbox import SandboxedEnvironment

    made = SandboxedEnvironment(loader=BaseLoader(), undefined=StrictUndefined, keep_trailing_newline=True)
    made.filters["regex_replace"] = lambda text, pattern, repl, count=0: re.sub(pattern, repl, text, count=count)
    return made


@cache
def _compiled(source: str) -> Any:
    return _environment().from_string(source)
