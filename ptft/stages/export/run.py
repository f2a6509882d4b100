"""`ptft export`: a checkpoint to quantised weights that load without ptft, each checked against it in a fresh process."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ptft.core.contracts import CHECKPOINT, EXPORT_FILE, Inputs, Output, Plan, Result
from ptft.core.errors import InputError, RunError
from ptft.core.files import write_json
from ptft.core.models import Loaded, count_parameters
from ptft.core.progress import Progress
from ptft.core.rows import RejectLog
from ptft.core.weights import is_quantised
from ptft.stages.export import choosing, finite, report, sizes
from ptft.stages.export.making import Cell, Maker, cells_of
from ptft.stages.export.recipe import ExportRecipe
from ptft.stages.export.report import Basis, Finished

if TYPE_CHECKING:
    from ptft.core.quantising.statistics import Calibration
    from ptft.stages.export.rows import Texts
    from ptft.stages.export.verifying import Verified, Verifier

MOST_TEXTS = 16  # texts read for each row of calibration: short ones are joined


@dataclass(frozen=True)
class _Given:
    """What is exported, as what, and with which rows. loaded: in float32, merged; checkpoint: where it lies so.

    stored: torch's name of the type of the checkpoint's weights.
    """

    loaded: Loaded
    checkpoint: Path
    stored: str
    cells: tuple[Cell, ...]
    texts: Texts
    calibration: Calibration | None


def run(recipe: ExportRecipe, inputs: Inputs, out: Output, progress: Progress) -> Result:
    """Merge, quantise, write, verify; export.json beside each model, and where there are several one for them all."""
    from ptft.stages.export.integers import Integers
    from ptft.stages.export.verifying import Verifier

    given = _given(recipe, inputs, out, progress)
    verifier = Verifier(given.loaded, given.checkpoint, given.texts, out.state / "verifying", recipe)
    _refuse_full(given, recipe, out.new)
    before, parameters = _before(given), count_parameters(given.loaded.model)[0]
    maker = Maker(
        Integers(given.loaded, recipe, given.calibration, progress), given.stored, out.state / "made", progress
    )
    made = maker.make(given.cells)
    _let_go(given.loaded.model)
    original, verified = _verified(verifier, maker, given.cells, progress)
    found = {cell.name: Finished(cell, made[cell.name], verified[cell.name]) for cell in given.cells}
    for cell in given.cells:
        _link(maker.folder(cell), out.new / cell.name if len(given.cells) > 1 else out.new)
    basis = Basis(given.loaded, before, parameters, given.texts, given.calibration, original)
    return _finished(found, basis, recipe, out, progress)


def _given(recipe: ExportRecipe, inputs: Inputs, out: Output, progress: Progress) -> _Given:
    """All that can be refused is refused here, before any work."""
    from ptft.core.models import load

    cells, lacking = cells_of(recipe)
    for reason in lacking:
        progress.warn(reason)
    folder = inputs.folders["model"]
    _refuse_quantised(folder)
    CHECKPOINT.require(folder)
    stored = _stored_type(folder)
    loaded, checkpoint = _merged(load(folder, dtype="float32"), out.state / "merged")
    finite.refuse_not_finite(loaded)
    _refuse_family(loaded, cells)
    texts, calibration = _rows(loaded, recipe, inputs, out)
    return _Given(loaded, checkpoint, stored, cells, texts, calibration)


def _refuse_quantised(folder: Path) -> None:
    remedy = "export the checkpoint that it was made from"
    if (folder / EXPORT_FILE).is_file():
        raise InputError("this is an export, and quantised already", where=str(folder), remedy=remedy)
    if is_quantised(folder):
        raise InputError("this model is quantised already", where=str(folder), remedy=remedy)


def _refuse_family(loaded: Loaded, cells: Sequence[Cell]) -> None:
    if loaded.kind == "seq2seq":
        remedy = "export a decoder such as llama, or an encoder such as bert"
        what = f"an encoder-decoder ({loaded.model.config.model_type}): such models are not exported"
        raise InputError(what, where=str(loaded.folder), remedy=remedy)
    for cell in cells:
        cell.format.refuse(loaded)


def _stored_type(folder: Path) -> str:
    """Of an adapter, its base's."""
    from ptft.core import adapters
    from ptft.core.weights import stored_type

    return stored_type(adapters.base_folder(folder) if adapters.is_adapter(folder) else folder)


def _merged(loaded: Loaded, folder: Path) -> tuple[Loaded, Path]:
    """The model without adapters, and where it is saved whole: an adapter is merged in full precision first."""
    from ptft.core.adapters import merged
    from ptft.core.models import save

    whole = merged(loaded)
    if whole is loaded:
        return loaded, loaded.folder
    save(whole.model, whole.tokenizer, folder)
    return replace(whole, model=whole.model.eval(), folder=folder), folder


def _rows(
    loaded: Loaded, recipe: ExportRecipe, inputs: Inputs, out: Output
) -> tuple[Texts, Calibration | None]:  # fmt: skip
    """To verify on, and to calibrate with: never the same."""
    from ptft.stages.export.rows import shuffled, texts_of

    log = RejectLog(out.new / "rejected.jsonl", recipe.max_bad_rows)
    texts = texts_of(loaded, inputs.rows.get("verify"), recipe.columns, recipe.verify_rows, log, recipe.seed)
    if "calibration" not in inputs.rows:
        return texts, None
    from ptft.core.quantising.statistics import calibration_of
    from ptft.stages.export import overlap

    overlap.refuse_same_file(inputs.rows["calibration"], inputs.rows.get("verify", ()))
    most = recipe.calibration_rows * MOST_TEXTS
    used = texts_of(loaded, inputs.rows["calibration"], recipe.columns, most, log, recipe.seed)
    used = shuffled(overlap.held_out(used, texts, log), recipe.seed)
    return texts, calibration_of(loaded, used.texts, used.pairs, recipe.calibration_rows, recipe.calibration_length)


def _refuse_full(given: _Given, recipe: ExportRecipe, new: Path) -> None:
    """Before hours of work that could not be written."""
    model, stored = given.loaded.model, given.stored
    wanted = sum(sum(_expected(model, cell, recipe, stored).values()) for cell in given.cells)
    if any(cell.format.name == "onnx" for cell in given.cells):
        wanted += sum(sizes.in_memory(model).values())  # the graph in full precision, which is compared with the model
    free = shutil.disk_usage(new).free
    if wanted > free:
        what = f"no room on the disk: the exports take about {wanted / 1e9:.2f} GB, and {free / 1e9:.2f} GB are free"
        raise RunError(what, where=str(new), remedy="free some, ask for fewer exports, or choose another --out")


def _before(given: _Given) -> dict[str, int]:
    """Bytes of the checkpoint by class, in the type it is stored in (the model in memory is float32)."""
    return sizes.expected(given.loaded.model, {}, "torchao", given.stored)


def _let_go(model: Any) -> None:
    """Of the weights: from here on the files are read, in other processes, which want the memory."""
    import gc

    import torch

    model.to("meta")
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _expected(model: Any, cell: Cell, recipe: ExportRecipe, stored: str) -> dict[str, int]:
    """Bytes by class. `mixed` counts as its smallest scheme, before the sensitivity pass."""
    plan = {} if cell.asked.is_float else cell.format.plan(model, cell.asked, recipe)
    typed = cell.format.typed(model, cell.asked, recipe)
    others, standard = cell.format.others(cell.asked, stored), recipe.operators == "standard"
    return sizes.expected(model, plan, cell.format.name, others, typed, standard)


def _verified(
    verifier: Verifier, maker: Maker, cells: Sequence[Cell], progress: Progress
) -> tuple[Verified, dict[str, Verified]]:
    """What was found of the original, and of each export by its name."""
    found = {}
    with progress.step("verifying in fresh processes", total=1 + len(cells), unit="models") as step:
        verifier.together([(maker.folder(cell), cell.format.runtime) for cell in cells])
        original = verifier.original()
        step.advance()
        for cell in cells:
            found[cell.name] = verifier.export(maker.folder(cell), cell.format.runtime)
            step.advance()
    return original, found


def _link(folder: Path, new: Path) -> None:
    """Hard links, so that a kill leaves what is made where the next run finds it, and nothing is there twice."""
    shutil.copytree(folder, new, copy_function=_linked, dirs_exist_ok=True)


def _linked(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # a file system without links
        shutil.copy2(source, target)


def _finished(
    found: dict[str, Finished], basis: Basis, recipe: ExportRecipe, out: Output, progress: Progress
) -> Result:
    candidates = {
        name: choosing.Candidate(one.bytes, one.verified.quality, one.verified.speed) for name, one in found.items()
    }
    best = choosing.best_of(candidates, recipe)
    several = len(found) > 1
    for name, one in found.items():
        write_json((out.new / name if several else out.new) / EXPORT_FILE, report.of_one(one, basis))
    if several:
        write_json(out.new / EXPORT_FILE, report.of_several(found, basis, best, choosing.rule(recipe)))
    _say(found, basis, best, progress)
    each = {name: report.metrics(one, basis) for name, one in found.items()}
    speed = {} if basis.original.speed is None else {"original": {"speed": basis.original.speed.as_json()}}
    counts = {"parameters": basis.parameters, "exports": len(found), "verify_rows": len(basis.texts.texts)}
    counts["quantised"] = found[best].made.quantised
    metrics = {"best": best, **each, **speed} if several else {**each[best], **speed}
    return Result(counts, metrics, choosing.gates(candidates, recipe))


def _say(found: dict[str, Finished], basis: Basis, best: str, progress: Progress) -> None:
    for table in report.tables(found, basis, best):
        progress.table(table)
    if basis.unlabelled:
        progress.warn("the --verify rows have no labels, so the task's scores are not measured")
    for note in [*report.notes(found), *report.larger(found, basis), *report.slower(found, basis)]:
        progress.warn(note)


# ---------------------------------------------------------------- before any work


def plan(recipe: ExportRecipe, inputs: Inputs, progress: Progress) -> Plan:
    """Parameters and the size of each export, from the network's shapes alone: no weight is loaded."""
    cells, lacking = cells_of(recipe)
    for reason in lacking:
        progress.warn(reason)
    folder = inputs.folders["model"]
    _refuse_quantised(folder)
    loaded = _without_weights(folder)
    _refuse_family(loaded, cells)
    model = loaded.model
    before = sum(sizes.in_memory(model).values())
    lines: list[tuple[str, object]] = [("parameters", count_parameters(model)[0]), ("bytes before", before)]
    for cell in cells:
        after = sum(_expected(model, cell, recipe, _stored_type(folder)).values())
        lines += [(f"bytes of {cell.name}", after), (f"of the original, {cell.name}", after / before)]
    return Plan(tuple(lines))


def _without_weights(folder: Path) -> Loaded:
    """A checkpoint (of an adapter: its base) whose network is on torch's meta device."""
    import torch

    from ptft.core import adapters
    from ptft.core.models import auto_class, kind_of, load_config, load_tokenizer, readable

    CHECKPOINT.require(folder)
    with readable(folder):
        base = adapters.base_folder(folder) if adapters.is_adapter(folder) else folder
        config = load_config(base)
        kind = kind_of(config)
        with torch.device("meta"):
            model = auto_class(kind).from_config(config)
    return Loaded(model, load_tokenizer(base), kind, (), 0, folder)
