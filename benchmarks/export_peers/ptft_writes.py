"""A checkpoint quantised by ptft's own functions, written in one of its formats, as `ptft export` does it.

    python ptft_writes.py '{"model": FOLDER, "out": FOLDER, "format": "torchao"|"compressed"|"gguf"|"onnx"|"rounded",
                            "scheme": {"bits": 4, "group": 32, "method": "gptq", ...}, "outer": {...} or null, "dtype": "float32",
                            "calibration": WINDOWS.npy or ROWS.jsonl, "report": FILE}'

rounded: the weights that the integers stand for, in fp32, for torch: it shows what the algorithm alone costs. No scheme: the
weights as they are, in the format's own fp32 (or `dtype`).
"""

from __future__ import annotations

import importlib
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import finish, memory, options, threads

from ptft.core.models import Loaded, load, save
from ptft.core.quantising.activations import ranges
from ptft.core.quantising.applying import applied
from ptft.core.quantising.planning import bits_a_weight, plan_for
from ptft.core.quantising.scheme import Scheme
from ptft.core.quantising.statistics import Calibration, calibration_of

ROWS, TEXTS = 8, 128  # calibration windows a pass; calibration texts of a classifier


def calibration(loaded: Loaded, path: str) -> Calibration:
    """Of windows, int32 (rows, tokens); or of the first texts of a file of rows, for a classifier."""
    if path.endswith(".jsonl"):
        lines = Path(path).read_text(encoding="utf-8").splitlines()[:TEXTS]
        return calibration_of(loaded, [json.loads(line)["text"] for line in lines], rows=TEXTS, length=128)
    windows = torch.from_numpy(np.load(path).astype(np.int64))
    return Calibration(
        tuple({"input_ids": rows, "attention_mask": torch.ones_like(rows)} for rows in windows.split(ROWS))
    )


def quantised(loaded: Loaded, given: dict[str, Any]) -> tuple[dict[str, Any], Any, float]:
    """(integers and scales by weight, ONNX's `Arithmetic`, mean bits of those weights with their scales).

    The model gets what the integers stand for.
    """
    from ptft.stages.export.formats.onnx_weights import Arithmetic

    if not given["scheme"]:
        return {}, Arithmetic(), 0.0
    scheme = Scheme(**given["scheme"])
    outer = Scheme(**given["outer"]) if given.get("outer") else None
    plan = plan_for(loaded.model, scheme, outer=outer)
    rows = calibration(loaded, given["calibration"]) if scheme.calibrated else None
    static = ranges(loaded.model, plan, rows) if scheme.activations == "static" and rows else None
    return applied(loaded.model, plan, rows), Arithmetic.of(plan, static), bits_a_weight(loaded.model, plan)


def write(loaded: Loaded, weights: dict[str, Any], arithmetic: Any, given: dict[str, Any], out: Path) -> None:
    kind, activations = given["format"], (given["scheme"] or {}).get("activations", "none")
    if kind == "rounded":
        save(loaded.model.to(getattr(torch, given.get("dtype") or "float32")), loaded.tokenizer, out)
        return
    module = importlib.import_module(f"ptft.stages.export.formats.{kind}")
    if kind == "gguf":
        module.write(loaded, weights, out, others={"float16": "F16", "float32": "F32"}[given.get("dtype") or "float16"])
    elif kind == "compressed":  # the output layer and the embeddings have no place in it
        inner = {name: weight for name, weight in weights.items() if ".layers." in name}
        module.write(loaded, inner, out, activations)
    else:
        module.write(loaded, weights, out, arithmetic if kind == "onnx" else activations)


def main() -> None:
    given = options()
    torch.set_num_threads(threads())
    loaded = load(Path(given["model"]))
    started = time.perf_counter()
    with torch.no_grad():
        weights, arithmetic, bits = quantised(loaded, given)
        made = time.perf_counter() - started
        write(loaded, weights, arithmetic, given, Path(given["out"]))
    finish(
        given, {"seconds": time.perf_counter() - started, "quantising": made, "bits": bits, "peak": memory()["peak"]}
    )


if __name__ == "__main__":
    main()
