"""`ptft pretrain`: a language model from a corpus or packed tokens."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ptft.core import models
from ptft.core.contracts import TOKENIZER, Inputs, Output, Plan, Result
from ptft.core.errors import InputError, UsageError
from ptft.core.files import hash_file
from ptft.core.packing import Packed, PackOptions, packed_once
from ptft.core.progress import Progress
from ptft.core.rows import keep_rejected
from ptft.core.sample import estimate_text
from ptft.stages.pretrain.architecture import config_for
from ptft.stages.pretrain.recipe import PretrainRecipe

PASSES_WORTH_IT = 4  # more passes over the same text hardly help (Muennighoff et al. 2023)
TOKENS_PER_PARAMETER = 20  # Hoffmann et al. 2022


@dataclass(frozen=True)
class _Budget:
    """How long to train. passes: over the corpus."""

    steps: int
    batch: int  # sequences an optimizer step
    tokens: int
    passes: float


def run(recipe: PretrainRecipe, inputs: Inputs, out: Output, progress: Progress) -> Result:
    from ptft.core.training import train

    packed, counts = _packed(recipe, inputs, out, progress)
    tokenizer = models.load_tokenizer(packed.tokenizer)
    seq_len = recipe.seq_len or packed.meta.seq_len
    source, held_out = _data(recipe, packed, tokenizer, seq_len)
    model = _new_model(recipe, tokenizer, seq_len)
    parameters, _ = models.count_parameters(model)
    budget = _budget(recipe, parameters, len(source) * seq_len, seq_len)
    if budget.passes > PASSES_WORTH_IT:
        progress.warn(
            f"{budget.passes:.1f} passes over the corpus; more than {PASSES_WORTH_IT} hardly help: add text, or lower --tokens"
        )
    progress.note(
        f"{model.config.model_type}, {parameters:,} parameters; {budget.steps:,} steps, {budget.tokens:,} tokens, {budget.passes:.1f} passes"
    )
    score = _scorer(recipe, tokenizer, held_out, seq_len)
    settings = _settings(recipe, model, budget, seq_len, progress)
    trained = train(
        model, source, settings, loss=recipe.objective, collate=_stack(), out=out, progress=progress, validate=score
    )
    _save(recipe, model, tokenizer, seq_len, out)
    speed = trained.steps_run * budget.batch * seq_len / max(trained.seconds, 1e-9)
    last = _last(trained.history)
    counts |= {"parameters": parameters, "steps": budget.steps, "tokens_trained": budget.tokens}
    return Result(counts, {**last, "passes": budget.passes, "tokens_per_second": speed, "lr": settings.lr})


def _last(history: Sequence[dict[str, float]]) -> dict[str, Any]:
    """The newest of each figure of the metrics log."""
    newest: dict[str, Any] = {}
    for entry in history:
        newest.update(entry)
    return {name: newest[name] for name in ("loss", "val_loss", "bits_per_byte", "perplexity") if name in newest}


def _packed(recipe: PretrainRecipe, inputs: Inputs, out: Output, progress: Progress) -> tuple[Packed, dict[str, Any]]:
    """The tokens to train on: as they are, or packed now from the corpus."""
    if any(source.form == "tokens" for source in inputs.data):
        if len(inputs.data) > 1:
            raise UsageError(
                "more than one input, and one is packed", remedy="pack all of them together: ptft pack ..."
            )
        packed = Packed(inputs.data[0].path)
        _refuse_other_tokenizer(packed, inputs)
        return packed, {"train_tokens": packed.meta.total("train", "tokens")}
    if "tokenizer" not in inputs.folders:
        raise UsageError("a corpus needs a tokenizer", remedy="name one with -t, or pack first and name that folder")
    options = PackOptions(
        recipe.seq_len or models.DEFAULT_SEQ_LEN, recipe.val, recipe.seed, columns=dict(recipe.columns)
    )
    tokenizer = inputs.folders["tokenizer"]
    packed, log = packed_once(inputs.data, tokenizer, out.state, "tokens", options, recipe.max_bad_rows, progress)
    rejected = keep_rejected(log, out.new)
    return packed, {"train_tokens": packed.meta.total("train", "tokens"), "rows_rejected": rejected}


def _refuse_other_tokenizer(packed: Packed, inputs: Inputs) -> None:
    named = inputs.folders.get("tokenizer")
    if named is None:
        return
    TOKENIZER.require(named)
    if hash_file(named / "tokenizer.json") != packed.meta.tokenizer_hash:
        remedy = "leave out -t, or pack again with this tokenizer"
        raise UsageError("the input was packed with another tokenizer", where=str(named), remedy=remedy)


def _data(recipe: PretrainRecipe, packed: Packed, tokenizer: Any, seq_len: int) -> tuple[Any, Any]:
    """Training and validation sequences for the objective."""
    from ptft.core.training import MaskedBlocks, PlainBlocks
    from ptft.core.training.data import mask_ids

    splits = [packed.blocks(name, seq_len) for name in ("train", "val")]
    if not len(splits[0]):
        what = f"{packed.meta.total('train', 'tokens'):,} tokens do not fill one sequence of {seq_len}"
        raise InputError(what, where=str(packed.folder), remedy="lower --seq-len, or add text")
    if recipe.objective == "causal":
        return PlainBlocks(splits[0]), PlainBlocks(splits[1])
    ids = mask_ids(tokenizer)
    train, val = (MaskedBlocks(split, ids, recipe.mask_rate, recipe.seed) for split in splits)
    return train, val


def _new_model(recipe: PretrainRecipe, tokenizer: Any, seq_len: int) -> Any:
    import transformers

    transformers.set_seed(recipe.seed)
    config = config_for(recipe, tokenizer, seq_len)
    auto = transformers.AutoModelForCausalLM if recipe.objective == "causal" else transformers.AutoModelForMaskedLM
    return auto.from_config(config)


def _budget(recipe: PretrainRecipe, parameters: int, corpus_tokens: int, seq_len: int) -> _Budget:
    wanted = TOKENS_PER_PARAMETER * parameters if recipe.tokens == "auto" else int(recipe.tokens)
    batch = max(1, recipe.batch_tokens // seq_len)
    steps = max(1, round(wanted / (batch * seq_len)))
    tokens = steps * batch * seq_len
    return _Budget(steps, batch, tokens, tokens / max(corpus_tokens, 1))


def _settings(recipe: PretrainRecipe, model: Any, budget: _Budget, seq_len: int, progress: Progress) -> Any:
    from ptft.core.training.loop import Settings, micro_batch_of, precision_of

    return Settings(
        steps=budget.steps, batch=budget.batch, micro_batch=micro_batch_of(budget.batch, recipe.micro_batch, seq_len),
        lr=recipe.lr or models.default_lr(model), schedule=recipe.schedule, warmup_steps=round(recipe.warmup * budget.steps),
        weight_decay=recipe.weight_decay, clip=recipe.clip, beta2=recipe.beta2,
        precision=precision_of(recipe.precision, progress), save_every=recipe.save_every, eval_every=recipe.eval_every,
        seed=recipe.seed,
    )  # fmt: skip


def _scorer(recipe: PretrainRecipe, tokenizer: Any, held_out: Any, seq_len: int) -> Any:
    """Validation loss; bits per byte for a causal model (a masked one guesses too few tokens for it to mean anything)."""
    from ptft.core.training import score_blocks

    if not len(held_out):
        return None
    sizes = models.token_bytes(tokenizer)

    def score(model: Any) -> dict[str, float]:
        causal = recipe.objective == "causal"
        found = score_blocks(model, held_out, sizes, causal=causal, limit=max(1, recipe.val_tokens // seq_len))
        return {
            "val_loss": found.loss,
            **({"bits_per_byte": found.bits_per_byte, "perplexity": found.perplexity} if causal else {}),
        }

    return score


def _stack() -> Any:
    from ptft.core.training.data import stack

    return stack


def _save(recipe: PretrainRecipe, model: Any, tokenizer: Any, seq_len: int, out: Output) -> None:
    tokenizer.model_max_length = seq_len
    if recipe.objective == "masked":
        _wrap_in_specials(tokenizer)
    models.save(model, tokenizer, out.new)
    metrics = out.state / "metrics.jsonl"
    if metrics.exists():
        shutil.copyfile(metrics, out.new / "metrics.jsonl")


def _wrap_in_specials(tokenizer: Any) -> None:
    """BERT reads [CLS] text [SEP]; the tokenizer in a masked checkpoint adds them."""
    from tokenizers.processors import TemplateProcessing

    cls, sep = tokenizer.cls_token, tokenizer.sep_token
    if cls is None or sep is None:
        return
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single=f"{cls} $A {sep}",
        pair=f"{cls} $A {sep} $B:1 {sep}:1",
        special_tokens=[(cls, tokenizer.cls_token_id), (sep, tokenizer.sep_token_id)],
    )


def plan(recipe: PretrainRecipe, inputs: Inputs, progress: Progress) -> Plan:
    packed = next((Packed(source.path) for source in inputs.data if source.form == "tokens"), None)
    if packed is None and "tokenizer" not in inputs.folders:
        raise UsageError("a corpus needs a tokenizer", remedy="name one with -t, or pack first and name that folder")
    tokenizer = models.load_tokenizer(packed.tokenizer if packed else inputs.folders["tokenizer"])
    seq_len = recipe.seq_len or (packed.meta.seq_len if packed else models.DEFAULT_SEQ_LEN)
    if packed:
        corpus = packed.meta.total("train", "tokens")
    else:
        guess = estimate_text(inputs.data, recipe.columns)
        corpus = guess.tokens(lambda texts: sum(map(len, tokenizer(texts)["input_ids"]))) + guess.rows
    parameters, size = _parameters_without_memory(recipe, tokenizer, seq_len)
    budget = _budget(recipe, parameters, corpus, seq_len)
    return Plan(
        (
            ("model", size),
            ("parameters", parameters),
            ("corpus tokens", corpus),
            ("tokens to train on", budget.tokens),
            ("passes over the corpus", round(budget.passes, 2)),
            ("steps", budget.steps),
            ("FLOPs (6 N D)", f"{6 * parameters * budget.tokens:.2e}"),
            ("memory for weights, gradients, AdamW (fp32)", f"{16 * parameters / 2**20:,.0f} MiB"),
            ("checkpoint on disk", f"{4 * parameters / 2**20:,.0f} MiB"),
        )
    )


def _parameters_without_memory(recipe: PretrainRecipe, tokenizer: Any, seq_len: int) -> tuple[int, str]:
    """The exact count, from a model with no storage."""
    import torch

    with torch.device("meta"):
        model = _new_model(recipe, tokenizer, seq_len)
    config = model.config
    size = f"{config.model_type}, {config.num_hidden_layers} layers, {config.hidden_size} wide"
    return models.count_parameters(model)[0], size
