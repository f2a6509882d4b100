"""What is fed to the model, and in which order.

The n-th example of a run is a function of the seed and n alone: a run that was killed goes on with exactly the examples it had
not seen, and eight small batches hold the same rows as one big one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch

from ptft.core.encoding import IGNORED
from ptft.core.errors import InputError
from ptft.core.packing import Blocks

Example = dict[str, Any]  # "input_ids" and "labels" (tokens, or one class), int64


class Source(Protocol):
    """Examples by number: a data set of known length."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Example: ...


class Batches(torch.utils.data.Dataset):
    """A finite source seen as the whole run's stream: epoch after epoch, each in its own seeded order."""

    def __init__(self, source: Source, total: int, seed: int) -> None:
        self.source, self.total, self.seed = source, total, seed
        self._epoch = -1
        self._order: Any = None

    def __len__(self) -> int:
        return self.total

    def __getitem__(self, index: int) -> Example:
        epoch, position = divmod(index, len(self.source))
        if epoch != self._epoch:
            self._order, self._epoch = np.random.default_rng((self.seed, epoch)).permutation(len(self.source)), epoch
        if isinstance(self.source, MaskedBlocks):
            return self.source.masked(int(self._order[position]), index)
        return self.source[int(self._order[position])]


class PlainBlocks:
    """Token blocks for a causal model: every token but the first is predicted from those before it."""

    def __init__(self, blocks: Blocks) -> None:
        self.blocks = blocks

    def __len__(self) -> int:
        return len(self.blocks)

    def __getitem__(self, index: int) -> Example:
        ids = torch.from_numpy(self.blocks[index])
        labels = ids.clone()
        labels[0] = IGNORED  # nothing precedes it; counting it would make the mean loss too small
        return {"input_ids": ids, "labels": labels}


@dataclass(frozen=True)
class MaskIds:
    """mask, vocab_size: for replacing. special: ids that are never masked."""

    mask: int
    vocab_size: int
    special: tuple[int, ...]


def mask_ids(tokenizer: Any) -> MaskIds:
    """What masking needs to know of a tokenizer. Raises `InputError` where it has no mask token."""
    if tokenizer.mask_token_id is None:
        remedy = "make one with `ptft tokenizer`, or add a mask_token to its tokenizer_config.json"
        raise InputError("the tokenizer has no mask token", where=str(tokenizer.name_or_path), remedy=remedy)
    return MaskIds(tokenizer.mask_token_id, len(tokenizer), tuple(tokenizer.all_special_ids))


class MaskedBlocks:
    """Token blocks for a masked model (Devlin et al. 2019): of the chosen tokens 80 % become [MASK], 10 % random, 10 % stay.

    What is masked depends on the seed and on when in the run the block comes, so it differs from epoch to epoch.
    """

    def __init__(self, blocks: Blocks, ids: MaskIds, rate: float, seed: int) -> None:
        self.blocks, self.ids, self.rate, self.seed = blocks, ids, rate, seed

    def __len__(self) -> int:
        return len(self.blocks)

    def __getitem__(self, index: int) -> Example:
        return self.masked(index, index)

    def masked(self, index: int, when: int) -> Example:
        rng = np.random.default_rng((self.seed, when, 1))
        ids = self.blocks[index].copy()
        chosen = (rng.random(len(ids)) < self.rate) & ~np.isin(ids, self.ids.special)
        labels = np.where(chosen, ids, IGNORED)
        fate = rng.random(len(ids))
        ids[chosen & (fate < 0.8)] = self.ids.mask
        swapped = chosen & (fate >= 0.8) & (fate < 0.9)
        ids[swapped] = rng.integers(0, self.ids.vocab_size, int(swapped.sum()))
        return {"input_ids": torch.from_numpy(ids), "labels": torch.from_numpy(labels)}


class LabelledRows:
    """Tokenised rows with their labels: a class id each, or one label a token."""

    def __init__(self, ids: Sequence[Sequence[int]], labels: Sequence[Any]) -> None:
        self.ids, self.labels = ids, labels

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> Example:
        return {"input_ids": torch.tensor(self.ids[index]), "labels": torch.tensor(self.labels[index])}


def pad_batch(examples: Sequence[Mapping[str, Any]], pad_id: int) -> dict[str, torch.Tensor]:
    """Examples of unequal length as one right-padded batch: input_ids, attention_mask, labels.

    Padding is told by length, never by id, so an end-of-text token that doubles as padding is still learnt (trl#1623).
    """
    longest = max(len(example["input_ids"]) for example in examples)
    ids = torch.full((len(examples), longest), pad_id, dtype=torch.int64)
    mask = torch.zeros((len(examples), longest), dtype=torch.int64)
    by_token = examples[0]["labels"].dim() > 0
    labels = torch.full((len(examples), longest) if by_token else (len(examples),), IGNORED, dtype=torch.int64)
    for row, example in enumerate(examples):
        length = len(example["input_ids"])
        ids[row, :length] = example["input_ids"]
        mask[row, :length] = 1
        if by_token:
            labels[row, :length] = example["labels"]
        else:
            labels[row] = example["labels"]
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}


def stack(examples: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
    """Examples of one length as a batch, with no mask: there is nothing to hide."""
    return {key: torch.stack([example[key] for example in examples]) for key in ("input_ids", "labels")}
