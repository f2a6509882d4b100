"""One batch of prompts, written on by transformers' `generate`.

A batch goes on until its last row has ended. Rows that have ended before are taken out of it every few tokens: what is left is
computed alone, and the keys and values of what was read stay.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ptft.core.decoding import Finite, Sampled, StopTexts, cut_at, draws, end_ids, settings_for
from ptft.core.knobs import Decoding
from ptft.core.models import Loaded
from ptft.core.scoring import refuse_not_finite

STRIDE = 16  # tokens after which rows that have ended are taken out


def written(
    loaded: Loaded, rows: Sequence[Sequence[int]], decoding: Decoding, seed: int, keys: Sequence[str]
) -> list[str]:
    """What the model writes after each row of token ids, up to an end. Raises `InputError` where its outputs are not finite."""
    ends = end_ids(loaded, decoding.stop)
    is_causal = loaded.kind != "seq2seq"
    settings = settings_for(loaded, decoding, ends)
    ids, mask = (given.to(loaded.model.device) for given in padded(rows, int(settings.pad_token_id), left=is_causal))
    batch = _Batch(loaded, decoding, settings, ids.shape[1] if is_causal else 1, ends)
    if decoding.temperature:
        batch.numbers = np.stack([draws(seed, key, decoding.max_new_tokens) for key in keys])
    made = batch.in_strides(ids, mask) if _may_shrink(loaded, decoding) else batch.at_once(ids, mask)
    texts = loaded.tokenizer.batch_decode([_until(row, ends) for row in made], skip_special_tokens=True)
    return [cut_at(text, decoding.stop) for text in texts]


def _may_shrink(loaded: Loaded, decoding: Decoding) -> bool:
    """Plain attention over all that came before, whose cache can be cut by rows; beams hold several rows each."""
    config = loaded.model.config.get_text_config()
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    return (
        loaded.kind == "causal" and loaded.runtime is None and decoding.beams == 1 and decoding.max_new_tokens > STRIDE
        and kinds == {"full_attention"} and not getattr(config, "sliding_window", None)
        and not getattr(loaded.model, "_is_stateful", False) and not hasattr(loaded.model, "peft_config")
    )  # fmt: skip


class _Batch:
    """start: tokens of a row that it has not written. numbers: for sampling, shape (rows, steps)."""

    numbers: Any = None

    def __init__(self, loaded: Loaded, decoding: Decoding, settings: Any, start: int, ends: Sequence[int]) -> None:
        self.loaded, self.decoding, self.settings, self.start, self.ends = loaded, decoding, settings, start, set(ends)
        self.stopping = [StopTexts(loaded.tokenizer, decoding.stop, start)] if decoding.stop else []

    def at_once(self, ids: Any, mask: Any) -> list[list[int]]:
        """The new tokens of each row, and padding."""
        return self._generate(ids, mask, self.numbers).sequences[:, self.start :].tolist()

    def in_strides(self, ids: Any, mask: Any) -> list[list[int]]:
        """The same, in steps of `STRIDE` tokens, each with the rows that go on."""
        import torch

        made: list[list[int]] = [[] for _ in ids]
        left, cache = torch.arange(len(ids)), None
        last = self.start + self.decoding.max_new_tokens
        while len(left):
            self.settings.max_new_tokens = min(STRIDE, last - ids.shape[1])
            numbers = None if self.numbers is None else self.numbers[left.numpy()]
            found = self._generate(ids, mask, numbers, cache)
            ids, cache = found.sequences, found.past_key_values
            for row, index in zip(ids[:, self.start :].tolist(), left.tolist(), strict=True):
                made[index] = row
            going = [place for place, index in enumerate(left.tolist()) if not self._has_ended(made[index])]
            if not going or ids.shape[1] >= last:
                break
            mask = torch.nn.functional.pad(mask, (0, ids.shape[1] - mask.shape[1]), value=1)
            if len(going) < len(left):
                kept = torch.tensor(going, device=ids.device)
                ids, mask, left = ids[kept], mask[kept], left[going]
                cache.batch_select_indices(kept)
        return made

    def _has_ended(self, row: Sequence[int]) -> bool:
        return not self.ends.isdisjoint(row) or any(stopping.holds(row) for stopping in self.stopping)

    def _generate(self, ids: Any, mask: Any, numbers: Any, cache: Any = None) -> Any:
        import torch

        finite = Finite()
        choosing: list[Any] = [finite, *([] if numbers is None else [Sampled(self.decoding, numbers, self.start)])]
        given = {} if cache is None else {"past_key_values": cache}
        with torch.inference_mode():
            found = self.loaded.model.generate(
                input_ids=ids, attention_mask=mask, generation_config=self.settings, logits_processor=choosing,
                stopping_criteria=self.stopping, return_dict_in_generate=True, **given,
            )  # fmt: skip
        if not finite.held:
            refuse_not_finite(np.array([np.nan]), self.loaded)
        return found


def _until(row: list[int], ends: Sequence[int]) -> list[int]:
    """Up to the first token that ends an answer: what follows is padding, and the token may show in the text."""
    return row[: next((place for place, token in enumerate(row) if token in ends), len(row))]


def padded(rows: Sequence[Sequence[int]], pad: int, *, left: bool) -> tuple[Any, Any]:
    """Ids and mask, shape (rows, longest). left: so that every row of a causal model goes on from its own last token."""
    import torch

    longest = max(map(len, rows))
    fills = [longest - len(row) for row in rows]
    ids = [[*[pad] * fill, *row] if left else [*row, *[pad] * fill] for row, fill in zip(rows, fills, strict=True)]
    mask = [
        [*[0] * fill, *[1] * len(row)] if left else [*[1] * len(row), *[0] * fill]
        for row, fill in zip(rows, fills, strict=True)
    ]
    return torch.tensor(ids), torch.tensor(mask)
