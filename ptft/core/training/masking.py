"""Which tokens a masked model must guess, and what it sees in their place (Devlin et al. 2019).

A whole word is hidden or shown as one (see `vocabulary`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ptft.core.encoding import IGNORED
from ptft.core.errors import InputError
from ptft.core.training.vocabulary import Flags, Ids, Sentences, Words, sentences_of, special_ids, words_of


@dataclass(frozen=True, eq=False)
class Masking:
    """rate: share of tokens to guess; of these `replace` become [MASK], `random` any ordinary token, the rest stay.

    special: by token id. sentences: for pairs of passages. ordinary: the ids a token may become at random. words: None hides tokens one by one.
    cls, sep: what a sequence is wrapped in, one id each, or none where the tokenizer lacks one of them.
    """

    mask_id: int
    special: Flags
    ordinary: Ids
    rate: float
    replace: float
    random: float
    words: Words | None
    sentences: Sentences
    cls: Ids
    sep: Ids
    pad_id: int

    @property
    def wraps(self) -> int:
        """The special tokens around a sequence: [CLS] and [SEP], or none."""
        return len(self.cls) + len(self.sep)

    def hide(self, ids: Ids, rng: np.random.Generator) -> tuple[Ids, Ids]:
        """(what the model sees, labels with `IGNORED` at what it need not guess), both new arrays like `ids`.

        Every word, or token, is chosen by itself with probability `rate`. Where chance chooses none, one is chosen all the
        same: an example with nothing to guess teaches nothing, and a batch of them would have no mean.
        """
        chosen = self._chosen(ids, rng)
        labels = np.where(chosen, ids, IGNORED)
        fate = rng.random(len(ids))
        seen = np.where(chosen & (fate < self.replace), self.mask_id, ids)
        swapped = np.flatnonzero(chosen & (fate >= self.replace) & (fate < self.replace + self.random))
        seen[swapped] = self.ordinary[rng.integers(0, len(self.ordinary), len(swapped))]
        return seen, labels

    def _chosen(self, ids: Ids, rng: np.random.Generator) -> Flags:
        shown = self.special[ids]
        unit = np.arange(len(ids)) if self.words is None else self.words.numbers(ids)
        chosen: Flags = (rng.random(len(ids)) < self.rate)[unit] & ~shown
        if not chosen.any() and not shown.all():
            hideable = unit[~shown]
            chosen = (unit == hideable[rng.integers(len(hideable))]) & ~shown
        return chosen


def masking_of(
    tokenizer: Any, *, rate: float = 0.15, whole_word: bool = False, replace: float = 0.8, random: float = 0.1
) -> Masking:
    """Masking for a tokenizer. Raises `InputError` where it has no mask token."""
    if tokenizer.mask_token_id is None:
        remedy = "make one with `ptft tokenizer`, or add a mask_token to its tokenizer_config.json"
        raise InputError("the tokenizer has no mask token", where=str(tokenizer.name_or_path), remedy=remedy)
    special = special_ids(tokenizer)
    wrapped = tokenizer.cls_token_id is not None and tokenizer.sep_token_id is not None
    ends = (tokenizer.pad_token_id, tokenizer.sep_token_id, tokenizer.eos_token_id, tokenizer.mask_token_id)
    return Masking(
        mask_id=tokenizer.mask_token_id,
        special=special,
        ordinary=np.flatnonzero(~special),
        rate=rate,
        replace=replace,
        random=random,
        words=words_of(tokenizer) if whole_word else None,
        sentences=sentences_of(tokenizer),
        cls=np.array([tokenizer.cls_token_id] if wrapped else [], dtype=np.int64),
        sep=np.array([tokenizer.sep_token_id] if wrapped else [], dtype=np.int64),
        pad_id=next(ident for ident in ends if ident is not None),
    )
