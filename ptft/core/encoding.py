"""Rows to token ids, the same way in training and in evaluation."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ptft.core.errors import InputError
from ptft.core.examples import Message

IGNORED = -100  # a label that has no loss
GENERATION_TAG = re.compile(r"\{%-?\s*generation\s*-?%\}")

# for tokenizers that bring no template: no new tokens, the end of a turn is the end-of-text token
PLAIN_TEMPLATE = (
    "{% for message in messages %}{{ message['role'] | capitalize + ':\n' }}"
    "{% if message['role'] == 'assistant' %}{% generation %}{{ message['content'] + eos_token }}{% endgeneration %}"
    "{% else %}{{ message['content'] }}{% endif %}{{ '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'Assistant:\n' }}{% endif %}"
)


# ---------------------------------------------------------------- texts to classify


def encode_texts(tokenizer: Any, texts: Sequence[str], pairs: Sequence[str] | None, max_len: int) -> list[list[int]]:
    """Token ids of texts, or of pairs of texts, cut to `max_len`.

    Special tokens are those the tokenizer adds itself ([CLS] and [SEP] of a masked model's). Where it adds none, as causal
    models' do not, the end-of-text token stands between the two texts of a pair.
    """
    if pairs is None:
        return _ids(tokenizer(list(texts), truncation=True, max_length=max_len))
    if tokenizer.num_special_tokens_to_add(pair=True) == 0 and tokenizer.eos_token:
        pairs = [tokenizer.eos_token + pair for pair in pairs]
    return _ids(tokenizer(list(texts), list(pairs), truncation=True, max_length=max_len))


def _ids(encoded: Any) -> list[list[int]]:
    return [list(ids) for ids in encoded["input_ids"]]


# ---------------------------------------------------------------- conversations


@dataclass(frozen=True)
class Chat:
    """A conversation as ids, with the labels of what the assistant says and IGNORED elsewhere. cut: it was too long."""

    ids: list[int]
    labels: list[int]
    cut: bool

    @property
    def learnt(self) -> int:
        return sum(label != IGNORED for label in self.labels)


def ensure_template(tokenizer: Any) -> bool:
    """Give a tokenizer without a chat template the plain one; True where that was needed."""
    if tokenizer.chat_template:
        return False
    if not tokenizer.eos_token:
        remedy = "set eos_token in tokenizer_config.json: without it a model never learns to stop"
        raise InputError("the tokenizer has neither a chat template nor an end-of-text token", remedy=remedy)
    tokenizer.chat_template = PLAIN_TEMPLATE
    return True


def encode_chat(tokenizer: Any, messages: Sequence[Message], max_len: int) -> Chat:
    """A whole conversation; labels on every turn of the assistant, its end of turn included. Too long: the end is cut off.

    Raises `InputError` where the template renders a turn differently once another follows, so that turns cannot be told.
    """
    if GENERATION_TAG.search(tokenizer.chat_template):
        ids, said = _by_generation_tag(tokenizer, messages)
    else:
        ids, said = _by_prefixes(tokenizer, messages)
    while (
        len(ids) > 1 and ids[0] == ids[1] == tokenizer.bos_token_id
    ):  # the template's and the tokenizer's: one is enough
        ids, said = ids[1:], said[1:]
    labels = [token if by_assistant else IGNORED for token, by_assistant in zip(ids, said, strict=True)]
    return Chat(ids[:max_len], labels[:max_len], len(ids) > max_len)


def _by_generation_tag(tokenizer: Any, messages: Sequence[Message]) -> tuple[list[int], list[bool]]:
    encoded = tokenizer.apply_chat_template(
        list(messages), tokenize=True, return_dict=True, return_assistant_tokens_mask=True
    )
    return list(encoded["input_ids"]), [bool(flag) for flag in encoded["assistant_masks"]]


def _by_prefixes(tokenizer: Any, messages: Sequence[Message]) -> tuple[list[int], list[bool]]:
    """Without generation tags: what a turn adds to the text rendered before it, the assistant's header set aside."""
    ids: list[int] = []
    said: list[bool] = []
    for number, message in enumerate(messages):
        before, prompted, after = (
            _render(tokenizer, messages[:number], prompt=False) if number else "",
            _render(tokenizer, messages[:number], prompt=True) if number else "",
            _render(tokenizer, messages[: number + 1], prompt=False),
        )
        header = prompted if message["role"] == "assistant" and after.startswith(prompted) else before
        if not (after.startswith(header) and header.startswith(before)):
            remedy = "mark what the assistant says with {% generation %} in the chat template"
            raise InputError("the chat template changes earlier turns once another follows", remedy=remedy)
        for text, by_assistant in (
            (header[len(before) :], False),
            (after[len(header) :], message["role"] == "assistant"),
        ):
            piece = tokenizer(text, add_special_tokens=False)["input_ids"]
            ids += piece
            said += [by_assistant] * len(piece)
    return ids, said


def _render(tokenizer: Any, messages: Sequence[Message], *, prompt: bool) -> str:
    return str(tokenizer.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=prompt))


def encode_prompt(tokenizer: Any, messages: Sequence[Message]) -> list[int]:
    """The conversation so far, ready for the assistant to speak."""
    encoded = tokenizer.apply_chat_template(list(messages), tokenize=True, return_dict=True, add_generation_prompt=True)
    return list(encoded["input_ids"])


def stop_ids(tokenizer: Any) -> list[int]:
    """The tokens that end a turn: end of text, and the token the chat template ends an answer with."""
    found = {tokenizer.eos_token_id} if tokenizer.eos_token_id is not None else set()
    if tokenizer.chat_template:
        probe = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
        chat = encode_chat(tokenizer, probe, 10_000)
        said = [token for token, label in zip(chat.ids, chat.labels, strict=True) if label != IGNORED]
        special = set(tokenizer.all_special_ids) | set(tokenizer.added_tokens_decoder)
        found |= {token for token in said[-2:] if token in special}
    return sorted(found)
