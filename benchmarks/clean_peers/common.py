"""What every peer's script needs: rows in, a JSON report out. Each runs in an environment of its own."""

import json
import os
import re
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

try:  # as ptft reads
    from orjson import loads
except ImportError:
    from json import loads

SHINGLE = 5
TOKEN = re.compile("[\u4e00-\u9fff]|[^\\W_\u4e00-\u9fff]+")
Job = Callable[[str, dict], dict]


def texts_of(path: str) -> list[str]:
    with Path(path).open("rb") as lines:
        return [loads(line)["text"] for line in lines]


def shingles(text: str) -> list[str]:
    """Runs of five words or Han characters; a shorter text is one. What a library is given that takes tokens, not text."""
    return _runs(TOKEN.findall(text.lower()))


def quick_shingles(text: str) -> list[str]:
    """The same of words between spaces, as rensa's own benchmark cuts them: faster, but punctuation sticks to words."""
    return _runs(text.lower().split())


def _runs(words: list[str]) -> list[str]:
    if len(words) < SHINGLE:
        return [" ".join(words)]
    return list(map(" ".join, zip(*(words[start:] for start in range(SHINGLE)), strict=False)))


def later_ones(neighbours: list[tuple[int, int]], rows: int) -> list[int]:
    """The rows to drop: all but the first of each set of rows that pairs connect."""
    parent = list(range(rows))

    def find(row: int) -> int:
        while parent[row] != row:
            parent[row] = parent[parent[row]]
            row = parent[row]
        return row

    for left, right in neighbours:
        left, right = find(left), find(right)
        parent[max(left, right)] = min(left, right)
    return [row for row in range(rows) if find(row) != row]


def cpu() -> float:
    """Processor seconds of this process and its children."""
    return sum(os.times()[:4])


def main(job: Job, *packages: str) -> None:
    """python SCRIPT INPUT.jsonl REPORT.json OPTIONS: `job` of the input and the options; its time starts after the imports."""
    source, target, options = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
    started, spent = time.perf_counter(), cpu()
    report = job(source, options)
    report.setdefault("seconds", time.perf_counter() - started)
    report.setdefault("cpu", cpu() - spent)
    report["versions"] = {package: version(package) for package in packages}
    Path(target).write_text(json.dumps(report), encoding="utf-8")
