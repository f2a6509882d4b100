"""What the table of causal models compares: the original, each scheme and format of ptft's, and the peers' own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from exporting.making import Made, Row, by_script, ours
from exporting.measuring import COMPRESSED, GENERATE, LLAMA_CPP, RUNTIMES, TORCH, Bench, Runtime

F16_GGUF = "ptft gguf fp16"
BFLOAT = {"dtype": "bfloat16"}


def original(name: str, runtime: Runtime) -> Row:
    """The checkpoint itself."""
    return Row(name, runtime, where=lambda bench: bench.original)


def compressor(name: str, method: str, bits: int, group: int, activations: str = "none") -> Row:
    """llm-compressor's one-shot, which leaves embeddings and output layer as they are."""
    given = {"method": method, "bits": bits, "group": group, "activations": activations}

    def make(bench: Bench, out: Path, _: Mapping[str, Made]) -> Path:
        return by_script("llm_compressor.py", "llm-compressor", given, bench, out)

    return Row(f"llm-compressor {name}", COMPRESSED, make)


def llama_cpp(kind: str) -> Row:
    """llama.cpp's own quantisation of the F16 file that ptft writes."""

    def make(bench: Bench, out: Path, found: Mapping[str, Made]) -> Path:
        source = found[F16_GGUF]
        if isinstance(source, Exception):
            raise RuntimeError(f"{F16_GGUF} failed")
        return by_script(
            "llama_quantize.py", "llama.cpp", {"source": str(source / "model.gguf"), "type": kind}, bench, out
        )

    return Row(f"llama.cpp {kind.lower()}", LLAMA_CPP, make, needs=F16_GGUF)


def folder(given: str) -> Row:
    """NAME=RUNTIME:PATH, something that lies there already."""
    name, rest = given.split("=", 1)
    runtime, path = rest.split(":", 1)
    return Row(name, RUNTIMES[runtime], where=lambda _: Path(path).resolve())


# ---------------------------------------------------------------- the rows

ORIGINAL = original("fp32", TORCH)
GENERATED = original("fp32, generate()", GENERATE)
HALF = Runtime("torch", settings=BFLOAT)
ONNX_SCHEMES = (
    "fp32", "int8", "int8-dynamic", "int8-static", "int4-rtn-g32", "int4-hqq-g32", "int4-awq-g32", "int4-gptq-g32", "int4-gptq-g128",
    "mixed",
)  # fmt: skip
ROWS: Sequence[Row] = (
    ORIGINAL,
    GENERATED,
    original("bf16", HALF),
    original("bf16, generate()", Runtime("generate", settings=BFLOAT)),
    *(ours(scheme, "onnx") for scheme in ONNX_SCHEMES),
    *(ours(scheme, "gguf") for scheme in ("fp16", "int8", "int4-rtn-g32", "int4-gptq-g32")),
    *(ours(scheme, "torchao") for scheme in ("int8", "int8-dynamic", "int4-gptq-g32")),
    *(
        ours(scheme, "compressed-tensors", COMPRESSED)
        for scheme in ("int8", "int4-rtn-g32", "int4-gptq-g32", "int4-gptq-g128")
    ),
    compressor("int4-rtn-g32", "rtn", 4, 32),
    compressor("int4-gptq-g32", "gptq", 4, 32),
    compressor("int4-gptq-g128", "gptq", 4, 128),
    compressor("w8a8", "gptq", 8, 0, "dynamic"),
    *(llama_cpp(kind) for kind in ("Q8_0", "Q4_0", "Q4_K_M")),
)
