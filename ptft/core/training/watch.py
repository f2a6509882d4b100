"""What a run looks at while it goes: its speed, its losses, whether it went astray, and which weights were the best."""

from __future__ import annotations

import math
import resource
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import transformers

from ptft.core.contracts import Output
from ptft.core.errors import Diverged
from ptft.core.progress import Step
from ptft.core.training.checkpoints import newest, step_of
from ptft.core.training.logs import METRICS, SAMPLES, StepLog
from ptft.core.training.processes import agreed
from ptft.core.training.settings import Settings

GUARDED = 20  # steps whose mean loss is watched
BEST = "best"

Validate = Callable[[Any], dict[str, float]]
Sample = Callable[[Any, int], list[dict[str, Any]]]


@dataclass(frozen=True)
class Watching:
    """What to look at. validate: figures by name, "val_loss" among them. sample: texts of the model at a step.

    flops: floating-point operations a token takes, forward and backward; peak: what this device can do a second. With
    `tokens` an optimizer step they give the share of the peak that was used (MFU).
    """

    validate: Validate | None = None
    sample: Sample | None = None
    tokens: int = 0
    flops: float = 0.0
    peak: float = 0.0


@dataclass
class Clock:
    """Seconds of training alone."""

    seconds: float = 0.0
    steps: int = 0
    _since: float = field(default_factory=time.monotonic)

    def lap(self) -> None:
        self.seconds += time.monotonic() - self._since
        self.steps += 1

    def go_on(self) -> None:
        self._since = time.monotonic()


class Watcher(transformers.TrainerCallback):
    """Progress, the metrics log, validation, samples, early stop, and the guard against divergence."""

    def __init__(self, settings: Settings, watching: Watching, step: Step, out: Output, save_best: Callable[[], None]):
        self.settings, self.watching, self.step, self.out, self.save_best = settings, watching, step, out, save_best
        self.metrics, self.samples = StepLog(out.state / METRICS), StepLog(out.state / SAMPLES)
        self.clock = Clock()
        self.guard = Guard(settings, out.final)
        self.looks: list[dict[str, Any]] = []  # what each validation found

    def begin(self, at: int) -> None:
        """Forget what was logged after step `at`, from which the run goes on."""
        self.metrics.cut_after(at)
        self.samples.cut_after(at)
        self.guard.replay([entry for entry in self.metrics.entries if "loss" in entry])
        self.looks = [entry for entry in self.metrics.entries if "val_loss" in entry]
        self.step.advance(at)

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.clock.go_on()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if torch.cuda.is_available() and self._looks(state.global_step):
            torch.cuda.synchronize()
        self.clock.lap()
        self.step.advance(1, self._shown())
        self.clock.go_on()

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        if not logs or "loss" not in logs:
            return
        at, loss = state.global_step, float(logs["loss"])
        entry = {"step": at, "loss": loss, "lr": float(logs["learning_rate"]), "grad_norm": float(logs["grad_norm"])}
        self.guard.check(at, loss, self._gradient(entry["grad_norm"]))
        self.metrics.add({**entry, **{name: value for name, value in logs.items() if name in PARTS}})
        if self._looks(at):
            self._look(at, control, kwargs["model"])
        control.should_save = control.should_save and not self.guard.rising
        self.clock.go_on()

    def _gradient(self, norm: float) -> float:
        """The norm to judge by; with fp16 the scaler meets overflows and skips their steps itself."""
        return 0.0 if self.settings.precision == "fp16" else norm

    @property
    def has_stopped(self) -> bool:
        """Whether too many validations brought nothing better."""
        return bool(self.settings.patience) and looks_since_best(self.looks, self.settings) >= self.settings.patience

    def _looks(self, at: int) -> bool:
        return at % self.settings.eval_every == 0 or at == self.settings.steps

    def _look(self, at: int, control: Any, model: Any) -> None:
        if self.watching.sample:
            for sample in self.watching.sample(model, at):
                self.samples.add({"step": at, **sample})
        if not self.watching.validate:
            return
        found = agreed(self.watching.validate(model))
        self.guard.refuse_not_finite(at, "validation loss", found["val_loss"])
        self.looks.append({"step": at, **found})
        self.metrics.add(self.looks[-1])
        if self.settings.keep == "best" and best_step(self.looks, self.settings) == at:
            self.save_best()
        control.should_training_stop = control.should_training_stop or self.has_stopped

    def _shown(self) -> str:
        """The current figures, in a line."""
        last = next((entry["loss"] for entry in reversed(self.metrics.entries) if "loss" in entry), None)
        parts = [] if last is None else [f"loss {last:.3f}"]
        if self.watching.tokens and self.clock.seconds:
            parts.append(f"{self.speed:,.0f} tokens/s")
            if self.watching.flops and self.watching.peak:
                parts.append(f"MFU {self.mfu:.0%}")
        return " · ".join([*parts, f"{peak_memory() / 2**30:.1f} GiB"])

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.clock.go_on()

    @property
    def speed(self) -> float:
        """Tokens a second over all processes, since this process began."""
        return self.clock.steps * self.watching.tokens / max(self.clock.seconds, 1e-9)

    @property
    def mfu(self) -> float:
        """Model FLOPs utilisation (Chowdhery et al. 2022, appendix B), against the peak measured here."""
        return self.speed * self.watching.flops / self.watching.peak


PARTS = ("balance", "pair_loss", "expert_use_min", "expert_use_max")


def best_step(looks: Sequence[Mapping[str, Any]], settings: Settings) -> int | None:
    """The step of the best validation, by `settings.judge`; of equals that with the lowest loss, and of those the first."""
    sign = -1 if settings.higher else 1
    return min(looks, key=lambda look: (sign * look[settings.judge], look["val_loss"]))["step"] if looks else None


def looks_since_best(looks: Sequence[Mapping[str, Any]], settings: Settings) -> int:
    """Validations since `settings.judge` was last bettered; being as good, with a lower loss, is no gain to wait for."""
    sign = -1 if settings.higher else 1
    values = [sign * look[settings.judge] for look in looks]
    return len(values) - 1 - values.index(min(values)) if values else 0


def peak_memory() -> int:
    """Bytes at most: allocated on this GPU, or resident in this process."""
    if torch.cuda.is_available():
        return int(torch.cuda.max_memory_allocated())
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


# ---------------------------------------------------------------- divergence


class Guard:
    """Stops a run whose loss is not a number, or whose mean over `GUARDED` steps rises `spike` nats above its best."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        self.settings, self.folder = settings, folder
        self._recent: list[float] = []
        self._best = settings.uniform
        self.rising = False  # on the way to a spike: no checkpoint is taken, so that the newest is a good one

    def replay(self, entries: list[dict[str, Any]]) -> None:
        for entry in entries:
            self._take(float(entry["loss"]))

    def check(self, at: int, loss: float, gradient: float = 0.0) -> None:
        """Raise `Diverged` where step `at` shows that training went astray. gradient: the norm that its update took."""
        self.refuse_not_finite(at, "loss", loss)
        self.refuse_not_finite(at, "gradient norm", gradient)  # the loss would show it a step, and a checkpoint, later
        mean = self._take(loss)
        if self.settings.spike and mean - self._best > self.settings.spike:
            raise self._diverged(
                f"the mean loss of {GUARDED} steps rose from {self._best:.2f} to {mean:.2f} by step {at:,}"
            )

    def refuse_not_finite(self, at: int, what: str, value: float) -> None:
        if not math.isfinite(value):
            raise self._diverged(f"the {what} is {value} at step {at:,}")

    def _take(self, loss: float) -> float:
        self._recent = [*self._recent[-GUARDED + 1 :], loss]
        mean = sum(self._recent) / len(self._recent)
        if len(self._recent) == GUARDED:
            self._best = min(self._best, mean)
        self.rising = bool(self.settings.spike) and mean - self._best > self.settings.spike / 2
        return mean

    def _diverged(self, what: str) -> Diverged:
        lower = f"lower the learning rate (--lr {self.settings.lr / 3:.2g}), warm up longer (--set warmup=0.1), or clip more"
        good = newest(self.folder)
        if good is None:
            return Diverged(f"training diverged: {what}; there is no checkpoint from before", remedy=lower)
        kept = f"checkpoint-{step_of(good)} is from before and loads as it is"
        remedy = f"{lower}; --from {good} goes on from there into another folder (--force in this one drops it)"
        return Diverged(f"training diverged: {what}; {kept}", where=str(self.folder), remedy=remedy)
