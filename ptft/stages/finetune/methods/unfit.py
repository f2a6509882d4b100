"""Methods that make no sense on a base, for a purpose, or with other knobs: refused with a reason, before data is read."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ptft.core import adapters, models
from ptft.core.errors import UsageError
from ptft.core.models import HEADED, Kind
from ptft.stages.finetune.methods.peft_methods import PROMPT_METHODS, Network, config_of
from ptft.stages.finetune.methods.quantised import without_weights
from ptft.stages.finetune.purpose import Prepared
from ptft.stages.finetune.recipe import DomainRecipe, FinetuneRecipe, InstructionRecipe, TaskRecipe

if TYPE_CHECKING:
    from ptft.stages.finetune.base import Base

LEARNS_TOKENS = ("full", "partial", "lora", "qlora")  # methods that can learn the embeddings of new tokens
_TASK_KINDS: dict[str, Kind] = {
    "classification": "classifier", "multi-label": "classifier", "regression": "classifier", "tags": "tagger",
    "span": "span",
}  # fmt: skip


@dataclass(frozen=True)
class Cell:
    """kind: of the result; None where only the rows tell. base, config: the base's kind and configuration."""

    recipe: FinetuneRecipe
    kind: Kind | None
    base: Kind
    config: Any

    @property
    def virtual(self) -> bool:
        return self.recipe.method in PROMPT_METHODS

    @property
    def embedded(self) -> bool:
        """Whether the virtual tokens go through the network like the others."""
        return self.recipe.method in ("prompt", "p-tuning")


def refuse_unfit(recipe: FinetuneRecipe, base: Base) -> None:
    """Raise `UsageError` where the recipe's method cannot be had on this base, for this purpose, with these knobs."""
    _refuse(Cell(recipe, _kind_of_result(recipe, base.kind), base.kind, base.config))
    if recipe.method in ("lora", "qlora", "adapter", "ia3"):
        _refuse_unknown_layers(recipe, base.folder)


def refuse_unfit_result(prepared: Prepared) -> None:
    """The same once the rows have told what the result will be."""
    method = prepared.recipe.method
    if prepared.new_token_ids and method not in LEARNS_TOKENS:
        what = f"{len(prepared.new_token_ids)} tokens are new to the base, and {method} does not learn their embeddings"
        raise UsageError(what, remedy="take --method lora, qlora, partial or full, or a template without new tokens")
    config = models.load_config(prepared.base)
    _refuse(Cell(prepared.recipe, prepared.kind, models.kind_of(config), config))


def _refuse(cell: Cell) -> None:
    for check in _CHECKS:
        found = check(cell)
        if found is not None:
            raise UsageError(found[0], remedy=found[1])


def _kind_of_result(recipe: FinetuneRecipe, base: Kind) -> Kind | None:
    if not isinstance(recipe, TaskRecipe) or recipe.task == "text-to-text":
        return base
    return _TASK_KINDS.get(recipe.task)


def _refuse_unknown_layers(recipe: FinetuneRecipe, folder: Path) -> None:
    model, kind = without_weights(folder)
    narrowest = model.config.get_text_config().hidden_size
    if recipe.method in ("lora", "qlora") and recipe.lora.init == "pissa" and recipe.lora.rank > narrowest:
        what = f"pissa has no {recipe.lora.rank} principal vectors of layers {narrowest} wide"
        raise UsageError(what, remedy=f"take --rank {narrowest} or less")
    config_of(recipe, Network(model, kind))


# ---------------------------------------------------------------- checks: (what is wrong, what to do instead), or None

Found = tuple[str, str] | None


def _masked(cell: Cell) -> Found:
    if cell.virtual and cell.kind == "masked":
        what = f"{cell.recipe.method} puts nothing before a masked language model's text: peft has no such wrapper"
        return what, "take --method lora or adapter"
    return None


def _shifted(cell: Cell) -> Found:
    if cell.embedded and cell.kind in ("tagger", "span"):
        what = f"with {cell.recipe.method} the answers of a {cell.kind} would be off by the virtual tokens"
        return what, "take --method prefix, which takes no places in the text, or lora"
    return None


def _encoder_decoder_head(cell: Cell) -> Found:
    if cell.virtual and cell.base == "seq2seq" and cell.kind in HEADED:
        what = f"heads on a {cell.config.model_type} model take no virtual tokens"
        return what, "take --method lora or adapter"
    return None


def _last_token(cell: Cell) -> Found:
    last = isinstance(cell.recipe, TaskRecipe) and cell.recipe.pooling == "last" and cell.base == "causal"
    if cell.embedded and last and cell.kind == "classifier":
        what = (
            f"with {cell.recipe.method} a head on the last token would read padding: it cannot see where the text ends"
        )
        return what, "take --pooling mean, or --method prefix"
    return None


def _packed(cell: Cell) -> Found:
    recipe = cell.recipe
    apart = isinstance(recipe, DomainRecipe) and recipe.isolate
    apart = apart or (isinstance(recipe, InstructionRecipe) and recipe.packing)
    if cell.virtual and apart:
        what = f"{recipe.method} cannot keep packed rows apart: peft drops their position ids"
        return what, "leave out packing and isolate, or take --method lora"
    return None


def _no_past(cell: Cell) -> Found:
    if cell.recipe.method == "prefix" and not _takes_past(cell.config):
        what = f"a {cell.config.model_type} model takes no past keys and values, which prefix tuning trains"
        return what, "take --method prompt, lora or adapter"
    return None


def _takes_past(config: Any) -> bool:
    import transformers

    backbone = transformers.AutoModel._model_mapping.get(type(config), None)
    return backbone is None or "past_key_values" in inspect.signature(backbone.forward).parameters


def _prefix_recomputed(cell: Cell) -> Found:
    if cell.recipe.method == "prefix" and cell.recipe.hardware.checkpointing:
        what = "prefix tuning cannot recompute activations: the past would be added twice"
        return what, "leave out hardware.checkpointing"
    return None


def _too_many_tokens(cell: Cell) -> Found:
    most = models.seq_len_of(cell.config)
    if cell.virtual and cell.recipe.prompt.tokens >= most:
        what = f"{cell.recipe.prompt.tokens} virtual tokens leave no place for text: the base takes {most} tokens"
        return what, "--set prompt.tokens=20"
    return None


def _sharded(cell: Cell) -> Found:
    if cell.recipe.hardware.parallel == "fsdp" and cell.recipe.method not in ("full", "partial"):
        what = f"fsdp shards whole models only, not {cell.recipe.method}"
        return what, "--set hardware.parallel=ddp: what this method trains is small"
    return None


def _pissa(cell: Cell) -> Found:
    if cell.recipe.lora.init == "pissa" and cell.recipe.lora.dora:
        return "a PiSSA adapter with DoRA cannot be written as one for the plain base", "take one of the two"
    return None


def _quantised(cell: Cell) -> Found:
    if cell.recipe.method != "qlora":
        return None
    adapters.refuse_without_bitsandbytes()
    if cell.recipe.lora.init == "pissa":
        return "PiSSA takes its parts from full weights, and qlora's are in 4 bits", "--set lora.init=default"
    return None


def _new_tokens(cell: Cell) -> Found:
    recipe = cell.recipe
    if isinstance(recipe, DomainRecipe) and recipe.new_tokens and recipe.method not in LEARNS_TOKENS:
        what = f"{recipe.method} leaves the embeddings as they are: those of new tokens would stay random"
        return what, f"take --method {', '.join(LEARNS_TOKENS)}, or leave out --new-tokens"
    return None


def _scratch(cell: Cell) -> Found:
    if isinstance(cell.recipe, TaskRecipe) and cell.recipe.init == "scratch" and cell.recipe.method != "full":
        what = f"{cell.recipe.method} trains little, and a base from scratch knows nothing: most would stay random"
        return what, "take --method full with init=scratch"
    return None


def _layers(cell: Cell) -> Found:
    recipe, there = cell.recipe, int(cell.config.get_text_config().num_hidden_layers)
    if recipe.method in ("lora", "qlora") and recipe.lora.last_layers > there:
        return f"lora.last_layers is {recipe.lora.last_layers}, and the base has {there}", "--set lora.last_layers=0"
    if recipe.method == "partial" and recipe.partial.train == "layers" and recipe.partial.last_layers > there:
        what = f"partial.last_layers is {recipe.partial.last_layers}, and the base has {there} layers"
        return what, f"--set partial.last_layers={max(1, there // 2)}"
    return None


_CHECKS: tuple[Callable[[Cell], Found], ...] = (
    _masked, _shifted, _encoder_decoder_head, _last_token, _packed, _no_past, _prefix_recomputed, _too_many_tokens,
    _sharded, _pissa, _quantised, _new_tokens, _scratch, _layers,
)  # fmt: skip
