"""What a model's weights become under a scheme, worked out once for all formats that store the same integers."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ptft.core.models import Loaded
from ptft.core.progress import Progress
from ptft.core.quantising.scheme import Quantised, Scheme
from ptft.stages.export.asked import Asked
from ptft.stages.export.formats.format import Format, Plan
from ptft.stages.export.recipe import ExportRecipe

if TYPE_CHECKING:
    from ptft.core.quantising.statistics import Calibration


@dataclass
class Integers:
    """Of one model in float32, which is changed while a format writes it, and then put back."""

    loaded: Loaded
    recipe: ExportRecipe
    calibration: Calibration | None
    progress: Progress
    _original: dict[str, Any] = field(default_factory=dict)
    _mixed: dict[str, Plan] = field(default_factory=dict)

    def plan(self, asked: Asked, format: Format) -> Plan:
        """{} where nothing is quantised. Of `mixed`, the sensitivity pass decides, once for formats with the same choices."""
        if asked.is_float:
            return {}
        plan = format.plan(self.loaded.model, asked, self.recipe)
        if asked.precision != "mixed":
            return plan
        schemes = format.schemes(asked, self.recipe)
        key = f"{sorted(plan.items())} {schemes}"
        if key not in self._mixed:
            self._mixed[key] = self._spent(plan, schemes)
        return self._mixed[key]

    def _spent(self, plan: Plan, schemes: Sequence[Scheme]) -> Plan:
        """Bits where the sensitivity pass finds that they matter."""
        from ptft.core.quantising import sensitivity

        assert self.calibration is not None
        model, bits = self.loaded.model, self.recipe.bits_per_weight
        passes = sum(len(options) for options in sensitivity.choices_of(model, plan, schemes).values())
        with self.progress.step("sensitivity of each weight", total=passes, unit="passes") as step:
            return sensitivity.mixed(model, plan, schemes, self.calibration, bits, step.advance)

    def ranges(self, plan: Plan) -> dict[str, Any]:
        """Of layers' inputs, where a scheme is static."""
        from ptft.core.quantising import activations

        if not any(scheme is not None and scheme.activations == "static" for scheme in plan.values()):
            return {}
        assert self.calibration is not None
        symmetric = self.recipe.operators == "standard"  # TensorRT takes zero points of 0 alone
        model, percentile = self.loaded.model, self.recipe.percentile
        return activations.ranges(model, plan, self.calibration, percentile, symmetric=symmetric)

    @contextlib.contextmanager
    def applied(self, plan: Plan, keep: bool) -> Iterator[dict[str, Quantised]]:
        """The integers, while the model is what they stand for. keep: the original comes back afterwards."""
        if keep and plan and not self._original:
            self._original = _copied(self.loaded.model)
        yield self._quantised(plan)
        if keep and plan:
            self.loaded.model.load_state_dict(self._original)
        else:
            self._original.clear()

    def _quantised(self, plan: Plan) -> dict[str, Quantised]:
        from ptft.core.quantising import applying

        schemes = [scheme for scheme in plan.values() if scheme is not None]
        if not schemes:
            return {}
        made: dict[str, Quantised] = {}
        name = f"quantising to {', '.join(sorted({str(scheme) for scheme in schemes}))}"
        with self.progress.step(name, total=len(schemes), unit="weights") as step:
            for weight, found in applying.steps(self.loaded.model, plan, self.calibration):
                made[weight] = found
                step.advance()
        return {weight: made[weight] for weight in plan if weight in made}


def _copied(model: Any) -> dict[str, Any]:
    """A model's state on the CPU; a tied weight once."""
    state = model.state_dict()
    own = {tensor.data_ptr(): tensor.detach().cpu().clone() for tensor in state.values()}
    return {name: own[tensor.data_ptr()] for name, tensor in state.items()}


@dataclass
class Graphs:
    """ONNX graphs of the model in full precision, traced once: in float32 (False) and float16 (True)."""

    loaded: Loaded
    standard: bool
    scratch: Path
    progress: Progress
    _traced: dict[bool, Any] = field(default_factory=dict)

    def __call__(self, half: bool) -> Any:
        """On a CPU a graph in float32 shares the model's memory, and so follows what happens to it; elsewhere it is a copy, and
        made again."""
        if half in self._traced:
            return self._traced[half]
        graph = self._trace(half)
        if half or self.loaded.model.device.type == "cpu":
            self._traced[half] = graph
        return graph

    def _trace(self, half: bool) -> Any:
        from ptft.stages.export.formats import onnx

        shutil.rmtree(self.scratch, ignore_errors=True)  # a kill left it
        with self.progress.step("tracing the ONNX graph", total=1, unit="graphs") as step:
            graph = onnx.graph_of(self.loaded, self.scratch, half=half, standard=self.standard)
            step.advance()
        return graph
