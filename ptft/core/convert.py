"""Text, or what YAML made of it, as the type a knob has."""

from __future__ import annotations

import difflib
import re
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any, Literal

SUFFIXES = {"K": 10**3, "M": 10**6, "B": 10**9, "G": 10**9, "T": 10**12}


def convert(raw: Any, kind: Any) -> Any:
    """A raw value (from YAML or a flag) as the knob's type; `ValueError` says what was expected.

    "25M" is an int, "4e-3" and "2%" are floats, "a,b" is a tuple of strings.
    """
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        return _convert_union(raw, args)
    if origin is Literal:
        if isinstance(raw, bool):  # YAML reads an unquoted on or off as true or false
            raw = next((word for word in (("on", "yes") if raw else ("off", "no")) if word in args), raw)
        if raw in args:
            return raw
        raise ValueError(f"expected one of {', '.join(map(str, args))}" + _close_choice(raw, args))
    if origin is tuple:
        items = [part.strip() for part in raw.split(",") if part.strip()] if isinstance(raw, str) else raw
        if not isinstance(items, list | tuple):
            items = [items]
        return tuple(convert(item, args[0]) for item in items)
    if origin is dict:
        if not isinstance(raw, Mapping):
            raise ValueError("expected a mapping")
        return {str(key): str(value) for key, value in raw.items()}
    return _convert_scalar(raw, kind)


def _convert_union(raw: Any, options: Sequence[Any]) -> Any:
    if raw is None and type(None) in options:
        return None
    expected = []
    for option in options:
        if option is type(None):
            continue
        try:
            return convert(raw, option)
        except ValueError as error:
            expected.append(str(error))
    raise ValueError("; or ".join(expected))


def _close_choice(raw: Any, choices: Sequence[Any]) -> str:
    close = difflib.get_close_matches(str(raw), [str(choice) for choice in choices], n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else ""


def _convert_scalar(raw: Any, kind: Any) -> Any:
    if kind is bool:
        if isinstance(raw, bool):
            return raw
        raise ValueError("expected true or false")
    if kind is str:
        if isinstance(raw, str):
            return raw
        if isinstance(raw, int | float) and not isinstance(raw, bool):
            return str(raw)
        raise ValueError(
            "expected text" + (" (YAML reads yes, no, on and off as true or false: quote it)" * isinstance(raw, bool))
        )
    if kind is int:
        return _whole(raw)
    if kind is float:
        return _number(raw)
    raise TypeError(f"recipes cannot hold a {kind}")


def _whole(raw: Any) -> int:
    if isinstance(raw, int) and not isinstance(raw, bool):
        return raw
    if isinstance(raw, float) and raw.is_integer():
        return int(raw)
    if isinstance(raw, str):
        match = re.fullmatch(r"([+-]?[\d_]+(?:\.\d+)?)([KMBGT]?)", raw.strip(), re.IGNORECASE)
        if match:
            value = float(match[1].replace("_", "")) * SUFFIXES.get(match[2].upper(), 1)
            if value.is_integer():
                return int(value)
    raise ValueError("expected a whole number (500, 25M)")


def _number(raw: Any) -> float:
    if isinstance(raw, int | float) and not isinstance(raw, bool):
        return float(raw)
    if isinstance(raw, str):
        text = raw.strip()
        try:
            return float(text[:-1]) / 100 if text.endswith("%") else float(text)
        except ValueError:
            pass
    raise ValueError("expected a number (0.1, 4e-3, 2%)")
