"""What the table compares: the original, each scheme and format of ptft's, and the peers' own; how each folder is made."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pretraining import processes
from tools import python_of

from exporting.measuring import COMPRESSED, LLAMA_CPP, ONNX, RUNTIMES, SCRIPTS, TORCH, Bench, Runtime

Maker = Callable[[Bench, Path], Path]  # (bench, folder to write) -> what the runtime reads
INT8, INT4 = {"bits": 8, "group": 0}, {"bits": 4, "group": 32}
F32_GGUF = "ptft gguf f32"


@dataclass(frozen=True)
class Row:
    """name: of the table and of the folder. by: whose work the weights are. make: once; what is there already is taken."""

    name: str
    by: str
    runtime: Runtime
    make: Maker
    scheme: dict[str, Any] = field(default_factory=dict)

    def made(self, bench: Bench) -> Path:
        """Raises `Missing` or RuntimeError; nothing half-made stays."""
        out = bench.cache / "export" / "made" / bench.original.name / self.name.replace(" ", "-")
        done, key = out.parent / f"{out.name}.done", _key(bench, self.by)
        if not (done.exists() and done.read_text().split("\n")[0] == key):
            shutil.rmtree(out, ignore_errors=True)
            out.parent.mkdir(parents=True, exist_ok=True)
            done.write_text(f"{key}\n{self.make(bench, out)}")
        return Path(done.read_text().split("\n")[1])


def _key(bench: Bench, by: str) -> str:
    """Changes with the original, the calibration rows and, where ptft makes it, ptft."""
    import ptft

    source = Path(ptft.__file__).parent
    code = (*sorted(source.glob("core/quantising/*.py")), *sorted(source.glob("stages/export/**/*.py")))
    files = [*sorted(bench.original.glob("*.safetensors")), *(code if by == "ptft" else ())]
    stamps = [(str(path), path.stat().st_mtime_ns) for path in files]
    rows = hashlib.sha256(bench.held.calibration.read_bytes()).hexdigest()
    return hashlib.sha256(f"{stamps} {rows}".encode()).hexdigest()


# ---------------------------------------------------------------- how they are made


def _script(script: str, environment: str, given: dict[str, Any], bench: Bench, out: Path) -> Path:
    report = out.parent / f"{out.name}.report.json"
    whole = {
        "model": str(bench.original), "out": str(out), "calibration": str(bench.held.calibration), "report": str(report), **given
    }  # fmt: skip
    python = python_of(environment, bench.cache)
    try:
        processes.run([str(python), str(SCRIPTS / script), json.dumps(whole)], bench.threads)
    except RuntimeError:
        shutil.rmtree(out, ignore_errors=True)
        raise
    return out


def ptft(name: str, kind: str, scheme: dict[str, Any] | None, runtime: Runtime, **more: Any) -> Row:
    """ptft's functions write the format. scheme: the fields of `ptft.core.quantising.scheme.Scheme`, or None."""

    def make(bench: Bench, out: Path) -> Path:
        return _script("ptft_writes.py", "ptft", {"format": kind, "scheme": scheme, **more}, bench, out)

    return Row(name, "ptft", runtime, make, scheme or {})


def compressor(name: str, method: str, bits: int, group: int, activations: str = "none") -> Row:
    """llm-compressor's one-shot."""
    given = {"method": method, "bits": bits, "group": group, "activations": activations}

    def make(bench: Bench, out: Path) -> Path:
        return _script("llm_compressor.py", "llm-compressor", given, bench, out)

    return Row(name, "llm-compressor", COMPRESSED, make, given)


def llama_cpp(kind: str) -> Row:
    """llama.cpp's own quantisation of the file in F32 that ptft writes."""

    def make(bench: Bench, out: Path) -> Path:
        source = next(row for row in ROWS if row.name == F32_GGUF).made(bench) / "model.gguf"
        return _script("llama_quantize.py", "llama.cpp", {"source": str(source), "type": kind}, bench, out)

    return Row(f"llama.cpp {kind.lower()}", "llama.cpp", LLAMA_CPP, make)


def folder(given: str) -> Row:
    """NAME=RUNTIME:PATH, something that lies there already."""
    name, rest = given.split("=", 1)
    runtime, path = rest.split(":", 1)
    return Row(name, "", RUNTIMES[runtime], lambda _, __: Path(path).resolve())


# ---------------------------------------------------------------- the rows

HALF = Runtime("torch", settings={"dtype": "bfloat16"})
ORIGINAL = Row("fp32", "", TORCH, lambda bench, _: bench.original)
ROWS: Sequence[Row] = (
    ORIGINAL,
    ptft("bf16", "rounded", None, HALF, dtype="bfloat16"),
    # what the algorithms cost, in torch: integers' values in fp32
    ptft("ptft int8 rtn", "rounded", INT8, TORCH),
    ptft("ptft int8 dynamic", "torchao", {**INT8, "activations": "dynamic"}, TORCH),
    *(
        ptft(f"ptft int4 {method} g{group}", "rounded", {"bits": 4, "group": group, "method": method}, TORCH)
        for group in (32, 128)
        for method in ("rtn", "hqq", "gptq", "awq")
    ),
    # formats
    ptft("ptft torchao int8", "torchao", INT8, TORCH),
    ptft("ptft torchao int4 gptq", "torchao", {**INT4, "method": "gptq"}, TORCH),
    ptft("ptft compressed int8", "compressed", INT8, COMPRESSED),
    ptft("ptft compressed int4 gptq", "compressed", {**INT4, "method": "gptq"}, COMPRESSED),
    ptft("ptft onnx fp32", "onnx", None, ONNX),
    ptft("ptft onnx int8 dynamic", "onnx", {**INT8, "activations": "dynamic"}, ONNX),
    ptft("ptft onnx int8 static", "onnx", {**INT8, "activations": "static"}, ONNX),
    ptft("ptft onnx int8", "onnx", {**INT8, "group": 32}, ONNX),
    ptft("ptft onnx int4 rtn", "onnx", INT4, ONNX),
    ptft("ptft onnx int4 gptq", "onnx", {**INT4, "method": "gptq"}, ONNX),
    ptft(F32_GGUF, "gguf", None, LLAMA_CPP, dtype="float32"),
    ptft("ptft gguf q8_0", "gguf", {**INT8, "group": 32}, LLAMA_CPP),
    ptft("ptft gguf q4_0 rtn", "gguf", INT4, LLAMA_CPP),
    ptft("ptft gguf q4_0 gptq", "gguf", {**INT4, "method": "gptq"}, LLAMA_CPP),
    # peers
    compressor("llm-compressor int8 rtn", "rtn", 8, 0),
    compressor("llm-compressor w8a8", "gptq", 8, 0, "dynamic"),
    compressor("llm-compressor int4 rtn g32", "rtn", 4, 32),
    compressor("llm-compressor int4 gptq g32", "gptq", 4, 32),
    compressor("llm-compressor int4 rtn g128", "rtn", 4, 128),
    compressor("llm-compressor int4 gptq g128", "gptq", 4, 128),
    compressor("llm-compressor int4 awq g32", "awq", 4, 32),
    *(llama_cpp(kind) for kind in ("F16", "Q8_0", "Q4_0", "Q4_K_M")),
)
