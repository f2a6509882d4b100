"""The original and its exports, each measured in a process of its own; what is finished is kept."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np

import ptft
from ptft.core import modeling_mean_pooled
from ptft.core.files import hash_file, hash_value
from ptft.core.models import Loaded
from ptft.core.weights import stored_type
from ptft.stages.export.recipe import ExportRecipe
from ptft.stages.export.rows import Texts
from ptft.stages.export.verifying import comparing, processes
from ptft.stages.export.verifying.encoding import LARGEST_BATCH, Encoded, encoded
from ptft.stages.export.verifying.figures import Quality, Speed, Verified

REFERENCE_BYTES = 512 * 2**20  # of the original's logits that exports are compared with
REPEATS = 3
LEAST_AGREEMENT = 0.9  # of tokens generated with the cache; fewer are said
NOT_WEIGHTS = ("export.json", "run.json", "rejected.jsonl", "README.md")
DEQUANTISED = "read by transformers, which dequantises it: install llama-cpp-python for llama.cpp's speed"
Settings = dict[str, Any]
Runtime = Literal["torch", "onnx", "gguf"]


@dataclass(frozen=True)
class _Found:
    """What one process left."""

    report: Mapping[str, Any]
    arrays: Path
    reference: Path


@dataclass(frozen=True)
class _Job:
    """What one process shall do, and where it leaves what."""

    options: dict[str, Any]
    report: Path
    found: Path
    reference: Path


class Verifier:
    """loaded: the original in float32, merged; folder: where it lies as a checkpoint. scratch: for rows, reports and logits.

    Raises `InputError` where the texts give nothing to judge; its methods `RunError` where a runtime is missing, fails or dies.
    """

    def __init__(self, loaded: Loaded, folder: Path, texts: Texts, scratch: Path, recipe: ExportRecipe) -> None:
        self.loaded, self.folder, self.texts, self.recipe = loaded, folder, texts, recipe
        self.scratch = scratch
        scratch.mkdir(parents=True, exist_ok=True)
        self.lines: Encoded = encoded(loaded, texts, recipe.verify_length)
        self.rows, self.prompts = scratch / "rows.npz", scratch / "prompts.npy"
        self.lines.write(self.rows)
        self.lines.write_prompts(self.prompts)

    def original(self) -> Verified:
        """In torch. Its outputs are those of float32; its speed is that of the type its weights are stored in."""
        timed = self._first if self._stored == "float32" else self._timed(self.folder, "torch", self._settings("auto"))
        speed = _speed(timed.report) if self.recipe.speed else None
        return self._verified(self._first, speed, ())

    def export(self, folder: Path, runtime: Runtime) -> Verified:
        """gguf: in llama.cpp; where that is not installed, in transformers, whose speed is not the file's."""
        if runtime == "gguf":
            return self._gguf(folder)
        found = self._run(folder, *self._asked(runtime))
        return self._verified(found, _speed(found.report) if self.recipe.speed else None, ())

    def together(self, exports: Sequence[tuple[Path, Runtime]]) -> None:
        """Where nothing is timed, one process measures the original and all exports; `original` and `export` find what it left.

        What fails here is left for them, who say how.
        """
        if self.recipe.speed:
            return
        jobs = [self._first_job, *(self._job(folder, *self._asked(runtime)) for folder, runtime in exports)]
        todo = [(job.options, job.report) for job in jobs if not job.report.is_file()]
        if todo:
            processes.run_each(todo)

    def _asked(self, runtime: Runtime) -> tuple[str, Settings, tuple[str, ...]]:
        """The script, its settings, and what it shall measure."""
        if runtime == "gguf" and _has_llama_cpp():
            # its cache is made whole when it loads: for one long row, or for a batch of prompts
            return "llama_cpp", {"context": self.lines.longest, "rows": 1}, (self._judged, "claims")
        if runtime == "gguf":
            return "gguf", self._settings("float32"), (self._judged, "claims")
        settings = self._settings("auto", trust=runtime == "torch" and self._has_own_code)
        settings |= {"provider": self.recipe.provider} if runtime == "onnx" else {}
        return runtime, settings, (*self._times, self._judged, "claims")

    def _gguf(self, folder: Path) -> Verified:
        found = self._run(folder, *self._asked("gguf"))
        if not _has_llama_cpp():
            return self._verified(found, None, (DEQUANTISED,))
        if not self.recipe.speed:
            return self._verified(found, None, ())
        context = self.lines.prompt + self.lines.new + 1
        timed = self._timed(folder, "llama_cpp", {"context": context, "rows": LARGEST_BATCH})
        return self._verified(found, _speed(timed.report), ())

    # ------------------------------------------------------------ what is run

    @cached_property
    def _first(self) -> _Found:
        """The original in float32, which the others are compared with."""
        return self._done(self._first_job)

    @cached_property
    def _first_job(self) -> _Job:
        times = self._times if self._stored == "float32" else ()
        return self._job(self.folder, "torch", self._settings("float32"), (*times, self._judged, "claims"))

    def _timed(self, folder: Path, runtime: str, settings: Settings) -> _Found:
        return self._run(folder, runtime, settings, self._times) if self.recipe.speed else self._first

    @property
    def _times(self) -> tuple[str, ...]:
        if not self.recipe.speed:
            return ()
        return ("speed",) if self.loaded.kind == "causal" else ("seconds",)

    @property
    def _judged(self) -> str:
        return "rows" if self.loaded.kind in ("causal", "masked") else "outputs"

    @property
    def _has_own_code(self) -> bool:
        return str(self.loaded.model.config.model_type) == "mean_pooled"

    def _settings(self, dtype: str, trust: bool = False) -> Settings:
        """trust: only of folders that ptft wrote. The code of the original is ptft's own file, not the one that lies there."""
        code = str(modeling_mean_pooled.__file__) if self._has_own_code and not trust else ""
        return {"kind": self.loaded.kind, "dtype": dtype, "trust": trust, "code": code}

    @cached_property
    def _stored(self) -> str:
        return stored_type(self.folder)

    def _run(self, folder: Path, runtime: str, settings: Settings, what: tuple[str, ...]) -> _Found:
        """Results are kept by the content of the folder, the rows and the settings: what was measured is not measured again."""
        job = self._job(folder, runtime, settings, what)
        if self._judged in what and job.report != self._first_job.report:
            self._done(self._first_job)  # which others are compared with
        return self._done(job)

    def _done(self, job: _Job) -> _Found:
        if not job.report.is_file():
            processes.run(job.options, job.report)
        return _Found(processes.read(job.report), job.found, job.reference)

    def _job(self, folder: Path, runtime: str, settings: Settings, what: tuple[str, ...]) -> _Job:
        options = self._options(runtime, settings, what)
        files = {str(path.relative_to(folder)): hash_file(path) for path in _files(folder)}
        first = folder == self.folder and "dtype" in settings and settings["dtype"] == "float32"
        against = "" if first or self._judged not in what else str(self._first_job.report.parent)
        texts = [hash_file(self.rows), hash_file(self.prompts), os.environ.get("OMP_NUM_THREADS", "")]
        key = hash_value([ptft.__version__, options, files, texts, Path(against).name])[:16]
        place = (self.scratch / "results" / key).absolute()
        place.mkdir(parents=True, exist_ok=True)
        reference = (place if first else Path(against).absolute()) / "reference.npy"
        paths = {
            "rows": self.rows, "windows": self.prompts, "found": place / "found.npz", "reference": reference, "folder": folder
        }  # fmt: skip
        given = {name: str(path.absolute()) for name, path in paths.items()}
        return _Job({**options, **given, "writes": first}, place / "report.json", place / "found.npz", reference)

    def _options(self, runtime: str, settings: Settings, what: tuple[str, ...]) -> dict[str, Any]:
        pad = getattr(self.loaded.model.config, "pad_token_id", None)
        claims = {name: {"ids": claim["ids"], "types": claim.get("types")} for name, claim in self.lines.claims.items()}
        # a model that pools the last token and does not know its padding token takes one row at a time
        batches = [1] if pad is None and self.loaded.kind != "causal" else [1, LARGEST_BATCH]
        return {
            "runtime": runtime, "settings": settings, "what": what, "clock": "wall", "batches": batches, "repeats": REPEATS,
            "prompt": self.lines.prompt, "new": self.lines.new, "pad": pad or 0, "reference_bytes": REFERENCE_BYTES,
            "claims": claims,
        }  # fmt: skip

    # ------------------------------------------------------------ what is found

    def _verified(self, found: _Found, speed: Speed | None, notes: tuple[str, ...]) -> Verified:
        claims = {name: {**self.lines.claims[name], **said} for name, said in found.report["claims"].items()}
        if speed is not None and speed.cache_agrees is not None and speed.cache_agrees < LEAST_AGREEMENT:
            notes += (
                f"only {speed.cache_agrees:.0%} of the tokens generated with the cache are those of one pass over the text",
            )
        return Verified(self._quality(found), speed, claims, "; ".join(notes))

    def _quality(self, found: _Found) -> Quality:
        with np.load(self._first.arrays) as old, np.load(found.arrays) as new:
            if self._judged == "rows":
                return comparing.of_tokens(old, new, self.lines)
            return comparing.of_head(old, new, self.loaded, self.texts, self.lines)


def _has_llama_cpp() -> bool:
    return importlib.util.find_spec("llama_cpp") is not None


def _files(folder: Path) -> list[Path]:
    return [
        path
        for path in sorted(folder.rglob("*"))
        if path.is_file()
        and path.name not in NOT_WEIGHTS
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    ]


def _speed(report: Mapping[str, Any]) -> Speed:
    first, tokens, texts = (
        {int(size): value for size, value in report.get(name, {}).items()} for name in ("first", "speed", "seconds")
    )
    return Speed(
        report["load"], report["reload"], report["peak"], max(0, report["peak"] - report["imported"]), first, tokens, texts,
        report.get("cache_agrees"),
    )  # fmt: skip
