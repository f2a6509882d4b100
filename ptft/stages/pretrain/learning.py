"""The work that every process of a pretraining run does alike: model, data and settings from the recipe, then the training."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ptft.core import hardware, models
from ptft.core.contracts import Output
from ptft.core.errors import InputError, UsageError
from ptft.core.packing import Packed
from ptft.core.progress import Progress, Silent
from ptft.core.training import (
    Objective,
    Schedule,
    Settings,
    Trained,
    Watching,
    micro_batch_of,
    precision_of,
    score_blocks,
    train,
)
from ptft.core.training.cost import Sizes, flops_per_token, sizes_of
from ptft.core.training.data import CausalSequences, MaskedSequences, Source, collate
from ptft.core.training.masking import masking_of
from ptft.core.training.pairs import Kind, SentencePairs
from ptft.core.training.processes import world_size
from ptft.core.training.samples import sampler
from ptft.stages.pretrain.architectures import config_for, load_from, new_model
from ptft.stages.pretrain.budget import PASSES_WORTH_IT, Budget, budget_of, labelled_share
from ptft.stages.pretrain.recipe import PretrainRecipe


@dataclass(frozen=True)
class Job:
    """What each process must know. base: the checkpoint to go on from."""

    recipe: PretrainRecipe
    packed: Path
    base: Path | None
    out: Output

    @property
    def seq_len(self) -> int:
        return self.recipe.seq_len or Packed(self.packed).meta.seq_len


@dataclass(frozen=True)
class Learnt:
    """trained: the engine's result. parameters: all of the model. tokens: seen. figures: for the run record."""

    trained: Trained
    parameters: int
    tokens: int
    figures: dict[str, Any]


def beside(job: Job) -> None:
    """A process that is not the first: the same work, in silence."""
    learn(job, Silent())


def learn(job: Job, progress: Progress) -> Learnt:
    """Train as the job says. Raises `InputError` where the tokens do not fill one sequence."""
    recipe, packed = job.recipe, Packed(job.packed)
    tokenizer = tokenizer_for(recipe, packed, job.seq_len)
    model = _model(job, tokenizer)
    sizes = sizes_of(model)
    source, held_out = (_source(recipe, packed, tokenizer, split, job.seq_len) for split in ("train", "val"))
    if not len(source):
        what = f"{packed.meta.total('train', 'tokens'):,} tokens do not fill one sequence of {job.seq_len}"
        raise InputError(what, where=str(packed.folder), remedy="lower --seq-len, or add text")
    budget = budget_of(recipe, sizes.active, len(source) * job.seq_len, job.seq_len)
    _announce(recipe, model, sizes, budget, job.seq_len, progress)
    if not len(held_out):
        asked = "; patience and keep do nothing" if recipe.patience else ""
        progress.warn(
            f"no document was kept for validation, so there is no validation loss{asked}: see --val of `ptft pack`"
        )
    settings = _settings(recipe, model, budget, job.seq_len, progress)
    watching = _watching(job, model, sizes, tokenizer, held_out, settings)
    trained = train(
        model, source, settings, objective=Objective("tokens"), collate=collate, out=job.out, progress=progress, watching=watching,
        tokenizer=tokenizer,
    )  # fmt: skip
    if trained.last_step < budget.steps:
        what = f"stopped at step {trained.last_step:,}: {recipe.patience} validations brought nothing better"
        progress.note(f"{what} than step {trained.best:,}")
    return Learnt(
        trained, sizes.parameters, trained.last_step * watching.tokens, _figures(trained, budget, settings, watching)
    )


def _figures(trained: Trained, budget: Budget, settings: Settings, watching: Watching) -> dict[str, Any]:
    """tokens_per_second: of this process's part of the run, validation and saving left out. mfu: of the measured peak."""
    speed = trained.steps * watching.tokens / max(trained.seconds, 1e-9)
    figures = {
        "passes": budget.passes * trained.last_step / budget.steps, "lr": settings.lr, "tokens_per_second": speed,
        "mfu": speed * watching.flops / watching.peak, "peak_memory_bytes": trained.peak,
    }  # fmt: skip
    return figures if trained.best is None else {**figures, "best_step": trained.best}


def tokenizer_for(recipe: PretrainRecipe, packed: Packed, seq_len: int) -> Any:
    """The tokenizer that goes with the model: of a masked one it adds [CLS] and [SEP], as the model saw them."""
    tokenizer = models.load_tokenizer(packed.tokenizer)
    tokenizer.model_max_length = seq_len
    if not recipe.is_causal:
        _wrap_in_specials(tokenizer)
    return tokenizer


def _wrap_in_specials(tokenizer: Any) -> None:
    from tokenizers.processors import TemplateProcessing

    cls, sep = tokenizer.cls_token, tokenizer.sep_token
    if cls is None or sep is None:
        return
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single=f"{cls} $A {sep}",
        pair=f"{cls} $A {sep} $B:1 {sep}:1",
        special_tokens=[(cls, tokenizer.cls_token_id), (sep, tokenizer.sep_token_id)],
    )


def _announce(
    recipe: PretrainRecipe, model: Any, sizes: Sizes, budget: Budget, seq_len: int, progress: Progress
) -> None:
    if budget.is_wasteful:
        what = f"{budget.passes:.1f} passes over the corpus; more than {PASSES_WORTH_IT} hardly help"
        progress.warn(f"{what}: add text, or lower --tokens")
    active = "" if sizes.active == sizes.parameters else f" ({sizes.active:,} active)"
    what = f"{model.config.model_type}, {sizes.parameters:,} parameters{active}"
    progress.note(f"{what}; {budget.steps:,} steps, {budget.tokens:,} tokens, {budget.passes:.2g} passes")
    if recipe.hardware.parallel == "fsdp" and world_size() == 1:
        progress.warn("hardware.parallel=fsdp does nothing in one process: name more with --nproc")
    if recipe.batch_tokens < seq_len:
        progress.warn(
            f"a step takes one sequence at least: {seq_len:,} tokens, not --batch-tokens {recipe.batch_tokens:,}"
        )


def _model(job: Job, tokenizer: Any) -> Any:
    recipe = job.recipe
    if job.base is not None:
        model = load_from(job.base, recipe)
    else:
        model = new_model(recipe, config_for(recipe, tokenizer, job.seq_len))
    if hasattr(model.config, "router_aux_loss_coef"):
        model.config.router_aux_loss_coef = recipe.architecture.balance
    if recipe.hardware.attention != "auto":
        model.set_attn_implementation(recipe.hardware.attention)
    return model


def _source(recipe: PretrainRecipe, packed: Packed, tokenizer: Any, split: str, length: int) -> Source:
    """Training or validation examples for the objective."""
    rest = split == "val"
    if recipe.is_causal:
        return CausalSequences(packed.sequences(split, length, recipe.packing, rest), recipe.isolate)
    chosen = recipe.masking
    masking = masking_of(
        tokenizer, rate=chosen.rate, whole_word=chosen.whole_word, replace=chosen.replace, random=chosen.random
    )
    if recipe.objective == "masked":
        sequences = packed.sequences(split, length - masking.wraps, recipe.packing, rest)
        return MaskedSequences(sequences, masking, recipe.seed, recipe.isolate)
    kind: Kind = "nsp" if recipe.objective == "masked+nsp" else "sop"
    return SentencePairs(packed.documents(split), masking, length, kind, recipe.seed)


def _settings(recipe: PretrainRecipe, model: Any, budget: Budget, length: int, progress: Progress) -> Settings:
    wanted = recipe.hardware
    if budget.batch % world_size():
        remedy = "take --batch-tokens so that every process has as many sequences, or another --nproc"
        raise UsageError(f"{budget.batch} sequences a step cannot be shared by {world_size()} processes", remedy=remedy)
    schedule = Schedule(
        recipe.schedule,
        budget.steps,
        round(recipe.warmup * budget.steps),
        round(recipe.decay * budget.steps),
        recipe.min_lr,
    )
    return Settings(
        steps=budget.steps, batch=budget.batch,
        micro_batch=micro_batch_of(budget.batch, wanted.micro_batch, length, world_size()),
        lr=recipe.lr or models.default_lr(model), schedule=schedule, weight_decay=recipe.weight_decay, clip=recipe.clip,
        beta2=recipe.beta2, precision=precision_of(recipe.precision, progress), save_every=recipe.save_every,
        eval_every=recipe.eval_every, seed=recipe.seed, optimizer=recipe.optimizer, checkpointing=wanted.checkpointing,
        compile=wanted.compile, chunked=wanted.loss == "chunked", liger=wanted.liger, parallel=wanted.parallel,
        uniform=math.log(model.config.get_text_config().vocab_size), keep=recipe.keep, patience=recipe.patience, spike=recipe.spike, balance=recipe.architecture.balance,
    )  # fmt: skip


def _watching(job: Job, model: Any, sizes: Sizes, tokenizer: Any, held_out: Source, settings: Settings) -> Watching:
    recipe, length = job.recipe, job.seq_len
    return Watching(
        validate=_validation(recipe, tokenizer, held_out, length) if len(held_out) else None,
        sample=sampler(tokenizer, recipe.prompts, recipe.seed, length) if recipe.is_causal else None,
        tokens=settings.batch * length,
        flops=flops_per_token(model.config, length, labelled_share(recipe), sizes),
        peak=hardware.measured_peak(settings.precision) * world_size(),
    )


def _validation(
    recipe: PretrainRecipe, tokenizer: Any, held_out: Source, length: int
) -> Callable[[Any], dict[str, float]]:
    """Validation loss; bits per byte for a causal model (a masked one guesses too few tokens for it to mean anything)."""
    sizes = models.token_bytes(tokenizer)

    def validate(model: Any) -> dict[str, float]:
        found = score_blocks(model, held_out, sizes, limit=max(1, recipe.val_tokens // length))
        figures = {"val_loss": found.loss}
        if recipe.is_causal:
            figures |= {"bits_per_byte": found.bits_per_byte, "perplexity": found.perplexity}
        if found.pairs:
            figures |= {"val_pair_loss": found.pair_nll / found.pairs}
        return figures

    return validate
