"""Conversations to token ids, the same way in training, in evaluation and in generation."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from ptft.core.chat_rendering import NEVER, Rendered, Renderer
from ptft.core.chat_templates import PLAIN_TEMPLATE
from ptft.core.encoding import IGNORED
from ptft.core.errors import InputError
from ptft.core.examples import Message

AT_ONCE = 256  # conversations that the tokenizer gets in one call


@dataclass(frozen=True)
class Chat:
    """A conversation as ids, with the labels of what the assistant says and IGNORED elsewhere. cut: it was too long.

    broken: it spells a special token somewhere, which stayed text.
    """

    ids: list[int]
    labels: list[int]
    cut: bool = False
    broken: bool = False

    @property
    def learnt(self) -> int:
        """Labels that have something before them to be predicted from."""
        return len(self.labels) - self.labels.count(IGNORED) - (self.labels[:1] not in ([], [IGNORED]))


@dataclass(frozen=True)
class Refused:
    """Why a conversation cannot be encoded: its template refuses it."""

    reason: str


def ensure_template(tokenizer: Any) -> bool:
    """Give a tokenizer without a chat template the plain one; True where that was needed."""
    if tokenizer.chat_template:
        return False
    if not tokenizer.eos_token:
        remedy = "set eos_token in tokenizer_config.json: without it a model never learns to stop"
        raise InputError("the tokenizer has neither a chat template nor an end-of-text token", remedy=remedy)
    tokenizer.chat_template = PLAIN_TEMPLATE
    return True


class ChatEncoder:
    """A tokenizer with a chat template, read once.

    What messages say is text: where it spells a special token (`<|im_end|>`), it gets the ids of its characters. Only the
    template makes special tokens. A tokenizer that begins texts with BOS has it begin conversations too, exactly once.
    """

    def __init__(self, tokenizer: Any) -> None:
        if not tokenizer.is_fast:
            remedy = "save the tokenizer as tokenizer.json (transformers: AutoTokenizer.from_pretrained(...).save_pretrained)"
            raise InputError("this kind of tokenizer does not say which characters a token stands for", remedy=remedy)
        self.tokenizer = tokenizer
        self.renderer = Renderer.of(tokenizer)
        self._control = _control(tokenizer)
        self._bos = tokenizer.bos_token_id
        self._begins = self._bos is not None and tokenizer("a")["input_ids"][:1] == [self._bos]

    def encode(self, conversations: Iterable[Sequence[Message]]) -> Iterator[list[Chat] | Refused]:
        """Each whole conversation, uncut, with labels on every turn of the assistant, its end of turn included.

        One `Chat` each, or several where the template rewrites earlier turns (see `Renderer.conversation`).
        """
        rest = iter(conversations)
        while some := list(islice(rest, AT_ONCE)):
            yield from self._some(some)

    def prompt(self, messages: Sequence[Message]) -> list[int]:
        """The conversation so far, ready for the assistant to speak."""
        return self._chats([self.renderer.prompt(messages)])[0].ids

    def _some(self, conversations: Sequence[Sequence[Message]]) -> Iterator[list[Chat] | Refused]:
        found = [self._rendered(messages) for messages in conversations]
        chats = iter(self._chats([one for each in found if not isinstance(each, Refused) for one in each]))
        for each in found:
            yield each if isinstance(each, Refused) else list(islice(chats, len(each)))

    def _rendered(self, messages: Sequence[Message]) -> list[Rendered] | Refused:
        from jinja2 import TemplateError

        try:
            return self.renderer.conversation(messages)
        except (TemplateError, InputError) as error:
            return Refused(str(error).split("\n")[0])

    # ------------------------------------------------------------ text to ids

    def _chats(self, rendered: Sequence[Rendered]) -> list[Chat]:
        plain = [one.text for one in rendered if not one.guard]
        encodings = iter(self.tokenizer(plain, add_special_tokens=False).encodings if plain else ())
        return [
            self._chat(one, _Tokens.of(self._pieces(one) if one.guard else [(one.text, next(encodings))]))
            for one in rendered
        ]

    def _chat(self, one: Rendered, tokens: _Tokens) -> Chat:
        ids, labels = tokens.ids, [IGNORED] * len(tokens.ids)
        for start, end in one.spans:
            if one.guard:
                start, end = (place - one.text.count(one.guard, 0, place) for place in (start, end))
            part = slice(tokens.first(start), tokens.behind(end))
            labels[part] = ids[part]
        return self._with_one_bos(ids, labels, bool(one.guard))

    def _pieces(self, one: Rendered) -> Iterator[tuple[str, Any]]:
        """The template's special tokens, and what stands between them as text that has none, encoded."""
        for number, piece in enumerate(self._control.split(one.text)):
            if text := piece.replace(one.guard, ""):
                encoded = self.tokenizer([text], add_special_tokens=False, split_special_tokens=number % 2 == 0)
                yield text, encoded.encodings[0]

    def _with_one_bos(self, ids: list[int], labels: list[int], broken: bool) -> Chat:
        """The template's and the tokenizer's would be two; a template that forgets it leaves none."""
        extra = 0
        while self._bos is not None and ids[extra : extra + 2] == [self._bos, self._bos]:
            extra += 1
        if self._begins and ids[:1] != [self._bos]:
            return Chat([self._bos, *ids], [IGNORED, *labels], broken=broken)
        return Chat(ids[extra:], labels[extra:], broken=broken)


@dataclass(frozen=True)
class _Piece:
    """A part of a text, encoded. at: its first character's place in the text; token: its first token's."""

    text: str
    encoding: Any
    at: int
    token: int


@dataclass(frozen=True)
class _Tokens:
    """A text as ids, encoded in pieces."""

    ids: list[int]
    pieces: list[_Piece]

    @classmethod
    def of(cls, encoded: Iterable[tuple[str, Any]]) -> _Tokens:
        ids: list[int] = []
        pieces, at = [], 0
        for text, encoding in encoded:
            pieces.append(_Piece(text, encoding, at, len(ids)))
            ids += encoding.ids
            at += len(text)
        return cls(ids, pieces)

    def first(self, place: int) -> int:
        """The token that has the character at `place`, or the next that has one."""
        for piece in self.pieces:
            for at in range(max(place, piece.at), piece.at + len(piece.text)):
                found = piece.encoding.char_to_token(at - piece.at)
                if found is not None:
                    return piece.token + int(found)
        return len(self.ids)

    def behind(self, place: int) -> int:
        """The first token with nothing of what stands before `place`."""
        found = self.first(place)
        for piece in self.pieces:
            if piece.token <= found < piece.token + len(piece.encoding.ids):
                start, _ = piece.encoding.token_to_chars(found - piece.token)
                return found + int(piece.at + start < place)
        return found


def _control(tokenizer: Any) -> re.Pattern[str]:
    """Special tokens as the tokenizer finds them in a text, with the white space that some swallow. One group: `split` keeps them."""
    added = [token for token in tokenizer.added_tokens_decoder.values() if token.special]
    parts = [
        ("\\s*" if token.lstrip else "") + re.escape(str(token)) + ("\\s*" if token.rstrip else "")
        for token in sorted(added, key=lambda token: (-len(str(token)), str(token)))
    ]
    return re.compile(f"({'|'.join(parts)})") if parts else NEVER


# ---------------------------------------------------------------- one at a time


def encode_chat(tokenizer: Any, messages: Sequence[Message], max_len: int) -> Chat:
    """A whole conversation; labels on every turn of the assistant, its end of turn included. Too long: the end is cut off.

    Where the template rewrites earlier turns, those have no labels. Raises `InputError` where the template refuses it.
    """
    found = next(ChatEncoder(tokenizer).encode([messages]))
    if isinstance(found, Refused):
        remedy = "mend the conversation, or the chat template"
        raise InputError(f"the chat template refuses a conversation: {found.reason}", remedy=remedy)
    return cut(found[-1], max_len)


def cut(chat: Chat, length: int) -> Chat:
    """The first `length` tokens."""
    if len(chat.ids) <= length:
        return chat
    return Chat(chat.ids[:length], chat.labels[:length], cut=True, broken=chat.broken)


def encode_prompt(tokenizer: Any, messages: Sequence[Message]) -> list[int]:
    """The conversation so far, ready for the assistant to speak."""
    return ChatEncoder(tokenizer).prompt(messages)


def stop_ids(tokenizer: Any) -> list[int]:
    """The tokens that end a turn: end of text, and those that the chat template ends an answer with."""
    found = {tokenizer.eos_token_id} if tokenizer.eos_token_id is not None else set()
    if tokenizer.chat_template:
        probe = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
        found |= set(_ends(tokenizer, encode_chat(tokenizer, probe, 10_000)))
    return sorted(found)


def _ends(tokenizer: Any, chat: Chat) -> Iterator[int]:
    """Special tokens behind the last thing that is said, white space between them aside."""
    special = set(tokenizer.all_special_ids) | set(tokenizer.added_tokens_decoder)
    for token in reversed([label for label in chat.labels if label != IGNORED]):
        if token in special:
            yield token
        elif str(tokenizer.decode([token])).strip():
            return
