"""What one model folder does in one runtime, measured in this process, which nothing else has warmed.

    python measure.py '{"runtime": "torch"|"onnx"|"llama_cpp"|"gguf", "folder": ..., "settings": {...}, "report": REPORT.json,
                        "what": ["speed", "seconds", "quality", "classes", "rows", "outputs", "claims"], "clock": "wall"|"cpu", ...}'

The runtimes are with_NAME.py beside this file. Ids come ready, so that no tokenizer takes part: `windows`, an .npy of rows of equal
length (of "classes": an .npz of padded ids and mask), or `rows`, an .npz (see common.Rows). clock cpu: seconds of the processor,
which other work on the machine lengthens little; they are those of the wall where one thread has a core to itself.
A failure is in the report as {"error": {"kind", "module", "message"}}, and the exit code is 1.
"""

from __future__ import annotations

import importlib
import statistics
import sys
import time
import traceback
from collections.abc import Callable
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from common import Rows, finish, memory, options  # type: ignore[import-not-found]
from judging import claims, outputs, rows, windows  # type: ignore[import-not-found]

PROMPT, NEW = 128, 64  # tokens, where the options do not say
LONGEST = 20.0  # seconds after which nothing is measured once more
TIMED = 64  # rows
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}


def speed(model: Any, given: dict[str, Any]) -> dict[str, Any]:
    """first: seconds from a prompt of `prompt` tokens to its first new one. speed: tokens/s of the `new` that follow, all texts together."""
    texts = np.load(given["windows"])
    prompt, new = given.get("prompt", PROMPT), given.get("new", NEW)
    clock = CLOCKS[given["clock"]]
    found: dict[str, Any] = {"first": {}, "speed": {}}
    for size in given["batches"]:
        prompts = texts[:size, :prompt]
        generated(model, prompts, min(4, new), clock)  # warm
        runs = _repeated(partial(generated, model, prompts, new, clock), given["repeats"])
        found["first"][str(size)] = statistics.median(run[0] for run in runs)
        found["speed"][str(size)] = statistics.median(size * new / run[1] for run in runs)
    found |= _peak(model)  # before the check below, which asks for logits of every token
    found["cache_agrees"] = cache_agrees(model, texts[:1, :prompt], new)
    return found


def _repeated(run: Callable[[], Any], times: int) -> list[Any]:
    began, found = time.perf_counter(), [run()]
    while len(found) < times and time.perf_counter() - began < LONGEST:
        found.append(run())
    return found


def _peak(model: Any) -> dict[str, int]:
    """peak: of the process; on a GPU what torch took of its memory (and `imported` is then nothing)."""
    taken = getattr(model, "peak_on_device", lambda: 0)()
    return {"peak": taken, "imported": 0} if taken else {"peak": memory()["peak"]}


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


def cache_agrees(model: Any, prompt: np.ndarray, new: int = NEW) -> float:
    """The share of tokens said with the cache that one pass over the whole text gives too."""
    said = generated(model, prompt, new)[2][0]
    text = np.concatenate([prompt[0], said])
    again = model.logits(text)[len(prompt[0]) - 1 : -1].argmax(-1)
    return float((again == said).mean())


def seconds(model: Any, given: dict[str, Any]) -> dict[str, Any]:
    """seconds: of one text, medians over batches of the first rows as they come, each as long as its longest."""
    every = list(Rows.read(given["rows"]))[:TIMED]
    clock = CLOCKS[given["clock"]]
    took: dict[str, float] = {}
    for size in given["batches"]:
        batches = [_padded(every[at : at + size], given["pad"]) for at in range(0, len(every), size)]
        if len(batches[0][0]) < size:  # fewer rows than a batch holds
            batches = [_padded((every * size)[:size], given["pad"])]
        batches = [batch for batch in batches if len(batch[0]) == size]
        model.classes(*batches[0])  # warm
        runs = _repeated(partial(_timed, model, batches, clock), given["repeats"])
        took[str(size)] = statistics.median(chain.from_iterable(runs)) / size
    return {"seconds": took, **_peak(model)}


def _timed(model: Any, batches: list[Any], clock: Callable[[], float]) -> list[float]:
    found = []
    began = time.perf_counter()
    for batch in batches:
        started = clock()
        model.classes(*batch)
        found.append(clock() - started)
        if time.perf_counter() - began > LONGEST:
            break
    return found


def _padded(batch: list[Any], pad: int) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """(ids, mask, types), each (rows, tokens of the longest), padded on the right."""
    longest = max(len(ids) for ids, _, _ in batch)
    ids, mask = np.full((len(batch), longest), pad, np.int64), np.zeros((len(batch), longest), np.int64)
    types = None if batch[0][2] is None else np.zeros_like(ids)
    for number, (row, _, kinds) in enumerate(batch):
        ids[number, : len(row)], mask[number, : len(row)] = row, 1
        if types is not None:
            types[number, : len(row)] = kinds
    return ids, mask, types


def classes(model: Any, given: dict[str, Any]) -> dict[str, Any]:
    """Class numbers of padded rows, into `classes`; seconds of one row and of batches of 8, medians."""
    padded = np.load(given["windows"])
    ids, mask = padded["ids"], padded["mask"]
    said: list[np.ndarray] = []
    took: dict[str, float] = {}
    for size in given["batches"]:
        each = []
        said = []
        for at in range(0, len(ids) if size == max(given["batches"]) else TIMED, size):
            longest = int(mask[at : at + size].sum(1).max())
            started = CLOCKS[given["clock"]]()
            said.append(model.classes(ids[at : at + size, :longest], mask[at : at + size, :longest]))
            each.append(CLOCKS[given["clock"]]() - started)
        took[str(size)] = statistics.median(each)
    np.save(given["classes"], np.concatenate(said))
    return {"first": took, **_peak(model)}


MEASURES = {
    "speed": speed, "seconds": seconds, "quality": windows, "classes": classes, "rows": rows, "outputs": outputs, "claims": claims,
}  # fmt: skip
TIMES = (
    "speed",
    "seconds",
    "classes",
    "quality",
)  # what is asked for where times matter: then loading is timed once more


def measured(given: dict[str, Any]) -> dict[str, Any]:
    runtime = importlib.import_module(f"with_{given['runtime']}")
    folder, settings = Path(given["folder"]), dict(given["settings"])
    if "classes" in given["what"]:
        settings.setdefault("kind", "classifier")
    if hasattr(runtime, "prepare"):
        runtime.prepare(folder, **settings)
    before, clock = memory(), CLOCKS[given["clock"]]
    kind = runtime.Model if settings.get("kind", "causal") == "causal" else runtime.Classifier
    started = clock()
    model = kind(folder, **settings)
    found: dict[str, Any] = {"load": clock() - started, "imported": before["now"]}
    for name in given["what"]:
        found |= MEASURES[name](model, given)
    if set(given["what"]) & set(TIMES):
        del model
        started = clock()  # once more, with everything imported that loading imports
        kind(folder, **settings)
        found["reload"] = clock() - started
    return found


def main() -> None:
    given = options()
    sys.modules["ptft"] = None  # type: ignore[assignment]  # any import of it fails: nobody else has it
    for one in given.get("each", [given]):
        report(one)


def report(given: dict[str, Any]) -> None:
    try:
        found = measured(given)
    except (Exception, SystemExit) as error:
        traceback.print_exc()
        kind, module = type(error).__name__, getattr(error, "name", None)
        finish(given, {"error": {"kind": kind, "module": module, "message": str(error)}})
        raise SystemExit(1) from error
    finish(given, found)


if __name__ == "__main__":
    main()
