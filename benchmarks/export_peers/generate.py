"""A checkpoint run as users run it, by transformers' generate(): greedy, with the cache, tokens timed as they come.

    python generate.py '{"folder": FOLDER, "settings": {"dtype": "float32"}, "windows": IDS.npy, "batches": [1, 8], "repeats": 3,
                         "clock": "wall"|"cpu", "report": FILE}'

The prompts, the number of new tokens and the clock are those of measure.py.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import finish, memory, options
from measure import CLOCKS, NEW, PROMPT
from transformers.generation.streamers import BaseStreamer
from with_torch import Model, prepare


class Times(BaseStreamer):
    """When generate() hands over each token of all texts; the first thing it hands over is the prompt."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock, self.at = clock, list[float]()

    def put(self, value: Any) -> None:
        self.at.append(self.clock())

    def end(self) -> None:
        pass


@torch.inference_mode()
def generated(network: Any, prompts: torch.Tensor, count: int, clock: Callable[[], float]) -> tuple[float, float, Any]:
    """(seconds to the first token, seconds of the `count` after it, ids of the prompts and all that is new)."""
    times = Times(clock)
    started = clock()
    said = network.generate(
        prompts, attention_mask=torch.ones_like(prompts), do_sample=False, min_new_tokens=count + 1,
        max_new_tokens=count + 1, pad_token_id=0, streamer=times,
    )  # fmt: skip
    if len(times.at) != count + 2:
        raise SystemExit(f"{count + 1} tokens were asked for, {len(times.at) - 1} came")
    return times.at[1] - started, times.at[-1] - times.at[1], said


def main() -> None:
    given = options()
    folder, clock = Path(given["folder"]), CLOCKS[given["clock"]]
    prepare(folder, **given["settings"])
    before, started = memory(), clock()
    model = Model(folder, **given["settings"])
    found: dict[str, Any] = {"load": clock() - started, "imported": before["now"], "first": {}, "speed": {}}
    windows = np.load(given["windows"])[:, :PROMPT]
    for size in given["batches"]:
        prompts = torch.from_numpy(windows[:size]).long().to(model.device)
        generated(model.model, prompts, 4, clock)  # warm
        runs = [generated(model.model, prompts, NEW, clock) for _ in range(given["repeats"])]
        found["first"][str(size)] = statistics.median(run[0] for run in runs)
        found["speed"][str(size)] = statistics.median(size * NEW / run[1] for run in runs)
    found["peak"] = memory()["peak"]
    found["cache_agrees"] = agrees(model, runs[-1][2][0].cpu().numpy())
    del model
    started = clock()
    Model(folder, **given["settings"])
    finish(given, {**found, "reload": clock() - started})


def agrees(model: Model, text: np.ndarray) -> float:
    """The share of the new tokens that one pass over the whole text gives too."""
    again = model.logits(text)[PROMPT - 1 : -1].argmax(-1)
    return float((again == text[PROMPT:]).mean())


if __name__ == "__main__":
    main()
