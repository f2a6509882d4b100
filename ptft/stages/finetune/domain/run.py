"""`ptft finetune domain`: a checkpoint goes on learning its own objective on the text of a domain."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ptft.core import models
from ptft.core.contracts import Inputs, Output, Plan, Result
from ptft.core.errors import InputError
from ptft.core.packing import Packed, PackOptions, packed_once
from ptft.core.progress import Progress
from ptft.core.rows import keep_rejected
from ptft.core.training.data import CausalSequences, MaskedSequences, Source, collate
from ptft.core.training.masking import masking_of
from ptft.core.training.measure import score_blocks
from ptft.stages.finetune.base import Base, base_of
from ptft.stages.finetune.learning import finetuned
from ptft.stages.finetune.planning import plan_text
from ptft.stages.finetune.purpose import Collate, Prepared
from ptft.stages.finetune.recipe import DomainRecipe


def run(recipe: DomainRecipe, inputs: Inputs, out: Output, progress: Progress) -> Result:
    return finetuned(prepare(recipe, inputs, out, progress), out, progress)


def plan(recipe: DomainRecipe, inputs: Inputs, progress: Progress) -> Plan:
    return plan_text(recipe, inputs)


@dataclass(frozen=True, kw_only=True)
class DomainData(Prepared):
    """train, val: (folder of packed tokens, its split)."""

    recipe: DomainRecipe
    train: tuple[Path, str]
    val: tuple[Path, str]

    def source(self) -> Source:
        return self._sequences(self.train)

    def collate(self) -> Collate:
        return collate

    @property
    def held_out(self) -> int:
        return len(self._sequences(self.val))

    @property
    def measures_before(self) -> bool:
        return True

    def measure(self, model: Any) -> dict[str, float]:
        found = score_blocks(
            model, self._sequences(self.val), models.token_bytes(models.load_tokenizer(self.tokenizer))
        )
        figures = {"val_loss": found.loss, "perplexity": found.perplexity}
        return figures if self.kind == "masked" else {**figures, "bits_per_byte": found.bits_per_byte}

    def _sequences(self, part: tuple[Path, str]) -> Source:
        folder, split = part
        recipe, packed = self.recipe, Packed(folder)
        if self.kind == "causal":
            return CausalSequences(packed.sequences(split, self.length, recipe.packing), recipe.isolate)
        masking = masking_of(models.load_tokenizer(self.tokenizer), rate=recipe.mask_rate)
        sequences = packed.sequences(split, self.length - masking.wraps, recipe.packing)
        return MaskedSequences(sequences, masking, recipe.seed, recipe.isolate)


def prepare(recipe: DomainRecipe, inputs: Inputs, out: Output, progress: Progress) -> DomainData:
    base = base_of(recipe, inputs, out)
    if base.kind not in ("causal", "masked"):
        remedy = "take a causal or masked checkpoint"
        raise InputError(f"a {base.kind} model cannot go on pretraining", where=str(base.named), remedy=remedy)
    tokenizer = out.state / "tokenizer"
    base.tokenizer.save_pretrained(tokenizer)
    given, length = inputs.rows.get("eval_data"), base.length(recipe)

    def packed(sources: Any, name: str, share: float) -> Packed:
        options = PackOptions(length, share, recipe.seed, columns=dict(recipe.columns))
        return packed_once(sources, tokenizer, out.state, name, options, recipe.max_bad_rows, progress)[0]

    tokens = packed(inputs.data, "tokens", 0.0 if given else recipe.val)
    val = (packed(given, "eval-tokens", 0.0).folder, "train") if given else (tokens.folder, "val")
    rejected = keep_rejected(out.state / "tokens-rejected.jsonl", out.new)
    made = DomainData(
        recipe=recipe, base=base.folder, tokenizer=tokenizer, kind=base.kind, length=length, rows=0,
        counts={"rows_rejected": rejected}, train=(tokens.folder, "train"), val=val,
    )  # fmt: skip
    return _counted(made, tokens, base)


def _counted(made: DomainData, tokens: Packed, base: Base) -> DomainData:
    from dataclasses import replace

    count = len(made.source())
    if not count:
        what = f"{tokens.meta.total('train', 'tokens'):,} tokens do not fill one sequence of {made.length}"
        raise InputError(what, remedy="lower --seq-len, or add text")
    return replace(made, rows=count, counts={"sequences": count, **made.counts})
