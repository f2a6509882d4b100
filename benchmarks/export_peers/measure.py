"""What one model folder does in one runtime, measured in this process, which nothing else has warmed.

    python measure.py '{"runtime": "torch"|"onnx"|"llama_cpp", "folder": ..., "settings": {...}, "what": ["speed", "quality", "classes"],
                        "clock": "wall"|"cpu", "windows": IDS.npy, ..., "report": REPORT.json}'

The runtimes are with_NAME.py beside this file. Ids come ready, so that no tokenizer takes part. clock cpu: seconds of the
processor, which other work on the machine lengthens little; they are those of the wall where one thread has a core to itself.
"""

from __future__ import annotations

import importlib
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from common import finish, memory, options

PROMPT, NEW = 128, 64  # tokens
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}


def speed(model: Any, given: dict[str, Any]) -> dict[str, Any]:
    """first: seconds from a prompt of PROMPT tokens to its first new one. tokens/s: of the NEW that follow, all texts together."""
    windows = np.load(given["windows"])
    found: dict[str, Any] = {"first": {}, "speed": {}}
    for size in given["batches"]:
        prompts = windows[:size, :PROMPT]
        clock = CLOCKS[given["clock"]]
        generated(model, prompts, 4, clock)  # warm
        runs = [generated(model, prompts, NEW, clock) for _ in range(given["repeats"])]
        found["first"][str(size)] = statistics.median(run[0] for run in runs)
        found["speed"][str(size)] = statistics.median(size * NEW / run[1] for run in runs)
    found["peak"] = memory()["peak"]  # before the check below, which asks for logits of every token
    found["cache_agrees"] = cache_agrees(model, windows[:1, :PROMPT])
    return found


def generated(
    model: Any, prompts: np.ndarray, count: int, clock: Callable[[], float] = time.perf_counter
) -> tuple[float, float, np.ndarray]:
    """(seconds to the first token, seconds of the `count` after it, all ids (batch, count + 1)): the most probable each time."""
    started = clock()
    ids = [model.start(prompts)]
    first = clock()
    for _ in range(count):
        ids.append(model.step(ids[-1]))
    return first - started, clock() - first, np.stack(ids, axis=1)


def cache_agrees(model: Any, prompt: np.ndarray) -> float:
    """The share of tokens said with the cache that one pass over the whole text gives too."""
    said = generated(model, prompt, NEW)[2][0]
    text = np.concatenate([prompt[0], said])
    again = model.logits(text)[len(prompt[0]) - 1 : -1].argmax(-1)
    return float((again == said).mean())


def quality(model: Any, given: dict[str, Any]) -> dict[str, Any]:
    """Nats of every token, into `nats`; and of the first windows the divergence from `reference`, or their logits into it."""
    windows = np.load(given["windows"])
    reference, compared = Path(given["reference"]), given["compared"]
    writes = not reference.exists()
    known = np.load(reference, mmap_mode="r") if not writes else None
    nats, kept, divergence, same = [], [], [], []
    for number, ids in enumerate(windows):
        logits = log_softmax(model.logits(ids)[:-1])
        nats.append(-logits[np.arange(len(logits)), ids[1:]])
        if number < compared and writes:
            kept.append(logits)
        elif number < compared and known is not None:
            divergence.append((np.exp(known[number]) * (known[number] - logits)).sum(-1))
            same.append(known[number].argmax(-1) == logits.argmax(-1))
    np.save(given["nats"], np.stack(nats))
    if writes:
        np.save(reference, np.stack(kept))
        return {}
    return {"divergence": float(np.mean(divergence)), "same": float(np.mean(same))}


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """Over the last axis. Rows that a runtime padded the vocabulary with are its own fault and stay."""
    shifted = logits - logits.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))


def classes(model: Any, given: dict[str, Any]) -> dict[str, Any]:
    """Class numbers of padded rows, into `classes`; seconds of one row and of batches of 8, medians."""
    rows = np.load(given["windows"])
    ids, mask = rows["ids"], rows["mask"]
    said, took = [], {}
    for size in given["batches"]:
        seconds = []
        said = []
        for at in range(0, len(ids) if size == max(given["batches"]) else 64, size):
            longest = int(mask[at : at + size].sum(1).max())
            started = CLOCKS[given["clock"]]()
            said.append(model.classes(ids[at : at + size, :longest], mask[at : at + size, :longest]))
            seconds.append(CLOCKS[given["clock"]]() - started)
        took[str(size)] = statistics.median(seconds)
    np.save(given["classes"], np.concatenate(said))
    return {"first": took, "peak": memory()["peak"]}


def main() -> None:
    given = options()
    runtime = importlib.import_module(f"with_{given['runtime']}")
    if hasattr(runtime, "prepare"):
        runtime.prepare(Path(given["folder"]))
    before, clock = memory(), CLOCKS[given["clock"]]
    started = clock()
    kind = runtime.Classifier if "classes" in given["what"] else runtime.Model
    model = kind(Path(given["folder"]), **given["settings"])
    found: dict[str, Any] = {"load": clock() - started, "imported": before["now"]}
    for name in given["what"]:
        found |= {"speed": speed, "quality": quality, "classes": classes}[name](model, given)
    del model
    started = clock()  # once more, with everything imported that loading imports
    kind(Path(given["folder"]), **given["settings"])
    finish(given, {**found, "reload": clock() - started})


if __name__ == "__main__":
    main()
