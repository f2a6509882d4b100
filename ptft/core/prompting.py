"""Text to text: a source and its target as tokens, the same way in training and wherever the model is used.

The text before each source is kept in the tokenizer's config, so that nobody has to name it again. An encoder-decoder reads the
source as its tokenizer encodes it. A causal model reads it as plain text and a line break, then writes the target and the
end-of-text token: no chat template, whose tokens a pretrained model has never seen (`ptft finetune instruction` uses it).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ptft.core.encoding import as_text, plain_ids
from ptft.core.errors import InputError

PREFIX = "task_prefix"  # in the tokenizer's config; there even where it is empty
SEPARATOR = "\n"  # between the source and the target of a causal model


def prefix_of(tokenizer: Any) -> str | None:
    """The text before each source; None of a model that did not learn text to text from ptft."""
    named = tokenizer.init_kwargs.get(PREFIX)
    return None if named is None else str(named)


def encode_sources(
    tokenizer: Any, sources: Sequence[str], rooms: Sequence[int], *, causal: bool
) -> tuple[list[list[int]], int]:
    """The prompts of sources, each of at most so many tokens, and how many were longer. The end of a source is cut, no more."""
    prefix = prefix_of(tokenizer) or ""
    texts = [prefix + source for source in sources]
    if not texts:
        return [], 0
    before, after = _around(tokenizer, causal)
    plain = plain_ids(tokenizer, texts)
    kept = [max(0, room - len(before) - len(after)) for room in rooms]
    cut = sum(len(row) > most for row, most in zip(plain, kept, strict=True))
    return [[*before, *row[:most], *after] for row, most in zip(plain, kept, strict=True)], cut


def _around(tokenizer: Any, causal: bool) -> tuple[list[int], list[int]]:
    """What stands before and after a source: special tokens, and of a causal model the line break."""
    made = tokenizer("a", return_special_tokens_mask=True)
    ids, special = list(made["input_ids"]), list(made["special_tokens_mask"])
    inner = [place for place, flag in enumerate(special) if not flag]
    before, after = ids[: inner[0]], ids[inner[-1] + 1 :]
    if not causal:
        return before, after
    return before, list(tokenizer(SEPARATOR, add_special_tokens=False)["input_ids"])


def encode_targets(tokenizer: Any, targets: Sequence[str], most: int, *, causal: bool) -> tuple[list[list[int]], int]:
    """The targets with their end, at most `most` tokens each, and how many were longer. Raises `InputError` without an end."""
    if not targets:
        return [], 0
    if not causal:
        text = as_text(tokenizer)
        whole = tokenizer(text_target=list(targets), **text)["input_ids"]
        cut = sum(len(row) > most for row in whole)
        kept = (
            tokenizer(text_target=list(targets), truncation=True, max_length=most, **text)["input_ids"]
            if cut
            else whole
        )
        return [list(row) for row in kept], cut
    if tokenizer.eos_token_id is None:
        remedy = "set eos_token in tokenizer_config.json: without it a model never learns to stop"
        raise InputError("the tokenizer has no end-of-text token", remedy=remedy)
    plain = plain_ids(tokenizer, targets)
    cut = sum(len(row) >= most for row in plain)
    return [[*row[: most - 1], tokenizer.eos_token_id] for row in plain], cut
