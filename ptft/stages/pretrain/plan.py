"""`ptft pretrain --dry-run`: sizes, tokens, FLOPs, memory by part, and the time here and on named GPUs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ptft.core import hardware, models
from ptft.core.contracts import Inputs, Plan
from ptft.core.errors import UsageError
from ptft.core.progress import Progress, table_of
from ptft.core.sample import estimate_text
from ptft.core.tokens import Packed
from ptft.core.training import micro_batch_of, precision_of
from ptft.core.training.cost import Load, Memory, Sizes, flops_per_token, memory_of, sizes_of
from ptft.core.training.refusals import refuse_undoable
from ptft.stages.pretrain.architectures import config_for, config_from, new_model, refuse_other_tokenizer
from ptft.stages.pretrain.budget import PASSES_WORTH_IT, Budget, budget_of, labelled_share
from ptft.stages.pretrain.measured import seconds_to_train
from ptft.stages.pretrain.recipe import PretrainRecipe

UTILISATION = 0.4  # of the peak, where no step was timed (llm-foundry: 0.42 to 0.45 on A100 and H100)
USABLE = 0.92  # of a GPU's memory; the rest goes to CUDA's context and to fragments
GPU_FILLING = 100_000_000  # parameters; below, a GPU waits for the next kernel much of the time
GPU_TOKENS = 16_384  # a forward pass, as `micro_batch_of` takes on a GPU
GIB = 2**30


@dataclass(frozen=True)
class _Work:
    """What is to be done. flops: of the whole run. corpus: tokens. is_estimate: the corpus was not packed yet."""

    config: Any
    sizes: Sizes
    lr: float
    budget: Budget
    seq_len: int
    corpus: int
    is_estimate: bool
    flops: float


def plan(recipe: PretrainRecipe, inputs: Inputs, progress: Progress) -> Plan:
    refuse_undoable(recipe.precision, recipe.hardware)
    work = _work(recipe, inputs)
    load = load_of(recipe, work.budget, work.seq_len, progress)
    memory = memory_of(work.config, work.sizes, load)
    if work.budget.is_wasteful:
        what = f"{work.budget.passes:.1f} passes over the corpus; more than {PASSES_WORTH_IT} hardly help"
        progress.warn(f"{what}: add text, or lower --tokens")
    available = hardware.memory_available()
    if memory.total * (load.nproc if load.device == "cpu" else 1) > available:
        progress.warn(
            f"{hardware.shown_bytes(memory.total)} are needed and {hardware.shown_bytes(available)} are free: the run will not fit"
        )
    lines = (*_model_lines(work), *_token_lines(work), *_memory_lines(memory, load), *_time_lines(recipe, work, load))
    rows = [_gpu_row(gpu, recipe, work, load) for gpu in hardware.GPUS]
    title = f"at {UTILISATION:.0%} of the peak of {load.nproc} such GPU{'s' if load.nproc > 1 else ''}"
    if work.sizes.parameters < GPU_FILLING:
        title += "; a model this small reaches less"
    columns = ("GPU", "memory", "precision", "sequences a pass", "needed", "time")
    return Plan(lines, (table_of(title, columns, rows),))


# ---------------------------------------------------------------- what is to be done


def _work(recipe: PretrainRecipe, inputs: Inputs) -> _Work:
    import torch

    packed = next((Packed(source.path) for source in inputs.data if source.form == "tokens"), None)
    base = inputs.folders.get("from_checkpoint")
    tokenizer = models.load_tokenizer(_tokenizer_folder(packed, inputs))
    seq_len = recipe.seq_len or (packed.meta.seq_len if packed else models.DEFAULT_SEQ_LEN)
    with torch.device("meta"):
        config = config_from(base, recipe) if base else config_for(recipe, tokenizer, seq_len)
        model = new_model(recipe, config)
    sizes, lr = sizes_of(model), recipe.lr or models.default_lr(model)
    corpus = packed.meta.total("train", "tokens") if packed else _estimated_tokens(recipe, inputs, tokenizer)
    budget = budget_of(recipe, sizes.active, corpus, seq_len)
    flops = flops_per_token(config, seq_len, labelled_share(recipe), sizes) * budget.tokens
    return _Work(config, sizes, lr, budget, seq_len, corpus, packed is None, flops)


def _tokenizer_folder(packed: Packed | None, inputs: Inputs) -> Path:
    """The packed input's own, which must be that of -t and of the checkpoint, where they are named."""
    named = [inputs.folders[name] for name in ("tokenizer", "from_checkpoint") if name in inputs.folders]
    if packed is None and not named:
        raise UsageError("a corpus needs a tokenizer", remedy="name one with -t, or pack first and name that folder")
    first, *others = [packed.tokenizer, *named] if packed else named
    for folder in others:
        refuse_other_tokenizer(first, folder)
    return first


def _estimated_tokens(recipe: PretrainRecipe, inputs: Inputs, tokenizer: Any) -> int:
    """Tokens to train on, from a look at the beginning of each file; a document ends in one more, and some are kept back."""
    guess = estimate_text(inputs.data, recipe.columns)
    counted = guess.tokens(lambda texts: sum(map(len, tokenizer(texts, add_special_tokens=False)["input_ids"])))
    return round((counted + guess.rows) * (1 - recipe.val))


def load_of(recipe: PretrainRecipe, budget: Budget, seq_len: int, progress: Progress) -> Load:
    """How one process of the run trains on this device."""
    import torch

    wanted = recipe.hardware
    return Load(
        micro_batch_of(budget.batch, wanted.micro_batch, seq_len, recipe.nproc), seq_len, precision_of(recipe.precision, progress),
        recipe.optimizer, wanted.checkpointing, wanted.loss == "chunked", labelled_share(recipe), recipe.nproc, wanted.parallel,
        "cuda" if torch.cuda.is_available() else "cpu",
    )  # fmt: skip


# ---------------------------------------------------------------- lines


def _model_lines(work: _Work) -> tuple[tuple[str, object], ...]:
    text = work.config.get_text_config()
    layers, heads = _counted(text.num_hidden_layers, "layer"), _counted(text.num_attention_heads, "head")
    size = f"{text.model_type}, {layers}, {text.hidden_size} wide, {heads}"
    lines: list[tuple[str, object]] = [("model", size), ("parameters", work.sizes.parameters)]
    if work.sizes.active < work.sizes.parameters:
        lines.append(("active parameters", work.sizes.active))
    return (*lines, ("learning rate", work.lr))


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _token_lines(work: _Work) -> tuple[tuple[str, object], ...]:
    budget = work.budget
    return (
        ("corpus tokens", work.corpus),
        ("corpus tokens are", "estimated from a sample" if work.is_estimate else "as packed"),
        ("tokens to train on", budget.tokens),
        ("passes over the corpus", round(budget.passes, 2)),
        ("steps", budget.steps),
        ("tokens a step", budget.batch * work.seq_len),
        ("FLOPs", f"{work.flops:.2e}"),
    )


def _memory_lines(memory: Memory, load: Load) -> tuple[tuple[str, object], ...]:
    each = " in each process" if load.nproc > 1 else ""
    return (
        ("sequences a pass", load.micro_batch),
        (f"memory{each} ({load.precision})", hardware.shown_bytes(memory.total)),
        ("  weights", hardware.shown_bytes(memory.weights)),
        ("  gradients", hardware.shown_bytes(memory.gradients)),
        (f"  optimizer ({load.optimizer})", hardware.shown_bytes(memory.optimizer)),
        ("  activations", hardware.shown_bytes(memory.activations)),
        (f"  logits ({'chunked' if load.chunked else 'plain'})", hardware.shown_bytes(memory.logits)),
    )


def _time_lines(recipe: PretrainRecipe, work: _Work, load: Load) -> tuple[tuple[str, object], ...]:
    peak = hardware.measured_peak(load.precision)
    seconds = seconds_to_train(recipe, work.config, work.sizes, work.budget, load, work.flops / peak / UTILISATION)
    how = "from timed steps" if seconds else f"at {UTILISATION:.0%} of its measured peak"
    seconds = seconds or work.flops / (peak * UTILISATION * load.nproc)
    return (
        ("this device", hardware.device_name()),
        ("its measured peak", f"{peak / 1e12:.3g} TFLOP/s in {load.precision}"),
        ("checkpoint on disk", hardware.shown_bytes(4 * work.sizes.parameters)),
        ("time on this device", f"{hardware.shown_seconds(seconds)}, {how}"),
    )


# ---------------------------------------------------------------- named GPUs


def _gpu_row(gpu: hardware.Gpu, recipe: PretrainRecipe, work: _Work, load: Load) -> tuple[object, ...]:
    precision = recipe.precision if recipe.precision != "auto" else "bf16" if gpu.bf16 else "fp16"
    shown = f"{gpu.memory} GiB"
    if not gpu.flops(precision):
        return (gpu.name, shown, f"no {precision}", "-", "-", "-")
    share = max(1, work.budget.batch // load.nproc)
    most = recipe.hardware.micro_batch or max(1, GPU_TOKENS // work.seq_len)
    loads = [
        replace(load, micro_batch=size, precision=precision, device="cuda")
        for size in range(min(most, share), 0, -1)
        if share % size == 0
    ]
    fits = next((tried for tried in loads if _needed(work, tried) <= USABLE * gpu.memory * GIB), None)
    if fits is None:
        return (gpu.name, shown, precision, "does not fit", hardware.shown_bytes(_needed(work, loads[-1])), "-")
    seconds = work.flops / (gpu.flops(precision) * UTILISATION * load.nproc)
    return (
        gpu.name,
        shown,
        precision,
        fits.micro_batch,
        hardware.shown_bytes(_needed(work, fits)),
        hardware.shown_seconds(seconds),
    )


def _needed(work: _Work, load: Load) -> int:
    return memory_of(work.config, work.sizes, load).total
