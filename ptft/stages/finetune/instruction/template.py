"""The chat template of a run: the tokenizer's own, a preset, or a file; and embeddings for the special tokens it brings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ptft.core import chat_templates
from ptft.core.chat import ensure_template
from ptft.core.chat_setup import put_on, tried
from ptft.core.progress import Progress
from ptft.core.vocabulary_extension import Added, lengthen
from ptft.stages.finetune.base import Base
from ptft.stages.finetune.recipe import InstructionRecipe


def choose_template(recipe: InstructionRecipe, base: Base, progress: Progress) -> tuple[int, ...]:
    """Give the base's tokenizer the template that was asked for; returns the ids of special tokens that are new to it.

    Raises `InputError` for a template that fails, or whose mask is not what the assistant says.
    """
    tokenizer, where = base.tokenizer, f"the chat template of {base.named}"
    new: tuple[int, ...] = ()
    if recipe.template:
        new, where = put_on(tokenizer, chat_templates.named(recipe.template)), recipe.template
    elif ensure_template(tokenizer):
        progress.warn("the base's tokenizer has no chat template: using the plain one (User: ... Assistant: ...)")
    for doubt in tried(tokenizer, where):
        progress.warn(doubt)
    if new:
        names = ", ".join(tokenizer.convert_ids_to_tokens(list(new)))
        progress.note(f"new special tokens, their embeddings the mean of all others: {names}")
    return new


def lengthened(model: Any, new: Sequence[int]) -> Any:
    """The model with embeddings for tokens that are new: each the mean of those before the first of them."""
    if new:
        lengthen(model, Added(tuple(new), (tuple(range(min(new))),) * len(new)))
    return model
