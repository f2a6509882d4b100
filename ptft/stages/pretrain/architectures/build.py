"""From the recipe to a transformers configuration and a new model."""

from __future__ import annotations

import difflib
import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ptft.core.errors import InputError, UsageError
from ptft.core.models import MASKED_FAMILIES
from ptft.stages.pretrain.architectures.checkpoint import require_positions
from ptft.stages.pretrain.architectures.dial import shape_for
from ptft.stages.pretrain.architectures.families import FAMILIES, Details, Ends, Family
from ptft.stages.pretrain.architectures.presets import PRESETS, Preset
from ptft.stages.pretrain.recipe import PARAMS, Architecture, PretrainRecipe

ADDED_TO_RESIDUAL = ("o_proj", "down_proj")  # the names of Llama, Qwen, Mixtral and most others
EXPERT_KNOBS = ("experts", "experts_per_token", "balance")
AUTO = {"causal": "llama", "masked": "bert"}
SPECIAL, WRAPS = ("bos", "eos", "pad"), ("cls", "sep")
# of a published file: what the tokenizer decides, and in which precision it was saved (training holds float32)
IGNORED_KEYS = ("vocab_size", "architectures", "dtype", "torch_dtype", "transformers_version", "_name_or_path")


def kind_for(recipe: PretrainRecipe) -> str:
    return "causal" if recipe.is_causal else "masked"


def config_for(recipe: PretrainRecipe, tokenizer: Any, seq_len: int) -> Any:
    """The transformers configuration that the recipe asks for, with the tokenizer's vocabulary and special tokens.

    Raises `UsageError` for a name that is none, a family that does not fit the objective, and sizes that do not fit one
    another; `InputError` for a config.json that cannot be read.
    """
    name = AUTO[kind_for(recipe)] if recipe.model == "auto" else recipe.model
    if name.endswith(".json"):
        return _from_file(Path(name), recipe, tokenizer, seq_len)
    preset = PRESETS.get(name)
    family = FAMILIES.get(preset.family if preset else name)
    if family is None:
        raise _unknown(name, recipe)
    _refuse_unfitting(name, family, recipe)
    if preset:
        return _preset(name, preset, family, recipe, tokenizer, seq_len)
    tied = recipe.architecture.tie_embeddings
    ends = Ends(len(tokenizer), seq_len, tied, recipe.objective in ("masked+nsp", "masked+sop"))
    shape = shape_for(family, ends, recipe.architecture, recipe.params)
    return family.config(shape, ends, _details(recipe, tokenizer))


def new_model(recipe: PretrainRecipe, config: Any) -> Any:
    """A model with the recipe's first weights, float32. Under `torch.device("meta")` it has sizes and no storage.

    Raises `UsageError` where sentence pairs are to be learnt by a family that transformers has no class for.
    """
    import transformers

    transformers.set_seed(recipe.seed)
    if recipe.is_causal:
        model = transformers.AutoModelForCausalLM.from_config(config)
        quieten_residuals(model)
        return model
    if recipe.objective == "masked":
        return transformers.AutoModelForMaskedLM.from_config(config)
    require_pairs(config.model_type, recipe)
    return transformers.BertForPreTraining(config)


def quieten_residuals(model: Any) -> None:
    """Divide the first weights of what each layer adds to the residual stream by sqrt(2 layers), as GPT-2 does.

    transformers does so for GPT-2 alone; Llama and its like learn visibly slower without (docs/log.md).
    """
    import torch

    layers = model.config.get_text_config().num_hidden_layers
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.removesuffix(".weight").endswith(ADDED_TO_RESIDUAL):
                parameter /= math.sqrt(2 * layers)


def require_pairs(model_type: str, recipe: PretrainRecipe) -> None:
    """Raise `UsageError` unless the model has BERT's two heads, where the objective needs both."""
    if recipe.objective in ("masked+nsp", "masked+sop") and model_type != "bert":
        what = f"{model_type} has no head for sentence pairs, which --objective {recipe.objective} trains"
        raise UsageError(what, remedy="choose --model bert, or --objective masked")


# ---------------------------------------------------------------- names


def _choices(kind: str) -> str:
    families = [name for name, family in FAMILIES.items() if family.kind == kind]
    presets = [name for name, preset in PRESETS.items() if FAMILIES[preset.family].kind == kind]
    return f"{', '.join(families)}; a preset: {', '.join(presets)}; or a config.json"


def _unknown(name: str, recipe: PretrainRecipe) -> UsageError:
    close = difflib.get_close_matches(name.lower(), ["auto", *FAMILIES, *PRESETS], n=1, cutoff=0.5)
    suggestion = f"did you mean {close[0]}? " if close else ""
    return UsageError(
        f"{name!r} is no family and no preset",
        remedy=f"{suggestion}For --objective {recipe.objective} there are {_choices(kind_for(recipe))}",
    )


def _refuse_unfitting(name: str, family: Family, recipe: PretrainRecipe) -> None:
    kind = kind_for(recipe)
    if family.kind != kind:
        raise UsageError(
            f"{name!r} is no {kind} model", remedy=f"for --objective {recipe.objective} choose {_choices(kind)}"
        )
    if not recipe.is_causal:
        require_pairs(family.model_type, recipe)
    usual, given = Architecture(), recipe.architecture
    idle = [knob for knob in EXPERT_KNOBS if getattr(given, knob) != getattr(usual, knob)]
    if idle and not family.experts:
        named = ", ".join(f"architecture.{knob}" for knob in idle)
        raise UsageError(
            f"{family.model_type} has no experts: {named}", remedy="leave it out, or choose --model mixtral"
        )
    if family.model_type == "bert" and not recipe.architecture.tie_embeddings:
        # transformers would leave a bias over that nothing uses
        raise UsageError(
            "BERT's input and output embeddings are one matrix", remedy="leave out architecture.tie_embeddings"
        )


# ---------------------------------------------------------------- presets and files


def _preset(name: str, preset: Preset, family: Family, recipe: PretrainRecipe, tokenizer: Any, seq_len: int) -> Any:
    given = recipe.architecture
    refuse_sizes(recipe, f"the preset {name}", ("tie_embeddings", "dropout", "balance"), f"--model {preset.family}")
    pairs = recipe.objective in ("masked+nsp", "masked+sop")
    ends = Ends(len(tokenizer), seq_len, preset.tied and given.tie_embeddings, pairs)
    return family.config(preset.shape, ends, _details(recipe, tokenizer, preset.rope_theta))


def refuse_sizes(recipe: PretrainRecipe, what: str, free: tuple[str, ...], instead: str) -> None:
    """Raise `UsageError` for `params` and knobs of the architecture that `what` decides itself, but for those in `free`."""
    given, usual = asdict(recipe.architecture), asdict(Architecture())
    named = [f"architecture.{name}" for name in given if given[name] != usual[name] and name not in free]
    if recipe.params != PARAMS:
        named.append("params")
    if named:
        raise UsageError(f"{what} has its own {', '.join(named)}", remedy=f"leave them out, or choose {instead}")


def _details(recipe: PretrainRecipe, tokenizer: Any, rope_theta: float | None = None) -> Details:
    given = recipe.architecture
    ids, wraps = special_ids(tokenizer, SPECIAL), special_ids(tokenizer, WRAPS)
    return Details(ids, wraps, given.dropout, given.balance, rope_theta)


def special_ids(tokenizer: Any, names: tuple[str, ...]) -> dict[str, int | None]:
    """Special tokens' ids as configurations name them; None where the tokenizer has none."""
    return {f"{name}_token_id": getattr(tokenizer, f"{name}_token_id") for name in names}


def _from_file(path: Path, recipe: PretrainRecipe, tokenizer: Any, seq_len: int) -> Any:
    """A published configuration with this tokenizer's vocabulary and special tokens, in float32."""
    import transformers

    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        kept = {key: value for key, value in data.items() if key not in IGNORED_KEYS}
        ids = special_ids(tokenizer, SPECIAL)
        config = transformers.AutoConfig.for_model(
            kept.pop("model_type"), **{**kept, **ids, "vocab_size": len(tokenizer)}
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        remedy = "give a config.json with a model_type that transformers knows"
        what = f"cannot be read as a model's configuration: {error}"
        raise InputError(what, where=str(path), remedy=remedy) from error
    if "quantization_config" in data:
        remedy = "take quantization_config out of it, or start from another"
        raise InputError("a quantised model cannot be trained", where=str(path), remedy=remedy)
    _refuse_unfitting_type(config.model_type, recipe, str(path))
    refuse_sizes(recipe, str(path), ("balance",), "a family with --params")
    require_positions(config, seq_len)
    return config


def _refuse_unfitting_type(model_type: str, recipe: PretrainRecipe, where: str) -> None:
    from transformers.models.auto import modeling_auto as known

    causal = model_type in known.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES and model_type not in MASKED_FAMILIES
    fits = causal if recipe.is_causal else model_type in known.MODEL_FOR_MASKED_LM_MAPPING_NAMES
    if not fits:
        remedy = f"for --objective {recipe.objective} choose --model {_choices(kind_for(recipe))}"
        raise UsageError(f"{model_type!r} is no {kind_for(recipe)} model", where=where, remedy=remedy)
    if not recipe.is_causal:
        require_pairs(model_type, recipe)
