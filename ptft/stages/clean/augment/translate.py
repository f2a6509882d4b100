"""Translation engines behind one interface: texts in, as many texts out. "" where an engine has no translation to give."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from subprocess import PIPE
from typing import Any, Protocol

from ptft.core.errors import InputError, PtftError, RunError
from ptft.stages.clean.augment.recipe import Augment, Translators


class Engine(Protocol):
    @property
    def name(self) -> str: ...

    def translate(self, texts: Sequence[str]) -> list[str]: ...


@dataclass(frozen=True)
class RoundTrip:
    """Back-translation (Sennrich, Haddow, Birch 2016): out of a language and back into it."""

    forward: Engine
    back: Engine

    @property
    def name(self) -> str:
        return f"{self.forward.name}, {self.back.name}"

    def translate(self, texts: Sequence[str]) -> list[str]:
        """Each text there and back; equal ones once."""
        unique = list(dict.fromkeys(texts))
        there = self.forward.translate(unique)
        kept = [number for number, text in enumerate(there) if text.strip()]
        again = dict(zip(kept, self.back.translate([there[number] for number in kept]), strict=True))
        back = {text: again.get(number, "") for number, text in enumerate(unique)}
        return [back[text] for text in texts]


def round_trip(recipe: Augment, language: str) -> RoundTrip | None:
    """The engines a recipe names for a language, "en" or "zh"; None where it names none. `PtftError` where they cannot run."""
    models = {"en": recipe.english, "zh": recipe.chinese}.get(language, Translators())
    if models.forward and models.back:
        settings = (recipe.batch_size, recipe.max_new_tokens, recipe.beams)
        return RoundTrip(load_marian(models.forward, *settings), load_marian(models.back, *settings))
    if language != "en" or not recipe.apertium:
        return None
    if recipe.chinese.forward and shutil.which("apertium") is None:
        return None  # the recipe is for Chinese; that English has a default engine is no reason to fail
    source, target = recipe.apertium.split("-")
    modes = (f"{source}-{target}", f"{target}-{source}")
    missing = [mode for mode in modes if mode not in apertium_modes()]
    if missing:
        what = f"apertium has no mode {missing[0]}; it has {', '.join(apertium_modes()) or 'none'}"
        raise RunError(what, remedy=f"install its language pair (apt-get install apertium-{recipe.apertium})")
    forward, back = (Apertium(mode, recipe.timeout) for mode in modes)
    return RoundTrip(forward, back)


# ---------------------------------------------------------------- apertium

PER_PROCESS = 1000  # texts: a start costs 0.6 s, and a process that hangs costs no more than these


@lru_cache(maxsize=1)
def apertium_modes() -> tuple[str, ...]:
    """The modes that the installed apertium has. `RunError` where it is not installed."""
    if shutil.which("apertium") is None:
        remedy = (
            "install it with a language pair (apt-get install apertium apertium-eng-spa), or name two Marian models: "
            "--set augment.english.forward=FOLDER --set augment.english.back=FOLDER (a folder or hf:ORG/NAME)"
        )
        raise RunError("back-translation needs an engine, and apertium is not installed", remedy=remedy)
    listed = subprocess.run(["apertium", "-l"], capture_output=True, text=True, timeout=60)
    return tuple(listed.stdout.split())


@dataclass(frozen=True)
class Apertium:
    """apertium's rule-based translation, a process for at most `PER_PROCESS` texts. timeout: seconds for one process."""

    mode: str
    timeout: float

    @property
    def name(self) -> str:
        return f"apertium:{self.mode}"

    def translate(self, texts: Sequence[str]) -> list[str]:
        """Texts of one line each. Raises `RunError` where apertium fails or takes longer than its timeout."""
        done: list[str] = []
        for start in range(0, len(texts), PER_PROCESS):
            done += self._batch(texts[start : start + PER_PROCESS])
        return done

    def _batch(self, texts: Sequence[str]) -> list[str]:
        """Paragraph for paragraph; a batch whose paragraphs do not come back as many is halved until it does."""
        if not texts:
            return []
        lines = [" ".join(text.split()) for text in texts]
        parts = [part.strip() for part in self._run("\n\n".join(line or "." for line in lines)).split("\n\n")]
        if len(parts) == len(texts):
            return [_whole(part, line) for part, line in zip(parts, lines, strict=True)]
        if len(texts) == 1:
            return [""]
        middle = len(texts) // 2
        return [*self._batch(texts[:middle]), *self._batch(texts[middle:])]

    def _run(self, text: str) -> str:
        command = ["apertium", "-u", self.mode]
        with subprocess.Popen(command, stdin=PIPE, stdout=PIPE, stderr=PIPE, start_new_session=True) as process:
            try:
                made, said = process.communicate(text.encode("utf-8", "replace"), self.timeout)
            except subprocess.TimeoutExpired as error:
                os.killpg(process.pid, signal.SIGKILL)  # apertium is a pipeline of ten programs
                remedy = "allow it more with --set augment.timeout=3600, or look why it hangs"
                raise RunError(f"apertium {self.mode} took longer than {self.timeout:g} s", remedy=remedy) from error
        if process.returncode:
            why = said.decode("utf-8", "replace").strip()[-300:] or f"exit code {process.returncode}"
            remedy = f"try it by hand: echo hello | apertium -u {self.mode}"
            raise RunError(f"apertium {self.mode} failed: {why}", remedy=remedy)
        return made.decode("utf-8", "replace")


_LONG = 18  # letters: apertium writes words it cannot generate as one (conexionesdeinternet)
_OPENING = "\"'(“‘["
_LETTERS = re.compile(r"[^\W\d_]+")


def _whole(translation: str, text: str) -> str:
    """A translation tidied; "" for one with apertium's marks of failure: @, #, words run together."""
    if not text or any(mark in translation and mark not in text for mark in "@#*"):
        return ""
    if any(len(word) > _LONG and word not in text for word in _LETTERS.findall(translation)):
        return ""
    tidy = re.sub(r"(?<=\w) +(?=[.,;:!?](?:\s|$))", "", " ".join(translation.split()))
    if text[0] in _OPENING and tidy[1:2] == " " and text[1:2] != " ":
        tidy = tidy[0] + tidy[2:]
    return tidy[:1].upper() + tidy[1:] if text[:1].isupper() else tidy


# ---------------------------------------------------------------- Marian


class Marian:
    """A Marian model (Junczys-Dowmunt et al. 2018) through transformers; on a GPU where there is one.

    Deterministic: greedy, or beam search. Texts of alike lengths share a batch, which pads least.
    """

    def __init__(self, model: str, batch_size: int, max_new_tokens: int, beams: int) -> None:
        import torch

        self.name = f"marian:{Path(model).resolve().name if Path(model).is_dir() else model.removeprefix('hf:')}"
        self.batch_size, self.max_new_tokens, self.beams = batch_size, max_new_tokens, beams
        self._device = "cuda" if torch.cuda.is_available() else "cpu"
        self._tokenizer, self._model = _load(model)
        self._model.to(self._device).eval()
        self._longest = min(self._tokenizer.model_max_length, self._model.config.max_position_embeddings)

    def translate(self, texts: Sequence[str]) -> list[str]:
        """ "" for a text longer than the model takes, and for one whose translation does not end in `max_new_tokens`."""
        encoded = [self._tokenizer(text)["input_ids"] for text in texts]
        done = [""] * len(texts)
        fitting = [number for number, ids in enumerate(encoded) if 1 < len(ids) <= self._longest]
        fitting.sort(key=lambda number: (len(encoded[number]), number))
        for start in range(0, len(fitting), self.batch_size):
            batch = fitting[start : start + self.batch_size]
            for number, text in zip(batch, self._generate([encoded[number] for number in batch]), strict=True):
                done[number] = text
        return done

    def _generate(self, encoded: Sequence[list[int]]) -> list[str]:
        import torch

        padded = self._tokenizer.pad({"input_ids": list(encoded)}, return_tensors="pt").to(self._device)
        room = min(self.max_new_tokens, self._model.config.max_position_embeddings - 1)
        with torch.no_grad():
            made = self._model.generate(
                input_ids=padded["input_ids"], attention_mask=padded["attention_mask"],
                num_beams=self.beams, do_sample=False, max_new_tokens=room, max_length=None,
            )  # fmt: skip
        ended = (made == self._model.config.eos_token_id).any(dim=1).tolist()
        texts = self._tokenizer.batch_decode(made, skip_special_tokens=True)
        return [text.strip() if whole else "" for text, whole in zip(texts, ended, strict=True)]


@lru_cache(maxsize=4)
def load_marian(model: str, batch_size: int, max_new_tokens: int, beams: int) -> Marian:
    """Once a process."""
    return Marian(model, batch_size, max_new_tokens, beams)


def _load(model: str) -> tuple[Any, Any]:
    """Tokenizer and model of a local folder, or of the hub. No code of the model's own is run."""
    remedy = "name a folder with config.json, model.safetensors, vocab.json, source.spm and target.spm, or hf:ORG/NAME"
    try:
        import sentencepiece  # noqa: F401
    except ImportError as error:
        raise RunError("Marian models need sentencepiece", remedy="pip install sentencepiece") from error
    from transformers import MarianMTModel, MarianTokenizer

    name, local = model.removeprefix("hf:"), Path(model).is_dir()
    if not local and not model.startswith("hf:") and name.count("/") != 1:
        raise InputError("no such folder", where=model, remedy=remedy)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Recommended: pip install sacremoses")  # which nothing here calls
            tokenizer = MarianTokenizer.from_pretrained(name, local_files_only=local, trust_remote_code=False)
        loaded = MarianMTModel.from_pretrained(name, local_files_only=local, trust_remote_code=False)
    except PtftError:
        raise
    except Exception as error:  # transformers raises what it likes, from KeyError to OSError
        said = str(error).strip().splitlines() or [type(error).__name__]
        raise InputError(
            f"not a Marian model that can be loaded: {said[0][:300]}", where=model, remedy=remedy
        ) from error
    return tokenizer, loaded
