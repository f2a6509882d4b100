"""Losses over a batch, each summed over what is labelled: eight small batches then add up to one big one.

"tokens" is the language model's own, computed inside the model (see `heads.with_loss`); the others read the logits of a head.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import torch
from torch.nn import functional

from ptft.core.encoding import IGNORED

Name = Literal["tokens", "class", "multi-label", "regression", "tags", "span"]


@dataclass(frozen=True)
class Objective:
    """What is minimised.

    name: "tokens", labels (batch, length), of causal models `input_ids` themselves; "class", (batch,) class ids;
    "multi-label", (batch, labels) of 0.0 and 1.0; "regression", (batch,) numbers; "tags", (batch, length) class ids; "span",
    (batch, 2) of the answer's first and last token. `IGNORED` labels have no loss. weights: by class, for "class", "tags" and
    (of what is 1) "multi-label"; empty: all alike. They should have the mean 1 over the rows, for the loss is divided by the number of labels. sparse: of "tokens", few have labels.
    """

    name: Name
    weights: tuple[float, ...] = ()
    sparse: bool = False

    def summed(self, outputs: Any, labels: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        """The loss of a head's outputs, float32, summed over the labels; divided by `labels_in` it is transformers' own.

        mask: (batch, length), 0 for padding. A span is chosen among the tokens of its row, so that padding changes nothing.
        """
        if self.name == "span":
            return _span(outputs, labels, mask)
        return _LOSSES[self.name](outputs, labels, self._weights(labels.device))

    def _weights(self, device: torch.device) -> torch.Tensor | None:
        return torch.tensor(self.weights, device=device) if self.weights else None


def labels_in(labels: torch.Tensor) -> int:
    """How many of the labels have a loss: by their sum over an optimizer step the summed loss is divided."""
    return int((labels != IGNORED).sum())


Weights: TypeAlias = torch.Tensor | None


def _classes(outputs: Any, labels: torch.Tensor, weights: Weights) -> torch.Tensor:
    logits = outputs.logits.float()
    return functional.cross_entropy(
        logits.view(-1, logits.size(-1)), labels.reshape(-1), weight=weights, ignore_index=IGNORED, reduction="sum"
    )


def _multi_label(outputs: Any, labels: torch.Tensor, weights: Weights) -> torch.Tensor:
    return functional.binary_cross_entropy_with_logits(
        outputs.logits.float(), labels.float(), pos_weight=weights, reduction="sum"
    )


def _regression(outputs: Any, labels: torch.Tensor, weights: Weights) -> torch.Tensor:
    return functional.mse_loss(outputs.logits.float().view_as(labels), labels.float(), reduction="sum")


def _span(outputs: Any, labels: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    first, last = labels.unbind(-1)
    starts, ends = outputs.start_logits.float(), outputs.end_logits.float()
    if mask is not None:
        starts, ends = (logits.masked_fill(mask == 0, -torch.inf) for logits in (starts, ends))
    return functional.cross_entropy(starts, first, reduction="sum") + functional.cross_entropy(
        ends, last, reduction="sum"
    )


_LOSSES: dict[str, Callable[[Any, torch.Tensor, Weights], torch.Tensor]] = {
    "class": _classes, "tags": _classes, "multi-label": _multi_label, "regression": _regression,
}  # fmt: skip
