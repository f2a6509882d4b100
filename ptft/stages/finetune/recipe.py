"""The knobs of `ptft finetune domain|instruction|task`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ptft.core.contracts import CHECKPOINT, Argument, Stage
from ptft.core.recipes import Recipe, knob


@dataclass(frozen=True)
class Lora:
    """Low-rank adapters (Hu et al. 2021), on every linear layer."""

    rank: int = knob(16, "rank", flag="--rank", low=1)
    alpha: float = knob(32.0, "scale: the update is multiplied by alpha / rank", above=0)
    dropout: float = knob(0.0, "dropout on the adapter's input", low=0, below=1)


@dataclass(frozen=True, kw_only=True)
class FinetuneRecipe(Recipe):
    """What the three purposes share."""

    method: Literal["full", "lora"] = knob("full", "what is trained: full (every weight) or lora", flag="--method")
    lora: Lora = knob(Lora, "low-rank adapters")
    epochs: float = knob(3.0, "passes over the data", flag="--epochs", above=0)
    lr: float = knob(0.0, "peak learning rate (0: follows from method and width)", flag="--lr", low=0)
    batch_size: int = knob(16, "rows an optimizer step", flag="--batch-size", low=1)
    micro_batch: int = knob(0, "rows a forward pass (0: what suits the device)", low=0)
    schedule: Literal["cosine", "linear", "constant"] = knob("cosine", "learning rate after warmup")
    warmup: float = knob(0.1, "share of the steps that warm up", low=0, below=1)
    weight_decay: float = knob(0.01, "weight decay, not on norms and biases", low=0)
    clip: float = knob(1.0, "largest gradient norm", above=0)
    max_seq_len: int = knob(0, "cut rows to this many tokens (0: what the base was made for)", flag="--seq-len", low=0)
    precision: Literal["auto", "fp32", "bf16"] = knob(
        "auto", "arithmetic: auto (bf16 on a GPU, else fp32), fp32, bf16", flag="--precision"
    )
    save_every: int = knob(200, "optimizer steps between checkpoints, from which an interrupted run goes on", low=1)
    eval_data: str = knob("", "rows to measure on, not to learn from", flag="--eval-data", path="rows")
    columns: dict[str, str] = knob({}, "wanted name -> name in the file")


@dataclass(frozen=True, kw_only=True)
class DomainRecipe(FinetuneRecipe):
    epochs: float = knob(1.0, "passes over the data", flag="--epochs", above=0)
    val: float = knob(0.05, "share of documents to measure on, where no --eval-data is given", low=0, below=1)
    mask_rate: float = knob(0.15, "share of tokens that a masked model must guess", above=0, below=1)


@dataclass(frozen=True, kw_only=True)
class InstructionRecipe(FinetuneRecipe):
    pass


@dataclass(frozen=True, kw_only=True)
class TaskRecipe(FinetuneRecipe):
    epochs: float = knob(10.0, "passes over the data", flag="--epochs", above=0)
    pooling: Literal["mean", "last"] = knob(
        "mean", "how a causal base becomes one vector: mean over tokens, or last token", flag="--pooling"
    )
    per_label: int = knob(
        0, "learn from this many rows of each label, drawn with the seed (0: all)", flag="--per-label", low=0
    )
    init: Literal["base", "scratch"] = knob(
        "base", "start from the base's weights, or from none: the baseline pretraining is judged against"
    )


_BASE = Argument("model", "BASE", "a checkpoint folder to start from", "folder")
_TEXT = Argument("data", "DATA...", "unlabelled text: files, folders, globs, '-' or hf:NAME", "rows")
_EXAMPLES = Argument("data", "DATA...", "examples: files, folders, globs, '-' or hf:NAME", "rows")

DOMAIN = Stage(
    name="finetune domain",
    help="Go on pretraining a checkpoint on the text of a domain.",
    recipe=DomainRecipe,
    module="ptft.stages.finetune.domain",
    arguments=(_BASE, _TEXT),
    makes=CHECKPOINT,
)
INSTRUCTION = Stage(
    name="finetune instruction",
    help="Teach a causal checkpoint to answer. The loss is on the responses only.",
    recipe=InstructionRecipe,
    module="ptft.stages.finetune.instruction",
    arguments=(_BASE, _EXAMPLES),
    makes=CHECKPOINT,
)
TASK = Stage(
    name="finetune task",
    help="A classification head on a checkpoint. It is trained on labelled rows.",
    recipe=TaskRecipe,
    module="ptft.stages.finetune.task",
    arguments=(_BASE, _EXAMPLES),
    makes=CHECKPOINT,
)
