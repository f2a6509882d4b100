"""A folder that transformers loads, in torch: full precision, torchao, compressed-tensors, ..."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from common import threads


def prepare(folder: Path) -> None:
    """Import what loading would import, by making the network without weights."""
    config = transformers.AutoConfig.from_pretrained(folder)
    causal = "CausalLM" in (config.architectures or [""])[0]
    auto = transformers.AutoModelForCausalLM if causal else transformers.AutoModelForSequenceClassification
    with torch.device("meta"):
        auto.from_config(config)


class Model:
    """A causal model that is stepped with its cache, without what transformers' generate() puts around each step."""

    def __init__(self, folder: Path, dtype: str = "float32", **_: Any) -> None:
        torch.set_num_threads(threads())
        self.model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=dtype).eval()
        self.cache: Any = None

    @torch.inference_mode()
    def logits(self, ids: np.ndarray) -> np.ndarray:
        """ids (tokens,) -> float32 (tokens, vocabulary)."""
        return self.model(input_ids=torch.from_numpy(ids).long()[None], use_cache=False).logits[0].float().numpy()

    @torch.inference_mode()
    def start(self, ids: np.ndarray) -> np.ndarray:
        """ids (batch, tokens), of equal lengths -> the most probable next ids (batch,). The cache starts anew."""
        found = self.model(input_ids=torch.from_numpy(ids).long(), use_cache=True, logits_to_keep=1)
        self.cache = found.past_key_values
        return found.logits[:, -1].argmax(-1).numpy()

    @torch.inference_mode()
    def step(self, ids: np.ndarray) -> np.ndarray:
        """One token more of each text: ids (batch,) -> the next (batch,)."""
        given = torch.from_numpy(ids).long()[:, None]
        found = self.model(input_ids=given, past_key_values=self.cache, use_cache=True, logits_to_keep=1)
        self.cache = found.past_key_values
        return found.logits[:, -1].argmax(-1).numpy()


class Classifier:
    def __init__(self, folder: Path, dtype: str = "float32", **_: Any) -> None:
        torch.set_num_threads(threads())
        self.model = transformers.AutoModelForSequenceClassification.from_pretrained(folder, dtype=dtype).eval()

    @torch.inference_mode()
    def classes(self, ids: np.ndarray, mask: np.ndarray) -> np.ndarray:
        """ids and mask (batch, tokens) -> float32 (batch, classes)."""
        found = self.model(input_ids=torch.from_numpy(ids), attention_mask=torch.from_numpy(mask))
        return found.logits.float().numpy()
