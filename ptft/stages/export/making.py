"""Every scheme in every format asked for, written to folders of their own. One that is finished is not made again after a kill."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from ptft.core.errors import InputError
from ptft.core.files import write_json
from ptft.core.progress import Progress
from ptft.stages.export import sizes
from ptft.stages.export.asked import Asked
from ptft.stages.export.formats.format import Format, Job, Plan
from ptft.stages.export.formats.held import FORMATS
from ptft.stages.export.integers import Graphs, Integers
from ptft.stages.export.recipe import ExportRecipe


@dataclass(frozen=True)
class Cell:
    """One scheme in one format."""

    asked: Asked
    format: Format

    @property
    def name(self) -> str:
        """Of its folder, where there are several."""
        return f"{self.asked.name}-{self.format.name}"


@dataclass(frozen=True)
class Made:
    """What was written of a cell. plan: schemes in words, by weight; kept: weights of the matrices that stay as they are.

    bytes, expected: by class of tensor, in the file and by bits x weights + what the format adds. bits: of a quantised weight.
    """

    plan: dict[str, str]
    kept: dict[str, int]
    bytes: dict[str, int]
    expected: dict[str, int]
    bits: float
    quantised: int
    notes: list[str]


def cells_of(recipe: ExportRecipe) -> tuple[tuple[Cell, ...], tuple[str, ...]]:
    """Those that the formats hold, and why they do not hold the others.

    Raises `InputError` where a scheme or a format that was asked for is left with none.
    """
    pairs = [Cell(asked, FORMATS[name]) for asked in recipe.schemes() for name in recipe.format]
    reasons = {cell: cell.format.lacks(cell.asked, recipe) for cell in pairs}
    found = tuple(cell for cell in pairs if not reasons[cell])
    for cell, reason in reasons.items():
        alone = all(other.asked != cell.asked for other in found) or all(other.format != cell.format for other in found)
        if reason and alone:
            remedy = "name schemes and formats that go together, or run the command once for each pair"
            raise InputError(f"no {cell.asked.name} in {cell.format.name}: {reason}", remedy=remedy)
    return found, tuple(f"no {cell.asked.name} in {cell.format.name}: {why}" for cell, why in reasons.items() if why)


@dataclass(frozen=True)
class Maker:
    """Makes cells of one model. stored: torch's name of the type of the checkpoint's weights. scratch: outlives a kill."""

    integers: Integers
    stored: str
    scratch: Path
    progress: Progress

    def make(self, cells: Sequence[Cell]) -> dict[str, Made]:
        """By cell's name. Those with the same plan are made together."""
        todo = [cell for cell in cells if not self._record(cell).exists()]
        graphs = self._graphs(todo)
        plans = {cell.name: self.integers.plan(cell.asked, cell.format) for cell in todo}
        alike: dict[str, list[Cell]] = {}
        for cell in todo:
            alike.setdefault(str(sorted(plans[cell.name].items())), []).append(cell)
        for number, group in enumerate(alike.values(), 1):
            self._make_alike(group, plans[group[0].name], graphs, last=number == len(alike))
        return {cell.name: Made(**json.loads(self._record(cell).read_bytes())) for cell in cells}

    def folder(self, cell: Cell) -> Path:
        return self.scratch / cell.name

    def _record(self, cell: Cell) -> Path:
        return self.scratch / f"{cell.name}.json"

    def _graphs(self, cells: Sequence[Cell]) -> Graphs:
        """Traced before anything is quantised: what cannot be is refused at once."""
        integers = self.integers
        standard = integers.recipe.operators == "standard"
        graphs = Graphs(integers.loaded, standard, self.scratch / "graph", self.progress)
        for half in sorted({cell.asked.precision == "fp16" for cell in cells if cell.format.name == "onnx"}):
            graphs(half)
        return graphs

    def _make_alike(self, cells: Sequence[Cell], plan: Plan, graphs: Graphs, last: bool) -> None:
        integers = self.integers
        ranges = integers.ranges(plan)
        with integers.applied(plan, keep=not last) as quantised:
            for cell in cells:
                job = Job(integers.loaded, cell.asked, integers.recipe, plan, quantised, ranges, self.stored, graphs)
                self._write(cell, job)

    def _write(self, cell: Cell, job: Job) -> None:
        folder = self.folder(cell)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        with self.progress.step(f"writing {cell.name}", total=1, unit="exports") as step:
            notes = cell.format.write(job, folder)
            step.advance()
        write_json(self._record(cell), asdict(_made(cell, job, folder, notes)))


def _made(cell: Cell, job: Job, folder: Path, notes: Sequence[str]) -> Made:
    from ptft.core.quantising import planning

    model, typed = job.loaded.model, cell.format.typed(job.loaded.model, cell.asked, job.recipe)
    standard = job.recipe.operators == "standard"
    schemes = {name: str(scheme) for name, scheme in job.plan.items() if scheme is not None}
    return Made(
        plan=schemes | typed,
        kept={name: size for name, size in planning.left_out(model, job.plan).items() if name not in typed},
        bytes=sizes.stored(model, folder),
        expected=sizes.expected(
            model, job.plan, cell.format.name, cell.format.others(cell.asked, job.stored), typed, standard
        ),
        bits=sizes.bits_a_weight(folder, model, job.plan) if job.plan else 0.0,
        quantised=sum(weight.ints.numel() for weight in job.quantised.values()),
        notes=list(notes),
    )
