"""Conversations to rows of ids and labels, none too long and none without something to learn; what became of the others is counted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from ptft.core.chat import Chat, ChatEncoder, Refused, cut
from ptft.core.encoding import IGNORED
from ptft.core.examples import Message
from ptft.core.progress import Piece, Progress, Step
from ptft.core.rows import RejectLog
from ptft.core.training import Rows
from ptft.stages.finetune.instruction.reading import Conversation

Rule = Literal["end", "start", "drop"]
SHOWN = 2_000  # characters of a part of the example that a person is shown


@dataclass
class Tally:
    """Rows by what became of them. examples: the first row of each shape, as text with what is learnt marked."""

    kept: int = 0
    cut: int = 0
    too_long: int = 0
    without_response: int = 0
    broken: int = 0
    unfolded: int = 0
    tokens: int = 0
    learnt: int = 0
    examples: dict[str, tuple[Piece, ...]] = field(default_factory=dict)
    shapes: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Fitting:
    """How rows are made to fit. length: tokens at most. rule: what becomes of longer ones."""

    encoder: ChatEncoder
    length: int
    rule: Rule

    def fitted(self, messages: Sequence[Message], chats: Sequence[Chat]) -> list[Chat]:
        """ "end" cuts the end off, "drop" leaves the row out, "start" leaves out the earliest turns.

        With "start" a leading system message stays, and what is left begins with a user's turn; where the last exchange
        alone is too long, the row is left out.
        """
        if all(len(chat.ids) <= self.length for chat in chats):
            return list(chats)
        if self.rule == "end":
            return [cut(chat, self.length) for chat in chats]
        short = [chat for chat in chats if len(chat.ids) <= self.length]
        if self.rule == "drop" or len(chats[-1].ids) <= self.length:
            return short
        return [*short, *self._later(messages)]

    def _later(self, messages: Sequence[Message]) -> list[Chat]:
        kept = 1 if messages[0]["role"] == "system" else 0
        starts = [at for at in range(kept + 1, len(messages)) if messages[at]["role"] == "user"]
        for start in starts:
            found = next(self.encoder.encode([[*messages[:kept], *messages[start:]]]))
            if not isinstance(found, Refused) and len(found[-1].ids) <= self.length:
                return [Chat(found[-1].ids, found[-1].labels, cut=True, broken=found[-1].broken)]
        return []


def encoded(
    conversations: Sequence[Conversation], fitting: Fitting, log: RejectLog, progress: Progress
) -> tuple[Rows, Tally]:
    """The rows that can be learnt from. What the template refuses goes to the log."""
    tally = Tally()
    with progress.step("encoding", total=len(conversations)) as step:
        chats = _useful(conversations, fitting, log, tally, step)
        rows = Rows.of({"input_ids": chat.ids, "labels": chat.labels} for chat in chats)
    log.check()
    return rows, tally


def _useful(
    conversations: Sequence[Conversation], fitting: Fitting, log: RejectLog, tally: Tally, step: Step
) -> Iterator[Chat]:
    found = fitting.encoder.encode(conversation.messages for conversation in conversations)
    for number, (conversation, chats) in enumerate(zip(conversations, found, strict=True), 1):
        if number % 100 == 0 or number == len(conversations):
            step.advance(number - (number - 1) // 100 * 100)
        if isinstance(chats, Refused):
            log.rows -= 1  # it was taken for a good one
            log.reject(conversation.rejected(f"the chat template refuses it: {chats.reason}"))
            continue
        yield from _counted(conversation, chats, fitting, tally)


def _counted(conversation: Conversation, chats: Sequence[Chat], fitting: Fitting, tally: Tally) -> Iterator[Chat]:
    fitted = fitting.fitted(conversation.messages, chats)
    useful = [_trimmed(chat) for chat in fitted if chat.learnt]
    tally.too_long += not fitted
    tally.without_response += bool(fitted) and not useful
    tally.cut += any(chat.cut for chat in useful)
    tally.broken += any(chat.broken for chat in useful)
    tally.unfolded += len(chats) > 1
    if not useful:
        return
    tally.kept += 1
    tally.shapes[conversation.shape] = tally.shapes.get(conversation.shape, 0) + 1
    if conversation.shape not in tally.examples:
        tally.examples[conversation.shape] = pieces_of(fitting.encoder.tokenizer, useful[-1])
    for chat in useful:
        tally.tokens += len(chat.ids)
        tally.learnt += chat.learnt
        yield chat


def _trimmed(chat: Chat) -> Chat:
    """Without a label for the first token, which has nothing before it, and without what follows the last thing to learn."""
    end = len(chat.labels)
    while chat.labels[end - 1] == IGNORED:
        end -= 1
    return Chat(chat.ids[:end], [IGNORED, *chat.labels[1:end]], chat.cut, chat.broken)


def pieces_of(tokenizer: Any, chat: Chat) -> tuple[Piece, ...]:
    """A row as text, what is learnt marked: the mistake that is easiest to make is here."""
    runs: list[tuple[bool, list[int]]] = []
    for token, label in zip(chat.ids, chat.labels, strict=True):
        if not runs or runs[-1][0] != (label != IGNORED):
            runs.append((label != IGNORED, []))
        runs[-1][1].append(token)
    return tuple(Piece(_shortened(tokenizer.decode(ids)), learnt) for learnt, ids in runs)


def _shortened(text: str) -> str:
    half = SHOWN // 2
    return text if len(text) <= SHOWN else f"{text[:half]} [... {len(text) - SHOWN:,} characters ...] {text[-half:]}"
