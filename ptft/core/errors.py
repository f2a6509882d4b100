"""Errors that reach the user, each with what to do next.

    PtftError               exit code
    ├── UsageError          2    the command is wrong
    │   └── RecipeError     2    the recipe is wrong: every problem in it, together
    ├── InputError          3    a file, a row or a folder is wrong
    ├── RunError            4    the run failed: out of memory, disk full
    │   └── Diverged        4    training went astray
    ├── GateError           5    a quality gate was not met; the output is complete
    └── Interrupted       130    stopped by the user; the same command goes on

`ptft.cli` is the one place that catches them and turns them into a red line and an exit code.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence
from typing import Any


class PtftError(Exception):
    """What is wrong, where (a file, a line, a knob), and what to do next."""

    exit_code = 1

    def __init__(self, message: str, *, remedy: str, where: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.where = where
        self.remedy = remedy

    def __reduce__(self) -> tuple[Callable[..., PtftError], tuple[Any, ...]]:
        """So that an error raised in a worker process arrives as it was."""
        return _rebuilt, (type(self), self.__dict__)

    def __str__(self) -> str:
        return f"{self.where}: {self.message}" if self.where else self.message


def _rebuilt(kind: type[PtftError], state: dict[str, Any]) -> PtftError:
    error = kind.__new__(kind, state["message"])
    error.__dict__.update(state)
    return error


class UsageError(PtftError):
    exit_code = 2


class RecipeError(UsageError):
    """Every problem of one recipe at once, so that nobody mends them one run at a time."""

    def __init__(self, stage: str, problems: Sequence[str], *, where: str | None = None) -> None:
        count = "a problem" if len(problems) == 1 else f"{len(problems)} problems"
        remedy = f"`ptft {stage} --help` lists the flags, `ptft {stage} --knobs` every knob with its default"
        super().__init__(f"the recipe of {stage} has {count}:", remedy=remedy, where=where)
        self.problems = tuple(problems)

    def __str__(self) -> str:
        return "\n".join([super().__str__(), *(f"  - {problem}" for problem in self.problems)])


class InputError(PtftError):
    exit_code = 3


class RunError(PtftError):
    exit_code = 4


class Diverged(RunError):
    """Training went astray; other settings are the remedy, so the folder may be begun anew with them."""


class GateError(PtftError):
    exit_code = 5


class Interrupted(PtftError):
    exit_code = 130

    def __init__(self) -> None:
        super().__init__("interrupted", remedy="run the same command again: it goes on where it stopped")


def from_os_error(error: OSError) -> PtftError:
    """The clear error for a file system that will not write; anything else is a plain `RunError`."""
    where = str(error.filename) if error.filename else None
    cut_short = error.errno is None and "requested and" in str(error)  # numpy's words for a short write
    if error.errno in (errno.ENOSPC, errno.EDQUOT) or cut_short:
        remedy = "free some space, then run the same command again: it goes on where it stopped"
        return RunError("the disk is full", where=where, remedy=remedy)
    if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
        return RunError("cannot write here", where=where, remedy="choose another --out, or change the permissions")
    return RunError(error.strerror or str(error), where=where, remedy="run the same command again once this is mended")
