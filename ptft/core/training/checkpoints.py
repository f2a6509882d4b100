"""Checkpoints to go on from: whole or absent, at most two of them, each a model folder that loads as it is."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

KEPT = 2
ENCODER = "prompt_encoder.pt"


def checkpoints(folder: Path, kind: str = "checkpoint") -> list[Path]:
    """The checkpoints in a folder, oldest first. kind: what their names begin with."""
    return sorted(folder.glob(f"{kind}-*"), key=step_of)


def step_of(checkpoint: Path) -> int:
    return int(checkpoint.name.rsplit("-", 1)[1])


def newest(folder: Path) -> Path | None:
    return next(reversed(checkpoints(folder)), None)


def publish(made: Path, folder: Path, name: str, needed: int | None = None) -> None:
    """Move a whole checkpoint into `folder` by renaming it, then drop the oldest: neither a kill nor a power cut leaves half of one.

    needed: the newest one that is not after this step stays, too.
    """
    for path in made.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
    target = folder / name
    shutil.rmtree(target, ignore_errors=True)
    made.replace(target)
    all_ = checkpoints(folder, name.rsplit("-", 1)[0])
    before = [path for path in all_ if needed is not None and step_of(path) <= needed][-1:]
    for old in all_[:-KEPT]:
        if old not in before:
            shutil.rmtree(old)


def forget_after(folder: Path, kind: str, step: int) -> None:
    """Drop what was kept after `step`: the run comes there again, perhaps in other arithmetic."""
    for path in checkpoints(folder, kind):
        if step_of(path) > step:
            shutil.rmtree(path)


def save_encoder(model: Any, checkpoint: Path) -> None:
    """What makes P-tuning's virtual tokens: peft saves the tokens alone, from which nothing could go on learning."""
    import torch

    if any(config.peft_type == "P_TUNING" for config in getattr(model, "peft_config", {}).values()):
        torch.save(model.prompt_encoder.state_dict(), checkpoint / ENCODER)


def load_weights(model: Any, checkpoint: Path) -> None:
    """The weights of a checkpoint's model folder into `model`, which is whole.

    Through `from_pretrained`, because some families (mixtures of experts) are stored under other names than they are held.
    """
    import torch

    if hasattr(model, "peft_config"):
        from peft import load_peft_weights, set_peft_model_state_dict

        set_peft_model_state_dict(model, load_peft_weights(str(checkpoint), device="cpu"))
        if (checkpoint / ENCODER).is_file():
            model.prompt_encoder.load_state_dict(
                torch.load(checkpoint / ENCODER, map_location="cpu", weights_only=True)
            )
        return
    stored = type(model).from_pretrained(checkpoint, dtype=torch.float32, trust_remote_code=False)
    model.load_state_dict(stored.state_dict())
