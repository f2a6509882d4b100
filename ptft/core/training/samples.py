"""Texts of a model in training, to be read by people: numbers hide what they show."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from ptft.core.training.processes import rank
from ptft.core.training.sharding import is_sharded

NEW_TOKENS = 48
TEMPERATURE = 0.8


def sampler(
    tokenizer: Any, prompts: Sequence[str], seed: int, length: int
) -> Callable[[Any, int], list[dict[str, Any]]]:
    """A function of a causal model and the step: one row a prompt, {"prompt", "text"}. Without prompts, one from nothing.

    Drawn at temperature 0.8 from a generator of its own, so that sampling changes nothing of the training. length: the most
    tokens the model takes.
    """
    new = min(NEW_TOKENS, length // 2)
    starts = [tokenizer(prompt, add_special_tokens=False)["input_ids"][: length - new] for prompt in prompts or ("",)]
    begin = [tokenizer.eos_token_id] if tokenizer.eos_token_id is not None else [0]

    def sample(model: Any, step: int) -> list[dict[str, Any]]:
        if rank() and not is_sharded(model):  # a sharded model needs every process
            return []
        was_training = model.training
        model.eval()
        devices = [model.device] if model.device.type == "cuda" else []
        with torch.random.fork_rng(devices), torch.no_grad():
            torch.manual_seed((seed, step).__hash__() % 2**63)
            texts = [_continued(model, start or begin, new, tokenizer) for start in starts]
        model.train(was_training)
        return [{"prompt": prompt, "text": text} for prompt, text in zip(prompts or ("",), texts, strict=True)]

    return sample


def _continued(model: Any, start: Sequence[int], new: int, tokenizer: Any) -> str:
    ids = torch.tensor([list(start)], device=model.device)
    made = model.generate(
        ids, attention_mask=torch.ones_like(ids), do_sample=True, temperature=TEMPERATURE, top_k=50,
        min_new_tokens=new, max_new_tokens=new, pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    text: str = tokenizer.decode(made[0, len(start) :], skip_special_tokens=True)
    return text
