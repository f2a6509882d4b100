"""`ptft finetune domain`: a checkpoint goes on learning its own objective on the text of a domain."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ptft.core.contracts import Inputs, Output, Plan, Result
from ptft.core.errors import InputError, UsageError
from ptft.core.files import Source, count_lines
from ptft.core.packing import Packed, PackOptions, packed_once
from ptft.core.progress import Progress
from ptft.stages.finetune.base import Base, base_of
from ptft.stages.finetune.domain.data import DomainData, HeldOut, Split
from ptft.stages.finetune.domain.mixture import general_places
from ptft.stages.finetune.domain.vocabulary import base_tokenizer, extended
from ptft.stages.finetune.learning import finetuned
from ptft.stages.finetune.planning import plan_text
from ptft.stages.finetune.recipe import DomainRecipe


def run(recipe: DomainRecipe, inputs: Inputs, out: Output, progress: Progress) -> Result:
    return finetuned(prepare(recipe, inputs, out, progress), out, progress)


def plan(recipe: DomainRecipe, inputs: Inputs, progress: Progress) -> Plan:
    _refuse(recipe, base_of(recipe, inputs, None))
    found = plan_text(recipe, inputs)
    general = [("general text", f"{recipe.general_share:.0%} of the sequences")] if recipe.general else []
    tokens = [("new tokens", f"{recipe.new_tokens:,}")] if recipe.new_tokens else []
    return replace(found, lines=(*found.lines, *general, *tokens))


def prepare(recipe: DomainRecipe, inputs: Inputs, out: Output, progress: Progress) -> DomainData:
    base = base_of(recipe, inputs, out)
    _refuse(recipe, base)
    pack = _Packer(recipe, inputs, base.length(recipe), out, progress)
    old = tokenizer = base_tokenizer(recipe, base, out)
    before = after = pack(old, "base-" if recipe.new_tokens else "")
    if recipe.new_tokens:
        tokenizer = extended(recipe, inputs, old, before.domain.meta.total("train", "bytes"), out, progress)
        after = pack(tokenizer, "")
    made = DomainData(
        recipe=recipe, base=base.folder, tokenizer=tokenizer, kind=base.kind, length=pack.length, rows=0, counts={},
        train=Split(after.domain.folder, "train"), general=_mixed_in(recipe, after), measured=_measured(recipe, before, after),
        old_tokenizer=old,
    )  # fmt: skip
    return _counted(made, before, after, pack.rejected(), progress)


def _refuse(recipe: DomainRecipe, base: Base) -> None:
    if base.kind not in ("causal", "masked"):
        remedy = "take a causal or masked checkpoint; an encoder-decoder learns from pairs (ptft finetune task)"
        raise InputError(f"a {base.kind} model cannot go on pretraining", where=str(base.named), remedy=remedy)
    if base.kind == "causal" and recipe.mask_rate != DomainRecipe().mask_rate:
        raise UsageError(
            "mask_rate does nothing: the base is causal", remedy="leave it out, or start from a masked base"
        )


# ---------------------------------------------------------------- packing


@dataclass(frozen=True)
class _Texts:
    """Everything as one tokenizer cuts it. held_out: of --eval-data."""

    domain: Packed
    held_out: Packed | None
    general: Packed | None


@dataclass(frozen=True)
class _Packer:
    recipe: DomainRecipe
    inputs: Inputs
    length: int
    out: Output
    progress: Progress

    def __call__(self, tokenizer: Path, name: str) -> _Texts:
        """name: before the folders' names."""
        given, recipe = self.inputs.rows, self.recipe

        def packed(key: str, share: float) -> Packed | None:
            folder = f"{name}{'' if key == 'data' else key + '-'}tokens"
            return self._packed(given[key], tokenizer, folder, share) if key in given else None

        domain = packed("data", 0.0 if "eval_data" in given else recipe.val)
        assert domain is not None
        # general text that is not mixed in is there to be measured on, all of it
        return _Texts(domain, packed("eval_data", 0.0), packed("general", recipe.val if recipe.general_share else 0.0))

    def _packed(self, sources: Sequence[Source], tokenizer: Path, folder: str, share: float) -> Packed:
        recipe = self.recipe
        options = PackOptions(self.length, share, recipe.seed, columns=dict(recipe.columns))
        return packed_once(sources, tokenizer, self.out.state, folder, options, recipe.max_bad_rows, self.progress)[0]

    def rejected(self) -> int:
        """Gather the rows that were refused where they are published; how many there are."""
        logs = [self.out.state / f"{name}tokens-rejected.jsonl" for name in ("", "eval_data-", "general-")]
        found = [log for log in logs if log.exists()]
        if found:
            (self.out.new / "rejected.jsonl").write_bytes(b"".join(log.read_bytes() for log in found))
        return sum(map(count_lines, found))


def _mixed_in(recipe: DomainRecipe, texts: _Texts) -> Split | None:
    return Split(texts.general.folder, "train") if texts.general and recipe.general_share else None


def _measured(recipe: DomainRecipe, before: _Texts, after: _Texts) -> tuple[HeldOut, ...]:
    """What there is to measure on: nothing of the general text where there is nothing of the domain's."""
    pairs = [HeldOut("", _domain_split(after), _domain_split(before))]
    if after.general and before.general:
        text, earlier = _general_split(recipe, after.general), _general_split(recipe, before.general)
        pairs.append(HeldOut("general_", text, earlier))
    useful = [held for held in pairs if _tokens(held.text) > 1]
    return tuple(useful) if useful and useful[0].name == "" else ()


def _general_split(recipe: DomainRecipe, general: Packed) -> Split:
    return Split(general.folder, "val" if recipe.general_share else "train")


def _domain_split(texts: _Texts) -> Split:
    return Split(texts.held_out.folder, "train") if texts.held_out else Split(texts.domain.folder, "val")


# ---------------------------------------------------------------- counts


def _counted(made: DomainData, before: _Texts, after: _Texts, rejected: int, progress: Progress) -> DomainData:
    sequences = len(made.sequences(made.train))
    counts: dict[str, Any] = {"sequences": sequences, "tokens": _tokens(made.train), "rows_rejected": rejected}
    _refuse_too_little(made, made.train, sequences)
    if made.general:
        _refuse_too_little(made, made.general, len(made.sequences(made.general)))
        counts["general_sequences"] = general_places(sequences, made.recipe.general_share)
    for held in made.measured:
        counts[f"{held.name}tokens_held_out"] = _tokens(held.text)
    if made.recipe.new_tokens:
        counts["new_tokens"] = len(made.new_token_ids)
        counts |= {"tokens_per_byte_before": _density(before.domain), "tokens_per_byte_after": _density(after.domain)}
    _warn_of_the_unmeasured(made, progress)
    return replace(made, rows=len(made.source()), counts=counts)


def _tokens(split: Split) -> int:
    return Packed(split.folder).meta.total(split.name, "tokens")


def _density(packed: Packed) -> float:
    """Tokens a byte of text, ends of documents left out, of everything that is there."""
    totals = {
        what: sum(packed.meta.total(split, what) for split in ("train", "val"))
        for what in ("tokens", "documents", "bytes")
    }
    return (totals["tokens"] - totals["documents"]) / max(totals["bytes"], 1)


def _refuse_too_little(made: DomainData, split: Split, sequences: int) -> None:
    if not sequences:
        kind = "" if split == made.train else " of general text"
        what = f"{_tokens(split):,} tokens{kind} do not fill one sequence of {made.length}"
        remedy = "lower --seq-len, add text, or keep short documents whole with --set packing=best-fit"
        raise InputError(what, where=made.recipe.general if kind else None, remedy=remedy)


def _warn_of_the_unmeasured(made: DomainData, progress: Progress) -> None:
    if not made.measured:
        reason = "no document was drawn to measure on" if made.recipe.val else "val is 0"
        progress.warn(f"{reason}: nothing is measured; name text with --eval-data, or raise it with --set val=0.1")
    elif made.recipe.general and len(made.measured) == 1:
        progress.warn("no document of the general text was drawn to measure on: raise it with --set val=0.1")
