"""The formats: torchao, ONNX, GGUF, compressed-tensors. Adding one is a class here and a module that writes its files."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ptft.core.errors import InputError
from ptft.core.models import Loaded
from ptft.core.quantising.scheme import Scheme
from ptft.stages.export.asked import Asked
from ptft.stages.export.formats.format import Format, Job, Plan, auto, floats, outer_of, plan_of, six

if TYPE_CHECKING:
    from ptft.stages.export.recipe import ExportRecipe, FormatName


UNSIGNED = "this processor adds 8-bit products in 16 bits, so weights are stored as uint8; on one with VNNI export again: it is faster there"


class _TorchAo(Format):
    name = "torchao"
    packages = ("torchao", "transformers", "torch")
    runtime = "torch"

    def lacks(self, asked: Asked, recipe: ExportRecipe) -> str:
        if six(recipe):
            return six(recipe)
        if asked.activations == "static":
            return "torchao's files hold no ranges of a layer's inputs: int8-dynamic, or --format onnx"
        return floats(asked, (), "the checkpoint itself is what torch loads in full precision")

    def schemes(self, asked: Asked, recipe: ExportRecipe) -> tuple[Scheme, ...]:
        fewest = asked.scheme(recipe)
        return (fewest, replace(fewest, bits=8, group=0, symmetric=True)) if asked.precision == "mixed" else (fewest,)

    def plan(self, model: Any, asked: Asked, recipe: ExportRecipe) -> Plan:
        scheme = self.schemes(asked, recipe)[0]
        return plan_of(model, scheme, recipe, outer_of(recipe, "full", scheme.group))

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
        return f'from transformers import {auto(loaded)}\nmodel = {auto(loaded)}.from_pretrained("DIR"{more})'


class _Onnx(Format):
    name = "onnx"
    packages = ("onnxruntime", "onnx", "torch")
    runtime = "onnx"

    def lacks(self, asked: Asked, recipe: ExportRecipe) -> str:
        if six(recipe):
            return six(recipe)
        if recipe.operators == "standard" and asked.activations == "dynamic":
            return "ONNX's own operators round no inputs as they come: int8-static, or operators=fused"
        if recipe.operators == "standard" and not recipe.symmetric and asked.precision in ("int4", "mixed"):
            return "TensorRT takes no zero points: symmetric=true, or operators=fused"
        return floats(asked, ("fp32", "fp16"), "ONNX Runtime computes bfloat16 on few devices: fp16 or fp32")

    def schemes(self, asked: Asked, recipe: ExportRecipe) -> tuple[Scheme, ...]:
        """MatMulNBits' blocks have 32 to 128 weights: a scale a row takes no fewer bits than one every 128."""
        fewest = asked.scheme(recipe, int8_group=128)
        if asked.precision != "mixed":
            return (fewest,)
        return (replace(fewest, group=128), replace(fewest, group=32), Scheme(8, 128, True, fewest.method))

    def plan(self, model: Any, asked: Asked, recipe: ExportRecipe) -> Plan:
        scheme = self.schemes(asked, recipe)[0]
        return plan_of(model, scheme, recipe, outer_of(recipe, "int8", scheme.group or 128), transposed=True)

    def others(self, asked: Asked, stored: str) -> str:
        return "float16" if asked.precision == "fp16" else "float32"

    def write(self, job: Job, out: Path) -> tuple[str, ...]:
        from ptft.stages.export.formats import onnx, onnx_packing, onnx_weights

        standard = job.recipe.operators == "standard"
        unsigned = not standard and onnx_packing.saturates(_processor())
        arithmetic = replace(onnx_weights.Arithmetic.of(job.plan, job.ranges, standard=standard), unsigned=unsigned)
        onnx.write(job.loaded, job.quantised, out, arithmetic, graph=job.graph(job.asked.precision == "fp16"))
        in_integers = any(scheme is not None and scheme.activations != "none" for scheme in job.plan.values())
        return (UNSIGNED,) if unsigned and in_integers else ()

    def how_to_load(self, loaded: Loaded) -> str:
        from ptft.stages.export.formats import onnx

        return onnx.how_to_load(loaded)


class _Gguf(Format):
    name = "gguf"
    packages = ("gguf",)
    runtime = "gguf"

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
        from ptft.core.quantising import matrices

        found = plan_of(model, self.schemes(asked, recipe)[0], recipe, outer_of(recipe, "int8", 32))
        for matrix in matrices.matrices(model):
            if matrix.shape[1] % 32:  # no type of GGUF has blocks for such rows: they stay F16
                found[matrix.name] = None
        return found

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


class _Compressed(Format):
    name = "compressed-tensors"
    packages = ("compressed-tensors", "transformers", "torch")
    runtime = "torch"

    def lacks(self, asked: Asked, recipe: ExportRecipe) -> str:
        if asked.activations == "static":
            return "ranges of a layer's inputs are not written in it: int8-dynamic, or --format onnx"
        if recipe.embeddings in ("int8", "int6", "int4"):
            return "its readers have no place for quantised embeddings: leave embeddings=auto, or choose another format"
        if not recipe.symmetric and asked.precision != "int8":
            return "transformers loads none of its files with zero points: symmetric=true, or another format"
        return floats(asked, (), "the checkpoint itself is what torch loads in full precision")

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
        return plan_of(model, self.schemes(asked, recipe)[0], recipe, None)

    def write(self, job: Job, out: Path) -> tuple[str, ...]:
        from ptft.stages.export.formats import compressed

        compressed.write(job.as_stored, job.quantised, out, job.dynamic)
        return ()

    def how_to_load(self, loaded: Loaded) -> str:
        from ptft.stages.export.formats import compressed

        return compressed.how_to_load(auto(loaded))


def _processor() -> str:
    """Its flags, where Linux tells them."""
    cpu = Path("/proc/cpuinfo")
    lines = cpu.read_text(encoding="utf-8", errors="replace").splitlines() if cpu.is_file() else []
    return next((line for line in lines if line.startswith("flags")), "")


FORMATS: Mapping[FormatName, Format] = {one.name: one for one in (_TorchAo(), _Onnx(), _Gguf(), _Compressed())}
