"""What a model is asked, and what it should say: a conversation in its chat template, or a source as it was trained on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from ptft.core.chat import encode_chat, encode_prompt, ensure_template
from ptft.core.encoding import IGNORED
from ptft.core.errors import InputError
from ptft.core.examples import Message, Shape, to_messages
from ptft.core.models import Loaded
from ptft.core.progress import Progress
from ptft.core.prompting import encode_sources, encode_targets, prefix_of
from ptft.core.rows import Row
from ptft.core.scoring import UNCUT, Response


class Prompts(Protocol):
    """of: what the likelihood is of, in words. cuts: which end of a prompt is lost where it is too long."""

    @property
    def of(self) -> str: ...

    @property
    def cuts(self) -> str: ...

    def problem(self, row: Row) -> str | None:
        """Why a row cannot be measured."""

    def parts(self, row: Row) -> tuple[Any, str]:
        """What is asked, as it is shown, and the reference."""

    def prompts(self, asked: Sequence[Any], room: int) -> tuple[list[list[int]], int]:
        """Token ids of at most `room` tokens each, and how many were longer."""

    def response(self, asked: Any, reference: str) -> Response:
        """The reference after what is asked."""


def prompts_for(loaded: Loaded, shape: Shape, progress: Progress) -> Prompts:
    """By what the rows hold and what the model learnt: the tokenizer of a text-to-text model knows the text before a source."""
    if shape.name == "source-target" and (loaded.kind == "seq2seq" or prefix_of(loaded.tokenizer) is not None):
        return Sources(loaded)
    if ensure_template(loaded.tokenizer):
        progress.warn("the tokenizer has no chat template: using the plain one (User: ... Assistant: ...)")
    return Chats(loaded, shape)


# ---------------------------------------------------------------- sources and targets


@dataclass(frozen=True)
class Sources:
    """Sources as `ptft finetune task` encodes them."""

    loaded: Loaded
    of: str = "targets, their end included"
    cuts: str = "end"

    def problem(self, row: Row) -> str | None:
        return next((f"an empty {side}" for side in ("source", "target") if not row.data[side].strip()), None)

    def parts(self, row: Row) -> tuple[Any, str]:
        return row.data["source"], row.data["target"]

    def prompts(self, asked: Sequence[Any], room: int) -> tuple[list[list[int]], int]:
        return encode_sources(self.loaded.tokenizer, asked, [room] * len(asked), causal=self._is_causal)

    def response(self, asked: Any, reference: str) -> Response:
        (prompt,), _ = self.prompts([asked], UNCUT)
        (target,), _ = encode_targets(self.loaded.tokenizer, [reference], UNCUT, causal=self._is_causal)
        return Response([*prompt, *target], len(prompt), len(reference.encode()))

    @property
    def _is_causal(self) -> bool:
        return self.loaded.kind == "causal"


# ---------------------------------------------------------------- conversations


@dataclass(frozen=True)
class Chats:
    """Conversations up to the assistant's last message."""

    loaded: Loaded
    shape: Shape
    of: str = "responses, their end of turn included"
    cuts: str = "beginning"

    def problem(self, row: Row) -> str | None:
        """No answer to compare with, or a conversation that the template refuses."""
        from jinja2 import TemplateError

        asked, reference = self.parts(row)
        if not reference.strip():
            return "an empty reference: the last message of the assistant has no content"
        if not asked:
            return "nothing is asked before the last message of the assistant"
        try:
            self.response(asked, reference)
        except (TemplateError, InputError) as error:
            return f"the chat template refuses it: {error}"
        return None

    def parts(self, row: Row) -> tuple[Any, str]:
        return split_answer(to_messages(row.data, self.shape))

    def prompts(self, asked: Sequence[Any], room: int) -> tuple[list[list[int]], int]:
        whole = [encode_prompt(self.loaded.tokenizer, messages) for messages in asked]
        return [prompt[-room:] for prompt in whole], sum(len(prompt) > room for prompt in whole)

    def response(self, asked: Any, reference: str) -> Response:
        """As in training: the last run of tokens that are learnt."""
        chat = encode_chat(self.loaded.tokenizer, [*asked, {"role": "assistant", "content": reference}], UNCUT)
        learnt = [index for index, label in enumerate(chat.labels) if label != IGNORED]
        if not learnt:
            raise InputError("it leaves nothing of the answer", remedy="mend the chat template")
        first = end = learnt[-1]
        while first and chat.labels[first - 1] != IGNORED:
            first -= 1
        return Response(chat.ids[: end + 1], first, len(reference.encode()))


def split_answer(messages: Sequence[Message]) -> tuple[list[Message], str]:
    """What comes before the assistant's last message, and that message."""
    last = max(index for index, message in enumerate(messages) if message["role"] == "assistant")
    return list(messages[:last]), messages[last]["content"]
