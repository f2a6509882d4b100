"""What the scripts share. Each gets one argument, JSON; its `report` is the file that gets what it found."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np


class Unfit(Exception):
    """What this runtime, as it is installed here, cannot do."""


def options() -> dict[str, Any]:
    given: dict[str, Any] = json.loads(sys.argv[1])
    return given


def finish(given: dict[str, Any], found: dict[str, Any]) -> None:
    """The report appears whole."""
    report = Path(given["report"])
    part = report.with_name(f".{report.name}.part")
    part.write_text(json.dumps(found))
    part.replace(report)


def threads() -> int:
    """How many the environment allows; 0 where it does not say, and a runtime takes what it likes."""
    value = os.environ.get("OMP_NUM_THREADS", "")
    return int(value) if value.isdecimal() else 0


def memory() -> dict[str, int]:
    """now: bytes that the process holds (RSS). peak: the most so far. mapped: of `now`, pages of files (libraries, mapped weights).

    Without Linux's /proc: now is the most so far too, and mapped is left out.
    """
    status = Path("/proc/self/status")
    if not status.is_file():
        import resource

        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
        return {"now": most, "peak": most}
    names = {"VmRSS": "now", "VmHWM": "peak", "RssFile": "mapped"}
    lines = [line.split() for line in status.read_text().splitlines()]
    return {names[line[0][:-1]]: int(line[1]) * 1024 for line in lines if line and line[0][:-1] in names}


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """Over the last axis. Rows that a runtime padded the vocabulary with are its own fault and stay."""
    shifted = logits - logits.max(-1, keepdims=True)
    found: np.ndarray = shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
    return found


@dataclass(frozen=True)
class Rows:
    """Rows of unlike length, end to end: ids, targets (-1: none) and types (of tokens, or None) of shape (tokens,), ends (rows,)."""

    ids: np.ndarray
    ends: np.ndarray
    targets: np.ndarray
    types: np.ndarray | None

    @classmethod
    def read(cls, path: str) -> Rows:
        with np.load(path) as found:
            types = found["types"] if "types" in found.files else None
            return cls(found["ids"], found["ends"], found["targets"], types)

    def __iter__(self) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray | None]]:
        """(ids, targets, types) of each."""
        begin = 0
        for end in self.ends:
            part = slice(begin, int(end))
            yield self.ids[part], self.targets[part], None if self.types is None else self.types[part]
            begin = int(end)
