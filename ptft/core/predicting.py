"""What a loaded model says: tags of words, spans of contexts, generated texts. Batches change speed, never answers."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ptft.core.chat import stop_ids
from ptft.core.extracting import ABSTAINS, Found, Logits, Window, best_answers
from ptft.core.models import Loaded
from ptft.core.scoring import by_length, outputs_of, refuse_not_finite
from ptft.core.tagging import OUTSIDE, Words

Advance = Callable[[int], None]


def _array(logits: Any, loaded: Loaded) -> npt.NDArray[np.float32]:
    found: npt.NDArray[np.float32] = logits.float().cpu().numpy()
    refuse_not_finite(found, loaded)
    return found


# ---------------------------------------------------------------- tags


def tag_logits(loaded: Loaded, rows: Sequence[Words], batch_size: int) -> list[npt.NDArray[np.float32]]:
    """Of each row (words that have a place, labels), float32."""
    found: list[npt.NDArray[np.float32]] = [np.zeros((0, len(loaded.labels)), np.float32) for _ in rows]
    filled = [index for index, row in enumerate(rows) if row.ids]
    for chosen, outputs in outputs_of(loaded, [{"input_ids": rows[index].ids} for index in filled], batch_size):
        logits = _array(outputs.logits, loaded)
        for line, index in zip(logits, (filled[place] for place in chosen), strict=True):
            found[index] = line[[place for place in rows[index].places if place >= 0]]
    return found


def tags_from(loaded: Loaded, rows: Sequence[Words], logits: Sequence[npt.NDArray[np.float32]]) -> list[list[str]]:
    """The likeliest tag of each word; "O" of a word that has no place in its row."""
    made = []
    for row, scores in zip(rows, logits, strict=True):
        tags = [OUTSIDE] * len(row.places)
        for word, label in zip(row.seen, scores.argmax(axis=1) if len(scores) else (), strict=True):
            tags[word] = loaded.labels[int(label)]
        made.append(tags)
    return made


# ---------------------------------------------------------------- spans


def span_logits(loaded: Loaded, windows: Sequence[Window], batch_size: int) -> list[tuple[Logits, Logits]]:
    """Of each window's tokens, to be the first and the last of the answer: two arrays (tokens,), float32."""
    found: list[Any] = [None] * len(windows)
    for chosen, outputs in outputs_of(loaded, [window.encoded for window in windows], batch_size):
        starts, ends = _array(outputs.start_logits, loaded), _array(outputs.end_logits, loaded)
        for line, index in enumerate(chosen):
            length = len(windows[index].encoded["input_ids"])
            found[index] = starts[line, :length], ends[line, :length]
    return found


def answers(loaded: Loaded, windows: Sequence[Window], contexts: Sequence[str], batch_size: int) -> list[Found]:
    """The answer to each context's question; a model that does not say otherwise may find none."""
    abstains = bool(getattr(loaded.model.config, ABSTAINS, True))
    return best_answers(windows, span_logits(loaded, windows, batch_size), contexts, abstains)


# ---------------------------------------------------------------- texts


def texts(
    loaded: Loaded, prompts: Sequence[list[int]], room: int, batch_size: int, advance: Advance | None = None
) -> list[str]:
    """Greedy answers of at most `room` tokens, in order, without surrounding spaces. advance: told of rows that are done."""
    import torch

    made_texts = [""] * len(prompts)
    config = generation(loaded, room)
    seq2seq = loaded.kind == "seq2seq"
    for chosen in by_length([len(prompt) for prompt in prompts], batch_size):
        rows = [prompts[index] for index in chosen]
        ids, mask = _batch(rows, int(config.pad_token_id), left=not seq2seq)
        with torch.inference_mode():
            made = loaded.model.generate(
                input_ids=ids.to(loaded.model.device), attention_mask=mask.to(loaded.model.device),
                generation_config=config,
            )  # fmt: skip
        new = made if seq2seq else made[:, ids.shape[1] :]
        for index, text in zip(chosen, loaded.tokenizer.batch_decode(new, skip_special_tokens=True), strict=True):
            made_texts[index] = text.strip()
        if advance is not None:
            advance(len(chosen))
    return made_texts


def _batch(rows: Sequence[Sequence[int]], pad: int, *, left: bool) -> tuple[Any, Any]:
    """left: so that every row of a causal model goes on from its own last token."""
    import torch

    longest = max(map(len, rows))
    fills = [longest - len(row) for row in rows]
    ids = [[*[pad] * fill, *row] if left else [*row, *[pad] * fill] for row, fill in zip(rows, fills, strict=True)]
    mask = [
        [*[0] * fill, *[1] * len(row)] if left else [*[1] * len(row), *[0] * fill]
        for row, fill in zip(rows, fills, strict=True)
    ]
    return torch.tensor(ids), torch.tensor(mask)


def generation(loaded: Loaded, room: int) -> Any:
    """Greedy settings; of an encoder-decoder its own otherwise: the token it begins with, tokens it must not write."""
    from transformers import GenerationConfig

    stops = all_stop_ids(loaded)
    pad = loaded.tokenizer.pad_token_id if loaded.tokenizer.pad_token_id is not None else (stops or [0])[0]
    greedy = {"do_sample": False, "num_beams": 1, "max_new_tokens": room, "eos_token_id": stops or None}
    if loaded.kind != "seq2seq":
        return GenerationConfig(**greedy, pad_token_id=pad)
    config = copy.deepcopy(loaded.model.generation_config)
    config.update(**greedy, max_length=None, early_stopping=False, length_penalty=1.0, pad_token_id=pad)
    return config


def all_stop_ids(loaded: Loaded) -> list[int]:
    """What ends an answer: for the chat template, and for the model's own settings."""
    named = loaded.model.generation_config.eos_token_id
    own = named if isinstance(named, list) else [] if named is None else [named]
    return sorted({*stop_ids(loaded.tokenizer), *own})
