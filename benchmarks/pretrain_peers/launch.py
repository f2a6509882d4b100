"""Run a script or a module as its user would, and note when each optimizer step ended: the same clock for every trainer.

    python launch.py MARKS.json [--cwd FOLDER] [--set NAME=VALUE] (SCRIPT | -m MODULE) ARGUMENT...

Nothing of the trainer is changed. torch calls a hook after each optimizer step; it takes a microsecond.
"""

from __future__ import annotations

import atexit
import json
import os
import runpy
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path


@dataclass
class Marks:
    """at, cpu: seconds on the wall clock and of the processor at the end of each step. Memory in bytes.

    before: what the process held when its first forward pass began; peak: the most it held from then on. threads: torch's, at the end.
    """

    at: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    before: int = 0
    peak: int = 0
    gpu: int = 0
    threads: int = 0


def watch(target: Path) -> None:
    import torch
    from torch.nn.modules.module import register_module_forward_pre_hook
    from torch.optim.optimizer import register_optimizer_step_post_hook

    marks = Marks()

    def step(*_: object) -> None:
        marks.at.append(time.perf_counter())
        marks.cpu.append(time.process_time())

    def first(*_: object) -> None:
        handle.remove()
        marks.before = _status("VmRSS")
        Path("/proc/self/clear_refs").write_text("5")  # VmHWM counts from here

    def end() -> None:
        marks.threads = torch.get_num_threads()
        marks.peak = _status("VmHWM")
        marks.gpu = torch.cuda.max_memory_allocated() if torch.cuda.is_available() else 0
        target.write_text(json.dumps(asdict(marks)))

    register_optimizer_step_post_hook(step)
    handle = register_module_forward_pre_hook(first)
    atexit.register(end)


def _status(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))


def main() -> None:
    target, *rest = sys.argv[1:]
    while rest[0] in ("--cwd", "--set"):
        option, value, *rest = rest
        if option == "--cwd":
            os.chdir(value)
        else:
            name, _, value = value.partition("=")
            os.environ[name] = value
    watch(Path(target))
    if rest[0] == "-m":
        sys.argv = rest[1:]
        runpy.run_module(rest[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = rest
        sys.path.insert(0, str(Path(rest[0]).parent))
        runpy.run_path(rest[0], run_name="__main__")


if __name__ == "__main__":
    main()
