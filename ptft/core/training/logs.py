"""What a run writes about itself: metrics.jsonl and samples.jsonl while it goes, a plot and TensorBoard's file from them.

No clock is in any of them, so that a run that was killed leaves the same files as one that was not.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson

from ptft.core.files import atomic_write, json_line
from ptft.core.training.processes import barrier, rank

METRICS, SAMPLES = "metrics.jsonl", "samples.jsonl"
EVENTS = "events.out.tfevents.0.ptft"
TRAINING = ("loss", "lr", "grad_norm", "pair_loss", "balance", "expert_use_min", "expert_use_max")
SMOOTHED = 20


class StepLog:
    """A JSONL file of entries that each carry their `step`; it can go back to any step.

    Every process of a run has the entries, for they decide when it stops; rank 0 alone writes them.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.writes = path, rank() == 0
        self.entries: list[dict[str, Any]] = []

    def add(self, entry: dict[str, Any]) -> None:
        self.entries.append(entry)
        if self.writes:
            with self.path.open("ab") as file:
                file.write(json_line(entry))

    def cut_after(self, step: int) -> None:
        """Forget what came after `step`: it will come again."""
        if self.path.exists():
            read = [orjson.loads(line) for line in self.path.read_bytes().splitlines() if line.endswith(b"}")]
            self.entries = [entry for entry in read if entry["step"] <= step]
        barrier()
        if self.writes:
            with atomic_write(self.path) as file:
                file.write(b"".join(map(json_line, self.entries)))


def publish(state: Path, new: Path) -> None:
    """Copy a finished run's logs from its state into its result, with a plot and TensorBoard's file made from them."""
    for name in (METRICS, SAMPLES):
        if (state / name).exists() and (state / name).stat().st_size:
            shutil.copyfile(state / name, new / name)
    if not (new / METRICS).exists():
        return
    entries = [orjson.loads(line) for line in (new / METRICS).read_bytes().splitlines()]
    plot(entries, new / "loss.png")
    (new / "tensorboard").mkdir()
    with EventFile(new / "tensorboard" / EVENTS) as events:
        for entry in entries:
            events.add(entry)


# ---------------------------------------------------------------- TensorBoard


class EventFile:
    """Scalars in TensorBoard's own format. Their times are the steps, as seconds: a clock would make each file another."""

    def __init__(self, path: Path) -> None:
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.summary.writer.record_writer import RecordWriter

        self._file = path.open("wb")
        self._records = RecordWriter(self._file)
        self._records.write(Event(wall_time=0, file_version="brain.Event:2").SerializeToString())

    def add(self, entry: Mapping[str, Any]) -> None:
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary

        values = [
            Summary.Value(tag=_tag(name), simple_value=float(value))
            for name, value in entry.items()
            if name != "step" and isinstance(value, int | float)
        ]
        event = Event(wall_time=entry["step"], step=entry["step"], summary=Summary(value=values))
        self._records.write(event.SerializeToString())

    def __enter__(self) -> EventFile:
        return self

    def __exit__(self, *_: object) -> None:
        self._records.close()


def _tag(name: str) -> str:
    """TensorBoard groups tags by what stands before the slash."""
    return f"train/{name}" if name in TRAINING else f"validation/{name}"


# ---------------------------------------------------------------- plot


def plot(entries: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Training and validation loss over steps, and the learning rate below, as a PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 6), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    losses, rates = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    steps, values = _series(entries, "loss")
    losses.plot(steps, values, color="#9ecae1", linewidth=0.8, label="training loss")
    if len(values) >= 2 * SMOOTHED:
        losses.plot(steps[SMOOTHED - 1 :], _running_mean(values), color="#2171b5", label=f"mean of {SMOOTHED} steps")
    at, validation = _series(entries, "val_loss")
    if at:
        losses.plot(at, validation, color="#d94801", marker="o", markersize=3, label="validation loss")
    losses.set_ylabel("loss")
    losses.grid(alpha=0.3)
    losses.legend()
    rates.plot(*_series(entries, "lr"), color="#525252")
    rates.set_ylabel("learning rate")
    rates.set_xlabel("optimizer step")
    rates.grid(alpha=0.3)
    figure.savefig(path, metadata={"Software": None})


def _series(entries: Sequence[Mapping[str, Any]], name: str) -> tuple[list[int], list[float]]:
    found = [(entry["step"], entry[name]) for entry in entries if name in entry]
    return [step for step, _ in found], [value for _, value in found]


def _running_mean(values: Sequence[float]) -> list[float]:
    return [sum(values[end - SMOOTHED : end]) / SMOOTHED for end in range(SMOOTHED, len(values) + 1)]
