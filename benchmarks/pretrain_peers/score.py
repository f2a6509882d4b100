"""The score of a trained model on the held-out tokens, whoever trained it: nats in all.

options: kind (hf, nanogpt, litgpt), model (a folder or file), tokens, length, rows (how many), masked (a folder or ""), report, repo.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from common import blocks, causal_nll, masked_nll, options

Forward = Callable[[torch.Tensor], torch.Tensor]


def hf(given: dict) -> Forward:
    import transformers

    auto = transformers.AutoModelForMaskedLM if given["masked"] else transformers.AutoModelForCausalLM
    model = auto.from_pretrained(given["model"], dtype=torch.float32).eval()
    return lambda ids: model(input_ids=ids).logits


def nanogpt(given: dict) -> Forward:
    sys.path.insert(0, given["repo"])
    from model import GPT, GPTConfig

    saved = torch.load(given["model"], map_location="cpu")
    model = GPT(GPTConfig(**saved["model_args"]))
    model.load_state_dict({name.removeprefix("_orig_mod."): value for name, value in saved["model"].items()})
    model.eval()
    return lambda ids: model(ids, ids)[0]  # without targets it gives the last position alone


def litgpt(given: dict) -> Forward:
    from litgpt import GPT, Config

    folder = Path(given["model"])
    model = GPT(Config.from_file(folder / "model_config.yaml"))
    saved = torch.load(folder / "lit_model.pth", map_location="cpu", weights_only=False)["model"]
    model.load_state_dict({name.removeprefix("_orig_mod."): value for name, value in saved.items()})
    model.eval()
    return lambda ids: model(ids)


def score(given: dict) -> dict[str, float]:
    forward: Forward = {"hf": hf, "nanogpt": nanogpt, "litgpt": litgpt}[given["kind"]](given)
    if given["masked"]:
        ids, labels = (np.load(Path(given["masked"]) / f"{name}.npy") for name in ("ids", "labels"))
        return {"nll": masked_nll(forward, ids, labels), "tokens": int((labels >= 0).sum())}
    rows = blocks(given["tokens"], "val", given["length"])[: given["rows"]]
    return {"nll": causal_nll(forward, rows), "tokens": rows.shape[0] * (rows.shape[1] - 1)}


if __name__ == "__main__":
    given = options()
    Path(given["report"]).write_text(json.dumps(score(given)))
