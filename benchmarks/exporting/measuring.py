"""`measured(folder, runtime, bench)`: what one model folder does in one runtime, each time in a fresh process."""

from __future__ import annotations

import hashlib
import json
import math
import statistics
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import tools
from pretraining import processes
from tools import python_of

import ptft
from exporting.data import Held, News
from exporting.processor import processor_has

PEERS = Path(__file__).parent.parent / "export_peers"
ALONE = Path(ptft.__file__).parent / "stages" / "export" / "alone"  # run by path: they import nothing of ptft
WEIGHTS = ("*.safetensors", "*.onnx", "*.onnx.data", "*.onnx_data", "*.gguf", "*.bin", "*.pt")
BATCHES = (1, 8)
NAMED = {  # packages to say the versions of
    "ptft": ("torch", "transformers", "torchao", "onnxruntime"),
    "llm-compressor": ("torch", "transformers", "llmcompressor", "compressed-tensors"),
    "llama.cpp": ("llama-cpp-python",),
}
# llama.cpp's kernels for AMX crash at the second token of integer weights (llama.cpp#20824, open): built without them
AMX = processor_has("amx_tile")
_WITHOUT_AMX = "-mno-amx-tile -mno-amx-int8 -mno-amx-bf16"
_FLAGS = tuple(f"-Ccmake.define.CMAKE_{language}_FLAGS={_WITHOUT_AMX}" for language in ("C", "CXX")) if AMX else ()
tools.PEERS.setdefault("llm-compressor", ("python3", ("torch==2.13.0", "llmcompressor==0.14.0.1")))
tools.PEERS.setdefault("llama.cpp", ("python3", ("numpy", "llama-cpp-python==0.3.36", *_FLAGS)))  # built: ten minutes


@dataclass(frozen=True)
class Runtime:
    """name: of a script with_NAME.py, or "generate". environment: whose packages it runs with. settings: for the script's Model."""

    name: str
    environment: str = "ptft"
    settings: dict[str, Any] = field(default_factory=dict)


TORCH = Runtime("torch")
GENERATE = Runtime("generate")
ONNX = Runtime("onnx")
LLAMA_CPP = Runtime("llama_cpp", "llama.cpp", {"repack": True})
COMPRESSED = Runtime("torch", "llm-compressor")
RUNTIMES = {"torch": TORCH, "onnx": ONNX, "llama_cpp": LLAMA_CPP, "compressed": COMPRESSED}


@dataclass(frozen=True)
class Bench:
    """compared: windows whose logits are compared with the original's. original: the checkpoint in fp32. threads: of every process.

    clock: wall, or cpu where the machine has other work; see measure.py. base: what runs the original that all else is
    compared with.
    """

    held: Held
    original: Path
    cache: Path
    threads: int
    compared: int
    repeats: int
    clock: str = "wall"
    base: Runtime = TORCH

    @property
    def reference(self) -> Path:
        """Log-probabilities of the original on the first windows; a file for each model and text."""
        weights = [(path.name, path.stat().st_mtime_ns) for path in sorted(self.original.glob("*.safetensors"))]
        text = hashlib.sha256(self.held.windows.read_bytes()).hexdigest()
        key = hashlib.sha256(f"{self.original} {weights} {text} {self.compared} {self.base}".encode()).hexdigest()[:12]
        return self.cache / "export" / f"reference-{key}.npy"


@dataclass(frozen=True)
class Speed:
    """Seconds, tokens a second and bytes. first and speed: by batch size. before: of the process with its imports alone.

    load: the first time in a process, with what that still imports; reload: the second time. cache_agrees: the share of the
    tokens said with the cache that one pass over the whole text gives too.
    """

    load: float
    reload: float
    first: dict[int, float]
    speed: dict[int, float]
    peak: int
    before: int
    cache_agrees: float


@dataclass(frozen=True)
class Quality:
    """nats: (windows, tokens) of the held-out text. divergence: KL in nats a token from the original. same: share of first choices."""

    nats: np.ndarray
    divergence: float
    same: float


@dataclass(frozen=True)
class Figures:
    """size: bytes of the weights. quality: None of "generate", which is but another way to run the same model."""

    size: int
    speed: Speed
    quality: Quality | None


def measured(folder: Path, runtime: Runtime, bench: Bench) -> Figures:
    """Both in one process, speed and memory first. Raises `Missing` or RuntimeError.

    The original comes before all others: without its log-probabilities there is nothing to compare with.
    """
    if runtime.name == "generate":
        return Figures(size(folder), speed_of(folder, runtime, bench), None)
    if not bench.reference.exists() and (folder, runtime) != (bench.original, bench.base):
        measured(bench.original, bench.base, bench)
    nats = _report(folder, runtime, "nats", bench).with_suffix(".npy")
    given = {"reference": str(bench.reference), "compared": bench.compared, "nats": str(nats)}
    found = _run(folder, runtime, ("speed", "quality"), given, bench)
    quality = Quality(np.load(nats), found.get("divergence", 0.0), found.get("same", 1.0))
    return Figures(size(folder), _speed(found), quality)


def speed_of(folder: Path, runtime: Runtime, bench: Bench) -> Speed:
    """Once more."""
    return _speed(_run(folder, runtime, ("speed",), {}, bench))


def _speed(found: dict[str, Any]) -> Speed:
    first, speed = ({int(size): value for size, value in found[name].items()} for name in ("first", "speed"))
    return Speed(found["load"], found["reload"], first, speed, found["peak"], found["imported"], found["cache_agrees"])


def size(folder: Path) -> int:
    """Bytes of the weights, of a folder or of one file."""
    files = [folder] if folder.is_file() else {path for name in WEIGHTS for path in folder.rglob(name)}
    return sum(path.stat().st_size for path in files)


def classes_of(folder: Path, runtime: Runtime, news: News, bench: Bench) -> tuple[np.ndarray, dict[int, float], int]:
    """(logits (rows, classes), seconds by batch size, peak bytes) of a classifier."""
    out = _report(folder, runtime, "classes", bench).with_suffix(".npy")
    found = _run(folder, runtime, ("classes",), {"windows": str(news.ids), "classes": str(out)}, bench)
    return np.load(out), {int(size): value for size, value in found["first"].items()}, found["peak"]


def _run(folder: Path, runtime: Runtime, what: Sequence[str], given: dict[str, Any], bench: Bench) -> dict[str, Any]:
    report = _report(folder, runtime, what[-1], bench)
    whole = {
        "runtime": runtime.name, "folder": str(folder), "settings": runtime.settings, "what": what, "report": str(report),
        "windows": str(bench.held.windows), "batches": BATCHES, "repeats": bench.repeats, "clock": bench.clock, **given,
    }  # fmt: skip
    return script(
        PEERS / "generate.py" if runtime.name == "generate" else ALONE / "measure.py", runtime.environment, whole, bench
    )


def script(path: Path, environment: str, given: dict[str, Any], bench: Bench) -> dict[str, Any]:
    """What a script found, run in an environment with the modules of `ALONE` beside its own. Raises `Missing` or RuntimeError."""
    report = Path(given["report"])
    report.parent.mkdir(parents=True, exist_ok=True)
    report.unlink(missing_ok=True)
    python = python_of(environment, bench.cache)
    processes.run([str(python), str(path), json.dumps(given)], bench.threads, more={"PYTHONPATH": str(ALONE)})
    found: dict[str, Any] = json.loads(report.read_text())
    return found


def _report(folder: Path, runtime: Runtime, what: str, bench: Bench) -> Path:
    """A file for each folder, runtime and question."""
    key = hashlib.sha256(f"{folder} {runtime}".encode()).hexdigest()[:12]
    return bench.cache / "export" / "reports" / f"{folder.name}-{key}-{what}.json"


def versions(cache: Path) -> str:
    """What runs in the environments that are there."""
    found = []
    for environment, packages in NAMED.items():
        if environment == "ptft" or (cache / "venvs" / environment / "installed").exists():
            code = "import importlib.metadata as m, sys; print(*(f'{name} {m.version(name)}' for name in sys.argv[1:]), sep=', ')"
            command = [str(python_of(environment, cache)), "-c", code, *packages]
            found.append(f"{environment}: {subprocess.run(command, capture_output=True, text=True).stdout.strip()}")
    return "; ".join(found)


def middle(runs: Sequence[Speed]) -> Speed:
    """The median of each figure."""

    def of(name: str) -> float:
        return statistics.median(getattr(run, name) for run in runs)

    first, speed = (
        {size: statistics.median(getattr(run, name)[size] for run in runs) for size in BATCHES}
        for name in ("first", "speed")
    )
    agrees = min(run.cache_agrees for run in runs)
    return Speed(of("load"), of("reload"), first, speed, int(of("peak")), int(of("before")), agrees)


def ratio(found: Quality, other: Quality, rows: np.ndarray | None = None) -> tuple[float, float]:
    """(perplexity over the other's, half its 95 % interval), of the windows that `rows` picks: a paired difference of nats a window."""
    gaps = (found.nats - other.nats).mean(axis=1)
    gaps = gaps if rows is None else gaps[rows]
    if len(gaps) < 2:
        return math.nan, math.nan
    mean, error = float(gaps.mean()), 1.96 * float(gaps.std(ddof=1)) / math.sqrt(len(gaps))
    return math.exp(mean), math.exp(mean) * error
