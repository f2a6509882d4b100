"""How the head of a whole text reads its base."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

from ptft.core.errors import UsageError
from ptft.stages.finetune.task.given import Given


def pooling_of(given: Given) -> Literal["mean", "own"]:
    """How the head reads the base. Raises `UsageError` where the base has no such reading."""
    wanted, base = given.recipe.pooling, given.base
    if (wanted == "last" and base.kind != "causal") or (wanted == "mean" and base.kind == "seq2seq"):
        what = f"a {base.kind} base is not read by the {wanted} of its tokens"
        raise UsageError(what, remedy="leave out --pooling: its family has a way of its own")
    if wanted == "auto":
        return "mean" if base.kind == "causal" or _averages(base.named) else "own"
    return "mean" if wanted == "mean" else "own"


def _averages(folder: Path) -> bool:
    """Whether a base is an encoder of sentences (sentence-transformers' layout) that averages its tokens."""
    try:
        settings = json.loads((folder / "1_Pooling" / "config.json").read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError):
        return False
    return bool(settings.get("pooling_mode_mean_tokens") or settings.get("pooling_mode") == "mean")
