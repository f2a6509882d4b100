"""`ptft finetune instruction`: a causal checkpoint learns to answer; the loss is on the responses only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ptft.core import models
from ptft.core.contracts import Inputs, Output, Plan, Result
from ptft.core.encoding import IGNORED, Chat, encode_chat, ensure_template, stop_ids
from ptft.core.errors import InputError
from ptft.core.examples import CONVERSATIONS, Shape, to_messages
from ptft.core.progress import Progress
from ptft.core.rows import RejectLog, Row
from ptft.core.training import Padding, Rows
from ptft.core.training.measure import score_rows
from ptft.stages.finetune.base import base_of
from ptft.stages.finetune.learning import finetuned
from ptft.stages.finetune.planning import plan_rows
from ptft.stages.finetune.purpose import Collate, Prepared, pad_id
from ptft.stages.finetune.recipe import InstructionRecipe
from ptft.stages.finetune.rows import divided, read_held_out, read_shaped


def run(recipe: InstructionRecipe, inputs: Inputs, out: Output, progress: Progress) -> Result:
    return finetuned(prepare(recipe, inputs, out, progress), out, progress)


def plan(recipe: InstructionRecipe, inputs: Inputs, progress: Progress) -> Plan:
    return plan_rows(recipe, inputs, CONVERSATIONS)


@dataclass(frozen=True, kw_only=True)
class Conversations(Prepared):
    """train, val: folders of `Rows`. shown: the first example as text, what is learnt in brackets."""

    recipe: InstructionRecipe
    train: Path
    val: Path
    shown: str

    def source(self) -> Rows:
        return Rows.load(self.train)

    def collate(self) -> Collate:
        return Padding(pad_id(models.load_tokenizer(self.tokenizer)))

    @property
    def held_out(self) -> int:
        return len(Rows.load(self.val))

    @property
    def measures_before(self) -> bool:
        return True

    def measure(self, model: Any) -> dict[str, float]:
        return {"val_loss": score_rows(model, Rows.load(self.val), self.collate())}

    def finish(self, model: Any) -> None:
        model.generation_config.eos_token_id = stop_ids(models.load_tokenizer(self.tokenizer))

    def show(self, progress: Progress) -> None:
        progress.note(self.shown)


def prepare(recipe: InstructionRecipe, inputs: Inputs, out: Output, progress: Progress) -> Conversations:
    log = RejectLog(out.new / "rejected.jsonl", recipe.max_bad_rows)
    base = base_of(recipe, inputs, out)
    if base.kind != "causal":
        remedy = "name a checkpoint made with `ptft pretrain --objective causal`"
        raise InputError(
            f"instructions need a causal base, and this is a {base.kind} model", where=str(base.named), remedy=remedy
        )
    if ensure_template(base.tokenizer):
        progress.warn("the base's tokenizer has no chat template: using the plain one (User: ... Assistant: ...)")
    base.tokenizer.save_pretrained(out.state / "tokenizer")
    rows, shape = read_shaped(inputs.data, CONVERSATIONS, dict(recipe.columns), log)
    held = read_held_out(inputs, CONVERSATIONS, dict(recipe.columns), log)
    if held is None:
        rows, kept = divided(rows, recipe.val, recipe.seed)
        held = kept, shape
    length = base.length(recipe)
    chats, dropped = _encode(base.tokenizer, rows, shape, length, progress)
    for name, found in (("train", chats), ("val", _useful(base.tokenizer, *held, length))):
        Rows.of({"input_ids": chat.ids, "labels": chat.labels} for chat in found).save(out.state / name)
    counts = {
        "rows": len(chats), "rows_cut": sum(chat.cut for chat in chats), "rows_without_response": dropped,
        "response_tokens": sum(chat.learnt for chat in chats), "rows_rejected": log.bad,
    }  # fmt: skip
    return Conversations(
        recipe=recipe, base=base.folder, tokenizer=out.state / "tokenizer", kind="causal", length=length, rows=len(chats),
        counts=counts, train=out.state / "train", val=out.state / "val", shown=_shown(base.tokenizer, chats[0], shape),
    )  # fmt: skip


def _encode(
    tokenizer: Any, rows: Sequence[Row], shape: Shape, length: int, progress: Progress
) -> tuple[list[Chat], int]:
    """Rows as ids and labels; those with nothing to learn (the response lies beyond the cut) are left out and counted."""
    useful = _useful(tokenizer, rows, shape, length)
    dropped = len(rows) - len(useful)
    if not useful:
        remedy = "raise --seq-len, or check that the rows have responses"
        raise InputError(f"none of the {len(rows):,} rows has a response within {length} tokens", remedy=remedy)
    if dropped:
        progress.warn(f"{dropped:,} of {len(rows):,} rows have no response within {length} tokens: left out")
    return useful, dropped


def _useful(tokenizer: Any, rows: Sequence[Row], shape: Shape, length: int) -> list[Chat]:
    chats = [encode_chat(tokenizer, to_messages(row.data, shape), length) for row in rows]
    return [_predictable(chat) for chat in chats if any(label != IGNORED for label in chat.labels[1:])]


def _predictable(chat: Chat) -> Chat:
    """The first token has nothing before it to be predicted from."""
    return Chat(chat.ids, [IGNORED, *chat.labels[1:]], chat.cut)


def _shown(tokenizer: Any, chat: Chat, shape: Shape) -> str:
    """One example as the model sees it, what is learnt in brackets: the mistake that is easiest to make is here."""
    pieces, said = [], False
    for token, label in zip(chat.ids, chat.labels, strict=True):
        if (label != IGNORED) != said:
            said = not said
            pieces.append("⟦" if said else "⟧")
        pieces.append(tokenizer.decode([token]))
    return f"{shape.name} rows; the first, what is learnt in ⟦⟧:\n{''.join(pieces)}{'⟧' if said else ''}"
