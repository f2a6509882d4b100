"""Documents that share a sequence and see nothing of one another.

Causal families isolate by positions that restart, and by nothing else: transformers finds the documents in them, but only
with no attention mask and no cache (with the cache on they mix in silence). Masked families take a mask.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ptft.core.errors import UsageError

Ids = npt.NDArray[np.int64]
# causal families that tests prove to keep documents apart by positions that restart
BY_POSITIONS = ("llama", "gpt2", "qwen2", "qwen3", "mistral", "mixtral", "qwen3_moe")
MASKS = ("sdpa", "eager")  # the attention implementations that take a mask as a tensor
_OFFSET_POSITIONS = ("roberta", "xlm-roberta", "camembert")  # their positions begin after the padding token's id


def document_numbers(starts: Ids, length: int, total: int) -> Ids:
    """Which document each of `total` tokens is in, from 0; padding (from `length` on) counts as one more. starts[0] is 0."""
    numbers = np.zeros(total, dtype=np.int64)
    numbers[starts[1:]] = 1
    if length < total:
        numbers[length] = 1
    return np.cumsum(numbers)


def positions(starts: Ids, length: int, total: int) -> Ids:
    """The place of each token in its document, from 0; padding counts as one more document."""
    began = np.zeros(total, dtype=np.int64)
    began[starts] = starts
    if length < total:
        began[length] = length
    return np.arange(total) - np.maximum.accumulate(began)


def attention_mask(segments: torch.Tensor, window: int | None = None) -> torch.Tensor:
    """True where a token may attend: its own document, at most `window` tokens away. (batch, length) -> (batch, 1, length, length)."""
    mask = segments[:, None, :, None] == segments[:, None, None, :]
    if window is not None:
        at = torch.arange(segments.size(1), device=segments.device)
        mask &= (at[:, None] - at[None, :]).abs() <= window
    return mask


def isolated(config: Any, batch: dict[str, Any], dtype: torch.dtype) -> dict[str, Any]:
    """The batch with "segments" (document numbers) turned into the mask that the family takes; others are left as they are.

    ModernBERT takes a mask for each kind of layer: one mask for all would undo the window of its sliding layers.
    Raises `UsageError` for an attention implementation without such masks.
    """
    segments = batch.pop("segments", None)
    if segments is None:
        return batch
    if config._attn_implementation not in MASKS:
        what = f"{config._attn_implementation} cannot keep documents apart in a masked model"
        raise UsageError(what, remedy="--set hardware.attention=sdpa, or --set isolate=false")
    if config.model_type in _OFFSET_POSITIONS and "position_ids" in batch:
        batch["position_ids"] = batch["position_ids"] + config.pad_token_id + 1
    return {**batch, "attention_mask": _by_layer(config, segments, dtype)}


def _by_layer(config: Any, segments: torch.Tensor, dtype: torch.dtype) -> Any:
    full = _for_implementation(config, attention_mask(segments), dtype)
    if config.model_type != "modernbert":
        return full
    window = attention_mask(segments, config.sliding_window)
    return {"full_attention": full, "sliding_attention": _for_implementation(config, window, dtype)}


def _for_implementation(config: Any, mask: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    if config._attn_implementation == "sdpa":
        return mask
    return torch.zeros_like(mask, dtype=dtype).masked_fill_(~mask, torch.finfo(dtype).min)
