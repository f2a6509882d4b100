"""Checkpoints to go on from: whole or absent, at most two of them, each a model folder that loads as it is."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

KEPT = 2


def checkpoints(folder: Path) -> list[Path]:
    """The checkpoints in a folder, oldest first."""
    return sorted(folder.glob("checkpoint-*"), key=step_of)


def step_of(checkpoint: Path) -> int:
    return int(checkpoint.name.split("-")[1])


def newest(folder: Path) -> Path | None:
    return next(reversed(checkpoints(folder)), None)


def publish(made: Path, folder: Path) -> None:
    """Move a whole checkpoint into `folder` by renaming it, then drop the oldest: a kill never leaves half of one."""
    target = folder / made.name
    shutil.rmtree(target, ignore_errors=True)
    made.replace(target)
    for old in checkpoints(folder)[:-KEPT]:
        shutil.rmtree(old)


def load_weights(model: Any, checkpoint: Path) -> None:
    """The weights of a checkpoint's model folder into `model`, which is whole.

    Through `from_pretrained`, because some families (mixtures of experts) are stored under other names than they are held.
    """
    import torch

    if hasattr(model, "peft_config"):
        from peft import load_peft_weights, set_peft_model_state_dict

        set_peft_model_state_dict(model, load_peft_weights(str(checkpoint), device="cpu"))
        return
    stored = type(model).from_pretrained(checkpoint, dtype=torch.float32, trust_remote_code=False)
    model.load_state_dict(stored.state_dict())
