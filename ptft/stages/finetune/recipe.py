"""The knobs of `ptft finetune domain|instruction|task|merge`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ptft.core.contracts import CHECKPOINT, Argument, Stage
from ptft.core.knobs import Hardware
from ptft.core.recipes import Recipe, knob

Method = Literal["full", "lora", "qlora", "adapter", "prompt", "prefix", "p-tuning", "ia3", "partial"]

# ---------------------------------------------------------------- methods


@dataclass(frozen=True)
class Lora:
    """Low-rank adapters (Hu et al. 2021); of qlora too."""

    rank: int = knob(16, "rank", flag="--rank", low=1)
    alpha: float = knob(32.0, "scale: the update is multiplied by alpha / rank", above=0)
    dropout: float = knob(0.0, "dropout on the adapter's input", low=0, below=1)
    targets: tuple[str, ...] = knob((), "names of the linear layers that get one, e.g. q_proj,v_proj (none: all)")
    last_layers: int = knob(0, "only in the last so many transformer layers (0: in all)", low=0)
    init: Literal["default", "pissa", "gaussian", "orthogonal"] = knob(
        "default", "how they begin; pissa: from the weights' principal singular vectors"
    )
    rslora: bool = knob(False, "multiply by alpha / sqrt(rank) instead (Kalajdzievski 2023)")
    dora: bool = knob(False, "learn each column's magnitude apart from its direction (Liu et al. 2024)")


@dataclass(frozen=True)
class Quantised:
    """How qlora holds the frozen base (Dettmers et al. 2023)."""

    type: Literal["nf4", "fp4"] = knob("nf4", "4-bit type")
    double: bool = knob(True, "quantise the scales too")


@dataclass(frozen=True)
class Bottleneck:
    """Adapters between layers: down, a nonlinearity, up, added to what came in."""

    size: int = knob(0, "width of the bottleneck (0: a sixteenth of the model's)", low=0)
    placement: Literal["pfeiffer", "houlsby"] = knob(
        "pfeiffer", "pfeiffer: after each feed-forward layer (2021); houlsby: after attention too (2019)"
    )
    activation: Literal["relu", "gelu", "silu"] = knob("relu", "the nonlinearity")


@dataclass(frozen=True)
class Prompt:
    """Virtual tokens before the text (prompt, prefix, p-tuning)."""

    tokens: int = knob(20, "how many", low=1)
    init: str = knob("", "text whose embeddings prompt tuning begins from (none: random words of the vocabulary)")
    hidden: int = knob(0, "width of the encoder that p-tuning makes them with (0: the model's)", low=0)


@dataclass(frozen=True)
class Partial:
    """Which of the base's own weights learn (partial); a task's new head always does."""

    train: Literal["layers", "norms", "head"] = knob(
        "layers",
        "layers: the last ones and the final norm; norms: norms and biases; head: only the output layer or new head",
    )
    last_layers: int = knob(2, "how many of the last transformer layers", low=1)


# ---------------------------------------------------------------- what the purposes share


@dataclass(frozen=True, kw_only=True)
class FinetuneRecipe(Recipe):
    method: Method = knob(
        "full",
        "what is trained: full (every weight), lora, qlora, adapter, prompt, prefix, p-tuning, ia3, partial",
        flag="--method",
    )
    lora: Lora = knob(Lora, "low-rank adapters (lora, qlora)")
    quantised: Quantised = knob(Quantised, "the base in 4 bits (qlora)")
    adapter: Bottleneck = knob(Bottleneck, "bottleneck adapters (adapter)")
    prompt: Prompt = knob(Prompt, "virtual tokens (prompt, prefix, p-tuning)")
    partial: Partial = knob(Partial, "a part of the weights (partial)")
    epochs: float = knob(3.0, "passes over the data", flag="--epochs", above=0)
    lr: float = knob(0.0, "peak learning rate (0: follows from method and width)", flag="--lr", low=0)
    batch_size: int = knob(16, "rows an optimizer step", flag="--batch-size", low=1)
    schedule: Literal["cosine", "linear", "constant"] = knob("cosine", "learning rate after warmup")
    warmup: float = knob(0.1, "share of the steps that warm up", low=0, below=1)
    weight_decay: float = knob(0.01, "weight decay, not on norms and biases", low=0)
    clip: float = knob(1.0, "largest gradient norm", above=0)
    max_seq_len: int = knob(0, "tokens a row at most (0: what the base was made for)", flag="--seq-len", low=0)
    precision: Literal["auto", "fp32", "bf16", "fp16"] = knob(
        "auto", "arithmetic: auto (bf16 on a GPU, else fp32), fp32, bf16, fp16", flag="--precision"
    )
    nproc: int = knob(1, "processes to train with, one a GPU", flag="--nproc", low=1, identity=False)
    hardware: Hardware = knob(Hardware, "speed and memory")
    save_every: int = knob(200, "optimizer steps between checkpoints, from which an interrupted run goes on", low=1)
    eval_data: str = knob("", "rows to measure on, not to learn from", flag="--eval-data", path="rows")
    eval_every: int = knob(0, "optimizer steps between validations (0: once an epoch)", low=0)
    keep: Literal["best", "last"] = knob("best", "which weights are the result: of the best validation, or the last")
    patience: int = knob(0, "stop after this many validations without a better one (0: never)", low=0)
    columns: dict[str, str] = knob({}, "wanted name -> name in the file")

    def problems(self) -> list[str]:
        """Groups of knobs that were turned and would do nothing."""
        groups = {
            "lora": (self.lora, Lora(), ("lora", "qlora")), "quantised": (self.quantised, Quantised(), ("qlora",)),
            "adapter": (self.adapter, Bottleneck(), ("adapter",)),
            "prompt": (self.prompt, Prompt(), ("prompt", "prefix", "p-tuning")),
            "partial": (self.partial, Partial(), ("partial",)),
        }  # fmt: skip
        odd = self.lora.init == "orthogonal" and self.lora.rank % 2
        return ["lora.rank: orthogonal first weights need an even one"] * odd + [
            f"{name}: does nothing with --method {self.method}; it belongs to {', '.join(methods)}"
            for name, (given, usual, methods) in groups.items()
            if given != usual and self.method not in methods
        ]


# ---------------------------------------------------------------- the purposes


@dataclass(frozen=True, kw_only=True)
class DomainRecipe(FinetuneRecipe):
    epochs: float = knob(1.0, "passes over the data", flag="--epochs", above=0)
    val: float = knob(
        0.05, "share of documents to measure on, of the domain's where no --eval-data is given", low=0, below=1
    )
    general: str = knob(
        "", "general text: mixed in against forgetting, and measured on before and after", flag="--general", path="rows"
    )
    general_share: float = knob(0.1, "share of the training sequences that are general text", low=0, below=1)
    new_tokens: int = knob(0, "tokens of the domain to add to the vocabulary", flag="--new-tokens", low=0)
    mask_rate: float = knob(0.15, "share of tokens that a masked model must guess", above=0, below=1)
    packing: Literal["concat", "best-fit"] = knob(
        "concat", "concat: one stream cut anywhere; best-fit: documents kept whole where they fit"
    )
    isolate: bool = knob(False, "a token attends to its own document only")

    def problems(self) -> list[str]:
        share_alone = not self.general and self.general_share != DomainRecipe.general_share
        return [*super().problems(), *(["general_share: does nothing without --general"] if share_alone else [])]


@dataclass(frozen=True, kw_only=True)
class InstructionRecipe(FinetuneRecipe):
    template: str = knob(
        "", "chat template: chatml, llama3, zephyr, plain or a file (none: the tokenizer's own)", flag="--template",
        path="file",
    )  # fmt: skip
    packing: bool = knob(False, "several conversations a sequence, none of which sees another", flag="--packing")
    truncate: Literal["end", "start", "drop"] = knob(
        "end", "of a conversation that is too long: cut its end, its start, or leave it out"
    )
    val: float = knob(0.0, "share of the rows to measure on, where no --eval-data is given", low=0, below=1)


@dataclass(frozen=True, kw_only=True)
class TaskRecipe(FinetuneRecipe):
    epochs: float = knob(10.0, "passes over the data", flag="--epochs", above=0)
    task: Literal["auto", "classification", "multi-label", "regression", "tags", "span", "text-to-text"] = knob(
        "auto", "what is learnt (auto: follows from the rows)", flag="--task"
    )
    pooling: Literal["auto", "mean", "last"] = knob(
        "auto",
        "how a text becomes one vector: mean over tokens, or (causal bases) the last token; auto: mean for causal bases and encoders of sentences, else the family's own",
        flag="--pooling",
    )
    class_weights: Literal["none", "balanced"] = knob(
        "none", "balanced: rare labels weigh more, each label the same in all"
    )
    per_label: int = knob(
        0, "learn from this many rows of each label, drawn with the seed (0: all)", flag="--per-label", low=0
    )
    init: Literal["base", "scratch"] = knob(
        "base", "start from the base's weights, or from none: the baseline pretraining is judged against"
    )
    val: float | Literal["auto"] = knob(
        "auto", "share of the rows to measure on, where no --eval-data is given; auto: a tenth, of 200 rows or more", low=0,
        below=1,
    )  # fmt: skip
    metric: str = knob(
        "auto", "the figure that tells the best weights (auto: what is usual for the task)", flag="--metric"
    )
    stride: int = knob(128, "tokens that neighbouring windows of a long context share (span)", low=0)
    prefix: str = knob("", "text before each source (text-to-text), e.g. 'Translate to Chinese: '", flag="--prefix")
    max_target_len: int = knob(0, "tokens a target at most (text-to-text; 0: half of the sequence)", low=0)


@dataclass(frozen=True, kw_only=True)
class MergeRecipe(Recipe):
    precision: Literal["fp32", "bf16", "fp16"] = knob(
        "fp32", "how the result is stored; it is merged in fp32 always", flag="--precision"
    )


_BASE = Argument("model", "BASE", "a checkpoint folder to start from", "folder")
_TEXT = Argument("data", "DATA...", "unlabelled text: files, folders, globs, '-' or hf:NAME", "rows")
_EXAMPLES = Argument("data", "DATA...", "examples: files, folders, globs, '-' or hf:NAME", "rows")

DOMAIN = Stage(
    name="finetune domain",
    help="Go on pretraining a checkpoint on the text of a domain.",
    recipe=DomainRecipe,
    module="ptft.stages.finetune.domain.run",
    arguments=(_BASE, _TEXT),
    makes=CHECKPOINT,
)
INSTRUCTION = Stage(
    name="finetune instruction",
    help="Teach a causal checkpoint to answer. The loss is on the responses only.",
    recipe=InstructionRecipe,
    module="ptft.stages.finetune.instruction.run",
    arguments=(_BASE, _EXAMPLES),
    makes=CHECKPOINT,
)
TASK = Stage(
    name="finetune task",
    help="A checkpoint to a model for one task. Labels, numbers, tags, answers in a text, or text to text.",
    recipe=TaskRecipe,
    module="ptft.stages.finetune.task.run",
    arguments=(_BASE, _EXAMPLES),
    makes=CHECKPOINT,
)
MERGE = Stage(
    name="finetune merge",
    help="Fold an adapter into its base. The result is a whole checkpoint.",
    recipe=MergeRecipe,
    module="ptft.stages.finetune.merge",
    arguments=(Argument("model", "ADAPTER", "an adapter folder made by `ptft finetune`", "folder"),),
    makes=CHECKPOINT,
)
