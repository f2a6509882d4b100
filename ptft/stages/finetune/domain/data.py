"""Text of a domain, and general text beside it, packed and ready to be learnt from and measured on."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from ptft.core import models
from ptft.core.packing import Packed
from ptft.core.progress import Progress
from ptft.core.training import micro_batch_of, score_blocks
from ptft.core.training.data import CausalSequences, MaskedSequences, Source, collate
from ptft.core.training.masking import Masking, masking_of
from ptft.core.vocabulary_extension import Added, added_tokens, lengthen
from ptft.stages.finetune.domain.mixture import Mixture
from ptft.stages.finetune.purpose import Collate, Prepared
from ptft.stages.finetune.recipe import DomainRecipe

MANY = 2**14  # sequences a forward pass, if memory allowed


@dataclass(frozen=True)
class Split:
    """A split of a folder of packed tokens, which holds the tokenizer that cut them."""

    folder: Path
    name: Literal["train", "val"]


@dataclass(frozen=True)
class HeldOut:
    """Text to measure on. name: before its figures' names. text: cut by the result's tokenizer; before: by the base's."""

    name: Literal["", "general_"]
    text: Split
    before: Split


@dataclass(frozen=True, kw_only=True)
class DomainData(Prepared):
    """general: to mix in. measured: the domain's text first. old_tokenizer: the base's, a folder."""

    recipe: DomainRecipe
    train: Split
    general: Split | None
    measured: tuple[HeldOut, ...]
    old_tokenizer: Path

    @property
    def added(self) -> Added:
        return added_tokens(self.old_tokenizer, self.tokenizer) if self.recipe.new_tokens else Added()

    @property
    def changes_base(self) -> bool:
        return bool(self.recipe.new_tokens)

    @property
    def new_token_ids(self) -> tuple[int, ...]:
        return self.added.ids

    def new_model(self, dtype: str = "float32") -> Any:
        model = super().new_model(dtype)
        lengthen(model, self.added)
        return model

    def source(self) -> Source:
        domain = self.sequences(self.train)
        if self.general is None:
            return domain
        return Mixture(domain, self.sequences(self.general), self.recipe.general_share, self.recipe.seed)

    def collate(self) -> Collate:
        return collate

    @property
    def unit(self) -> str:
        return "sequences"

    @property
    def held_out(self) -> int:
        return len(self.sequences(self.measured[0].text, with_rest=True)) if self.measured else 0

    @property
    def measures_before(self) -> bool:
        return True

    def measure(self, model: Any) -> dict[str, float]:
        return {name: value for held in self.measured for name, value in self._figures(model, held.name, held.text)}

    def measure_before(self, model: Any) -> dict[str, float]:
        """Of a base with another vocabulary: by the base itself, on the same text as its own tokenizer cuts it."""
        if not self.recipe.new_tokens:
            return self.measure(model)
        base = super().new_model().to(model.device)
        return {name: value for held in self.measured for name, value in self._figures(base, held.name, held.before)}

    def _figures(self, model: Any, name: str, split: Split) -> list[tuple[str, float]]:
        """Every token is scored. Of a masked model: the tokens that are hidden, the same ones each time."""
        batch = micro_batch_of(MANY, 0, self.length)
        found = score_blocks(model, self.sequences(split, with_rest=True), _token_bytes(split.folder), batch=batch)
        loss, kind = (
            f"{name}loss" if name else "val_loss",
            "pseudo_perplexity" if self.kind == "masked" else "perplexity",
        )
        figures = [(loss, found.loss), (f"{name}{kind}", found.perplexity)]
        if self.kind == "masked" and not self.recipe.new_tokens:
            return figures
        return [*figures, (f"{name}bits_per_byte", found.bits_per_byte)]

    def sequences(self, split: Split, with_rest: bool = False) -> Source:
        """with_rest: with what is too short for a sequence."""
        recipe, packed = self.recipe, Packed(split.folder)
        if self.kind == "causal":
            found = packed.sequences(split.name, self.length, recipe.packing, with_rest)
            return CausalSequences(found, recipe.isolate)
        masking = _masking(split.folder, recipe.mask_rate)
        found = packed.sequences(split.name, self.length - masking.wraps, recipe.packing, with_rest)
        return MaskedSequences(found, masking, recipe.seed, recipe.isolate)

    def show(self, progress: Progress) -> None:
        if self.recipe.new_tokens:
            before, after = (self.counts[f"tokens_per_byte_{when}"] for when in ("before", "after"))
            progress.note(
                f"{self.counts['new_tokens']:,} new tokens: {before:.4f} -> {after:.4f} tokens a byte of the domain's text. "
                "Losses and perplexities before and after are of different tokens: compare bits per byte"
            )
        if not self.held_out:
            progress.note("no text is held out, so there is no perplexity: name some with --eval-data, or raise val")
        if not self.recipe.general:
            progress.note("what the model forgets is not measured: name general text with --general")


@lru_cache(maxsize=4)
def _token_bytes(folder: Path) -> Any:
    return models.token_bytes(models.load_tokenizer(Packed(folder).tokenizer))


@lru_cache(maxsize=4)
def _masking(folder: Path, rate: float) -> Masking:
    return masking_of(models.load_tokenizer(Packed(folder).tokenizer), rate=rate)
