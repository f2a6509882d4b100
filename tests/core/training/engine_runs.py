"""Small runs of the engine, for tests: random tokens, a tiny Llama, six steps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import tiny
import torch

from ptft.core.contracts import Output
from ptft.core.encoding import IGNORED
from ptft.core.progress import Silent
from ptft.core.training import Objective, Schedule, Settings, train
from ptft.core.training.data import collate

SETTINGS = Settings(
    steps=6, batch=8, micro_batch=8, lr=1e-3, schedule=Schedule("cosine", 6, 1), weight_decay=0.1, clip=1.0, beta2=0.95,
    precision="fp32", save_every=2, eval_every=3, seed=1,
)  # fmt: skip


class Random:
    """Causal examples of random tokens, without files."""

    def __init__(self, count: int = 24, length: int = 16, vocabulary: int = 400) -> None:
        self.tokens = np.random.default_rng(0).integers(5, vocabulary, (count, length))

    def __len__(self) -> int:
        return len(self.tokens)

    def __getitem__(self, index: int) -> dict[str, Any]:
        ids = torch.from_numpy(self.tokens[index].copy())
        labels = ids.clone()
        labels[0] = IGNORED
        return {"input_ids": ids, "labels": labels}


def output(folder: Path) -> Output:
    for name in ("new", "state"):
        (folder / ".ptft" / name).mkdir(parents=True, exist_ok=True)
    return Output(folder, folder / ".ptft" / "new", folder / ".ptft" / "state")


def llama(tmp_path: Path) -> Any:
    from transformers import AutoModelForCausalLM

    if not (tmp_path / "llama").exists():
        tiny.causal(tmp_path / "llama", scale=1.0)
    return AutoModelForCausalLM.from_pretrained(tmp_path / "llama")


def trained(tmp_path: Path, name: str, settings: Settings = SETTINGS, **more: Any) -> tuple[Any, Any]:
    """(model, result) of a run in a folder of that name; called again it goes on there."""
    more = {"model": llama(tmp_path), "source": Random(), "collate": collate, "objective": Objective("tokens"), **more}
    result = train(
        more.pop("model"), more.pop("source"), settings, out=output(tmp_path / name), progress=Silent(), **more
    )
    return result.model, result


def weights(model: Any) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])
