"""Conversations from files, each file in a shape of its own."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from ptft.core.contracts import Inputs
from ptft.core.errors import InputError
from ptft.core.examples import CONVERSATIONS, Message, Shape, to_messages
from ptft.core.files import Source
from ptft.core.formats import read_rows
from ptft.core.progress import Progress
from ptft.core.rows import Rejected, RejectLog, Row
from ptft.stages.finetune.recipe import InstructionRecipe
from ptft.stages.finetune.rows import divided, read_shaped


@dataclass(frozen=True, slots=True)
class Conversation:
    """Messages, the shape they were written in, and where."""

    messages: Sequence[Message]
    shape: str
    source: str
    line: int

    def rejected(self, reason: str) -> Rejected:
        return Rejected(self.source, self.line, reason, str(list(self.messages))[:500])


@dataclass(frozen=True)
class Divided:
    """train: to learn from. val: to measure on."""

    train: Sequence[Conversation]
    val: Sequence[Conversation]


def read(recipe: InstructionRecipe, inputs: Inputs, log: RejectLog, progress: Progress) -> Divided:
    """All rows of DATA and of --eval-data, or a share of DATA in its place. Misshapen ones go to the log."""
    columns = dict(recipe.columns)
    rows = read_conversations(inputs.data, columns, log, progress)
    if "eval_data" in inputs.rows:
        return Divided(rows, read_conversations(inputs.rows["eval_data"], columns, log, progress))
    return Divided(*divided(rows, recipe.val, recipe.seed))


def read_conversations(
    sources: Iterable[Source], columns: dict[str, str], log: RejectLog, progress: Progress
) -> list[Conversation]:
    """Raises `InputError` for a file of another shape, and where no file holds a row."""
    found: list[Conversation] = []
    for source in sources:
        if not any(isinstance(row, Row) for row in read_rows((source,), columns=columns)):
            progress.warn(f"{source.path} holds no rows that can be read")
            continue
        rows, shape = read_shaped((source,), CONVERSATIONS, columns, log)
        found += [_conversation(row, shape) for row in rows]
    if not found:
        raise InputError("the input holds no rows", remedy="check that the files are not empty")
    return found


def _conversation(row: Row, shape: Shape) -> Conversation:
    messages: Any = to_messages(row.data, shape)
    return Conversation(messages, shape.name, row.source, row.line)
