"""`--from`: a checkpoint to go on from, and whether the packed tokens are its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson

from ptft.core import models
from ptft.core.contracts import CHECKPOINT, TOKENIZER
from ptft.core.errors import InputError, UsageError
from ptft.core.files import hash_file, hash_value
from ptft.core.weights import is_quantised
from ptft.stages.pretrain.recipe import PretrainRecipe

LEARNT_POSITIONS = ("gpt2", "bert", "roberta", "distilbert", "electra", "albert", "xlm-roberta")
PAIR_HEAD = ("pooler", "seq_relationship")  # what a plain masked checkpoint lacks for sentence pairs
TOKEN_IDS = (
    "model",
    "normalizer",
    "pre_tokenizer",
    "added_tokens",
)  # of tokenizer.json: what decides which ids a text has


def load_from(folder: Path, recipe: PretrainRecipe) -> Any:
    """The checkpoint's model with float32 weights, to be trained on with the recipe's objective.

    Raises `InputError` for adapters, quantised models and classifiers, `UsageError` where the objective is not the
    checkpoint's, or where its learnt positions are fewer than --seq-len.
    """
    config = config_from(folder, recipe)
    model = _with_pair_head(folder, config) if recipe.objective.startswith("masked+") else _plain(folder)
    require_positions(model.config, recipe.seq_len)
    return model


def config_from(folder: Path, recipe: PretrainRecipe) -> Any:
    """The checkpoint's configuration, its weights unread. Raises as `load_from` does."""
    CHECKPOINT.require(folder)
    _refuse_untrainable(folder)
    with models.readable(folder):
        config = models.load_config(folder)
    _refuse_unfitting(folder, config, recipe)
    require_positions(config, recipe.seq_len)
    return config


def _plain(folder: Path) -> Any:
    return models.load(folder, dtype="float32").model.train()


def _with_pair_head(folder: Path, config: Any) -> Any:
    """BERT with both heads; only the second may be new."""
    import transformers

    with models.readable(folder):
        model, info = transformers.BertForPreTraining.from_pretrained(
            folder, dtype="float32", trust_remote_code=False, output_loading_info=True
        )
    models.refuse_missing(folder, info, but=PAIR_HEAD)
    return model.train().to(models.device())


def _refuse_untrainable(folder: Path) -> None:
    if (folder / "adapter_config.json").is_file():
        remedy = "go on from the adapter's base, or train it with `ptft finetune domain`, which merges adapters"
        raise InputError("this is an adapter, not a whole model", where=str(folder), remedy=remedy)
    if is_quantised(folder):
        remedy = "go on from the checkpoint it was exported from"
        raise InputError("the checkpoint is quantised: its weights cannot be trained", where=str(folder), remedy=remedy)


def _refuse_unfitting(folder: Path, config: Any, recipe: PretrainRecipe) -> None:
    kind, wanted = models.kind_of(config), "causal" if recipe.is_causal else "masked"
    if kind == "classifier":
        remedy = "go on from the checkpoint it was fine-tuned from"
        raise InputError("this is a classifier: it has no language model's head", where=str(folder), remedy=remedy)
    if kind != wanted:
        remedy = f"take --objective {kind}, or another checkpoint"
        raise UsageError(
            f"this is a {kind} model, and the objective is {recipe.objective}", where=str(folder), remedy=remedy
        )
    if recipe.objective.startswith("masked+") and config.model_type != "bert":
        what = f"{config.model_type} has no head for sentence pairs, which --objective {recipe.objective} trains"
        raise UsageError(what, where=str(folder), remedy="take --objective masked, or a BERT checkpoint")


def require_positions(config: Any, seq_len: int) -> None:
    """Make room for sequences of `seq_len` tokens: rotary positions reach further, learnt ones do not (`UsageError`)."""
    most = models.seq_len_of(config)
    if seq_len <= most:
        return
    if config.model_type in LEARNT_POSITIONS:
        what = f"the model has learnt positions for {most} tokens, and a sequence has {seq_len}"
        raise UsageError(what, remedy=f"lower --seq-len to {most}, or pack again with --seq-len {most}")
    config.get_text_config().max_position_embeddings = seq_len


def refuse_other_tokenizer(packed_with: Path, named: Path) -> None:
    """Raise `UsageError` unless both tokenizer folders give every text the same ids.

    What only wraps or cuts texts may differ: a masked checkpoint's tokenizer adds [CLS] and [SEP], the packed one does not.
    """
    for folder in (packed_with, named):
        TOKENIZER.require(folder)
    ours, theirs = packed_with / "tokenizer.json", named / "tokenizer.json"
    if hash_file(ours) != hash_file(theirs) and token_ids_hash(ours) != token_ids_hash(theirs):
        remedy = f"pack again with this one: ptft pack INPUT... -t {named} -o DIR"
        raise UsageError("the input was packed with another tokenizer", where=str(named), remedy=remedy)


def token_ids_hash(path: Path) -> str:
    """A hash of the part of a tokenizer.json that decides ids. Raises `InputError` for a file that is not one."""
    try:
        data = orjson.loads(path.read_bytes())
        return hash_value({key: data.get(key) for key in TOKEN_IDS})
    except (OSError, orjson.JSONDecodeError, AttributeError) as error:
        remedy = "make one with `ptft tokenizer`"
        raise InputError(f"not a tokenizer: {error}", where=str(path), remedy=remedy) from error
