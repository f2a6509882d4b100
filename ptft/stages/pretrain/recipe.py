"""The knobs of `ptft pretrain`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from ptft.core.contracts import CHECKPOINT, Argument, Stage
from ptft.core.knobs import Hardware
from ptft.core.recipes import Recipe, knob

CAUSAL, MASKED = "causal", "masked"
PARAMS = 10_000_000
SHORTEST = 8  # tokens in a sequence


@dataclass(frozen=True)
class Architecture:
    """Sizes that override the dial `--params`. 0: follows from it."""

    layers: int = knob(0, "transformer layers", low=0)
    width: int = knob(0, "hidden size", low=0)
    heads: int = knob(0, "attention heads", low=0)
    kv_heads: int = knob(0, "key and value heads (0: as many as heads)", low=0)
    tie_embeddings: bool = knob(True, "one matrix for the input and output embeddings")
    dropout: float = knob(0.0, "dropout", low=0, below=1)
    experts: int = knob(8, "experts a layer (mixtral, qwen3-moe)", low=2)
    experts_per_token: int = knob(2, "experts that each token goes through", low=1)
    balance: float = knob(0.003, "weight of the loss that spreads a sequence's tokens evenly over the experts", low=0)


@dataclass(frozen=True)
class Masking:
    """How a masked model's tokens are hidden (Devlin et al. 2019)."""

    rate: float = knob(0.15, "share of tokens that must be guessed; 0.15 to 0.4 is usual", above=0, below=1)
    whole_word: bool = knob(False, "hide all pieces of a word or none")
    replace: float = knob(0.8, "of the hidden tokens, the share that becomes [MASK]", low=0, high=1)
    random: float = knob(0.1, "of the hidden tokens, the share that becomes any token; the rest stays", low=0, high=1)


@dataclass(frozen=True, kw_only=True)
class PretrainRecipe(Recipe):
    tokenizer: str = knob(
        "", "a tokenizer folder (not needed where INPUT was packed)", flag="--tokenizer/-t", path="folder"
    )
    objective: Literal["causal", "masked", "masked+nsp", "masked+sop"] = knob(
        "causal",
        "what is learnt: causal (GPT), masked (BERT), and with it whether one passage follows the other (nsp), or their order (sop)",
        flag="--objective",
    )
    model: str = knob(
        "auto",
        "family (llama, gpt2, qwen3, mixtral, qwen3-moe; bert, modernbert), preset (gpt2-124m, llama-1b, ...) or config.json",
        flag="--model",
        path="file",
    )
    params: int = knob(PARAMS, "parameters to aim for, e.g. 25M", flag="--params", low=10_000)
    from_checkpoint: str = knob("", "a checkpoint to go on from, with its sizes", flag="--from", path="folder")
    architecture: Architecture = knob(Architecture, "sizes")
    tokens: int | Literal["auto"] = knob(
        "auto", "tokens to train on, e.g. 500M; auto: 20 a parameter", flag="--tokens", low=1
    )
    seq_len: int = knob(0, "tokens in a sequence (0: as packed, or 512)", flag="--seq-len", low=0)
    packing: Literal["auto", "concat", "best-fit"] = knob(
        "auto", "concat: one stream cut anywhere; best-fit: documents kept whole where they fit; auto: as packed"
    )
    isolate: bool = knob(False, "a token attends to its own document only")
    batch_tokens: int = knob(16_384, "tokens an optimizer step", flag="--batch-tokens", low=1)
    optimizer: Literal["adamw", "muon"] = knob("adamw", "muon: for the matrices inside layers, AdamW for the rest")
    lr: float = knob(0.0, "peak learning rate (0: follows from the width)", flag="--lr", low=0)
    schedule: Literal["cosine", "linear", "wsd", "constant"] = knob(
        "cosine", "learning rate after warmup; wsd: constant, then down at the end"
    )
    warmup: float = knob(0.05, "share of the steps that warm up", low=0, below=1)
    decay: float = knob(0.2, "share of the steps that decay at the end (wsd)", above=0, high=1)
    min_lr: float = knob(0.0, "where the decay ends, as a share of the peak", low=0, below=1)
    weight_decay: float = knob(0.1, "weight decay, not on norms and biases", low=0)
    clip: float = knob(1.0, "largest gradient norm", above=0)
    beta2: float = knob(0.95, "AdamW's second beta", above=0, below=1)
    masking: Masking = knob(Masking, "what a masked model must guess")
    val: float = knob(0.02, "share of documents kept for validation, where INPUT is not packed", low=0, below=1)
    val_tokens: int = knob(200_000, "most validation tokens an evaluation", low=1)
    precision: Literal["auto", "fp32", "bf16", "fp16", "fp8"] = knob(
        "auto", "arithmetic: auto (bf16 on a GPU, else fp32), fp32, bf16, fp16, fp8", flag="--precision"
    )
    nproc: int = knob(1, "processes to train with, one a GPU", flag="--nproc", low=1, identity=False)
    hardware: Hardware = knob(Hardware, "speed and memory")
    save_every: int = knob(200, "optimizer steps between checkpoints, from which an interrupted run goes on", low=1)
    eval_every: int = knob(200, "optimizer steps between validations", low=1)
    keep: Literal["best", "last"] = knob("best", "which weights are the result: of the best validation, or the last")
    patience: int = knob(0, "stop after this many validations without a better one (0: never)", low=0)
    spike: float = knob(1.0, "stop where the mean loss of 20 steps is this many nats above its best (0: never)", low=0)
    prompts: tuple[str, ...] = knob((), "texts that a causal model continues at each validation (none: from nothing)")
    columns: dict[str, str] = knob({}, "wanted name -> name in the file")

    @property
    def is_causal(self) -> bool:
        return self.objective == CAUSAL

    def problems(self) -> list[str]:
        found = []
        if 0 < self.seq_len < SHORTEST:
            found.append(f"seq_len: at least {SHORTEST} tokens, or 0 for as packed")
        if self.masking.replace + self.masking.random > 1:
            found.append("masking: replace and random are shares of the hidden tokens and exceed 1 together")
        if self.architecture.experts_per_token > self.architecture.experts:
            found.append("architecture: experts_per_token exceeds experts")
        if self.from_checkpoint and self.model != "auto":
            found.append("model: a checkpoint brings its own; leave out --model or --from")
        if self.from_checkpoint and replace(self.architecture, balance=0.0) != replace(Architecture(), balance=0.0):
            found.append("architecture: a checkpoint brings its own sizes; leave them out, or --from")
        if self.from_checkpoint and self.params != PARAMS:
            found.append("params: a checkpoint brings its own sizes; leave out --params")
        return found + self._idle()

    def _idle(self) -> list[str]:
        """Knobs that were turned and would do nothing."""
        found = []
        if self.is_causal and self.masking != Masking():
            found.append("masking: a causal model hides nothing; leave it out, or take --objective masked")
        if not self.is_causal and self.prompts:
            found.append("prompts: a masked model continues no text; leave them out")
        if "+" in self.objective and (self.isolate or self.packing != "auto"):
            found.append(f"isolate, packing: {self.objective} makes its own sequences of two passages; leave them out")
        return found


STAGE = Stage(
    name="pretrain",
    help="A corpus or packed tokens to a language model. It is trained from scratch or from a checkpoint, causal or masked.",
    recipe=PretrainRecipe,
    module="ptft.stages.pretrain.run",
    arguments=(Argument("data", "INPUT...", "a folder made by `ptft pack`, or a corpus", "rows"),),
    makes=CHECKPOINT,
)
