"""What a model is asked, and what it should say: a conversation in its chat template, a source as it was trained on, or text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, Protocol

from ptft.core.chat import Chat, ChatEncoder, Refused, ensure_template
from ptft.core.encoding import IGNORED, plain_ids
from ptft.core.errors import InputError, UsageError
from ptft.core.examples import UNANSWERED, Message, Shape, to_messages
from ptft.core.files import hash_value
from ptft.core.models import Loaded
from ptft.core.progress import Progress
from ptft.core.prompting import encode_sources, encode_targets, prefix_of
from ptft.core.rows import Row
from ptft.core.scoring import UNCUT, Response


class Prompts(Protocol):
    """of: what the likelihood is of, in words. cuts: which end of a prompt is lost where it is too long.

    answered: whether rows have a reference. trims: whether white space around an answer is no part of it.
    """

    @property
    def of(self) -> str: ...

    @property
    def cuts(self) -> str: ...

    @property
    def answered(self) -> bool: ...

    @property
    def trims(self) -> bool: ...

    def problem(self, row: Row) -> str | None:
        """Why a row cannot be measured."""

    def parts(self, row: Row) -> tuple[Any, Any]:
        """What is asked, as it is shown, and the reference: a text or several; None where rows have none."""

    def prompts(self, asked: Sequence[Any], room: int) -> tuple[list[list[int]], list[int]]:
        """Token ids of at most `room` tokens each, and how many tokens each lost for that."""

    def responses(self, asked: Sequence[Any], references: Sequence[str]) -> list[Response]:
        """Each reference after what is asked."""

    def settings(self) -> dict[str, Any]:
        """What a reader must know of them to compare scores."""


def prompts_for(
    loaded: Loaded, shape: Shape, progress: Progress, chat: Literal["auto", "yes", "no"] = "auto"
) -> Prompts:
    """By what the rows hold and what the model learnt: the tokenizer of a text-to-text model knows the text before a source.

    A bare prompt is text to go on from (`ptft generate` does so too), and a message of a user where chat is "yes"; a prompt and
    its completion are a conversation, and text where chat is "no".
    """
    if shape.name == "source-target" and (loaded.kind == "seq2seq" or prefix_of(loaded.tokenizer) is not None):
        return Sources(loaded)
    if (shape.name == "prompt" and chat != "yes") or (shape.name == "prompt-completion" and chat == "no"):
        return Plain(loaded, answered=shape.name != "prompt")
    if chat == "no":
        remedy = "leave out --chat no, or ask with a template of your own: --task FILE (docs/eval.md)"
        raise UsageError(f"{shape.name} rows are conversations, which are asked in a chat template", remedy=remedy)
    if ensure_template(loaded.tokenizer):
        progress.warn("the tokenizer has no chat template: using the plain one (User: ... Assistant: ...)")
    progress.note("asked in the chat template")
    return Chats(loaded, shape)


# ---------------------------------------------------------------- sources and targets


@dataclass(frozen=True)
class Sources:
    """Sources as `ptft finetune task` encodes them."""

    loaded: Loaded
    of: str = "targets, their end included"
    cuts: str = "end"
    answered: bool = True
    trims: bool = True

    def problem(self, row: Row) -> str | None:
        return next((f"an empty {side}" for side in ("source", "target") if not row.data[side].strip()), None)

    def parts(self, row: Row) -> tuple[Any, str]:
        return row.data["source"], row.data["target"]

    def prompts(self, asked: Sequence[Any], room: int) -> tuple[list[list[int]], list[int]]:
        whole, _ = self._encoded(asked, UNCUT)
        long = [index for index, ids in enumerate(whole) if len(ids) > room]
        lost = [0] * len(whole)
        for index, ids in zip(long, self._encoded([asked[index] for index in long], room)[0], strict=True):
            lost[index], whole[index] = len(whole[index]) - len(ids), ids
        return whole, lost

    def responses(self, asked: Sequence[Any], references: Sequence[str]) -> list[Response]:
        prompts, _ = self._encoded(asked, UNCUT)
        targets, _ = encode_targets(self.loaded.tokenizer, references, UNCUT, causal=self._is_causal)
        sides = zip(prompts, targets, references, strict=True)
        return [Response([*prompt, *target], len(prompt), len(text.encode())) for prompt, target, text in sides]

    def _encoded(self, sources: Sequence[str], room: int) -> tuple[list[list[int]], int]:
        return encode_sources(self.loaded.tokenizer, sources, [room] * len(sources), causal=self._is_causal)

    def settings(self) -> dict[str, Any]:
        return {"prompts": "text to text", "text_before": prefix_of(self.loaded.tokenizer) or ""}

    @property
    def _is_causal(self) -> bool:
        return self.loaded.kind == "causal"


# ---------------------------------------------------------------- text to go on from


@dataclass(frozen=True)
class Plain:
    """Text, and what follows it; begun as the tokenizer begins texts, and not ended."""

    loaded: Loaded
    answered: bool = False
    of: str = "completions"
    cuts: str = "beginning"
    trims: bool = True

    def problem(self, row: Row) -> str | None:
        if not row.data["prompt"].strip():
            return "an empty prompt"
        return "an empty completion" if self.answered and not row.data["completion"].strip() else None

    def parts(self, row: Row) -> tuple[Any, str | None]:
        return row.data["prompt"], row.data["completion"] if self.answered else None

    def prompts(self, asked: Sequence[Any], room: int) -> tuple[list[list[int]], list[int]]:
        begin = begin_ids(self.loaded.tokenizer)
        return cut_left([[*begin, *ids] for ids in plain_ids(self.loaded.tokenizer, asked)], room)

    def responses(self, asked: Sequence[Any], references: Sequence[str]) -> list[Response]:
        """The completion's own tokens: a token that a prompt and its completion would share in one text is not made."""
        prompts, _ = self.prompts(asked, UNCUT)
        targets = plain_ids(self.loaded.tokenizer, references)
        sides = zip(prompts, targets, references, strict=True)
        return [Response([*prompt, *target], len(prompt), len(text.encode())) for prompt, target, text in sides]

    def settings(self) -> dict[str, Any]:
        return {"prompts": "text"}


def begin_ids(tokenizer: Any) -> list[int]:
    """The tokens that a tokenizer puts before a text."""
    made = tokenizer("a", return_special_tokens_mask=True)
    return list(made["input_ids"][: made["special_tokens_mask"].index(0)])


def cut_left(prompts: Sequence[list[int]], room: int) -> tuple[list[list[int]], list[int]]:
    """The last `room` tokens of each, and how many each lost."""
    return [ids[-room:] for ids in prompts], [max(0, len(ids) - room) for ids in prompts]


# ---------------------------------------------------------------- conversations


@dataclass(frozen=True)
class Chats:
    """Conversations up to the assistant's last message; those without an answer up to the user's last."""

    loaded: Loaded
    shape: Shape
    of: str = "responses, their end of turn included"
    cuts: str = "beginning"
    trims: bool = True

    @cached_property
    def encoder(self) -> ChatEncoder:
        return ChatEncoder(self.loaded.tokenizer)

    @property
    def answered(self) -> bool:
        return self.shape.name not in UNANSWERED

    def problem(self, row: Row) -> str | None:
        """No answer to compare with, or a conversation that the template refuses."""
        from jinja2 import TemplateError

        asked, reference = self.parts(row)
        if self.answered and not (reference or "").strip():
            return "an empty reference: the last message of the assistant has no content"
        if not asked:
            return "nothing is asked before the last message of the assistant"
        if not self.answered and not asked[-1]["content"].strip():
            return "an empty prompt"
        try:
            self.encoder.renderer.prompt(asked)
            whole = self.encoder.renderer.conversation([*asked, _said(reference)]) if self.answered else None
        except (TemplateError, InputError) as error:
            return f"the chat template refuses it: {error}"
        if whole is not None and not (whole and any(start < end for start, end in whole[-1].spans)):
            return "the chat template leaves nothing of the answer"
        return None

    def parts(self, row: Row) -> tuple[Any, str | None]:
        messages = to_messages(row.data, self.shape)
        return split_answer(messages) if self.answered else (up_to_user(messages), None)

    def prompts(self, asked: Sequence[Any], room: int) -> tuple[list[list[int]], list[int]]:
        return cut_left([self.encoder.prompt(messages) for messages in asked], room)

    def responses(self, asked: Sequence[Any], references: Sequence[str]) -> list[Response]:
        """As in training: the last run of tokens that are learnt."""
        whole = [[*messages, _said(text)] for messages, text in zip(asked, references, strict=True)]
        return [
            _response(made, len(text.encode()))
            for made, text in zip(self.encoder.encode(whole), references, strict=True)
        ]

    def settings(self) -> dict[str, Any]:
        return {"prompts": "chat template", "chat_template": hash_value(self.encoder.renderer.template)}


def _said(text: str | None) -> Message:
    return {"role": "assistant", "content": text or ""}


def _response(made: list[Chat] | Refused, size: int) -> Response:
    if isinstance(made, Refused):
        raise InputError(f"the chat template refuses a conversation: {made.reason}", remedy="mend the chat template")
    chat = made[-1]
    learnt = [index for index, label in enumerate(chat.labels) if label != IGNORED]
    if not learnt:
        raise InputError("the chat template leaves nothing of an answer", remedy="mend the chat template")
    first = end = learnt[-1]
    while first and chat.labels[first - 1] != IGNORED:
        first -= 1
    return Response(chat.ids[: end + 1], first, size)


def split_answer(messages: Sequence[Message]) -> tuple[list[Message], str]:
    """What comes before the assistant's last message, and that message."""
    last = max(index for index, message in enumerate(messages) if message["role"] == "assistant")
    return list(messages[:last]), messages[last]["content"]


def up_to_user(messages: Sequence[Message]) -> list[Message]:
    """The conversation up to the user's last message; none where a user says nothing."""
    return list(
        messages[: max((index + 1 for index, message in enumerate(messages) if message["role"] == "user"), default=0)]
    )
