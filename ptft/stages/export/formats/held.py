"""The formats, each as what the stage asks of it: which schemes it holds, a plan, what it writes, and what loads that."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

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


class Format(Protocol):
    """name: as `--format` says it. packages: that its files were written and verified with. runtime: what verifies them."""

    @property
    def name(self) -> FormatName: ...

    @property
    def packages(self) -> tuple[str, ...]: ...

    @property
    def runtime(self) -> Runtime: ...

    def lacks(self, asked: Asked, recipe: ExportRecipe) -> str:
        """Why it holds no such weights; "" where it does."""

    def refuse(self, loaded: Loaded) -> None:
        """Raise `InputError` for a model that it does not hold, before any work is done for it."""

    def schemes(self, asked: Asked, recipe: ExportRecipe) -> tuple[Scheme, ...]:
        """What a block's weight may be, as the format stores it best: one scheme, or of `mixed` several."""

    def plan(self, model: Any, asked: Asked, recipe: ExportRecipe) -> Plan:
        """Of `mixed`, with the scheme of the fewest bits, which the sensitivity pass starts from."""

    def others(self, asked: Asked, stored: str) -> str:
        """torch's name of the type that what is not quantised gets. stored: that of the checkpoint."""

    def typed(self, model: Any, asked: Asked, recipe: ExportRecipe) -> dict[str, str]:
        """Weights that the plan leaves and that get a type of the format's own, {name: type}."""

    def write(self, job: Job, out: Path) -> tuple[str, ...]:
        """Write the folder; what a user must know of it."""

    def how_to_load(self, loaded: Loaded) -> str:
        """Lines of Python, run where the folder is."""


# ---------------------------------------------------------------- plans


def _plan(model: Any, scheme: Scheme, recipe: ExportRecipe, outer: Scheme | None, transposed: bool = False) -> Plan:
    """outer: for embeddings and output layer; None: they stay. transposed: the format holds matrices stored as (in, out) too.

    Raises `InputError` where nothing would be quantised.
    """
    from ptft.core.quantising import matrices, planning

    found = planning.plan_for(model, scheme, outer=outer or Scheme(8, 0), keep=recipe.keep)
    for matrix in matrices.matrices(model):
        if (outer is None and planning.is_outer(model, matrix)) or (matrix.transposed and not transposed):
            found[matrix.name] = None
    if not any(found.values()):
        what = f"nothing to quantise: this {model.config.model_type} model has no linear layers that the format holds"
        remedy = "export it to --format onnx, or a model of another family, such as llama or bert"
        raise InputError(what, remedy=f"{remedy}; or shorten --set keep=" if recipe.keep else remedy)
    return found


def _outer(recipe: ExportRecipe, default: Literal["full", "int8"], group: int) -> Scheme | None:
    """For embeddings and output layer, in groups of so many; 0: a scale a row."""
    asked = default if recipe.embeddings == "auto" else recipe.embeddings
    if asked in ("full", "int6"):
        return None
    return Scheme(8, group) if asked == "int8" else Scheme(4, group or recipe.group_size, recipe.symmetric)


def _six(recipe: ExportRecipe) -> str:
    return (
        "Q6_K is a type of GGUF files alone: embeddings=int8, or --format gguf" if recipe.embeddings == "int6" else ""
    )


def _floats(asked: Asked, held: tuple[str, ...], instead: str) -> str:
    return "" if not asked.is_float or asked.precision in held else instead


def _auto(loaded: Loaded) -> str:
    from ptft.core.models import auto_class

    return str(auto_class(loaded.kind).__name__)


# ---------------------------------------------------------------- formats


@dataclass(frozen=True)
class _TorchAo:
    name: FormatName = "torchao"
    packages: tuple[str, ...] = ("torchao", "transformers", "torch")
    runtime: Runtime = "torch"

    def lacks(self, asked: Asked, recipe: ExportRecipe) -> str:
        if _six(recipe):
            return _six(recipe)
        if asked.activations == "static":
            return "torchao's files hold no ranges of a layer's inputs: int8-dynamic, or --format onnx"
        return _floats(asked, (), "the checkpoint itself is what torch loads in full precision")

    def refuse(self, loaded: Loaded) -> None:
        return None

    def schemes(self, asked: Asked, recipe: ExportRecipe) -> tuple[Scheme, ...]:
        fewest = asked.scheme(recipe)
        return (fewest, replace(fewest, bits=8, group=0, symmetric=True)) if asked.precision == "mixed" else (fewest,)

    def plan(self, model: Any, asked: Asked, recipe: ExportRecipe) -> Plan:
        scheme = self.schemes(asked, recipe)[0]
        return _plan(model, scheme, recipe, _outer(recipe, "full", scheme.group))

    def others(self, asked: Asked, stored: str) -> str:
        return stored

    def typed(self, model: Any, asked: Asked, recipe: ExportRecipe) -> dict[str, str]:
        return {}

    def write(self, job: Job, out: Path) -> tuple[str, ...]:
        from ptft.stages.export.formats import torchao

        torchao.write(job.as_stored, job.quantised, out, job.dynamic)
        few = any(weight.bits == 4 for weight in job.quantised.values())
        return (torchao.A_BYTE_A_WEIGHT,) if few else ()

    def how_to_load(self, loaded: Loaded) -> str:
        own_code = (
            bool(getattr(loaded.model.config, "auto_map", None)) or loaded.model.config.model_type == "mean_pooled"
        )
        more = ", trust_remote_code=True" if own_code else ""
        return f'from transformers import {_auto(loaded)}\nmodel = {_auto(loaded)}.from_pretrained("DIR"{more})'


@dataclass(frozen=True)
class _Onnx:
    name: FormatName = "onnx"
    packages: tuple[str, ...] = ("onnxruntime", "onnx", "torch")
    runtime: Runtime = "onnx"

    def lacks(self, asked: Asked, recipe: ExportRecipe) -> str:
        if _six(recipe):
            return _six(recipe)
        if recipe.operators == "standard" and asked.activations == "dynamic":
            return "ONNX's own operators round no inputs as they come: int8-static, or operators=fused"
        if recipe.operators == "standard" and not recipe.symmetric and asked.precision in ("int4", "mixed"):
            return "TensorRT takes no zero points: symmetric=true, or operators=fused"
        return _floats(asked, ("fp32", "fp16"), "ONNX Runtime computes bfloat16 on few devices: fp16 or fp32")

    def refuse(self, loaded: Loaded) -> None:
        if loaded.model.config.is_encoder_decoder:
            remedy = "export it to --format torchao, or a model of one part, such as llama or bert"
            raise InputError(
                "an encoder-decoder: ONNX graphs here have one part", where=str(loaded.folder), remedy=remedy
            )

    def schemes(self, asked: Asked, recipe: ExportRecipe) -> tuple[Scheme, ...]:
        """MatMulNBits' blocks have 32 to 128 weights: a scale a row takes no fewer bits than one every 128."""
        fewest = asked.scheme(recipe, int8_group=128)
        if asked.precision != "mixed":
            return (fewest,)
        return (replace(fewest, group=128), replace(fewest, group=32), Scheme(8, 128, True, fewest.method))

    def plan(self, model: Any, asked: Asked, recipe: ExportRecipe) -> Plan:
        scheme = self.schemes(asked, recipe)[0]
        return _plan(model, scheme, recipe, _outer(recipe, "int8", scheme.group or 128), transposed=True)

    def others(self, asked: Asked, stored: str) -> str:
        return "float16" if asked.precision == "fp16" else "float32"

    def typed(self, model: Any, asked: Asked, recipe: ExportRecipe) -> dict[str, str]:
        return {}

    def write(self, job: Job, out: Path) -> tuple[str, ...]:
        from ptft.stages.export.formats import onnx, onnx_weights

        standard = job.recipe.operators == "standard"
        arithmetic = onnx_weights.Arithmetic.of(job.plan, job.ranges, standard=standard)
        onnx.write(job.loaded, job.quantised, out, arithmetic, graph=job.graph(job.asked.precision == "fp16"))
        return ()

    def how_to_load(self, loaded: Loaded) -> str:
        from ptft.stages.export.formats import onnx

        return onnx.how_to_load(loaded)


@dataclass(frozen=True)
class _Gguf:
    name: FormatName = "gguf"
    packages: tuple[str, ...] = ("gguf",)
    runtime: Runtime = "gguf"

    def lacks(self, asked: Asked, recipe: ExportRecipe) -> str:
        if asked.activations != "none":
            return "llama.cpp rounds the inputs of every quantised layer itself: int8"
        return ""

    def refuse(self, loaded: Loaded) -> None:
        from ptft.stages.export.formats import gguf

        gguf.refuse(loaded)

    def schemes(self, asked: Asked, recipe: ExportRecipe) -> tuple[Scheme, ...]:
        """Its blocks have 32 weights: larger groups take no fewer bits."""
        fewest = asked.scheme(recipe, int8_group=32)
        if asked.precision != "mixed":
            return (fewest if asked.group else replace(fewest, group=32),)
        return (replace(fewest, group=32), Scheme(8, 32, True, fewest.method))

    def plan(self, model: Any, asked: Asked, recipe: ExportRecipe) -> Plan:
        return _plan(model, self.schemes(asked, recipe)[0], recipe, _outer(recipe, "int8", 32))

    def others(self, asked: Asked, stored: str) -> str:
        return {"fp32": "float32", "bf16": "bfloat16"}.get(asked.precision, "float16")

    def typed(self, model: Any, asked: Asked, recipe: ExportRecipe) -> dict[str, str]:
        from ptft.core.quantising import matrices, planning

        if recipe.embeddings != "int6" or asked.is_float:
            return {}
        return {one.name: "Q6_K" for one in matrices.matrices(model) if planning.is_outer(model, one)}

    def write(self, job: Job, out: Path) -> tuple[str, ...]:
        from ptft.stages.export.formats import gguf, gguf_tokenizer

        others = {"float32": "F32", "bfloat16": "BF16", "float16": "F16"}[self.others(job.asked, job.stored)]
        typed = self.typed(job.loaded.model, job.asked, job.recipe)
        gguf.write(job.loaded, {**job.quantised, **typed}, out, others)
        note = gguf_tokenizer.splitting(job.loaded.tokenizer).note
        return (note,) if note else ()

    def how_to_load(self, loaded: Loaded) -> str:
        from ptft.stages.export.formats import gguf

        return gguf.how_to_load()


@dataclass(frozen=True)
class _Compressed:
    name: FormatName = "compressed-tensors"
    packages: tuple[str, ...] = ("compressed-tensors", "transformers", "torch")
    runtime: Runtime = "torch"

    def lacks(self, asked: Asked, recipe: ExportRecipe) -> str:
        if asked.activations == "static":
            return "ranges of a layer's inputs are not written in it: int8-dynamic, or --format onnx"
        if recipe.embeddings in ("int8", "int6", "int4"):
            return "its readers have no place for quantised embeddings: leave embeddings=auto, or choose another format"
        if not recipe.symmetric and asked.precision != "int8":
            return "transformers loads none of its files with zero points: symmetric=true, or another format"
        return _floats(asked, (), "the checkpoint itself is what torch loads in full precision")

    def refuse(self, loaded: Loaded) -> None:
        if importlib.util.find_spec("compressed_tensors") is None:
            what = "compressed-tensors is not installed, and transformers cannot read its files without"
            raise InputError(what, remedy="pip install 'ptft[compressed]'")

    def schemes(self, asked: Asked, recipe: ExportRecipe) -> tuple[Scheme, ...]:
        fewest = asked.scheme(recipe)
        if asked.precision != "mixed":
            return (fewest,)
        return (replace(fewest, group=128), replace(fewest, group=32), Scheme(8, 0, True, fewest.method))

    def plan(self, model: Any, asked: Asked, recipe: ExportRecipe) -> Plan:
        return _plan(model, self.schemes(asked, recipe)[0], recipe, None)

    def others(self, asked: Asked, stored: str) -> str:
        return stored

    def typed(self, model: Any, asked: Asked, recipe: ExportRecipe) -> dict[str, str]:
        return {}

    def write(self, job: Job, out: Path) -> tuple[str, ...]:
        from ptft.stages.export.formats import compressed

        compressed.write(job.as_stored, job.quantised, out, job.dynamic)
        return ()

    def how_to_load(self, loaded: Loaded) -> str:
        from ptft.stages.export.formats import compressed

        return compressed.how_to_load(_auto(loaded))


FORMATS: Mapping[FormatName, Format] = {one.name: one for one in (_TorchAo(), _Onnx(), _Gguf(), _Compressed())}
