"""Texts to token ids, the same way in training and in evaluation. Conversations are in `chat`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

IGNORED = -100  # a label that has no loss
Encoded = dict[str, list[int]]  # a row as the model takes it: "input_ids", and "token_type_ids" where there are some


def encode_texts(tokenizer: Any, texts: Sequence[str], pairs: Sequence[str] | None, max_len: int) -> list[Encoded]:
    """Texts, or pairs of texts, as plain `tokenizer(text, pair)` makes them, cut to `max_len` tokens: of a pair the longer text first.

    Special tokens are those the tokenizer adds itself. "token_type_ids" (0 in the first text, 1 in the second) are there where
    it makes them: a model that learnt without them answers otherwise with them.
    """
    if not texts:
        return []
    second = None if pairs is None else list(pairs)
    made = tokenizer(list(texts), second, truncation="longest_first", max_length=max_len)
    columns = {name: values for name, values in made.items() if name != "attention_mask"}
    return [{name: list(values[index]) for name, values in columns.items()} for index in range(len(texts))]
