"""`ptft finetune instruction`: a causal checkpoint learns to answer; the loss is on the responses only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ptft.core.contracts import Inputs, Output, Plan, Result
from ptft.core.encoding import IGNORED, Chat, encode_chat, ensure_template, stop_ids
from ptft.core.errors import InputError
from ptft.core.examples import CONVERSATIONS, Shape, to_messages
from ptft.core.progress import Progress
from ptft.core.rows import RejectLog, Row
from ptft.stages.finetune import common
from ptft.stages.finetune.recipe import InstructionRecipe


def run(recipe: InstructionRecipe, inputs: Inputs, out: Output, progress: Progress) -> Result:
    from ptft.core.training import LabelledRows, train

    log = RejectLog(out.new / "rejected.jsonl", recipe.max_bad_rows)
    rows, shape = common.read_shaped(inputs.data, CONVERSATIONS, dict(recipe.columns), log)
    base = common.load_base(inputs, recipe)
    if base.kind != "causal":
        remedy = "name a checkpoint made with `ptft pretrain --objective causal`"
        raise InputError(
            f"instructions need a causal base, and this is a {base.kind} model", where=str(base.folder), remedy=remedy
        )
    if ensure_template(base.tokenizer):
        progress.warn("the base's tokenizer has no chat template: using the plain one (User: ... Assistant: ...)")
    length = common.seq_len_of(recipe, base)
    chats, dropped = _encode(base.tokenizer, rows, shape, length, progress)
    _show_one(base.tokenizer, chats[0], shape, progress)
    model = common.attach(recipe, base.model, "causal", base.folder)
    settings = common.settings_for(recipe, model, len(chats), length, progress)
    common.announce(model, recipe.method, len(chats), settings, progress)
    held_out = _held_out(recipe, inputs, base.tokenizer, length, log)
    before = _response_loss(model, held_out, "before")
    source = LabelledRows([chat.ids for chat in chats], [chat.labels for chat in chats])
    collate = common.collate_with(base.tokenizer)
    trained = train(model, source, settings, loss="tokens", collate=collate, out=out, progress=progress)
    model.generation_config.eos_token_id = stop_ids(base.tokenizer)
    common.save(recipe, model, base.tokenizer, out)
    after = _response_loss(model, held_out, "after")
    counts = {
        "rows": len(chats), "rows_cut": sum(chat.cut for chat in chats), "rows_without_response": dropped,
        "response_tokens": sum(chat.learnt for chat in chats), **common.training_counts(model, settings), "rows_rejected": log.bad,
    }  # fmt: skip
    return Result(counts, {**common.training_metrics(trained, settings), **before, **after})


def _encode(
    tokenizer: Any, rows: Sequence[Row], shape: Shape, length: int, progress: Progress
) -> tuple[list[Chat], int]:
    """Rows as ids and labels; those with nothing to learn (the response lies beyond the cut) are left out and counted."""
    chats = [encode_chat(tokenizer, to_messages(row.data, shape), length) for row in rows]
    useful = [_predictable(chat) for chat in chats if any(label != IGNORED for label in chat.labels[1:])]
    dropped = len(chats) - len(useful)
    if not useful:
        remedy = "raise --seq-len, or check that the rows have responses"
        raise InputError(f"none of the {len(chats):,} rows has a response within {length} tokens", remedy=remedy)
    if dropped:
        progress.warn(f"{dropped:,} of {len(chats):,} rows have no response within {length} tokens: left out")
    return useful, dropped


def _predictable(chat: Chat) -> Chat:
    """The first token has nothing before it to be predicted from."""
    return Chat(chat.ids, [IGNORED, *chat.labels[1:]], chat.cut)


def _show_one(tokenizer: Any, chat: Chat, shape: Shape, progress: Progress) -> None:
    """One example as the model sees it, what is learnt in brackets: the mistake that is easiest to make is here."""
    pieces, said = [], False
    for token, label in zip(chat.ids, chat.labels, strict=True):
        if (label != IGNORED) != said:
            said = not said
            pieces.append("⟦" if said else "⟧")
        pieces.append(tokenizer.decode([token]))
    progress.note(f"{shape.name} rows; the first, what is learnt in ⟦⟧:\n{''.join(pieces)}{'⟧' if said else ''}")


def _held_out(recipe: InstructionRecipe, inputs: Inputs, tokenizer: Any, length: int, log: RejectLog) -> list[Chat]:
    """The conversations of --eval-data, if any, that have a response within reach."""
    if "eval_data" not in inputs.rows:
        return []
    rows, shape = common.read_shaped(inputs.rows["eval_data"], CONVERSATIONS, dict(recipe.columns), log)
    chats = [_predictable(encode_chat(tokenizer, to_messages(row.data, shape), length)) for row in rows]
    return [chat for chat in chats if chat.learnt]


def _response_loss(model: Any, chats: Sequence[Chat], when: str) -> dict[str, float]:
    """Mean loss of a response token."""
    import torch

    from ptft.core.training import pad_batch
    from ptft.core.training.heads import with_loss

    if not chats:
        return {}
    nll, was_training = 0.0, model.training
    model.eval()
    for start in range(0, len(chats), 8):
        examples = [
            {"input_ids": torch.tensor(chat.ids), "labels": torch.tensor(chat.labels)}
            for chat in chats[start : start + 8]
        ]
        batch = {key: value.to(model.device) for key, value in pad_batch(examples, 0).items()}
        with torch.no_grad(), with_loss(model, chunked=True):
            nll += float(model(**batch).loss)
    model.train(was_training)
    return {f"eval_loss_{when}": nll / sum(chat.learnt for chat in chats)}


def plan(recipe: InstructionRecipe, inputs: Inputs, progress: Progress) -> Plan:
    return common.plan_for(recipe, inputs, CONVERSATIONS)
