"""A plan applied to a model: integers and scales of every weight, and the model as it is with them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ptft.core.errors import InputError, UsageError
from ptft.core.quantising import awq, rounding
from ptft.core.quantising.blocks import Chain, chains
from ptft.core.quantising.gptq import Settings, gptq
from ptft.core.quantising.hqq import hqq
from ptft.core.quantising.matrices import Matrix, matrices
from ptft.core.quantising.scheme import CALIBRATED, Plan, Quantised, Scheme
from ptft.core.quantising.statistics import Calibration, Collector, Inputs, collecting

if TYPE_CHECKING:
    from torch import Tensor
else:
    Tensor = Any


def applied(
    model: Any, plan: Plan, calibration: Calibration | None = None, settings: Settings | None = None
) -> dict[str, Quantised]:
    """{weight name: Quantised}, by the plan. The model is changed in place: its weights become what the integers stand for.

    So it is the fake-quantised model, whose quality can be measured in torch; and where AWQ's scales were folded into norms, it
    has the norms that belong to the integers: a format takes all else from this model. A tied weight is there once.
    Raises `UsageError` for names that the model lacks, a model that is not in float32, a calibrated method without rows.
    """
    made = dict(steps(model, plan, calibration, settings))
    return {name: made[name] for name in plan if name in made}


def steps(
    model: Any, plan: Plan, calibration: Calibration | None = None, settings: Settings | None = None
) -> Iterator[tuple[str, Quantised]]:
    """As `applied`, a weight at a time: embeddings first, then block after block, each seeing what those before became."""
    import torch

    wanted = _wanted(model, plan)
    _refuse(wanted, plan, calibration)
    work = _Work(model, plan, calibration, settings or Settings())
    with torch.no_grad():
        for matrix in [matrix for matrix in wanted.values() if matrix.embedding]:
            yield matrix.name, work.write(matrix, None)
        rest = {name: matrix for name, matrix in wanted.items() if not matrix.embedding}
        calibrated = [matrix for matrix in rest.values() if plan[matrix.name].method in CALIBRATED]  # type: ignore[union-attr]
        if calibrated and calibration is not None:
            for chain in chains(model, calibration):
                for block in range(len(chain.modules)):
                    yield from work.block(chain, block, rest)
        yield from work.others(rest)


def _wanted(model: Any, plan: Plan) -> dict[str, Matrix]:
    there = {matrix.name: matrix for matrix in matrices(model)}
    unknown = sorted(set(plan) - set(there))
    if unknown:
        what = (
            f"the plan names {len(unknown)} weights that the model does not have as a matrix: {', '.join(unknown[:3])}"
        )
        raise UsageError(what, remedy="take names from planning.plan_for; a tied weight has the embedding's")
    return {name: there[name] for name, scheme in plan.items() if scheme is not None}


def _refuse(wanted: Mapping[str, Matrix], plan: Plan, calibration: Calibration | None) -> None:
    import torch

    methods = sorted({scheme.method for scheme in plan.values() if scheme is not None and scheme.method in CALIBRATED})
    if methods and calibration is None:
        raise UsageError(f"{' and '.join(methods)} needs calibration rows", remedy="give some, or take rtn or hqq")

    halves = sorted(name for name, matrix in wanted.items() if matrix.module.weight.dtype != torch.float32)
    if halves:
        what = f"{len(halves)} weights are not in float32, as {halves[0]}"
        raise UsageError(what, remedy='load the model with dtype="float32": scales are found in full precision')


@dataclass(frozen=True)
class _Work:
    model: Any
    plan: Plan
    calibration: Calibration | None
    settings: Settings

    def block(self, chain: Chain, block: int, rest: dict[str, Matrix]) -> Iterator[tuple[str, Quantised]]:
        """Quantise what a block holds of `rest`, which loses it."""
        assert self.calibration is not None
        prefix = f"{chain.names[block]}."
        inside = {m.layer.removeprefix(prefix): m for m in rest.values() if m.layer.startswith(prefix)}
        module = chain.modules[block]
        with collecting({name: module.get_submodule(name) for name in inside}) as collector:
            chain.collect(block, self.calibration, collector)
        sums = {name: collector[name] for name in inside}
        sums |= self._scaled(chain, block, inside, sums)
        for name, matrix in inside.items():
            rest.pop(matrix.name)
            yield matrix.name, self.write(matrix, sums[name])
        chain.advance(block)

    def _scaled(
        self, chain: Chain, block: int, inside: Mapping[str, Matrix], sums: Mapping[str, Inputs | None]
    ) -> dict[str, Inputs | None]:
        """Fold AWQ's scales into the block; the sums of inputs as they then are."""
        module, changed = chain.modules[block], dict(sums)
        if not any(self._scheme(matrix).method == "awq" for matrix in inside.values()):
            return {}

        def run() -> Tensor:
            return chain.run(block, 0)

        for fold in awq.folds(module, run, list(inside)):
            layers = [name for name in fold.layers if self._scheme(inside[name]).method == "awq"]
            inputs = changed[fold.layers[0]]
            if not layers or inputs is None:
                continue
            weights = {name: inside[name].read() for name in layers}
            scales = awq.best_scales(fold, weights, {name: self._scheme(inside[name]) for name in layers}, inputs)
            if scales is not None and awq.folded(module, fold, scales, run):
                changed |= dict.fromkeys(fold.layers, inputs.scaled(scales))
        return changed

    def others(self, rest: Mapping[str, Matrix]) -> Iterator[tuple[str, Quantised]]:
        """What lies in no block: poolers, heads, output layers; all of a model without blocks."""
        needing = [matrix for matrix in rest.values() if self._scheme(matrix).method in CALIBRATED]
        collector = Collector()
        if needing and self.calibration is not None:
            with collecting({matrix.layer: matrix.module for matrix in needing}) as collector:
                for batch in self.calibration.batches:
                    collector.begin(batch.get("attention_mask"))
                    self.model(**batch)
        for matrix in rest.values():
            yield matrix.name, self.write(matrix, collector[matrix.layer])

    def write(self, matrix: Matrix, inputs: Inputs | None) -> Quantised:
        try:
            found = self._quantised(matrix, inputs)
        except InputError as error:
            raise InputError(error.message, where=matrix.name, remedy=error.remedy) from error
        matrix.write(found.dequantised())
        return found

    def _quantised(self, matrix: Matrix, inputs: Inputs | None) -> Quantised:
        """By the matrix's scheme. Without sums of inputs (embeddings, experts that no token chose) scales are searched alone."""
        scheme, weight = self._scheme(matrix), matrix.read()
        if scheme.method == "rtn":
            return rounding.rtn(weight, scheme)
        if scheme.method == "hqq":
            return hqq(weight, scheme)
        if inputs is None or not inputs.count:
            return rounding.rtn_searched(weight, scheme)
        if scheme.method == "gptq":
            return gptq(weight, inputs.hessian, scheme, self.settings)
        return rounding.rtn_searched(weight, scheme, inputs.hessian.diagonal())

    def _scheme(self, matrix: Matrix) -> Scheme:
        scheme = self.plan[matrix.name]
        assert scheme is not None
        return scheme
