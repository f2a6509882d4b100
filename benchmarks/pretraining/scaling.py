"""Loss against parameters: four sizes, 20 tokens a parameter, all the real text there is, and a power law through them."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tools import note, table

from pretraining import data, shapes, trainers
from pretraining.trainers import Task, Trainer

VOCAB, LENGTH, TOKENS_A_PARAMETER = 2048, 256, 20
SIZES = (
    (2, 32, 8),
    (2, 48, 8),
    (3, 64, 8),
    (4, 96, 16),
)  # layers, width, sequences a step: some 900 to 3,100 steps each
KAPLAN, CHINCHILLA = 0.076, 0.34


@dataclass(frozen=True)
class Point:
    """One trained size. body: parameters without embeddings. loss: nats a held-out token."""

    layers: int
    width: int
    parameters: int
    body: int
    tokens: int
    loss: float
    bits: float
    seconds: float

    @property
    def flops(self) -> float:
        return 6.0 * self.parameters * self.tokens


@dataclass(frozen=True)
class Law:
    """loss = floor + scale * parameters ** -exponent; error: one standard error of the exponent."""

    exponent: float
    error: float
    scale: float
    floor: float = 0.0

    def at(self, parameters: np.ndarray) -> np.ndarray:
        return self.floor + self.scale * parameters**-self.exponent


def run(data_folder: Path, cache: Path, seed: int, threads: int) -> None:
    folder = cache / "pretrain" / "scaling"
    packed = data.tokens_of(data_folder, folder, data.EVERYTHING, VOCAB, LENGTH, rows=1000)
    points = [_point(packed, layers, width, batch, cache, seed, threads) for layers, width, batch in SIZES]
    sizes, bodies, losses = (
        np.array([getattr(p, name) for p in points], float) for name in ("parameters", "body", "loss")
    )
    slope, by_body, offset = slope_of(sizes, losses), slope_of(bodies, losses), with_floor(sizes, losses)
    plot(points, (slope, offset), folder / "scaling.png")
    table(
        "Loss against parameters",
        ("layers x width", "parameters", "without embeddings", "tokens", "passes", "FLOPs (6ND)", "loss", "bits per byte", "s"),
        [
            (
                f"{p.layers} x {p.width}", f"{p.parameters:,}", f"{p.body:,}", f"{p.tokens:,}", f"{p.tokens / packed.train:.2f}",
                f"{p.flops:.2e}", f"{p.loss:.4f}", f"{p.bits:.4f}", f"{p.seconds:,.0f}",
            )
            for p in points
        ],
        packed.describe(),
        f"llama, each by one `ptft pretrain` with ptft's own learning rate and schedule, {TOKENS_A_PARAMETER} tokens a parameter, seed "
        f"{seed}, {threads} thread(s); s: of the training, wherever it was run",
        f"log-log slope over all parameters: {slope.exponent:.3f} ± {slope.error:.3f} (standard error, {len(points)} points); over "
        f"those without embeddings: {by_body.exponent:.3f} ± {by_body.error:.3f}",
        f"with an irreducible loss: {_words(offset)}",
        f"theirs: Kaplan et al. 2020 {KAPLAN} (no floor, parameters without embeddings, data without end), Hoffmann et al. 2022 "
        f"{CHINCHILLA} (floor 1.69, its term in parameters alone; tokens have .28 of their own). Here tokens grow with parameters, "
        "so the exponent holds the gain of both, at sizes a thousand times smaller",
        f"plot: {_shown(folder / 'scaling.png')}",
    )  # fmt: skip


def _words(law: Law | None) -> str:
    if law is None:
        return "no fit: the points do not bend enough to tell the floor"
    return f"loss = {law.floor:.2f} + {law.scale:.3g} N^-{law.exponent:.3f} (± {law.error:.3f}, 3 figures through 4 points: a hint)"


def _shown(path: Path) -> str:
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else path.name


def _point(packed: data.Tokens, layers: int, width: int, batch: int, cache: Path, seed: int, threads: int) -> Point:
    """Train one size, or take it as it is: ptft says itself whether it is up to date."""
    folder = cache / "pretrain" / "scaling" / f"{layers}x{width}"
    config = shapes.write("llama", folder / "shape", packed, layers, width)
    parameters, body = shapes.parameters(config)
    tokens = round(TOKENS_A_PARAMETER * parameters)
    note(f"{parameters:,} parameters, {tokens:,} tokens, {tokens / packed.train:.1f} passes")
    started = time.monotonic()
    data.ptft(
        "pretrain", packed.pack, "--model", config / "config.json", "--tokens", tokens, "--batch-tokens", batch * LENGTH,
        "--seed", seed, "--set", "eval_every=500", "--set", "save_every=500", "-o", folder / "model", threads=threads,
    )  # fmt: skip
    note(f"{time.monotonic() - started:,.0f} s")
    record = json.loads((folder / "model" / "run.json").read_text())
    task = Task(packed, config, "causal", 1, batch, batch, 0.0, seed)
    loss = trainers.score(Trainer("ptft", "llama", trainers.ptft()), task, folder / "model", cache, threads)
    bits = loss / math.log(2) * packed.rows * (LENGTH - 1) / packed.bytes
    trained = int(record["counts"]["tokens_trained"])
    return Point(layers, width, parameters, body, trained, loss, bits, trained / record["metrics"]["tokens_per_second"])


# ---------------------------------------------------------------- the law


def slope_of(sizes: np.ndarray, losses: np.ndarray) -> Law:
    """Least squares of log loss over log parameters."""
    x, y = np.log(sizes), np.log(losses)
    across = x - x.mean()
    slope = float((across * y).sum() / (across**2).sum())
    level = float(y.mean() - slope * x.mean())
    left = y - (level + slope * x)
    error = math.sqrt(float((left**2).sum()) / max(1, len(x) - 2) / float((across**2).sum()))
    return Law(-slope, error, math.exp(level))


def with_floor(sizes: np.ndarray, losses: np.ndarray) -> Law | None:
    """Least squares of loss = E + A N^-alpha; None where it finds no E between 0 and the lowest loss."""
    from scipy.optimize import curve_fit

    start = slope_of(sizes, losses - losses.min() / 2)
    middle = float(np.exp(np.log(sizes).mean()))  # A at this size: numbers near one fit better

    def law(size: np.ndarray, floor: float, scale: float, exponent: float) -> np.ndarray:
        return floor + scale * (size / middle) ** -exponent

    guess = (losses.min() / 2, start.scale * middle**-start.exponent, start.exponent)
    try:
        found, spread = curve_fit(
            law, sizes, losses, guess, bounds=([0, 0, 0], [losses.min(), np.inf, 3]), maxfev=20_000
        )
    except (RuntimeError, ValueError):
        return None
    floor, scale, exponent = map(float, found)
    if not 0.01 < floor < 0.99 * losses.min():
        return None
    return Law(exponent, float(np.sqrt(spread[2, 2])), scale * middle**exponent, floor)


def plot(points: Sequence[Point], laws: Sequence[Law | None], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    sizes = np.array([p.parameters for p in points], float)
    figure, axes = plt.subplots(figsize=(6, 4.2), constrained_layout=True)
    across = np.geomspace(sizes[0] / 1.5, sizes[-1] * 1.5, 100)
    for law, style in zip(laws, ("--", "-"), strict=False):
        if law is not None:
            name = (
                f"{law.floor:.2f} + {law.scale:.3g} N^-{law.exponent:.3f}"
                if law.floor
                else f"{law.scale:.3g} N^-{law.exponent:.3f}"
            )
            axes.plot(across, law.at(across), style, color="grey", label=name)
    axes.plot(
        sizes,
        [p.loss for p in points],
        "o",
        color="black",
        label=f"ptft pretrain, {TOKENS_A_PARAMETER} tokens a parameter",
    )
    axes.set(xscale="log", yscale="log", xlabel="parameters", ylabel="held-out loss, nats a token")
    for axis in (axes.yaxis.set_major_formatter, axes.yaxis.set_minor_formatter):
        axis("{x:.2g}")  # powers of ten say nothing over so short a range
    axes.grid(alpha=0.3, which="both")
    axes.legend()
    figure.savefig(path, dpi=140)
    plt.close(figure)
