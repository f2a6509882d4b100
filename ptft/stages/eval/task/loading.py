"""YAML of task files, with the tags of lm-evaluation-harness."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ptft.core.errors import InputError
from ptft.core.files import unreadable


@dataclass(frozen=True)
class Function:
    """What `!function module.name` names: Python beside the file, which is not run."""

    name: str


class _Loader(yaml.SafeLoader):
    pass


def _function(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> Function:
    return Function(str(loader.construct_scalar(node)))


_Loader.add_constructor("!function", _function)


def load(file: Path) -> dict[str, Any]:
    """A file's mapping. Raises `InputError` for one that cannot be read or is no YAML mapping."""
    remedy = "recipes/tasks/ holds examples"
    try:
        found = yaml.load(file.read_text(encoding="utf-8"), Loader=_Loader)
    except OSError as error:
        raise unreadable(file, error) from error
    except UnicodeDecodeError as error:
        raise InputError("the task is not UTF-8 text", where=str(file), remedy="save it as UTF-8") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{file}:{mark.line + 1}" if mark else str(file)
        what = f"not valid YAML: {getattr(error, 'problem', None) or error}"
        raise InputError(what, where=where, remedy=f"mend it; {remedy}") from error
    if not isinstance(found, dict):
        raise InputError("a task is a mapping of keys to values", where=str(file), remedy=remedy)
    return found
