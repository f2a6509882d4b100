"""The checkpoint that fine-tuning starts from: what it is, and whether the purpose and the method can do with it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ptft.core import adapters, models
from ptft.core.contracts import CHECKPOINT, Inputs, Output
from ptft.core.errors import InputError, UsageError
from ptft.core.models import Kind
from ptft.core.training.refusals import refuse_undoable
from ptft.core.weights import is_quantised
from ptft.stages.finetune import methods
from ptft.stages.finetune.recipe import FinetuneRecipe

SHORTEST = 4  # tokens of a row: special ones take two or three


@dataclass(frozen=True)
class Base:
    """folder: a plain checkpoint; named: what the user named, an adapter perhaps. config: transformers' own. seq_len: the most tokens it takes."""

    folder: Path
    named: Path
    kind: Kind
    config: Any
    tokenizer: Any

    @property
    def seq_len(self) -> int:
        return models.seq_len_of(self.config)

    def length(self, recipe: FinetuneRecipe) -> int:
        """Tokens of a row at most: what the base takes, less the virtual tokens that a method puts before them."""
        limit = self.seq_len if models.stated_seq_len(self.config) else max(self.seq_len, recipe.max_seq_len)
        most = limit - (recipe.prompt.tokens if recipe.method in methods.PROMPT_METHODS else 0)
        return min(recipe.max_seq_len or most, most)


def base_of(recipe: FinetuneRecipe, inputs: Inputs, out: Output | None) -> Base:
    """The base named on the command line; an adapter is merged into its own base first, in `out` (None: only looked at).

    Raises `InputError` for a quantised model, for a classifier or the like, and for an adapter that another would be put on;
    `UsageError` for a method that makes no sense here.
    """
    refuse_undoable(recipe.precision, recipe.hardware)
    named = CHECKPOINT.require(inputs.folders["model"])
    if is_quantised(named):
        remedy = "fine-tune the checkpoint it was exported from, and export the result"
        raise InputError("the base is quantised: its weights cannot be trained", where=str(named), remedy=remedy)
    folder = _plain(recipe, named, out)
    with models.readable(folder):
        config = models.load_config(folder)
    kind = models.kind_of(config)
    if kind in models.HEADED:
        remedy = "start from the language model that it was made from"
        raise InputError(f"the base is a {kind}: it has a head for its own task", where=str(named), remedy=remedy)
    tokenizer = models.load_tokenizer(named)
    for name in ("task_prefix", "tagged_piece"):  # what an earlier task kept there
        tokenizer.init_kwargs.pop(name, None)
    base = Base(folder, named, kind, config, tokenizer)
    _refuse_length(recipe, base)
    methods.refuse_unfit(recipe, base)
    return base


def _refuse_length(recipe: FinetuneRecipe, base: Base) -> None:
    if recipe.max_seq_len > base.seq_len and models.stated_seq_len(base.config):
        what = f"--seq-len {recipe.max_seq_len:,}, and the base takes {base.seq_len:,} tokens"
        raise UsageError(what, remedy="leave out --seq-len, or lower it")
    if base.length(recipe) < SHORTEST:
        raise UsageError(f"{base.length(recipe)} tokens are no text", remedy=f"raise --seq-len to {SHORTEST} at least")


def _plain(recipe: FinetuneRecipe, named: Path, out: Output | None) -> Path:
    if not adapters.is_adapter(named):
        return named
    if recipe.method not in ("full", "partial"):
        remedy = "merge it first (ptft finetune merge), train on with --method full, or start from the adapter's base"
        raise InputError("the base is itself an adapter", where=str(named), remedy=remedy)
    if out is None:
        return adapters.base_folder(named)
    folder = out.state / "merged"
    if not (folder / "config.json").is_file():
        models.save(adapters.merged_from(named), models.load_tokenizer(named), out.state / "merging")
        (out.state / "merging").replace(folder)
    return folder
