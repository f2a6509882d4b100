"""The knobs of `ptft export`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ptft.core.contracts import EXPORT, Argument, Stage
from ptft.core.recipes import Recipe, knob


@dataclass(frozen=True, kw_only=True)
class ExportRecipe(Recipe):
    to: Literal["int8", "int4"] = knob("int8", "weights: int8 or int4", flag="--to")
    format: Literal["torchao"] = knob("torchao", "the runtime that will load it: torchao", flag="--format")
    group_size: int = knob(32, "weights that share an int4 scale", low=8)
    verify: str = knob(
        "", "rows (text, or text and label) to compare the export with the original on", flag="--verify", path="rows"
    )
    verify_rows: int = knob(64, "rows used of it", low=1)
    max_loss_increase: float = knob(
        0.0, "gate: exit 5 where the loss on --verify rises by more than this share, e.g. 2% (0: none)",
        flag="--max-loss-increase", low=0,
    )  # fmt: skip
    columns: dict[str, str] = knob({}, "wanted name -> name in the --verify file")

    def problems(self) -> list[str]:
        if self.max_loss_increase and not self.verify:
            return ["max_loss_increase: it is measured on rows; name some with --verify"]
        return []


STAGE = Stage(
    name="export",
    help="A checkpoint to INT8 or INT4 weights. They load without ptft; adapters are merged first.",
    recipe=ExportRecipe,
    module="ptft.stages.export.run",
    arguments=(Argument("model", "MODEL", "a checkpoint folder", "folder"),),
    makes=EXPORT,
)
