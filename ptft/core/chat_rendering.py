"""Conversations to text, with the places of what the assistant says, and of text that must not be taken for special tokens."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ptft.core.chat_templates import GENERATION_TAG
from ptft.core.errors import InputError
from ptft.core.examples import Message

NEVER = re.compile(r"(?!)")
_PRIVATE_USE = range(0xE000, 0xF900)  # characters that mean nothing by themselves
Span = tuple[int, int]


@dataclass(frozen=True)
class Rendered:
    """A conversation as its template writes it.

    spans: characters of what the assistant says, its end of turn included. guard: a character that was put into what messages
    say, inside of each text that spells a special token, so that only the template's own are special; "": none was needed.
    """

    text: str
    spans: tuple[Span, ...]
    guard: str = ""


@dataclass(frozen=True)
class Renderer:
    """A tokenizer's chat template. values: what it sees beside the messages. special: the spelling of any special token."""

    template: str
    values: Mapping[str, Any]
    special: re.Pattern[str]

    @classmethod
    def of(cls, tokenizer: Any) -> Renderer:
        return cls(tokenizer.get_chat_template(), dict(tokenizer.special_tokens_map), _spelling(tokenizer))

    @property
    def tagged(self) -> bool:
        """Whether the template marks itself what the assistant says."""
        return GENERATION_TAG.search(self.template) is not None

    def conversation(self, messages: Sequence[Message]) -> list[Rendered]:
        """The conversation, every turn of the assistant marked.

        Without generation tags a turn is what it adds to the text that asks for it. Some templates write an earlier turn
        differently once another follows (they leave out its thinking, say): such a turn comes as a text of its own, which
        ends with it, as the model will see it; the whole conversation comes last. Raises `InputError` where turns cannot be
        told, and jinja2's `TemplateError` where the template refuses the conversation.
        """
        guarded, guard = self._guarded(messages)
        if self.tagged:
            text, spans = self._tagged(guarded)
            return [Rendered(text, spans, guard)]
        return self._by_turns(guarded, guard)

    def prompt(self, messages: Sequence[Message]) -> Rendered:
        """The conversation so far, and the assistant's turn begun."""
        guarded, guard = self._guarded(messages)
        return Rendered(self._text(guarded, prompt=True), (), guard)

    # ------------------------------------------------------------ the template

    def _text(self, messages: Sequence[Message], *, prompt: bool = False) -> str:
        from transformers.utils.chat_template_utils import render_jinja_template

        texts, _ = render_jinja_template(
            conversations=[list(messages)], chat_template=self.template, add_generation_prompt=prompt, **self.values
        )
        return str(texts[0])

    def _tagged(self, messages: Sequence[Message]) -> tuple[str, tuple[Span, ...]]:
        from transformers.utils.chat_template_utils import render_jinja_template

        texts, spans = render_jinja_template(
            conversations=[list(messages)], chat_template=self.template, return_assistant_tokens_mask=True,
            **self.values,
        )  # fmt: skip
        return str(texts[0]), tuple((int(start), int(end)) for start, end in spans[0])

    # ------------------------------------------------------------ turns without tags

    def _by_turns(self, messages: Sequence[Message], guard: str) -> list[Rendered]:
        whole = self._text(messages)
        spans: list[Span] = []
        apart: list[Rendered] = []
        for number, message in enumerate(messages):
            if message["role"] != "assistant":
                continue
            is_last = number + 1 == len(messages)
            shown = whole if is_last else self._text(messages[: number + 1])
            start, end = self._start(messages[:number], shown), self._end(shown)
            if whole.startswith(shown[:end]):
                spans.append((start, end))
            else:
                apart.append(Rendered(shown, ((start, end),), guard))
        return [*apart, Rendered(whole, tuple(spans), guard)] if spans else apart

    def _start(self, asked: Sequence[Message], shown: str) -> int:
        """Where an answer begins in the text that ends with it: behind the prompt, or as much of it as the text repeats."""
        prompt = self._asking(asked)
        if shown.startswith(prompt):
            return len(prompt)
        start = _shared(prompt, shown)
        if asked and start < len(self._text(asked)):
            remedy = (
                "mark what the assistant says with {% generation %} in the chat template, or take one with --template"
            )
            raise InputError("the chat template writes a question differently once it is answered", remedy=remedy)
        return start

    def _asking(self, asked: Sequence[Message]) -> str:
        if asked:
            return self._text(asked, prompt=True)
        try:  # the assistant speaks first
            return self._text([], prompt=True)
        except Exception:  # a template may do anything, and many look at the first message
            return ""

    def _end(self, shown: str) -> int:
        """White space behind the token that ends a turn is the template's: no model gets to write it."""
        trimmed = shown.rstrip()
        ends = [found.end() for found in self.special.finditer(trimmed)]
        return len(trimmed) if ends and ends[-1] == len(trimmed) else len(shown)

    # ------------------------------------------------------------ text that spells a special token

    def _guarded(self, messages: Sequence[Message]) -> tuple[Sequence[Message], str]:
        if not any(self.special.search(message["content"]) for message in messages):
            return messages, ""
        text = "".join(message["content"] for message in messages)
        guard = next(char for char in map(chr, _PRIVATE_USE) if char not in text)
        return [{**message, "content": self._broken(message["content"], guard)} for message in messages], guard

    def _broken(self, text: str, guard: str) -> str:
        while self.special.search(text):  # breaking one may leave another that overlaps it
            text = self.special.sub(lambda found: found[0][0] + guard + found[0][1:], text)
        return text


def _shared(one: str, other: str) -> int:
    """How many characters two texts begin with alike."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((place for place, (mine, theirs) in pairs if mine != theirs), min(len(one), len(other)))


def _spelling(tokenizer: Any) -> re.Pattern[str]:
    """The longest first. A token of one character cannot be broken, and is not among them."""
    added = {str(token) for token in tokenizer.added_tokens_decoder.values() if token.special}
    names = sorted(
        (name for name in {*added, *tokenizer.all_special_tokens} if len(name) > 1), key=lambda n: (-len(n), n)
    )
    return re.compile("|".join(map(re.escape, names))) if names else NEVER
