"""`ptft export`: a checkpoint to quantised weights that load without ptft."""

from __future__ import annotations

import importlib.metadata
from dataclasses import replace
from pathlib import Path
from typing import Any

from ptft.core.contracts import CHECKPOINT, Inputs, Output, Plan, Result
from ptft.core.errors import InputError
from ptft.core.files import write_json
from ptft.core.models import Loaded, count_parameters
from ptft.core.progress import Progress, table_of
from ptft.core.rows import RejectLog
from ptft.core.weights import is_quantised
from ptft.stages.export import layers as sizes
from ptft.stages.export import torchao, verify
from ptft.stages.export.layers import Layers
from ptft.stages.export.recipe import ExportRecipe

A_BYTE_A_WEIGHT = (
    "torchao stores INT4 a byte a weight on a CPU ({bits:.1f} bits measured, scales included): the file is no smaller than "
    "INT8, and only the precision is that of 4 bits"
)


def run(recipe: ExportRecipe, inputs: Inputs, out: Output, progress: Progress) -> Result:
    """Merge, quantise, save, load again, compare; write export.json beside the model."""
    from ptft.core.models import load

    folder = inputs.folders["model"]
    _refuse_quantised(CHECKPOINT.require(folder))
    original, checkpoint = _merged(load(folder), out.state / "merged")
    layers = sizes.choose(original.model, recipe.to, recipe.group_size, folder)
    log = RejectLog(out.new / "rejected.jsonl", recipe.max_bad_rows)
    sample = verify.sample_of(original, inputs, recipe, log)
    with progress.step(f"quantising to {recipe.to}", total=3, unit="steps") as step:
        torchao.write(original, checkpoint, layers, recipe, out.new)
        step.advance()
        exported = load(out.new)  # what a user will load, and not what is in memory
        step.advance()
        compared = verify.compare(original, exported, sample)
        step.advance()
    report = _report(original, layers, recipe, sample, compared, out.new)
    write_json(out.new / "export.json", report)
    speed = verify.seconds_a_pass(original) / verify.seconds_a_pass(exported)
    _say(report, speed, progress)
    counts = {
        "parameters": report["parameters"],
        "quantised": report["quantised_parameters"],
        "verify_rows": len(sample.texts),
    }
    return Result(counts, _metrics(report, speed), _gates(recipe, compared))


def _refuse_quantised(folder: Path) -> None:
    if is_quantised(folder):
        remedy = "export the checkpoint that it was made from"
        raise InputError("this model is quantised already", where=str(folder), remedy=remedy)


def _merged(loaded: Loaded, folder: Path) -> tuple[Loaded, Path]:
    """The model without adapters, and where it is saved whole: an adapter is merged in full precision first."""
    from ptft.core.adapters import merged
    from ptft.core.models import save

    whole = merged(loaded)
    if whole is loaded:
        return loaded, loaded.folder
    save(whole.model, whole.tokenizer, folder)
    return replace(whole, model=whole.model.eval(), folder=folder), folder


def _report(
    original: Loaded, layers: Layers, recipe: ExportRecipe, sample: verify.Sample, compared: dict[str, Any], new: Path
) -> dict[str, Any]:
    before, after = sizes.bytes_in_memory(original.model), sizes.bytes_on_disk(original.model, new)
    bits = sizes.bits_a_weight(original.model, layers, new)
    return {
        "format": recipe.format, "to": recipe.to, "scheme": torchao.described(recipe),
        "runtime": {name: importlib.metadata.version(name) for name in ("torchao", "transformers", "torch")},
        "load": torchao.how_to_load(original),
        "parameters": count_parameters(original.model)[0],
        "quantised_parameters": sizes.quantised_weights(original.model, layers),
        "bytes": {"before": _totalled(before), "after": _totalled(after)},
        "bits_a_quantised_weight": bits,
        "kept_in_full_precision": layers.kept,
        "groups_lowered": layers.lowered(recipe.group_size),
        "verify": {"rows": len(sample.texts), "built_in": sample.built_in, **compared},
        "notes": [A_BYTE_A_WEIGHT.format(bits=bits)] if recipe.to == "int4" and bits > 6 else [],
    }  # fmt: skip


def _totalled(by_class: dict[str, int]) -> dict[str, int]:
    return {"total": sum(by_class.values()), **by_class}


def _metrics(report: dict[str, Any], speed: float) -> dict[str, Any]:
    before, after = report["bytes"]["before"]["total"], report["bytes"]["after"]["total"]
    figures = {key: value for key, value in report["verify"].items() if isinstance(value, float)}
    return {
        "bytes_before": before, "bytes_after": after, "ratio": after / before,
        "bits_a_weight": report["bits_a_quantised_weight"], "speed": speed, **figures,
    }  # fmt: skip


def _gates(recipe: ExportRecipe, compared: dict[str, Any]) -> tuple[str, ...]:
    if not recipe.max_loss_increase:
        return ()
    if "loss_before" not in compared:
        return ("the loss cannot be measured on these --verify rows (a classifier needs labels)",)
    rise = compared["loss_after"] / max(compared["loss_before"], 1e-12) - 1
    return (
        ()
        if rise <= recipe.max_loss_increase
        else (f"the loss rose by {rise:.2%}, over {recipe.max_loss_increase:.2%}",)
    )


def _say(report: dict[str, Any], speed: float, progress: Progress) -> None:
    before, after = report["bytes"]["before"], report["bytes"]["after"]
    rows = [(name, before[name], after[name], after[name] / before[name] if before[name] else None) for name in before]
    progress.table(table_of(f"bytes, {report['to']}", ("tensors", "before", "after", "ratio"), rows))
    for note in report["notes"]:
        progress.warn(note)
    lowered = report["groups_lowered"]
    if lowered:
        progress.note(f"{len(lowered)} layers are not a multiple of the group wide: smaller groups there (export.json)")
    if speed < 0.8:
        progress.warn(f"a forward pass runs at {speed:.2f} times the original's speed on this machine")


def plan(recipe: ExportRecipe, inputs: Inputs, progress: Progress) -> Plan:
    """Parameters and the size of the export, from the network's shapes alone: no weight is loaded."""
    folder = inputs.folders["model"]
    _refuse_quantised(folder)
    model = _without_weights(folder)
    layers = sizes.choose(model, recipe.to, recipe.group_size, folder)
    before, after = sum(sizes.bytes_in_memory(model).values()), sum(sizes.expected_bytes(model, layers).values())
    lines: list[tuple[str, object]] = [
        ("parameters", count_parameters(model)[0]),
        ("parameters quantised", sizes.quantised_weights(model, layers)),
        ("layers kept in full precision", len(layers.kept)),
        ("bytes before", before),
        ("bytes after", after),
        ("ratio", after / before),
    ]
    return Plan(tuple(lines))


def _without_weights(folder: Path) -> Any:
    """The network of a checkpoint (of an adapter: its base) on torch's meta device."""
    import torch

    from ptft.core import adapters
    from ptft.core.models import kind_of, load_config, readable

    CHECKPOINT.require(folder)
    with readable(folder):
        base = adapters.base_folder(folder) if adapters.is_adapter(folder) else folder
        config = load_config(base)
        import transformers

        auto = getattr(transformers, torchao.AUTO[kind_of(config)])
        with torch.device("meta"):
            return auto.from_config(config)
