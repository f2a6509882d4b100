"""Running things and looking at them: environments for the peers, commands with their time and memory, Markdown tables."""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

SCRIPTS = Path(__file__).parent / "clean_peers"
ONE_THREAD = dict.fromkeys(
    ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS", "POLARS_MAX_THREADS"), "1"
)
PEERS = {
    "datatrove": ("python3", ("datatrove[processing]==0.10.1", "spacy", "jieba", "orjson")),
    "rensa": ("python3", ("rensa==0.5.0", "orjson")),
    "datasketch": ("python3", ("datasketch==2.0.0", "xxhash", "orjson")),
    "text-dedup": ("python3.12", ("text-dedup==0.4.0",)),  # it asks for 3.12
}


class Missing(Exception):
    """A peer cannot be had here; the words say why."""


# ---------------------------------------------------------------- environments


def python_of(peer: str, cache: Path) -> Path:
    """The interpreter of the peer's environment, made on first use."""
    if peer == "ptft":
        return Path(sys.executable)
    folder = cache / "venvs" / peer
    python, done = folder / "bin" / "python", folder / "installed"
    interpreter, packages = PEERS[peer]
    wanted = " ".join(packages)
    if done.exists() and done.read_text() == wanted:
        return python
    shutil.rmtree(folder, ignore_errors=True)
    for command in (
        [_interpreter(interpreter), "-m", "venv", str(folder)],
        [str(python), "-m", "pip", "install", "-q", *packages],
    ):
        result = subprocess.run(command, capture_output=True, text=True)
        if result.returncode:
            raise Missing(f"{peer}: {' '.join(command[:4])} failed: {result.stderr.strip().splitlines()[-1]}")
    done.write_text(wanted)
    return python


def _interpreter(name: str) -> str:
    """This Python, or a newer one by name: on the path, or in pyenv."""
    if name == "python3":
        return sys.executable
    for found in (
        shutil.which(name),
        *sorted(Path.home().glob(f".pyenv/versions/{name.removeprefix('python')}*/bin/python")),
    ):
        if found and subprocess.run([found, "-c", ""], capture_output=True).returncode == 0:
            return str(found)
    raise Missing(f"needs {name}, which is not here")


# ---------------------------------------------------------------- running


@dataclass(frozen=True)
class Run:
    """What a run said, its wall time, that of its processors, and the most memory its processes held together, in bytes."""

    report: dict[str, Any]
    seconds: float
    cpu: float
    memory: int


def peer(name: str, script: str, source: Path, options: dict[str, Any], cache: Path) -> Run:
    """A script of clean_peers/ on one thread in the peer's environment; `seconds` are its own, without start and imports."""
    report = cache / "reports" / f"{name}-{script}.json"
    report.parent.mkdir(parents=True, exist_ok=True)
    command = [python_of(name, cache), SCRIPTS / script, source, report, json.dumps(options)]
    run = watched([str(part) for part in command])
    found = json.loads(report.read_text())
    return Run(found, found["seconds"], found["cpu"], run.memory)


def watched(command: Sequence[str], threads: int = 1) -> Run:
    """Run a command to its end; its own words are shown only where it fails."""
    environment = {**os.environ, **{name: str(threads) for name in ONE_THREAD}, "HF_HUB_OFFLINE": "1"}
    started, spent = time.perf_counter(), _cpu_of_children()
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    watch = _Watch(process.pid)
    said = process.communicate()[0]
    seconds = time.perf_counter() - started
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}:\n{said[-3000:]}")
    return Run({"said": said}, seconds, _cpu_of_children() - spent, watch.stop())


def _cpu_of_children() -> float:
    """Processor seconds of all processes that have ended, started from here."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


class _Watch:
    """The most proportional set size (PSS; shared pages counted once) of a process and its descendants, every 0.2 s."""

    def __init__(self, root: int) -> None:
        self.root, self.most, self._done = root, 0, threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def _look(self) -> None:
        while not self._done.wait(0.2):
            self.most = max(self.most, sum(map(_pss, _family(self.root))))

    def stop(self) -> int:
        self._done.set()
        self._thread.join()
        return self.most


def _family(root: int) -> list[int]:
    found = [root]
    for number in found:
        for children in Path(f"/proc/{number}/task").glob("*/children"):
            try:
                found += map(int, children.read_text().split())
            except OSError:
                continue  # it has just ended
    return found


def _pss(number: int) -> int:
    try:
        lines = Path(f"/proc/{number}/smaps_rollup").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))
    except (OSError, StopIteration):
        return 0


def ptft_clean(source: Path, out: Path, *options: str) -> Run:
    """The command `ptft clean`; the report has the counts of its run record."""
    shutil.rmtree(out, ignore_errors=True)
    # -P: the ptft that is installed, not one that lies in the working directory
    run = watched([sys.executable, "-P", "-m", "ptft", "clean", str(source), "-o", str(out), *options])
    return replace(run, report=json.loads((out / "run.json").read_text())["counts"])


def dropped(out: Path) -> dict[str, list[dict[str, Any]]]:
    """The rows that `ptft clean` dropped into `out`: {id: reasons}."""
    path = out / "dropped.jsonl"
    if not path.exists():
        return {}
    with path.open(encoding="utf-8") as lines:
        return {row["id"]: row["reasons"] for row in map(json.loads, lines)}


# ---------------------------------------------------------------- showing


def table(title: str, head: Sequence[str], rows: Iterable[Sequence[object]], *notes: str) -> None:
    print(f"\n### {title}\n")
    print("| " + " | ".join(head) + " |")
    print("|" + "---|" * len(head))
    for row in rows:
        print("| " + " | ".join(map(str, row)) + " |")
    if notes:
        print()
    for note in notes:
        print(f"- {note}")
    sys.stdout.flush()


def note(text: str) -> None:
    print(f"[{time.strftime('%H:%M:%S')}] {text}", file=sys.stderr, flush=True)


def attempt(name: str, work: Callable[[], Run]) -> Run | None:
    """The run, or None where the peer cannot be had or fails: said on standard error, and the table goes on without it."""
    note(name)
    try:
        return work()
    except (Missing, RuntimeError) as error:
        note(f"{name} left out: {error}")
        return None
