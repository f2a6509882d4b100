"""The knobs of `ptft export`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ptft.core.contracts import EXPORT, Argument, Stage
from ptft.core.errors import UsageError
from ptft.core.quantising.scheme import Method
from ptft.core.recipes import Recipe, knob
from ptft.stages.export.asked import Asked, asked_of

FormatName = Literal["torchao", "onnx", "gguf", "compressed-tensors"]


@dataclass(frozen=True, kw_only=True)
class ExportRecipe(Recipe):
    to: tuple[str, ...] = knob(
        (), "schemes, each of words joined by -: int8, int4, mixed, fp32, fp16, bf16; then dynamic or static; rtn, hqq, gptq or "
        "awq; g32, g64 or g128: int4,int8-dynamic,int4-awq-g64 (default int8; mixed with --bits-per-weight)", flag="--to",
    )  # fmt: skip
    format: tuple[FormatName, ...] = knob(
        ("torchao",), "what will load it: torchao, onnx, gguf, compressed-tensors", flag="--format"
    )
    method: Literal["auto", Method] = knob(
        "auto", "how weights are rounded where --to does not say: rtn, hqq, gptq, awq; auto: int4 by gptq where there is "
        "--calibration, all else by rtn", flag="--method",
    )  # fmt: skip
    group_size: Literal[32, 64, 128] = knob(32, "weights that share an int4 scale, where --to does not say")
    symmetric: bool = knob(True, "no zero points; false: each group of int4 has one (onnx, gguf as Q4_1, torchao)")
    embeddings: Literal["auto", "full", "int8", "int6", "int4"] = knob(
        "auto", "embeddings and output layer; auto: int8 in onnx and gguf, as they are in torchao and compressed-tensors; int6: "
        "gguf's Q6_K, as llama.cpp's own files have it",
    )  # fmt: skip
    keep: tuple[str, ...] = knob(
        (), "ends of names of layers that stay as they are, e.g. down_proj,layers.0.mlp.up_proj"
    )
    bits_per_weight: float = knob(
        0.0, "mixed: the mean bits of a block's weights, scales counted, e.g. 4.5; a sensitivity pass puts them where they matter",
        flag="--bits-per-weight", low=0, high=9,
    )  # fmt: skip
    calibration: str = knob(
        "", "rows of text like what the model will read, for gptq, awq, static and mixed; never the rows of --verify",
        flag="--calibration", path="rows",
    )  # fmt: skip
    calibration_rows: int = knob(128, "rows of calibration_length tokens (of a classifier: texts) used of it", low=1)
    calibration_length: int = knob(512, "tokens of such a row at most", low=8)
    percentile: float = knob(99.99, "static: share of a layer's inputs that lie inside its range", above=50, high=100)
    operators: Literal["fused", "standard"] = knob(
        "fused", "onnx: ONNX Runtime's own operators, or ONNX's alone, which other runtimes (TensorRT) take too"
    )
    verify: str = knob(
        "", "rows (text, or text and label) to compare the export with the original on", flag="--verify", path="rows"
    )
    verify_rows: int = knob(64, "rows used of it", low=1)
    verify_length: int = knob(512, "tokens of such a row at most", low=2)
    speed: bool = knob(
        True, "measure load time, tokens a second, latency and peak memory, of the original and every export"
    )
    provider: Literal["cpu", "cuda", "tensorrt"] = knob("cpu", "onnx: what ONNX Runtime verifies with")
    max_loss_increase: float = knob(
        0.0, "gate: exit 5 where the loss on --verify rises by more than this share in every export, e.g. 2% (0: none)",
        flag="--max-loss-increase", low=0,
    )  # fmt: skip
    best: Literal["smallest", "fastest", "closest"] = knob(
        "smallest", "which of several exports is the best, of those whose loss rises by no more than max_loss_increase (1% where "
        "it is 0): the smallest, the fastest at batch 1, or the one closest to the original",
    )  # fmt: skip
    columns: dict[str, str] = knob({}, "wanted name -> name in the --verify and --calibration files")

    def schemes(self) -> tuple[Asked, ...]:
        """Each scheme asked for, in order. Raises `UsageError` for a name that says nothing."""
        return tuple(asked_of(name) for name in self.to or (("mixed",) if self.bits_per_weight else ("int8",)))

    def problems(self) -> list[str]:
        try:
            schemes = self.schemes()
        except UsageError as error:
            return [f"to: {error.message} ({error.remedy})"]
        found = _between(self, schemes)
        for asked in schemes:
            if asked.needs_rows(self) and not self.calibration:
                found.append(f"to: {asked.name} is made with rows of text; name some with --calibration")
        return found


def _between(recipe: ExportRecipe, schemes: tuple[Asked, ...]) -> list[str]:
    found = []
    if not recipe.format:
        found.append("format: none; name torchao, onnx, gguf or compressed-tensors")
    named: dict[str, list[str]] = {"to": [asked.name for asked in schemes], "format": [*recipe.format]}
    for knob_name, values in named.items():
        twice = sorted({value for value in values if values.count(value) > 1})
        found += [f"{knob_name}: {value} is there twice" for value in twice]
    mixed = any(asked.precision == "mixed" for asked in schemes)
    if mixed and not recipe.bits_per_weight:
        found.append("to: mixed wants --bits-per-weight, e.g. 4.5")
    if recipe.bits_per_weight and not mixed:
        found.append("bits_per_weight: only mixed spends bits; add mixed to --to")
    if recipe.max_loss_increase and not recipe.verify:
        found.append("max_loss_increase: it is measured on rows; name some with --verify")
    if recipe.best == "fastest" and not recipe.speed:
        found.append("best: fastest needs speed: true")
    return found


STAGE = Stage(
    name="export",
    help="A checkpoint to INT8 or INT4 weights that load without ptft, checked against it. Adapters are merged first.",
    recipe=ExportRecipe,
    module="ptft.stages.export.run",
    arguments=(Argument("model", "MODEL", "a checkpoint folder", "folder"),),
    makes=EXPORT,
)
