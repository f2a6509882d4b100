"""Running a command to its end with nothing beside it: `tools.watched` reads the memory of what it runs, which slows that down."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tools import ONE_THREAD


@dataclass(frozen=True)
class Done:
    """seconds: on the wall clock. cpu: of the processors, children included."""

    seconds: float
    cpu: float


def run(
    command: Sequence[str], threads: int, limit: float | None = None, more: Mapping[str, str] | None = None
) -> Done:
    """Run to the end, or for `limit` seconds. more: of its environment. Raises RuntimeError with the last of what it said."""
    environment = {**os.environ, **{name: str(threads) for name in ONE_THREAD}, "HF_HUB_OFFLINE": "1", **(more or {})}
    started, spent = time.perf_counter(), _cpu_of_children()
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )
    try:
        said, _ = process.communicate(timeout=limit)
    except BaseException as error:  # also where somebody stops the benchmark: the command is in a session of its own
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        if isinstance(error, subprocess.TimeoutExpired):
            raise RuntimeError(f"{' '.join(command[:4])}: not done after {limit:.0f} s") from None
        raise
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}:\n{said[-3000:]}")
    return Done(time.perf_counter() - started, _cpu_of_children() - spent)


def last_line(error: Exception) -> str:
    """What to show of an error in a cell of a table."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1].replace("|", "/")[:140] if lines else type(error).__name__


def _cpu_of_children() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime
