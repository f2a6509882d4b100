"""Texts to the ids that every process gets, the same: rows with what should stand at their places, prompts, claimed sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ptft.core.errors import InputError
from ptft.core.models import Loaded
from ptft.core.scoring import encode_cut
from ptft.core.tagging import encode_words
from ptft.stages.export.rows import SPOKEN, Texts, built_in

NO_TARGET = -1
HIDDEN, SEED = 0.15, 0  # share of a masked model's tokens that it has to guess
PROMPT, NEW, LARGEST_BATCH = 128, 32, 8  # tokens, tokens, texts

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Line:
    """A row: ids, targets (`NO_TARGET`: nothing is judged there) and types of tokens (None: the model takes none), (tokens,).

    row: its number among the texts.
    """

    row: int
    ids: Ints
    targets: Ints
    types: Ints | None


@dataclass(frozen=True)
class Encoded:
    """claims: by language, the sentence and its ids. prompt, new: tokens of a generation that fits the model."""

    lines: tuple[Line, ...]
    claims: Mapping[str, dict[str, Any]]
    prompt: int
    new: int

    @property
    def longest(self) -> int:
        """Tokens that a runtime must have room for in a text."""
        return max(self.prompt + self.new + 1, *(len(line.ids) for line in self.lines), *self._claimed)

    @property
    def _claimed(self) -> list[int]:
        return [len(claim["ids"]) for claim in self.claims.values()]

    def write(self, path: Path) -> None:
        """For the scripts: see common.Rows there."""
        columns = {
            "ids": np.concatenate([line.ids for line in self.lines]).astype(np.int32),
            "ends": np.cumsum([len(line.ids) for line in self.lines]),
            "targets": np.concatenate([line.targets for line in self.lines]).astype(np.int32),
        }
        if self.lines[0].types is not None:
            columns["types"] = np.concatenate([line.types for line in self.lines if line.types is not None])
        np.savez(path, **columns)  # type: ignore[arg-type]

    def write_prompts(self, path: Path) -> None:
        """(LARGEST_BATCH, prompt) of the rows end to end, again from the first where they are short."""
        stream = np.concatenate([line.ids for line in self.lines])
        np.save(path, np.resize(stream, (LARGEST_BATCH, self.prompt)).astype(np.int32))


def encoded(loaded: Loaded, texts: Texts, length: int) -> Encoded:
    """Rows of at most `length` tokens. Raises `InputError` where no row has a place to judge, and for models with two towers."""
    if loaded.kind == "seq2seq":
        remedy = "export a causal model, an encoder, or a classifier"
        raise InputError("an encoder-decoder cannot be verified", where=str(loaded.folder), remedy=remedy)
    length = min(length, loaded.seq_len)
    lines = _lines(loaded, texts, length)
    if not lines:
        raise InputError("no row holds a token to judge", remedy="name rows with more text: --verify FILE")
    said = _lines(loaded, built_in(loaded), length, hide=False)
    claims = {language: _claim(loaded, said, place) for language, place in SPOKEN.items()}
    prompt = max(1, min(PROMPT, loaded.seq_len // 2))
    return Encoded(tuple(lines), claims, prompt, max(1, min(NEW, loaded.seq_len - prompt - 1)))


def _claim(loaded: Loaded, said: Sequence[Line], place: int) -> dict[str, Any]:
    sentences = built_in(loaded)
    line = next(line for line in said if line.row == place)
    found: dict[str, Any] = {"text": sentences.texts[place]}
    found |= {"text_pair": sentences.pairs[place]} if sentences.pairs else {}
    found |= {"ids": line.ids.tolist()}
    return found | ({} if line.types is None else {"types": line.types.tolist()})


def _lines(loaded: Loaded, texts: Texts, length: int, hide: bool = True) -> list[Line]:
    if loaded.kind == "causal":
        lines = _causal(loaded, texts, length)
    elif texts.words is not None:
        lines = _words(loaded, texts, length)
    else:
        lines = _whole(loaded, texts, length)
    if loaded.kind == "masked" and hide:
        lines = _masked(loaded, lines)
    judged = loaded.kind in ("causal", "masked") and hide
    return [line for line in lines if len(line.ids) and (not judged or (line.targets != NO_TARGET).any())]


def _line(row: int, ids: Sequence[int], types: Sequence[int] | None = None) -> Line:
    array = np.asarray(ids, dtype=np.int64)
    return Line(row, array, np.full_like(array, NO_TARGET), None if types is None else np.asarray(types, np.int64))


def _causal(loaded: Loaded, texts: Texts, length: int) -> list[Line]:
    """Each token is judged at the place before it. A template and a tokenizer that both write BOS leave one."""
    bos = loaded.tokenizer.bos_token_id
    lines = []
    for row, ids in enumerate(loaded.tokenizer(list(texts.texts), verbose=False)["input_ids"]):
        while bos is not None and list(ids[:2]) == [bos, bos]:
            ids = ids[1:]
        line = _line(row, ids[:length])
        lines.append(replace(line, targets=np.append(line.ids[1:], NO_TARGET)))
    return lines


def _whole(loaded: Loaded, texts: Texts, length: int) -> list[Line]:
    found, _ = encode_cut(loaded.tokenizer, texts.texts, texts.pairs, length)
    return [_line(row, each["input_ids"], each.get("token_type_ids")) for row, each in enumerate(found)]


def _words(loaded: Loaded, texts: Texts, length: int) -> list[Line]:
    """A word's tag is judged at the piece that carries it."""
    lines = []
    for row, words in enumerate(encode_words(loaded.tokenizer, texts.words or (), length)):
        line = _line(row, words.ids)
        for word in words.seen if texts.labels is not None else ():
            line.targets[words.places[word]] = texts.labels[row][word]  # type: ignore[index]
        lines.append(line)
    return lines


def _masked(loaded: Loaded, lines: Sequence[Line]) -> list[Line]:
    """Of each row `HIDDEN` of the tokens that are not special, drawn with a seed, at least one."""
    mask = loaded.tokenizer.mask_token_id
    if mask is None:
        remedy = "add a mask_token to its tokenizer_config.json"
        raise InputError(
            "the tokenizer of this masked model has no mask token", where=str(loaded.folder), remedy=remedy
        )
    special = np.array(sorted(loaded.tokenizer.all_special_ids))
    random = np.random.default_rng(SEED)
    found = []
    for line in lines:
        ordinary = np.flatnonzero(~np.isin(line.ids, special))
        count = max(1, round(HIDDEN * len(ordinary))) if len(ordinary) else 0
        chosen = random.permutation(ordinary)[:count]
        ids, targets = line.ids.copy(), line.targets.copy()
        targets[chosen], ids[chosen] = line.ids[chosen], mask
        found.append(replace(line, ids=ids, targets=targets))
    return found
