"""What is fed to the model, and in which order.

The n-th example of a run is a function of the seed and n alone: a run that was killed goes on with exactly the examples it had
not seen, and eight small batches hold the same rows as one big one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch

from ptft.core.encoding import IGNORED
from ptft.core.training.isolation import document_numbers, positions
from ptft.core.training.masking import Masking

# "input_ids" and "labels" (tokens, or one class), int64; of packed documents also "position_ids" and "segments" (the
# document each token is in), of padded sequences "attention_mask", of pairs "token_type_ids" and "next_sentence_label"
Example = dict[str, Any]
Ids = npt.NDArray[np.int64]


class Source(Protocol):
    """Examples by number: a data set of known length."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Example: ...


class TokenSequence(Protocol):
    """ids: (seq_len,), padded from `length` on. starts: where documents begin in it; the first is 0."""

    @property
    def ids(self) -> Ids: ...

    @property
    def starts(self) -> Ids: ...

    @property
    def length(self) -> int: ...


class TokenSequences(Protocol):
    """Sequences of one length, by number."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> TokenSequence: ...


class Batches(torch.utils.data.Dataset):
    """A finite source seen as the whole run's stream: epoch after epoch, each in its own seeded order.

    A source that draws at random has `at(index, when)`: `when`, the place in the stream, is all its draws may depend on.
    """

    def __init__(self, source: Source, total: int, seed: int) -> None:
        self.source, self.total, self.seed = source, total, seed
        self._at = getattr(source, "at", None)
        self._epoch = -1
        self._order: Any = None

    def __len__(self) -> int:
        return self.total

    def __getitem__(self, index: int) -> Example:
        epoch, position = divmod(index, len(self.source))
        if epoch != self._epoch:
            self._order, self._epoch = np.random.default_rng((self.seed, epoch)).permutation(len(self.source)), epoch
        chosen = int(self._order[position])
        return self._at(chosen, index) if self._at is not None else self.source[chosen]


class CausalSequences:
    """Tokens for a causal model: each is predicted from those before it, the first from nothing, so it has no label.

    isolate: documents see nothing of one another. Then the first token of each has nothing before it, and no label either:
    the loss is that of the documents one by one.
    """

    def __init__(self, sequences: TokenSequences, isolate: bool = False) -> None:
        self.sequences, self.isolate = sequences, isolate

    def __len__(self) -> int:
        return len(self.sequences)

    def __getitem__(self, index: int) -> Example:
        found = self.sequences[index]
        ids, total = found.ids, len(found.ids)
        labels = ids.copy()
        labels[0] = IGNORED
        labels[found.length :] = IGNORED
        example = {"input_ids": torch.from_numpy(ids), "labels": torch.from_numpy(labels)}
        if self.isolate:
            labels[found.starts] = IGNORED
            example["position_ids"] = torch.from_numpy(positions(found.starts, found.length, total))
        return example


class MaskedSequences:
    """Tokens for a masked model, as [CLS] tokens [SEP] where the tokenizer has both: take sequences `masking.wraps` shorter.

    isolate: documents see nothing of one another; [CLS] is the first one's, [SEP] the last one's. What is masked depends on
    the seed and on when in the run the sequence comes, so it differs from epoch to epoch.
    """

    def __init__(self, sequences: TokenSequences, masking: Masking, seed: int, isolate: bool = False) -> None:
        self.sequences, self.masking, self.seed, self.isolate = sequences, masking, seed, isolate

    def __len__(self) -> int:
        return len(self.sequences)

    def __getitem__(self, index: int) -> Example:
        return self.at(index, index)

    def at(self, index: int, when: int) -> Example:
        found, masking = self.sequences[index], self.masking
        tokens = np.concatenate((masking.cls, found.ids[: found.length], masking.sep))
        total = len(found.ids) + masking.wraps
        example = masked(tokens, total, masking, np.random.default_rng((self.seed, when, 1)))
        if self.isolate:
            starts = found.starts + len(masking.cls)
            starts[0] = 0
            example["segments"] = torch.from_numpy(document_numbers(starts, len(tokens), total))
            example["position_ids"] = torch.from_numpy(positions(starts, len(tokens), total))
        elif len(tokens) < total:
            example["attention_mask"] = torch.arange(total) < len(tokens)
        return example


def masked(tokens: Ids, total: int, masking: Masking, rng: np.random.Generator) -> Example:
    """ "input_ids" and "labels" of tokens of which some are hidden, padded to `total`."""
    seen, labels = masking.hide(tokens, rng)
    if len(tokens) < total:
        rest = (0, total - len(tokens))
        seen, labels = np.pad(seen, rest, constant_values=masking.pad_id), np.pad(labels, rest, constant_values=IGNORED)
    return {"input_ids": torch.from_numpy(seen), "labels": torch.from_numpy(labels)}


def collate(examples: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
    """Examples of one length as a batch.

    What hides nothing stays away, which lets attention take its fast way: "attention_mask" where no example is padded,
    "segments" and "position_ids" where every sequence is one document and no more.
    """
    names = dict.fromkeys(name for example in examples for name in example)
    length = len(examples[0]["input_ids"])
    whole = torch.ones(length, dtype=torch.bool)  # the mask that examples without padding leave out
    batch = {name: torch.stack([example.get(name, whole) for example in examples]) for name in names}
    if "position_ids" in batch and bool((batch["position_ids"][:, -1] == length - 1).all()):
        del batch["position_ids"]
        batch.pop("segments", None)
    return batch
