"""The schemes that `--to` names: int8, int4-gptq-g64, int8-dynamic, mixed, fp16, ..."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from ptft.core.errors import UsageError
from ptft.core.quantising.scheme import CALIBRATED, Activations, Method, Scheme

if TYPE_CHECKING:
    from ptft.stages.export.recipe import ExportRecipe

Precision = Literal["int8", "int4", "mixed", "fp32", "fp16", "bf16"]
FLOATS: tuple[Precision, ...] = ("fp32", "fp16", "bf16")
_PRECISIONS: tuple[Precision, ...] = ("int8", "int4", "mixed", *FLOATS)
_METHODS: tuple[Method, ...] = ("rtn", "hqq", "gptq", "awq")
_ACTIVATIONS: tuple[Activations, ...] = ("dynamic", "static")
_GROUPS = {"g32": 32, "g64": 64, "g128": 128}
WORDS = "int8, int4, mixed, fp32, fp16 or bf16, then any of dynamic or static, rtn, hqq, gptq or awq, g32, g64 or g128"


@dataclass(frozen=True)
class Asked:
    """One scheme as asked for. method, group: None where the name does not say. mixed: int4 and int8, by sensitivity."""

    name: str
    precision: Precision
    method: Method | None = None
    activations: Activations = "none"
    group: int | None = None

    @property
    def is_float(self) -> bool:
        return self.precision in FLOATS

    def scheme(self, recipe: ExportRecipe, int8_group: int = 0) -> Scheme:
        """What the weights of blocks get; of `mixed`, the one with the fewest bits. int8_group: where the name does not say."""
        if self.precision == "int8":
            group = int8_group if self.group is None and self.activations == "none" else self.group or 0
            return Scheme(8, group, True, self.method_of(recipe), self.activations)
        return Scheme(4, self.group or recipe.group_size, recipe.symmetric, self.method_of(recipe))

    def method_of(self, recipe: ExportRecipe) -> Method:
        if self.method is not None:
            return self.method
        if recipe.method != "auto":
            return recipe.method
        return "gptq" if self.precision != "int8" and recipe.calibration else "rtn"

    def needs_rows(self, recipe: ExportRecipe) -> bool:
        if self.is_float:
            return False
        return (
            self.precision == "mixed" or self.activations == "static" or self.method_of(recipe) in CALIBRATED
        )  # fmt: skip


def asked_of(name: str) -> Asked:
    """A name's words in any order after the first. Raises `UsageError` for a word that is none, or does not go with the others."""
    first, *rest = name.strip().lower().split("-")
    found: dict[str, str] = {}
    for word in rest:
        kind = _kind(word)
        if kind in found or not kind:
            raise UsageError(f"{name!r} is no scheme" + _because(word, kind), remedy=WORDS)
        found[kind] = word
    if first not in _PRECISIONS:
        raise UsageError(f"{name!r} is no scheme: it begins with {first!r}", remedy=WORDS)
    if first in FLOATS and found:
        raise UsageError(f"{name!r} is no scheme: {first} rounds nothing to integers", remedy=f"write {first}")
    if first != "int8" and "activations" in found:
        raise UsageError(
            f"{name!r} is no scheme: layers' inputs are quantised beside int8 weights alone", remedy="int8-dynamic"
        )
    if "activations" in found and "group" in found:
        raise UsageError(
            f"{name!r} is no scheme: in integers a weight's scale is an output row's",
            remedy=f"write {first}-{found['activations']}",
        )
    return Asked(
        name.strip().lower(), first, found.get("method"), found.get("activations", "none"),  # type: ignore[arg-type]
        _GROUPS[found["group"]] if "group" in found else None,
    )  # fmt: skip


def _kind(word: str) -> str:
    if word in _METHODS:
        return "method"
    if word in _ACTIVATIONS:
        return "activations"
    return "group" if word in _GROUPS else ""


def _because(word: str, kind: str) -> str:
    return f": {word!r} says nothing" if not kind else f": a second {kind}, {word!r}"
