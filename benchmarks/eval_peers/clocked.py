"""Run a module as its user would, and note when its model worked and how many tokens it was shown: one clock for everybody.

    python clocked.py MARKS.json VOCABULARY -m MODULE ARGUMENT...

Nothing of the program is changed. torch calls a hook before and after every layer; together they take about a millisecond a pass.
Tokens are counted where ids enter, in the embedding layer, padding included.
"""

from __future__ import annotations

import atexit
import json
import runpy
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass
class Marks:
    """first, last: seconds on the wall clock when the first forward pass began and the last layer ended; cpu_*: of the processor then.

    tokens: shown to the model.
    """

    first: float = 0.0
    last: float = 0.0
    cpu_first: float = 0.0
    cpu_last: float = 0.0
    passes: int = 0
    tokens: int = 0
    threads: int = 0


def watch(target: Path, vocabulary: int) -> None:
    import torch
    from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook

    marks = Marks()

    def before(module: Any, inputs: tuple[Any, ...]) -> None:
        if isinstance(module, torch.nn.Embedding) and module.num_embeddings >= vocabulary and inputs:
            if not marks.passes:
                marks.first, marks.cpu_first = time.perf_counter(), time.process_time()
            marks.passes += 1
            marks.tokens += inputs[0].numel()

    def after(*_: object) -> None:
        marks.last, marks.cpu_last = time.perf_counter(), time.process_time()

    def end() -> None:
        marks.threads = torch.get_num_threads()
        target.write_text(json.dumps(asdict(marks)))

    register_module_forward_pre_hook(before)
    register_module_forward_hook(after)
    atexit.register(end)


def main() -> None:
    target, vocabulary, flag, module, *rest = sys.argv[1:]
    if flag != "-m":
        raise SystemExit(f"expected -m MODULE, got {flag}")
    watch(Path(target), int(vocabulary))
    sys.argv = [module, *rest]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
