"""Putting a method on a model: what is to be trained requires gradients, and nothing else does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from ptft.core import models
from ptft.core.errors import UsageError
from ptft.core.training.processes import barrier, rank
from ptft.core.training.settings import Precision
from ptft.stages.finetune.methods import partial, parts, quantised
from ptft.stages.finetune.methods.peft_methods import Network, config_of
from ptft.stages.finetune.methods.unfit import refuse_unfit_result
from ptft.stages.finetune.purpose import Prepared

BASE = "base"  # in the state of a run: the base with a head or a longer vocabulary
INITIAL = "initial"  # in the state of a run: a PiSSA adapter as it began
HALVES = (torch.bfloat16, torch.float16)


def attach(prepared: Prepared, precision: Precision, state: Path) -> Any:
    """The model with the method on it, the same in every process and each time. Trainable weights are float32.

    Frozen ones are in bfloat16 where that is what is computed in. A base that is changed (a head, a longer vocabulary) is saved in
    `state`. Raises `UsageError` where the method cannot be put on such a model.
    """
    import transformers

    refuse_unfit_result(prepared)
    recipe = prepared.recipe
    transformers.set_seed(recipe.seed)
    if recipe.method == "full":
        return prepared.new_model()
    if recipe.method == "partial":
        model = prepared.new_model()
        partial.freeze(model, prepared.kind, recipe.partial, embeddings=bool(prepared.new_token_ids))
        return model
    folder = _base_folder(prepared, state)
    model = _frozen(prepared, folder, precision, state)
    transformers.set_seed(recipe.seed)
    return _with_adapter(prepared, model, folder, state)


def has_own_base(prepared: Prepared) -> bool:
    """Whether the adapter is on something that nobody else has, so that its folder must hold it."""
    return prepared.changes_base or bool(prepared.new_token_ids)


def _base_folder(prepared: Prepared, state: Path) -> Path:
    """Where the plain base lies; one that was changed is put there by the first process."""
    if not has_own_base(prepared):
        return prepared.base.resolve()
    folder = state / BASE
    if rank() == 0 and not folder.exists():
        models.save(prepared.new_model(), models.load_tokenizer(prepared.tokenizer), state / f"{BASE}.new")
        (state / f"{BASE}.new").rename(folder)
    barrier()
    return folder.resolve()


def _frozen(prepared: Prepared, folder: Path, precision: Precision, state: Path) -> Any:
    recipe = prepared.recipe
    if recipe.method == "qlora":
        return quantised.load(folder, recipe.quantised, precision, state)
    # FSDP wants one type; the principal parts of a rounded weight are not those of the weight
    halved = precision == "bf16" and recipe.hardware.parallel == "ddp" and recipe.lora.init != "pissa"
    return models.load_plain(folder, "bfloat16" if halved else "float32")[0]


def _with_adapter(prepared: Prepared, model: Any, folder: Path, state: Path) -> Any:
    from peft import get_peft_model

    from ptft.core import modeling_bottleneck

    recipe = prepared.recipe
    model.name_or_path = model.config._name_or_path = str(folder)
    network = Network(model, prepared.kind, prepared.new_token_ids)
    heads = parts.new_heads(model, prepared.kind)
    modeling_bottleneck.register()
    wrapped = get_peft_model(model, config_of(recipe, network))
    _train_in_full(wrapped, heads)
    if recipe.method == "prompt":
        _begin_prompt(prepared, wrapped)
    if recipe.lora.init == "pissa" and rank() == 0 and not (state / INITIAL).exists():
        wrapped.save_pretrained(state / f"{INITIAL}.new", save_embedding_layers=False)
        (state / f"{INITIAL}.new").rename(state / INITIAL)
    return wrapped


def _train_in_full(wrapped: Any, heads: list[str]) -> None:
    """What is trained in float32, also beside and behind layers in fewer bits."""
    for parameter in wrapped.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    for name in heads:
        wrapped.get_base_model().get_submodule(name).register_forward_pre_hook(_in_full)


def _in_full(_: Any, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    """What goes into a head as float32; where autocast is on it decides."""
    return tuple(value.float() if getattr(value, "dtype", None) in HALVES else value for value in inputs)


def _begin_prompt(prepared: Prepared, wrapped: Any) -> None:
    """Virtual tokens begin as the embeddings of a text, repeated, or of tokens of the vocabulary drawn with the seed."""
    tokenizer, wanted = models.load_tokenizer(prepared.tokenizer), prepared.recipe.prompt
    if wanted.init:
        ids = tokenizer(wanted.init, add_special_tokens=False)["input_ids"]
        if not ids:
            raise UsageError("the tokenizer makes nothing of prompt.init", remedy="give other words, or leave it out")
        chosen = [ids[place % len(ids)] for place in range(wanted.tokens)]
    else:
        special = set(tokenizer.all_special_ids)
        ordinary = sorted(set(tokenizer.get_vocab().values()) - special)
        generator = torch.Generator().manual_seed(prepared.recipe.seed)
        chosen = [ordinary[place] for place in torch.randint(len(ordinary), (wanted.tokens,), generator=generator)]
    embeddings, prompt = wrapped.word_embeddings, wrapped.prompt_encoder[wrapped.active_adapter].embedding
    with torch.no_grad():
        prompt.weight.copy_(embeddings(torch.tensor(chosen, device=embeddings.weight.device)))
