"""How the next token is chosen, and when an answer ends: what `transformers` is told for a `Decoding`.

A sampled token is the one in whose share of the probability a number between 0 and 1 falls. The numbers of a row are drawn from
its seed and key alone, one a step: so a row's sample hangs neither on its neighbours in a batch nor on where a run was
interrupted. Greedy choices and beams need no such care: padding is masked.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ptft.core.chat import stop_ids
from ptft.core.knobs import Decoding
from ptft.core.models import Loaded

# what a causal model's own settings would change unasked: transformers fills in whatever is not named
_NEUTRAL = {"repetition_penalty": 1.0, "no_repeat_ngram_size": 0, "min_length": 0}


def described(decoding: Decoding) -> str:
    """In words, for a record: "greedy", "5 beams", "sampling (temperature 0.8, top_p 0.95)"."""
    if decoding.beams > 1:
        return f"{decoding.beams} beams"
    if not decoding.temperature:
        return "greedy"
    limits = [f"top_k {decoding.top_k}"] if decoding.top_k else []
    limits += [f"top_p {decoding.top_p:g}"] if decoding.top_p < 1 else []
    return f"sampling ({', '.join([f'temperature {decoding.temperature:g}', *limits])})"


def settings_for(loaded: Loaded, decoding: Decoding, ends: Sequence[int]) -> Any:
    """A GenerationConfig; of an encoder-decoder its own otherwise: the token it begins with, tokens it must not write.

    ends: ids that end an answer. Sampling is left to `Sampled`, so nothing is drawn here.
    """
    from transformers import GenerationConfig

    pad = loaded.tokenizer.pad_token_id if loaded.tokenizer.pad_token_id is not None else [*ends, 0][0]
    asked = {
        "do_sample": False, "num_beams": decoding.beams, "max_new_tokens": decoding.max_new_tokens,
        "eos_token_id": list(ends) or None, "pad_token_id": pad, "early_stopping": False, "length_penalty": 1.0,
    }  # fmt: skip
    if loaded.kind != "seq2seq":
        return GenerationConfig(**_NEUTRAL, **asked)
    config = copy.deepcopy(loaded.model.generation_config)
    config.update(**asked, max_length=None)
    return config


def end_ids(loaded: Loaded, stop: Sequence[str] = ()) -> list[int]:
    """What ends an answer: for the chat template, for the model's own settings, and stop texts that are tokens themselves."""
    named = loaded.model.generation_config.eos_token_id
    own = named if isinstance(named, list) else [] if named is None else [named]
    added = {str(token): index for index, token in loaded.tokenizer.added_tokens_decoder.items()}
    return sorted({*stop_ids(loaded.tokenizer), *own, *(added[text] for text in stop if text in added)})


# ---------------------------------------------------------------- choosing


class Finite:
    """Watches that every row has a likeliest token; the answer is taken once at the end, since asking waits for the device."""

    def __init__(self) -> None:
        self.seen: Any = None

    def __call__(self, ids: Any, scores: Any) -> Any:
        fine = scores.amax(-1).isfinite().all()  # NaN passes through amax
        self.seen = fine if self.seen is None else self.seen & fine
        return scores

    @property
    def held(self) -> bool:
        return self.seen is None or bool(self.seen)


class Sampled:
    """Leaves each row the one token that its own number chooses. draws: shape (rows, steps), from 0 to below 1."""

    def __init__(self, decoding: Decoding, draws: npt.NDArray[np.float64], start: int) -> None:
        from transformers import TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

        self.warpers = [TemperatureLogitsWarper(decoding.temperature)]
        self.warpers += [TopKLogitsWarper(decoding.top_k)] if decoding.top_k else []
        self.warpers += [TopPLogitsWarper(decoding.top_p)] if decoding.top_p < 1 else []
        self.draws, self.start = draws, start

    def __call__(self, ids: Any, scores: Any) -> Any:
        """ids: shape (rows, start + step). scores: shape (rows, vocabulary)."""
        import torch

        for warper in self.warpers:
            scores = warper(ids, scores)
        below = scores.double().softmax(-1).cumsum(-1)
        draw = torch.from_numpy(self.draws[:, ids.shape[1] - self.start, None]).to(below.device)
        chosen = torch.searchsorted(below, draw * below[:, -1:], right=True)
        return torch.full_like(scores, -torch.inf).scatter_(1, chosen.clamp_(max=scores.shape[1] - 1), 0.0)


def draws(seed: int, key: str, steps: int) -> npt.NDArray[np.float64]:
    """One number a step, from 0 to below 1: shape (steps,). The same for the same seed and key, however many steps."""
    name = int.from_bytes(hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()[:16], "big")
    # below 1 by more than a sum of probabilities is rounded by
    return np.random.default_rng([seed, name]).random(steps) * (1 - 2**-40)


# ---------------------------------------------------------------- ending


class StopTexts:
    """Ends a row once what it has written holds one of the texts. start: tokens of a row that it has not written.

    Only the last few tokens are decoded at each step: a token that shows stands for a byte or more, so a text of n bytes that
    ends in the last token lies within the last n. The whole row decides where those hold one.
    """

    def __init__(self, tokenizer: Any, stop: Sequence[str], start: int) -> None:
        self.tokenizer, self.stop, self.start = tokenizer, tuple(stop), start
        self.window = max(len(text.encode()) for text in stop)

    def __call__(self, ids: Any, scores: Any, **_: Any) -> Any:
        """ids: shape (rows, start + written). A flag a row."""
        import torch

        rows = ids[:, self.start :].tolist()
        return torch.tensor([self.holds(row[-self.window :]) and self.holds(row) for row in rows], device=ids.device)

    def holds(self, row: Sequence[int]) -> bool:
        text = self.tokenizer.decode(row, skip_special_tokens=True)
        return any(stop in text for stop in self.stop)


def cut_at(text: str, stop: Sequence[str]) -> str:
    """What stands before the first of the texts."""
    return text[: min([place for place in map(text.find, stop) if place >= 0], default=len(text))]
