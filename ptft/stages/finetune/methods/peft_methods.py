"""The methods that peft carries: its configuration for each, from the recipe and the network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ptft.core.errors import UsageError
from ptft.core.models import Kind
from ptft.stages.finetune.methods import parts
from ptft.stages.finetune.recipe import FinetuneRecipe

TASK_TYPES: dict[Kind, str] = {
    "causal": "CAUSAL_LM", "seq2seq": "SEQ_2_SEQ_LM", "classifier": "SEQ_CLS", "tagger": "TOKEN_CLS",
    "span": "QUESTION_ANS",
}  # fmt: skip
EXACT_SVD = 1024  # wider layers begin PiSSA from a randomised decomposition: sixteen power iterations, as in its paper
PROMPT_METHODS = ("prompt", "prefix", "p-tuning")


@dataclass(frozen=True)
class Network:
    """What a method is put on. new_token_ids: whose embeddings must learn."""

    model: Any
    kind: Kind
    new_token_ids: tuple[int, ...] = ()

    @property
    def shared(self) -> dict[str, Any]:
        """What every configuration says: the task, and the new heads, which are trained whole."""
        heads = parts.new_heads(self.model, self.kind)
        return {"task_type": TASK_TYPES.get(self.kind), "modules_to_save": heads or None}

    @property
    def sizes(self) -> Any:
        return self.model.config.get_text_config()


def config_of(recipe: FinetuneRecipe, network: Network) -> Any:
    """peft's configuration of the recipe's method."""
    return _MAKERS[recipe.method](recipe, network)


# ---------------------------------------------------------------- weights beside weights


def _lora(recipe: FinetuneRecipe, network: Network) -> Any:
    from peft import LoraConfig

    lora, tokens = recipe.lora, None
    if network.new_token_ids:
        tokens = {name: list(network.new_token_ids) for name in _vocabulary_layers(network.model)}
    return LoraConfig(
        r=lora.rank, lora_alpha=lora.alpha, lora_dropout=lora.dropout, target_modules=lora_targets(recipe, network),
        init_lora_weights=_initial(recipe, network), use_rslora=lora.rslora, use_dora=lora.dora,
        trainable_token_indices=tokens, **network.shared,
    )  # fmt: skip


def _initial(recipe: FinetuneRecipe, network: Network) -> bool | str:
    if recipe.lora.init == "pissa":
        return "pissa" if network.sizes.hidden_size <= EXACT_SVD else "pissa_niter_16"
    return True if recipe.lora.init == "default" else recipe.lora.init


def _vocabulary_layers(model: Any) -> list[str]:
    """The embeddings, and the output layer where it is not tied to them (peft ties what is)."""
    embeddings, output = model.get_input_embeddings(), model.get_output_embeddings()
    found = [name for name, module in model.named_modules() if module is embeddings]
    if output is not None and output.weight is not embeddings.weight:
        found.append(str(parts.output_layer(model)))
    return found


def lora_targets(recipe: FinetuneRecipe, network: Network) -> list[str]:
    """The linear layers to adapt, by the last parts of their names where those tell them apart from all others.

    Raises `UsageError` for a target that the network does not have.
    """
    lora, model = recipe.lora, network.model
    names = chosen = parts.linear_layers(model, network.kind)
    if lora.targets:
        ends = tuple(f".{target}" for target in lora.targets)
        chosen = [name for name in names if name in lora.targets or name.endswith(ends)]
        _refuse_unknown(lora.targets, names)
    if lora.last_layers:
        kept = tuple(f"{layer}." for layer in parts.last_layers(model, lora.last_layers))
        chosen = [name for name in chosen if name.startswith(kept)]
    if not chosen:
        raise UsageError("no linear layer is left to adapt", remedy="give other lora.targets or lora.last_layers")
    heads = tuple(f"{head}." for head in parts.new_heads(model, network.kind))
    others = {name for name, _ in model.named_modules() if not name.startswith(heads)} - set(chosen)
    short = {name.rpartition(".")[2] for name in chosen}
    told_apart = not any(name.rpartition(".")[2] in short for name in others)
    return sorted(short) if told_apart else sorted(chosen)


def _refuse_unknown(targets: tuple[str, ...], names: list[str]) -> None:
    missing = [target for target in targets if not any(f".{name}".endswith(f".{target}") for name in names)]
    if missing:
        known = ", ".join(sorted({name.rpartition(".")[2] for name in names}))
        raise UsageError(f"the base has no linear layer {', '.join(missing)}", remedy=f"lora.targets may be: {known}")


def _ia3(recipe: FinetuneRecipe, network: Network) -> Any:
    from peft import IA3Config

    pattern = f"({parts.KEYS_AND_VALUES})|({parts.FEED_FORWARD_END})"
    _refuse_unmatched(network, pattern, "ia3")
    return IA3Config(target_modules=pattern, feedforward_modules=parts.FEED_FORWARD_END, **network.shared)


def _bottleneck(recipe: FinetuneRecipe, network: Network) -> Any:
    from ptft.core.modeling_bottleneck import BottleneckConfig

    adapter, pattern = recipe.adapter, parts.FEED_FORWARD_END
    if adapter.placement == "houlsby":
        pattern = f"({pattern})|({parts.ATTENTION_END})"
    _refuse_unmatched(network, parts.FEED_FORWARD_END, "adapter")
    return BottleneckConfig(
        target_modules=pattern, size=adapter.size or max(1, network.sizes.hidden_size // 16),
        activation=adapter.activation, placement=adapter.placement, **network.shared,
    )  # fmt: skip


def _refuse_unmatched(network: Network, pattern: str, method: str) -> None:
    if not parts.names_matching(network.model, pattern):
        what = f"the layers of a {network.sizes.model_type} model are not known to the method {method}"
        raise UsageError(what, remedy="take --method lora")


# ---------------------------------------------------------------- virtual tokens


def _prompt(recipe: FinetuneRecipe, network: Network) -> Any:
    from peft import PromptTuningConfig

    return PromptTuningConfig(**_virtual(recipe, network))


def _p_tuning(recipe: FinetuneRecipe, network: Network) -> Any:
    from peft import PromptEncoderConfig

    width = recipe.prompt.hidden or network.sizes.hidden_size
    return PromptEncoderConfig(encoder_hidden_size=width, **_virtual(recipe, network))


def _prefix(recipe: FinetuneRecipe, network: Network) -> Any:
    from peft import PrefixTuningConfig

    virtual, sizes = _virtual(recipe, network), network.sizes
    heads = getattr(sizes, "num_key_value_heads", None) or sizes.num_attention_heads
    width = getattr(sizes, "head_dim", None) or getattr(sizes, "d_kv", None)
    width = width or sizes.hidden_size // sizes.num_attention_heads
    own = {"num_attention_heads": heads, "token_dim": heads * width}
    submodules = 2 if network.kind == "seq2seq" else 1
    return PrefixTuningConfig(**{**virtual, **own, "num_transformer_submodules": submodules})


def _virtual(recipe: FinetuneRecipe, network: Network) -> dict[str, Any]:
    sizes = network.sizes
    return {
        "num_virtual_tokens": recipe.prompt.tokens, "token_dim": sizes.hidden_size, "num_layers": sizes.num_hidden_layers,
        "num_attention_heads": sizes.num_attention_heads, "num_transformer_submodules": 1, **network.shared,
    }  # fmt: skip


_MAKERS: dict[str, Callable[[FinetuneRecipe, Network], Any]] = {
    "lora": _lora, "qlora": _lora, "ia3": _ia3, "adapter": _bottleneck, "prompt": _prompt, "p-tuning": _p_tuning,
    "prefix": _prefix,
}  # fmt: skip
