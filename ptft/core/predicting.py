"""What a loaded model says: tags of words, spans of contexts, generated texts. Batches change speed, never answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt

from ptft.core.batches import Batches, Room
from ptft.core.errors import InputError
from ptft.core.extracting import ABSTAINS, Found, Logits, Window, best_answers
from ptft.core.generating import written
from ptft.core.knobs import Decoding
from ptft.core.models import Loaded
from ptft.core.scoring import outputs_of, refuse_not_finite
from ptft.core.tagging import OUTSIDE, Words

Advance = Callable[[int], None]
MOST_ROWS = 32  # that are answered at once where nobody says: more waste time on rows that are done already
CACHE_BYTES = 2**30  # of keys and values held at once in main memory; on a GPU half of what is free


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
    loaded: Loaded, prompts: Sequence[Sequence[int]], decoding: Decoding, seed: int = 0, batch_size: int = 0,
    advance: Advance | None = None, keys: Sequence[str] | None = None, *, trim: bool = True,
) -> list[str]:  # fmt: skip
    """What the model writes after each prompt, in order. batch_size 0: as many rows as memory takes, see `writing_room`.

    keys: a name a row, of which and of the seed alone its sample is drawn (None: its place), see `ptft.core.decoding`. trim:
    white space around an answer goes. advance: told of rows that are done. Raises `InputError` where the model's outputs are
    not finite, `RunError` where a single row does not fit the memory.
    """
    made = [""] * len(prompts)
    names = list(map(str, range(len(prompts)))) if keys is None else keys
    rows = [list(prompt) or begin_of(loaded) for prompt in prompts]
    room = writing_room(loaded)
    batches = Batches([max(room.least, _places(row, decoding)) for row in rows], batch_size, room)
    for chosen in batches:
        with batches.fitting(chosen):
            found = written(loaded, [rows[i] for i in chosen], decoding, seed, [names[i] for i in chosen])
            for index, text in zip(chosen, found, strict=True):
                made[index] = text.strip() if trim else text
            if advance is not None:
                advance(len(chosen))
    return made


def _places(row: Sequence[int], decoding: Decoding) -> int:
    """Tokens whose keys and values are kept at the end of a row."""
    return (len(row) + decoding.max_new_tokens) * decoding.beams


def begin_of(loaded: Loaded) -> list[int]:
    """What an empty prompt is: a token that begins a text, as after a document in training. Raises `InputError` without one."""
    known = (loaded.tokenizer.bos_token_id, loaded.tokenizer.eos_token_id)
    begin = next((token for token in known if token is not None), None)
    if begin is None:
        remedy = "leave out rows with an empty prompt, or set bos_token in tokenizer_config.json"
        what = "an empty prompt, and the tokenizer has no token to begin with"
        raise InputError(what, where=str(loaded.folder), remedy=remedy)
    return [begin]


@dataclass
class WritingRoom(Room):
    """least: tokens that a row counts as, so that rows of few tokens are not more than `MOST_ROWS`."""

    least: int = 0


_ROOMS: WeakKeyDictionary[Any, WritingRoom] = WeakKeyDictionary()


def writing_room(loaded: Loaded) -> WritingRoom:
    """Tokens whose keys and values fit what may be held of them, prompts, answers and beams together; one room a model."""
    import torch

    if (known := _ROOMS.get(loaded.model)) is not None:
        return known
    device = torch.device(loaded.model.device)
    most = torch.cuda.mem_get_info(device)[0] // 2 if device.type == "cuda" else CACHE_BYTES
    tokens = max(1, most // _bytes_a_token(loaded))
    return _ROOMS.setdefault(loaded.model, WritingRoom(tokens, least=tokens // MOST_ROWS))


def _bytes_a_token(loaded: Loaded) -> int:
    """Keys and values that a token leaves in the cache; attention that shares heads leaves less."""
    config = loaded.model.config.get_text_config()
    heads = getattr(config, "num_attention_heads", None) or 1
    shared = (getattr(config, "num_key_value_heads", None) or heads) / heads
    wide, layers = getattr(config, "hidden_size", 1024), getattr(config, "num_hidden_layers", 24)
    width = getattr(getattr(loaded.model, "dtype", None), "itemsize", 4)
    return max(1, int(2 * layers * wide * shared * width))
