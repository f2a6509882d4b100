"""A bare PyTorch loop: transformers' model, fused AdamW, the plain cross entropy, nothing else.

options: config, tokens, out (folders), length, steps, batch, micro (rows), lr, warmup (steps), decay, beta2, clip, seed.
"""

from __future__ import annotations

import numpy as np
import torch
from common import blocks, cosine, options, order
from transformers import AutoConfig, AutoModelForCausalLM, set_seed


def groups(model: torch.nn.Module, decay: float) -> list[dict]:
    matrices = [p for p in model.parameters() if p.dim() >= 2]
    return [
        {"params": matrices, "weight_decay": decay},
        {"params": [p for p in model.parameters() if p.dim() < 2], "weight_decay": 0.0},
    ]


def train(given: dict) -> torch.nn.Module:
    set_seed(given["seed"])
    model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(given["config"]))
    optimizer = torch.optim.AdamW(
        groups(model, given["decay"]), lr=given["lr"], betas=(0.9, given["beta2"]), fused=True
    )
    rows = blocks(given["tokens"], "train", given["length"])
    numbers = order(len(rows), given["steps"] * given["batch"], given["seed"])
    parts = given["batch"] // given["micro"]
    model.train()
    for step in range(given["steps"]):
        for group in optimizer.param_groups:
            group["lr"] = given["lr"] * cosine(step, given["steps"], given["warmup"])
        for _ in range(parts):
            taken = [next(numbers) for _ in range(given["micro"])]
            ids = torch.from_numpy(rows[taken].astype(np.int64))
            logits = model(input_ids=ids, use_cache=False).logits[:, :-1]
            loss = torch.nn.functional.cross_entropy(logits.reshape(-1, logits.size(-1)), ids[:, 1:].reshape(-1))
            (loss / parts).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), given["clip"])
        optimizer.step()
        optimizer.zero_grad()
    return model


if __name__ == "__main__":
    given = options()
    train(given).save_pretrained(given["out"])
