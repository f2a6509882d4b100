"""`ptft finetune domain`: a checkpoint goes on learning its own objective on the text of a domain."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ptft.core import models
from ptft.core.contracts import Inputs, Output, Plan, Result
from ptft.core.errors import InputError
from ptft.core.models import Loaded
from ptft.core.packing import Packed, PackOptions, packed_once
from ptft.core.progress import Progress
from ptft.core.rows import keep_rejected
from ptft.stages.finetune import common
from ptft.stages.finetune.recipe import DomainRecipe


def run(recipe: DomainRecipe, inputs: Inputs, out: Output, progress: Progress) -> Result:
    from ptft.core.training import train
    from ptft.core.training.data import collate

    base = common.load_base(inputs, recipe)
    if base.kind == "classifier":
        remedy = "start from the language model that the classifier was made from"
        raise InputError("a classifier cannot go on pretraining", where=str(base.folder), remedy=remedy)
    length = common.seq_len_of(recipe, base)
    source, held_out = _data(recipe, inputs, base, length, out, progress)
    rejected = keep_rejected(out.state / "tokens-rejected.jsonl", out.new)
    model = common.attach(recipe, base.model, base.kind, base.folder)
    settings = common.settings_for(recipe, model, len(source), length, progress)
    common.announce(model, recipe.method, len(source), settings, progress)
    score = _scorer(base, held_out)
    before = score(model, "before")
    trained = train(model, source, settings, loss="tokens", collate=collate, out=out, progress=progress)
    common.save(recipe, model, base.tokenizer, out)
    counts = {"sequences": len(source), **common.training_counts(model, settings), "rows_rejected": rejected}
    return Result(counts, {**common.training_metrics(trained, settings), **before, **score(model, "after")})


def _data(
    recipe: DomainRecipe, inputs: Inputs, base: Loaded, length: int, out: Output, progress: Progress
) -> tuple[Any, Any]:
    """Training and held-out sequences. Held out: --eval-data, or a share of the documents."""
    tokenizer = out.state / "tokenizer"
    base.tokenizer.save_pretrained(tokenizer)
    given = inputs.rows.get("eval_data")

    def packed(sources: Any, name: str, share: float) -> Packed:
        options = PackOptions(length, share, recipe.seed, columns=dict(recipe.columns))
        return packed_once(sources, tokenizer, out.state, name, options, recipe.max_bad_rows, progress)[0]

    tokens = packed(inputs.data, "tokens", 0.0 if given else recipe.val)
    wrap = _wrap(recipe, base, length)
    train = wrap(tokens, "train")
    held_out = wrap(packed(given, "eval-tokens", 0.0), "train") if given else wrap(tokens, "val")
    if not len(train):
        what = f"{tokens.meta.total('train', 'tokens'):,} tokens do not fill one sequence of {length}"
        raise InputError(what, remedy="lower --seq-len, or add text")
    return train, held_out


def _wrap(recipe: DomainRecipe, base: Loaded, length: int) -> Callable[[Packed, str], Any]:
    from ptft.core.training.data import CausalSequences, MaskedSequences
    from ptft.core.training.masking import masking_of

    if base.kind == "causal":
        return lambda packed, split: CausalSequences(packed.sequences(split, length))
    masking = masking_of(base.tokenizer, rate=recipe.mask_rate)
    return lambda packed, split: MaskedSequences(packed.sequences(split, length - masking.wraps), masking, recipe.seed)


def _scorer(base: Loaded, held_out: Any) -> Callable[[Any, str], dict[str, float]]:
    from ptft.core.training import score_blocks

    sizes = models.token_bytes(base.tokenizer)

    def score(model: Any, when: str) -> dict[str, float]:
        if not len(held_out):
            return {}
        found = score_blocks(model, held_out, sizes)
        if base.kind == "masked":
            return {f"loss_{when}": found.loss}
        return {f"perplexity_{when}": found.perplexity, f"bits_per_byte_{when}": found.bits_per_byte}

    return score


def plan(recipe: DomainRecipe, inputs: Inputs, progress: Progress) -> Plan:
    return common.plan_for(recipe, inputs, ())
