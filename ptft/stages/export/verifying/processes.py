"""One process that measures one folder: what it is given, what it leaves, and how it can end."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson

from ptft.core.errors import PtftError, RunError

SCRIPT = Path(__file__).parent.parent / "alone" / "measure.py"
NAMES = {"torch": "transformers", "onnx": "ONNX Runtime", "llama_cpp": "llama.cpp", "gguf": "transformers"}
INSTALLED = {  # what to install for a module that is not there
    "onnxruntime": "onnxruntime", "llama_cpp": "llama-cpp-python", "compressed_tensors": "compressed-tensors",
    "torchao": "torchao", "gguf": "gguf", "torch": "torch", "transformers": "transformers",
}  # fmt: skip
NO_MEMORY = re.compile(r"out of memory|can't allocate memory|bad_?alloc|failed to allocate|memoryerror", re.IGNORECASE)


def run(options: Mapping[str, Any], report: Path) -> dict[str, Any]:
    """What alone/measure.py found with these options. Its words go beside the report. Raises `RunError`, which says how it ended."""
    said = report.with_suffix(".log")
    command = [sys.executable, str(SCRIPT), orjson.dumps({**options, "report": str(report)}).decode()]
    code = _ended(command, said, report.parent / "modules")
    if code or not report.is_file():
        raise _failure(options, code, report, said)
    return read(report)


def run_each(jobs: Sequence[tuple[Mapping[str, Any], Path]]) -> None:
    """Several jobs of one runtime in one process, each with its report. One that fails leaves none, nor do those after it."""
    first = jobs[0][1]
    each = [{**options, "report": str(report)} for options, report in jobs]
    _ended(
        [sys.executable, str(SCRIPT), orjson.dumps({"each": each}).decode()],
        first.with_suffix(".log"),
        first.parent / "modules",
    )
    for _, report in jobs:
        if report.is_file() and "error" in read(report):
            report.unlink()


def _ended(command: list[str], said: Path, modules: Path) -> int:
    """The exit code. A Ctrl-C here, or any other error, ends the process too."""
    # nothing is fetched, and a folder's own code is copied there and nowhere else
    more = {"HF_HUB_OFFLINE": "1", "HF_MODULES_CACHE": str(modules), "TOKENIZERS_PARALLELISM": "false"}
    with (
        said.open("wb") as file,
        subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=file, stderr=file, env={**os.environ, **more}
        ) as process,
    ):
        try:
            return process.wait()
        except BaseException:
            process.kill()
            process.wait()
            raise


def read(report: Path) -> dict[str, Any]:
    found: dict[str, Any] = orjson.loads(report.read_bytes())
    return found


# ---------------------------------------------------------------- how it ended


def _failure(options: Mapping[str, Any], code: int, report: Path, said: Path) -> PtftError:
    runtime, folder = NAMES[options["runtime"]], str(options["folder"])
    if code < 0:
        return _killed(runtime, -code, folder)
    error = read(report)["error"] if report.is_file() else {"kind": "", "module": None, "message": _last(said)}
    report.unlink(missing_ok=True)
    kind, message = error["kind"] or "", str(error["message"]).strip().split("\n")[0][:300]
    if kind in ("ImportError", "ModuleNotFoundError"):
        return _not_installed(runtime, error["module"], message, folder)
    if kind in ("MemoryError", "OutOfMemoryError") or NO_MEMORY.search(message):
        return RunError(f"{runtime} ran out of memory while it was verified", where=folder, remedy=_SMALLER)
    if "No space left on device" in message:
        return RunError("the disk is full", where=folder, remedy="free some space, then run the same command again")
    if kind == "Unfit":
        remedy = (
            "pip install llama-cpp-python" if options["runtime"] == "gguf" else "verify on the CPU: --set provider=cpu"
        )
        return RunError(message, where=folder, remedy=remedy)
    what = f"{runtime} cannot run this: {message or kind or f'it ended with {code}'}"
    return RunError(what, where=folder, remedy="choose another --format or --to; ptft export --help lists them")


_SMALLER = "take less text, --set verify_rows=16 --set verify_length=128, or a machine with more memory"


def _killed(runtime: str, number: int, folder: str) -> RunError:
    name = signal.Signals(number).name if number in [each.value for each in signal.Signals] else f"signal {number}"
    if name == "SIGKILL":
        return RunError(
            f"{runtime} was killed (SIGKILL; for memory, often) while it was verified", where=folder, remedy=_SMALLER
        )
    remedy = (
        f"install another build of {runtime} (pip install --upgrade --no-cache-dir ...), or choose another --format"
    )
    return RunError(f"{runtime} crashed ({name}) while it was verified", where=folder, remedy=remedy)


def _not_installed(runtime: str, module: str | None, message: str, folder: str) -> RunError:
    lacking = (module or "").split(".")[0]
    if lacking not in INSTALLED:
        words = message.lower().replace("-", "_")
        lacking = next((name for name in INSTALLED if name in words), lacking)
    remedy = f'pip install "{INSTALLED.get(lacking, lacking or runtime)}"'
    return RunError(f"{runtime} cannot verify this: {message}", where=folder, remedy=remedy)


def _last(said: Path) -> str:
    lines = said.read_text("utf-8", "replace").strip().splitlines()
    return lines[-1] if lines else ""
