"""What the stage asks of a format: which schemes it holds, a plan, what it writes, and what loads that."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ptft.core.errors import InputError
from ptft.core.models import Loaded
from ptft.core.quantising.scheme import Scheme
from ptft.stages.export.asked import Asked

if TYPE_CHECKING:
    from ptft.core.quantising import Quantised
    from ptft.core.quantising.activations import Activation
    from ptft.stages.export.recipe import ExportRecipe, FormatName

Runtime = Literal["torch", "onnx", "gguf"]
Plan = dict[str, Scheme | None]


@dataclass(frozen=True)
class Job:
    """One export to be written. loaded: the model in float32 with what the integers stand for. stored: torch's name of the type
    that the checkpoint's weights have. graph: the ONNX graph of the original, in float32 or (half) float16, traced once.
    """

    loaded: Loaded
    asked: Asked
    recipe: ExportRecipe
    plan: Plan
    quantised: Mapping[str, Quantised]
    ranges: Mapping[str, Activation]
    stored: str
    graph: Callable[[bool], Any]

    @property
    def dynamic(self) -> list[str]:
        """Weights whose layers' inputs are rounded as they come."""
        return [name for name, scheme in self.plan.items() if scheme is not None and scheme.activations == "dynamic"]

    @property
    def as_stored(self) -> Loaded:
        """The model in the checkpoint's own type, so that what is not quantised does not grow."""
        import copy

        import torch

        if self.stored == "float32":
            return self.loaded
        return replace(self.loaded, model=copy.deepcopy(self.loaded.model).to(getattr(torch, self.stored)))


class Format(ABC):
    """name: as `--format` says it. packages: that its files are written and verified with. runtime: what verifies them."""

    name: FormatName
    packages: tuple[str, ...]
    runtime: Runtime

    @abstractmethod
    def lacks(self, asked: Asked, recipe: ExportRecipe) -> str:
        """Why it holds no such weights; "" where it does."""

    def refuse(self, loaded: Loaded) -> None:  # noqa: B027
        """Raise `InputError` for a model that it does not hold, before any work is done for it."""

    @abstractmethod
    def schemes(self, asked: Asked, recipe: ExportRecipe) -> tuple[Scheme, ...]:
        """What a block's weight may be, as the format stores it best: one scheme, or of `mixed` several."""

    @abstractmethod
    def plan(self, model: Any, asked: Asked, recipe: ExportRecipe) -> Plan:
        """Of `mixed`, with the scheme of the fewest bits, which the sensitivity pass starts from."""

    def others(self, asked: Asked, stored: str) -> str:
        """torch's name of the type that what is not quantised gets. stored: that of the checkpoint."""
        return stored

    def typed(self, model: Any, asked: Asked, recipe: ExportRecipe) -> dict[str, str]:
        """Weights that the plan leaves and that get a type of the format's own, {name: type}."""
        return {}

    @abstractmethod
    def write(self, job: Job, out: Path) -> tuple[str, ...]:
        """Write the folder; what a user must know of it."""

    @abstractmethod
    def how_to_load(self, loaded: Loaded) -> str:
        """Lines of Python, run where the folder is."""


# ---------------------------------------------------------------- plans


def plan_of(model: Any, scheme: Scheme, recipe: ExportRecipe, outer: Scheme | None, transposed: bool = False) -> Plan:
    """outer: for embeddings and output layer; None: they stay. transposed: the format holds matrices stored as (in, out) too.

    Raises `InputError` where nothing would be quantised.
    """
    from ptft.core.quantising import matrices, planning

    _refuse_unknown(model, recipe)
    found = planning.plan_for(model, scheme, outer=outer or Scheme(8, 0), keep=recipe.keep)
    for matrix in matrices.matrices(model):
        if (outer is None and planning.is_outer(model, matrix)) or (matrix.transposed and not transposed):
            found[matrix.name] = None
    if not any(found.values()):
        what = f"nothing to quantise: this {model.config.model_type} model has no linear layers that the format holds"
        remedy = "export it to --format onnx, or a model of another family, such as llama or bert"
        raise InputError(what, remedy=f"{remedy}; or shorten --set keep=" if recipe.keep else remedy)
    return found


def _refuse_unknown(model: Any, recipe: ExportRecipe) -> None:
    """A layer that was meant to be kept must not be quantised for a slip of the pen."""
    from ptft.core.quantising import matrices

    users = [user for matrix in matrices.matrices(model) for user in matrix.users]
    for end in recipe.keep:
        if not any(user.endswith(end) for user in users):
            what, some = f"keep: no layer's name ends with {end!r}", ", ".join(users[:4])
            raise InputError(what, remedy=f"the layers are called {some}, ...")


def outer_of(recipe: ExportRecipe, default: Literal["full", "int8"], group: int) -> Scheme | None:
    """For embeddings and output layer, in groups of so many; 0: a scale a row."""
    asked = default if recipe.embeddings == "auto" else recipe.embeddings
    if asked in ("full", "int6"):
        return None
    return Scheme(8, group) if asked == "int8" else Scheme(4, group or recipe.group_size, recipe.symmetric)


def six(recipe: ExportRecipe) -> str:
    return (
        "Q6_K is a type of GGUF files alone: embeddings=int8, or --format gguf" if recipe.embeddings == "int6" else ""
    )


def floats(asked: Asked, held: tuple[str, ...], instead: str) -> str:
    return "" if not asked.is_float or asked.precision in held else instead


def auto(loaded: Loaded) -> str:
    from ptft.core.models import auto_class

    return str(auto_class(loaded.kind).__name__)
