"""Recipes: one frozen dataclass a stage, resolved as default < recipe file < flag < --set.

A knob says its meaning, its bounds and its everyday flag where it is declared, so that the command line, the recipe file,
`--knobs` and the checks all read the same line. Every problem is collected before any is reported.
"""

from __future__ import annotations

import dataclasses
import difflib
import operator
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import yaml

from ptft.core.convert import convert
from ptft.core.errors import InputError, RecipeError

R = TypeVar("R", bound="Recipe")


def knob(
    default: Any,
    help: str,
    *,
    flag: str | None = None,
    low: float | None = None,
    high: float | None = None,
    above: float | None = None,
    below: float | None = None,
    path: Literal["folder", "rows", "file"] | None = None,
    identity: bool = True,
) -> Any:
    """Declare one field of a recipe.

    flag: its everyday name on the command line, e.g. "--vocab-size" or "--tokenizer/-t". low, high: inclusive bounds; above,
    below: exclusive. path: the value names an input, hashed by content; a
    "file" knob may hold a name of something else instead. identity: False where the result does not depend on
    it (a worker count), so that changing it keeps a finished output up to date.
    """
    meta = {
        "help": help, "flag": flag, "low": low, "high": high, "above": above, "below": below,
        "path": path, "identity": identity,
    }  # fmt: skip
    if isinstance(default, type) and dataclasses.is_dataclass(default):
        return dataclasses.field(default_factory=default, metadata=meta)
    if isinstance(default, dict):
        return dataclasses.field(default_factory=lambda: dict(default), metadata=meta)
    return dataclasses.field(default=default, metadata=meta)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What every stage's recipe has. Subclasses add their knobs."""

    seed: int = knob(1, "random seed", flag="--seed", low=0, high=2**32 - 1)
    max_bad_rows: float = knob(0.01, "share of unreadable rows above which the stage fails (exit 3)", low=0, high=1)

    def problems(self) -> list[str]:
        """What is wrong between knobs that are each right alone."""
        return []

    def more_inputs(self) -> Mapping[str, tuple[str, ...]]:
        """Rows that files of the recipe name: files by argument or role. A positional argument of that name goes before."""
        return {}


@dataclass(frozen=True)
class Knob:
    """One leaf of a recipe, as the command line and `--knobs` show it."""

    name: str  # dotted
    type: Any
    default: Any
    meta: Mapping[str, Any]

    @property
    def help(self) -> str:
        return str(self.meta.get("help", ""))


def knobs(recipe: type, prefix: str = "") -> Iterator[Knob]:
    """Every leaf knob of a recipe class, nested ones under dotted names."""
    hints = typing.get_type_hints(recipe)
    for field in dataclasses.fields(recipe):
        kind, name = hints[field.name], prefix + field.name
        if dataclasses.is_dataclass(kind) and isinstance(kind, type):
            yield from knobs(kind, name + ".")
        else:
            factory = field.default_factory
            default = field.default if factory is dataclasses.MISSING else factory()
            yield Knob(name, kind, default, field.metadata)


def resolve(
    recipe: type[R],
    stage: str,
    *,
    file: Path | None = None,
    flags: Mapping[str, Any] | None = None,
    sets: Sequence[str] = (),
) -> R:
    """Build a recipe from its layers, or raise `RecipeError` with all that is wrong in any of them."""
    problems: list[str] = []
    layers: list[tuple[str, Mapping[str, Any]]] = []
    if file is not None:
        layers.append((str(file), flat(load_yaml(file, stage, problems))))
    layers.append(("", {name: value for name, value in (flags or {}).items() if value is not None}))
    layers.append(("--set", _parse_sets(sets, problems)))

    leaves = {leaf.name: leaf for leaf in knobs(recipe)}
    values: dict[str, Any] = {}
    for source, layer in layers:
        for name, raw in layer.items():
            _take(name, raw, leaves, values, problems, source)
    for name, value in values.items():
        problems.extend(_out_of_bounds(leaves[name], value))
    if not problems:
        built = _build(recipe, values)
        problems.extend(built.problems())
        if not problems:
            return built
    raise RecipeError(stage, problems)


def as_dict(recipe: Any) -> dict[str, Any]:
    """The whole resolved recipe as plain values, for the run record."""
    return {
        field.name: as_dict(value) if dataclasses.is_dataclass(value := getattr(recipe, field.name)) else plain(value)
        for field in dataclasses.fields(recipe)
    }


def identity_of(recipe: Any) -> dict[str, Any]:
    """The part of a recipe that decides the result; inputs it names are left to their hashes."""
    plain = as_dict(recipe)
    for leaf in knobs(type(recipe)):
        if not leaf.meta.get("identity", True) or leaf.meta.get("path"):
            *parents, last = leaf.name.split(".")
            holder = plain
            for parent in parents:
                holder = holder[parent]
            holder.pop(last, None)
    return plain


def load_yaml(file: Path, stage: str, problems: list[str]) -> dict[str, Any]:
    """A recipe file as a mapping; its optional key `stage` must name this stage."""
    try:
        loaded = yaml.load(file.read_text(encoding="utf-8"), Loader=_UniqueKeyLoader) or {}
    except OSError as error:
        raise InputError(
            f"cannot read the recipe: {error.strerror}", where=str(file), remedy="check --recipe"
        ) from error
    except UnicodeDecodeError as error:
        raise InputError("the recipe is not UTF-8 text", where=str(file), remedy="save it as UTF-8") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{file}:{mark.line + 1}" if mark else str(file)
        problem = getattr(error, "problem", None) or str(error)
        raise RecipeError(stage, [f"not valid YAML: {problem}"], where=where) from error
    if not isinstance(loaded, dict):
        raise RecipeError(stage, ["a recipe is a mapping of knobs to values"], where=str(file))
    named = loaded.pop("stage", stage)
    if named != stage:
        problems.append(f"{file} is a recipe of the stage {named!r}, not of {stage!r}")
    return loaded


class _UniqueKeyLoader(yaml.SafeLoader):
    """YAML that refuses a key given twice, where PyYAML would keep the last in silence."""


def _unique_mapping(loader: yaml.SafeLoader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen: set[Any] = set()
    for key_node, _ in node.value:
        key = loader.construct_object(key_node, deep=True)
        if not isinstance(key, str | int | float | None):
            raise yaml.constructor.ConstructorError(None, None, "a key must be text", key_node.start_mark)
        if key in seen:
            raise yaml.constructor.ConstructorError(None, None, f"the key {key!r} is given twice", key_node.start_mark)
        seen.add(key)
    return loader.construct_mapping(node, deep=True)


_UniqueKeyLoader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _unique_mapping)


def flat(nested: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one with dotted keys."""
    leaves: dict[str, Any] = {}
    for key, value in nested.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and value:
            leaves.update(flat(value, name + "."))
        else:
            leaves[name] = value
    return leaves


def _parse_sets(sets: Sequence[str], problems: list[str]) -> dict[str, Any]:
    parsed: dict[str, Any] = {}
    for item in sets:
        key, equals, text = item.partition("=")
        if not equals or not key:
            problems.append(f"--set {item!r}: expected KEY=VALUE")
            continue
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError:
            value = text
        parsed.update(flat(value, key + ".") if isinstance(value, Mapping) and value else {key: value})
    return parsed


def _take(
    name: str, raw: Any, leaves: Mapping[str, Knob], values: dict[str, Any], problems: list[str], source: str
) -> None:
    """Put one raw value into `values`, or say what is wrong with it."""
    where = f" (in {source})" if source else ""
    leaf = leaves.get(name)
    if leaf is None:
        parent, _, key = name.rpartition(".")
        holder = leaves.get(parent)
        if holder is not None and typing.get_origin(holder.type) is dict:
            values.setdefault(parent, dict(holder.default))[key] = str(raw)
        else:
            problems.append(f"unknown knob {name!r}{where}{_nearest(name, leaves)}")
        return
    try:
        values[name] = convert(raw, leaf.type)
    except ValueError as error:
        problems.append(f"{leaf.name} = {raw!r}{where}: {error}")


def _nearest(name: str, leaves: Mapping[str, Knob]) -> str:
    names = list(leaves)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    if not close:  # the right last part under the wrong parent
        close = [full for full in names if full.rpartition(".")[2] == name.rpartition(".")[2]][:1]
    return f"; did you mean {close[0]!r}?" if close else f"; the knobs are {', '.join(sorted(names))}"


_BOUNDS: tuple[tuple[str, Callable[[float, float], bool], str], ...] = (
    ("low", operator.ge, "at least"),
    ("high", operator.le, "at most"),
    ("above", operator.gt, "more than"),
    ("below", operator.lt, "less than"),
)


def _out_of_bounds(leaf: Knob, value: Any) -> list[str]:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return []
    return [
        f"{leaf.name} = {value!r}: must be {words} {leaf.meta[key]:g}"
        for key, holds, words in _BOUNDS
        if leaf.meta.get(key) is not None and not holds(value, leaf.meta[key])
    ]


def _build(kind: Any, values: Mapping[str, Any], prefix: str = "") -> Any:
    hints = typing.get_type_hints(kind)
    given: dict[str, Any] = {}
    for field in dataclasses.fields(kind):
        name = prefix + field.name
        inner = hints[field.name]
        if dataclasses.is_dataclass(inner):
            given[field.name] = _build(inner, values, name + ".")
        elif name in values:
            given[field.name] = values[name]
    return kind(**given)


def plain(value: Any) -> Any:
    """A knob's value as JSON holds it."""
    return list(value) if isinstance(value, tuple) else value
