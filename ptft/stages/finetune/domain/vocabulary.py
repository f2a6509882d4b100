"""The base's tokenizer, with more tokens where they are asked for."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import xxhash

from ptft.core.contracts import Inputs, Output
from ptft.core.errors import InputError
from ptft.core.formats import read_rows
from ptft.core.packing import in_validation
from ptft.core.progress import Progress
from ptft.core.rows import Row, lacks
from ptft.core.vocabulary_extension import extend, refuse_unextendable
from ptft.stages.finetune.base import Base
from ptft.stages.finetune.recipe import DomainRecipe

SAMPLE = 64 * 2**20  # bytes of text that tokens are learnt from; more of it hardly changes them


def base_tokenizer(recipe: DomainRecipe, base: Base, out: Output) -> Path:
    """The base's own, as a folder. Raises `InputError` where it is to be extended and cannot be."""
    folder = out.state / "base-tokenizer"
    base.tokenizer.save_pretrained(folder)
    if recipe.new_tokens:
        refuse_unextendable(folder)
    return folder


def extended(recipe: DomainRecipe, inputs: Inputs, old: Path, text_bytes: int, out: Output, progress: Progress) -> Path:
    """The tokenizer with tokens from the domain's text, made once however often the run is interrupted.

    text_bytes: of the domain's text. Text to measure on is not learnt from.
    """
    folder, making = out.state / "tokenizer", out.state / "tokenizer.new"
    if folder.is_dir():
        return folder
    shutil.rmtree(making, ignore_errors=True)
    shutil.copytree(old, making)
    with progress.step("learning tokens", unit="documents") as step:

        def texts() -> Iterator[str]:
            for text in _sample(recipe, inputs, text_bytes):
                step.advance()
                yield text

        found = extend(making, texts(), recipe.new_tokens)
    if not found:
        what = "the text yields no new token: whatever occurs twice is in the vocabulary"
        raise InputError(what, remedy="add text, or leave out --new-tokens")
    if found < recipe.new_tokens:
        progress.warn(f"the text yields {found:,} new tokens, fewer than --new-tokens {recipe.new_tokens:,}")
    making.replace(folder)
    return folder


def _sample(recipe: DomainRecipe, inputs: Inputs, text_bytes: int) -> Iterator[str]:
    """Documents to learn from, chosen by a hash of their ids where there is more than enough."""
    share = SAMPLE / max(text_bytes, 1)
    val = 0.0 if "eval_data" in inputs.rows else recipe.val
    for row in read_rows(inputs.data, columns=dict(recipe.columns)):
        if not isinstance(row, Row) or lacks(row, ("text",)) or in_validation(row.data["id"], val, recipe.seed):
            continue
        chosen = xxhash.xxh3_64_intdigest(f"new tokens:{recipe.seed}:{row.data['id']}".encode()) < share * 2**64
        if chosen:
            yield row.data["text"]
