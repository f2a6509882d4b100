"""Pairs of passages for BERT's second objective: does B follow A (Devlin et al. 2019), or are they in order (Lan et al. 2020)?"""

from __future__ import annotations

from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt
import torch

from ptft.core.errors import InputError
from ptft.core.training.data import Example, masked
from ptft.core.training.masking import Masking

Ids = npt.NDArray[np.int64]
Kind = Literal["nsp", "sop"]
WRAPS = 3  # [CLS] A [SEP] B [SEP]
TRIES = 10  # to find a document long enough for a B from elsewhere


class Documents(Protocol):
    """Documents by number, each its ids without the end-of-text token. lengths: of all of them, int64."""

    @property
    def lengths(self) -> Ids: ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Ids: ...


class SentencePairs:
    """Masked examples [CLS] A [SEP] B [SEP] of `seq_len` tokens with "token_type_ids" and "next_sentence_label".

    nsp: label 0, B follows A in its document; label 1, in half of the examples, B is from another one. sop: B follows A, and
    label 1 says that the two were swapped. A passage ends where a sentence does if there is a choice, and a B from elsewhere
    begins where one does. It is as long as the B that it replaces, so that length tells nothing. A share `short` of the
    examples has any shorter length, as in BERT. Documents of fewer than two tokens are left out; a document that fills no
    example is padded. Raises `InputError` where there is nothing to pair.
    """

    def __init__(
        self, documents: Documents, masking: Masking, seq_len: int, kind: Kind, seed: int, short: float = 0.1
    ) -> None:
        self.documents, self.masking, self.seq_len, self.kind = documents, masking, seq_len, kind
        self.seed, self.short, self.room = seed, short, seq_len - WRAPS
        self.lengths = documents.lengths
        self.usable = np.flatnonzero(self.lengths >= 2)
        self._check()
        pieces = np.maximum(1, np.round(self.lengths[self.usable] / self.room)).astype(np.int64)
        self._ends = np.cumsum(pieces)

    def _check(self) -> None:
        if not self.masking.wraps:
            remedy = "make a tokenizer with `ptft tokenizer`, or train with --objective masked"
            raise InputError("pairs of passages need a tokenizer with [CLS] and [SEP]", remedy=remedy)
        if self.kind == "nsp" and len(self.usable) == 1:
            remedy = (
                "add documents (to validate on: --val), or take --objective masked+sop, which needs no other document"
            )
            raise InputError("one document has no other to take a passage from", remedy=remedy)

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    def __getitem__(self, index: int) -> Example:
        return self.at(index, index)

    def at(self, index: int, when: int) -> Example:
        rng = np.random.default_rng((self.seed, when, 2))
        number, piece = self._piece(index, rng)
        first, second = self._split(piece, rng)
        swap = bool(rng.random() < 0.5)
        if swap and self.kind == "sop":
            first, second = second, first
        elif swap:
            second = self._from_elsewhere(number, len(second), rng)
        return self._example(first, second, swap, rng)

    def _piece(self, index: int, rng: np.random.Generator) -> tuple[int, Ids]:
        """A document's number and a piece of it.

        The pieces of a document lie evenly: they overlap a little, or leave a gap that is elsewhere in every epoch.
        """
        place = int(np.searchsorted(self._ends, index, side="right"))
        first = int(self._ends[place - 1]) if place else 0
        pieces, which = int(self._ends[place]) - first, index - first
        number = int(self.usable[place])
        document = self.documents[number]
        size = min(self.room, len(document))
        gap = len(document) - pieces * size
        begin = (
            which * size + int(rng.integers(0, gap + 1)) if gap >= 0 else which * (len(document) - size) // (pieces - 1)
        )
        if size > 2 and rng.random() < self.short:
            size = int(rng.integers(2, size))
        return number, document[begin : begin + size]

    def _split(self, piece: Ids, rng: np.random.Generator) -> tuple[Ids, Ids]:
        """Two parts, neither empty."""
        at = self._after_a_sentence(piece, rng)
        at = int(rng.integers(1, len(piece))) if at is None else at
        return piece[:at], piece[at:]

    def _from_elsewhere(self, number: int, size: int, rng: np.random.Generator) -> Ids:
        """A passage of another document: `size` tokens, or all of the longest of `TRIES` where none has so many."""
        others = self.usable[rng.integers(0, len(self.usable), TRIES)]
        others = others[others != number]
        if not len(others):
            others = self.usable[self.usable != number][:1]
        enough = np.minimum(self.lengths[others], size)
        document = self.documents[int(others[enough.argmax()])]  # the first of the longest: any that has enough
        last = max(0, len(document) - size)
        begin = self._after_a_sentence(document[: last + 1], rng)
        begin = int(rng.integers(0, last + 1)) if begin is None else begin
        return document[begin : begin + size]

    def _after_a_sentence(self, ids: Ids, rng: np.random.Generator) -> int | None:
        """A place in `ids` right after the end of a sentence, if there is one."""
        places = np.flatnonzero(self.masking.sentences.ends(ids))
        return int(places[rng.integers(len(places))]) + 1 if len(places) else None

    def _example(self, first: Ids, second: Ids, swap: bool, rng: np.random.Generator) -> Example:
        cls, sep = self.masking.cls, self.masking.sep
        tokens = np.concatenate((cls, first, sep, second, sep))
        example = masked(tokens, self.seq_len, self.masking, rng)
        kinds = np.zeros(self.seq_len, dtype=np.int64)
        kinds[len(first) + 2 : len(tokens)] = 1
        example["token_type_ids"] = torch.from_numpy(kinds)
        example["next_sentence_label"] = torch.tensor(int(swap))
        if len(tokens) < self.seq_len:
            example["attention_mask"] = torch.arange(self.seq_len) < len(tokens)
        return example
