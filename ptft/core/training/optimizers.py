"""Optimizers: fused AdamW, or Muon for the matrices inside layers with AdamW for all else."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch

from ptft.core.training.settings import Settings

BETA1 = 0.9
OUTSIDE_LAYERS = ("embed", "lm_head", "wte", "wpe", "cls.", "decoder", "head.", "score", "classifier")


def optimizer_of(model: torch.nn.Module, settings: Settings) -> torch.optim.Optimizer:
    """The optimizer for what is trainable in `model`. Weight decay is on matrices alone, not on norms and biases."""
    named = [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
    if settings.optimizer == "muon":
        hidden = [(name, parameter) for name, parameter in named if is_hidden_matrix(name, parameter)]
        if hidden:
            inside = {name for name, _ in hidden}
            muon = torch.optim.Muon(
                [parameter for _, parameter in hidden],
                lr=settings.lr,
                weight_decay=settings.weight_decay,
                adjust_lr_fn="match_rms_adamw",  # so that one learning rate serves both (Liu et al. 2025)
            )
            return Together([muon, _adamw([pair for pair in named if pair[0] not in inside], settings)])
    return _adamw(named, settings)


def is_hidden_matrix(name: str, parameter: torch.Tensor) -> bool:
    """Muon is for the matrices between layers' inputs and outputs; embeddings, heads and vectors are AdamW's (Jordan 2024)."""
    return parameter.dim() == 2 and not any(part in name for part in OUTSIDE_LAYERS)


def _adamw(named: Iterable[tuple[str, torch.nn.Parameter]], settings: Settings) -> torch.optim.Optimizer:
    parameters = [parameter for _, parameter in named]
    groups = [
        {"params": [p for p in parameters if p.dim() >= 2], "weight_decay": settings.weight_decay},
        {"params": [p for p in parameters if p.dim() < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(
        [group for group in groups if group["params"]], lr=settings.lr, betas=(BETA1, settings.beta2), fused=True
    )


class Together(torch.optim.Optimizer):
    """Several optimizers that step as one: their groups in a row, so that one schedule and one checkpoint serve all."""

    def __init__(self, parts: list[torch.optim.Optimizer]) -> None:
        self.parts = parts
        super().__init__([group for part in parts for group in part.param_groups], {})
        self._share()

    def _share(self) -> None:
        """One list of groups and one state over all parts: what a schedule changes here changes there."""
        self.param_groups = [group for part in self.parts for group in part.param_groups]

    def step(self, closure: Any = None) -> Any:
        for part in self.parts:
            part.step()
        return None

    def zero_grad(self, set_to_none: bool = True) -> None:
        for part in self.parts:
            part.zero_grad(set_to_none)

    def state_dict(self) -> dict[str, Any]:
        return {"parts": [part.state_dict() for part in self.parts]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        for part, state in zip(self.parts, state_dict["parts"], strict=True):
            part.load_state_dict(state)
        self._share()
