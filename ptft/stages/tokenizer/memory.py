"""What learning will take: memory, time, and whether the pair counts of `tokenizers` can overflow. Estimated from a look at the text.

`tokenizers` keeps every distinct piece with its symbols, and where each pair occurs. Measured (docs/log.md): 110 to 136 bytes of
memory a byte of distinct pieces. How many distinct pieces more text brings follows Heaps' law, fitted on the text looked at.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ptft.core.progress import Progress

BYTES_A_DISTINCT_BYTE = 120
OVERFLOW = 2**31  # pair counts are 32-bit and signed (tokenizers#2058)
LOOK_CHARACTERS = 1_000_000


@dataclass(frozen=True)
class Expected:
    """What learning from some text takes.

    memory: bytes, which grow with the text to the power of `growth`. pair_count: occurrences of the most frequent pair of bytes.
    seconds: to cut the text into pieces on one core of this machine, now; learning takes about half as much again.
    """

    memory: int
    growth: float
    pair_count: int
    seconds: float


def expected(tokenizer: Any, texts: Sequence[str], size: int) -> Expected:
    """tokenizer: untrained. texts: some of what will be learnt from. size: its bytes in all."""
    looked = texts[:: 1 + sum(map(len, texts)) // LOOK_CHARACTERS]
    if not looked:
        return Expected(0, 1.0, 0, 0.0)
    started = time.perf_counter()
    halves = [_pieces(tokenizer, looked[0::2]), _pieces(tokenizer, looked[1::2])]
    seconds = time.perf_counter() - started
    seen = max(1, sum(len(text.encode()) for text in looked))
    distinct, growth = _distinct(halves)
    memory = BYTES_A_DISTINCT_BYTE * distinct * (max(size, seen) / seen) ** growth
    pair_count = _largest_pair(halves[0] + halves[1]) * size / seen
    return Expected(int(memory), growth, int(pair_count), seconds * size / seen)


def _pieces(tokenizer: Any, texts: Sequence[str]) -> Counter[str]:
    """Pre-tokens in the byte alphabet: a character is a byte."""
    return Counter(piece for text in texts for piece, _ in tokenizer.pre_tokenizer.pre_tokenize_str(text))


def _distinct(halves: Sequence[Counter[str]]) -> tuple[int, float]:
    """Bytes of distinct pieces in both halves, and the exponent by which they grow with the text, from one half to both."""
    half = sum(sum(map(len, one)) for one in halves) / 2
    both = sum(map(len, halves[0].keys() | halves[1].keys()))
    return both, min(max(math.log2(both / half), 0.1), 1.0) if half else 1.0


def _largest_pair(pieces: Counter[str]) -> int:
    pairs: Counter[str] = Counter()
    for piece, count in pieces.items():
        for start in range(len(piece) - 1):
            pairs[piece[start : start + 2]] += count
    return max(pairs.values(), default=0)


def available() -> int | None:
    """Bytes of memory that can be had, in this container too; None where the system does not say."""
    found = [number for path, key in _SAID_IN if (number := _read(Path(path), key)) is not None]
    return min(found, default=None)


_SAID_IN = (("/proc/meminfo", "MemAvailable:"), ("/sys/fs/cgroup/memory.max", ""))


def _read(path: Path, key: str) -> int | None:
    try:
        line = next(line for line in path.read_text().splitlines() if line.startswith(key)).removeprefix(key)
        return int(line.split()[0]) * (1024 if line.endswith("kB") else 1)
    except (OSError, StopIteration, ValueError):
        return None


def warn(progress: Progress, guess: Expected, size: int, room: int | None) -> None:
    """Say where learning from `size` bytes would run out of memory, or count wrongly."""
    if room is not None and guess.memory > room:
        progress.warn(
            f"learning from {size / 1e9:.2g} GB of such text takes about {guess.memory / 1e9:.2g} GB of memory, and "
            f"{room / 1e9:.2g} GB are free: if it is killed, learn from less: --set max_bytes={_fitting(guess, size, room)}"
        )
    if size >= OVERFLOW and guess.pair_count > OVERFLOW / 2:  # a pair of bytes occurs at most once a byte
        progress.warn(
            f"the most frequent pair occurs about {guess.pair_count / 1e9:.2g} billion times; `tokenizers` counts to 2.1 "
            "billion, and beyond that learns wrong merges: lower max_bytes"
        )


def _fitting(guess: Expected, size: int, room: int) -> str:
    return f"{max(1, int(size / 1e6 * (room / guess.memory) ** (1 / guess.growth)))}M"
