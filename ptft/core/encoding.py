"""Texts to token ids, the same way in training and in evaluation. Conversations are in `chat`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

CHUNK = 1000  # rows at once: what a tokenizer keeps of each beside its ids would fill any memory
IGNORED = -100  # a label that has no loss
Encoded = dict[str, list[int]]  # a row as the model takes it: "input_ids", and "token_type_ids" where there are some


def encode_texts(tokenizer: Any, texts: Sequence[str], pairs: Sequence[str] | None, max_len: int) -> list[Encoded]:
    """Texts, or pairs of texts, as plain `tokenizer(text, pair)` makes them, cut to `max_len` tokens: of a pair the longer text first.

    Special tokens are those the tokenizer adds itself. "token_type_ids" (0 in the first text, 1 in the second) are there where
    it makes them: a model that learnt without them answers otherwise with them.
    """
    if not texts:
        return []
    return [row for start in range(0, len(texts), CHUNK) for row in _chunk(tokenizer, texts, pairs, start, max_len)]


def _chunk(
    tokenizer: Any, texts: Sequence[str], pairs: Sequence[str] | None, start: int, max_len: int
) -> list[Encoded]:
    part = list(texts[start : start + CHUNK])
    second = None if pairs is None else list(pairs[start : start + CHUNK])
    made = tokenizer(part, second, truncation="longest_first", max_length=max_len, **as_text(tokenizer))
    columns = {name: values for name, values in made.items() if name != "attention_mask"}
    return [{name: list(values[index]) for name, values in columns.items()} for index in range(len(part))]


def plain_ids(tokenizer: Any, texts: Sequence[str]) -> list[list[int]]:
    """Token ids of texts without special tokens around them, nor inside where a text spells one."""
    return [
        list(ids)
        for start in range(0, len(texts), CHUNK)
        for ids in tokenizer(list(texts[start : start + CHUNK]), add_special_tokens=False, **as_text(tokenizer))[
            "input_ids"
        ]
    ]


def as_text(tokenizer: Any) -> dict[str, bool]:
    """For a tokenizer's call: what a user wrote is text, also where it spells a special token."""
    return {"split_special_tokens": True} if tokenizer.is_fast else {}
