"""Several conversations in one sequence, none of which sees another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ptft.core.best_fit import Bins, bins_of
from ptft.core.encoding import IGNORED
from ptft.core.errors import InputError
from ptft.core.training import Rows
from ptft.core.training.data import Example
from ptft.core.training.heads import with_loss
from ptft.core.training.isolation import positions

CONTAMINATED = 0.05  # of what documents without isolation do to one another; rounding does a thousandth


@dataclass(frozen=True)
class PackedRows:
    """Rows laid into sequences of at most `capacity` tokens by best fit; none is longer.

    An example has "position_ids" that restart with each row: with no attention mask and no cache, models keep rows apart by
    them. The first token of each row has no label already.
    """

    rows: Rows
    capacity: int

    def __len__(self) -> int:
        return len(self.bins)

    @cached_property
    def bins(self) -> Bins:
        return bins_of(self.rows.lengths, self.capacity)

    @cached_property
    def lengths(self) -> npt.NDArray[np.int64]:
        """Tokens of each sequence (sequences,)."""
        return np.add.reduceat(self.bins.sizes.astype(np.int64), self.bins.offsets[:-1])

    def __getitem__(self, index: int) -> Example:
        places, sizes = self.bins[index]
        total = int(sizes.sum())
        starts = np.cumsum(sizes, dtype=np.int64) - sizes
        columns = {
            name: np.concatenate([values[at : at + size] for at, size in zip(places, sizes, strict=True)])
            for name, values in self.rows.columns.items()
        }
        columns["position_ids"] = positions(starts, total, total)
        return {name: torch.from_numpy(values.astype(np.int64)) for name, values in columns.items()}


@dataclass(frozen=True)
class PackedPadding:
    """Packed sequences as one right-padded batch without an attention mask: padding is one more document, with no labels."""

    pad_id: int

    def __call__(self, examples: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
        longest = max(len(example["input_ids"]) for example in examples)
        rest = [longest - len(example["input_ids"]) for example in examples]
        fill = {"input_ids": self.pad_id, "labels": IGNORED}
        batch = {
            name: torch.stack(
                [
                    torch.nn.functional.pad(example[name], (0, room), value=value)
                    for example, room in zip(examples, rest, strict=True)
                ]
            )
            for name, value in fill.items()
        }
        places = [
            torch.cat([example["position_ids"], torch.arange(room)])
            for example, room in zip(examples, rest, strict=True)
        ]
        return {**batch, "position_ids": torch.stack(places)}


@torch.no_grad()  # type: ignore[untyped-decorator]
def refuse_mixing(model: Any) -> None:
    """Raise `InputError` where the model does not keep packed documents apart: tried, on two short ones, not looked up."""
    first, second = torch.arange(2, 10)[None], torch.arange(3, 11)[None]
    both = torch.cat([first, second], dim=1)
    was_training = model.training
    model.eval()
    try:
        alone = _logits(model, second, torch.arange(8)[None])
        together = _logits(model, both, torch.arange(8).repeat(2)[None])[:, 8:]
        mixed = _logits(model, both, torch.arange(16)[None])[:, 8:]
    except TypeError as error:  # it takes no positions
        raise _mixes(model) from error
    finally:
        model.train(was_training)
    if float((together - alone).abs().max()) > CONTAMINATED * float((mixed - alone).abs().max()):
        raise _mixes(model)


def _logits(model: Any, ids: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    with with_loss(model, chunked=True):
        found = model(input_ids=ids.to(model.device), position_ids=places.to(model.device), use_cache=False)
    logits: torch.Tensor = found.logits.float().cpu()
    return logits


def _mixes(model: Any) -> InputError:
    what = f"{model.config.model_type} models do not keep packed conversations apart: each would see those before it"
    return InputError(what, remedy="leave out --packing")
