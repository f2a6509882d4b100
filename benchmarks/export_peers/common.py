"""What the scripts share. Each gets one argument, JSON; its `report` is the file that gets what it found."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any


def options() -> dict[str, Any]:
    given: dict[str, Any] = json.loads(sys.argv[1])
    return given


def finish(given: dict[str, Any], found: dict[str, Any]) -> None:
    Path(given["report"]).write_text(json.dumps(found))


def threads() -> int:
    """How many the benchmark allows."""
    return int(os.environ["OMP_NUM_THREADS"])


def memory() -> dict[str, int]:
    """now: bytes that the process holds (RSS). peak: the most so far. mapped: of `now`, pages of files (libraries, mapped weights)."""
    names = {"VmRSS": "now", "VmHWM": "peak", "RssFile": "mapped"}
    lines = [line.split() for line in Path("/proc/self/status").read_text().splitlines()]
    return {names[line[0][:-1]]: int(line[1]) * 1024 for line in lines if line and line[0][:-1] in names}
