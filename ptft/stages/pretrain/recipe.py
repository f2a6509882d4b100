"""The knobs of `ptft pretrain`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ptft.core.contracts import CHECKPOINT, Argument, Stage
from ptft.core.recipes import Recipe, knob


@dataclass(frozen=True)
class Architecture:
    """Sizes that override the dial `--params`. 0: follows from it."""

    layers: int = knob(0, "transformer layers", low=0)
    width: int = knob(0, "hidden size", low=0)
    heads: int = knob(0, "attention heads", low=0)
    tie_embeddings: bool = knob(True, "one matrix for the input and output embeddings")
    dropout: float = knob(0.0, "dropout", low=0, below=1)


@dataclass(frozen=True, kw_only=True)
class PretrainRecipe(Recipe):
    tokenizer: str = knob(
        "", "a tokenizer folder (not needed where INPUT was packed)", flag="--tokenizer/-t", path="folder"
    )
    objective: Literal["causal", "masked"] = knob(
        "causal", "what is learnt: causal (GPT) or masked (BERT)", flag="--objective"
    )
    model: str = knob(
        "auto", "family: llama, gpt2 (causal), bert (masked), or a config.json; auto: llama or bert", flag="--model"
    )
    params: int = knob(10_000_000, "parameters to aim for, e.g. 25M", flag="--params", low=10_000)
    architecture: Architecture = knob(Architecture, "sizes")
    tokens: int | Literal["auto"] = knob(
        "auto", "tokens to train on, e.g. 500M; auto: 20 a parameter", flag="--tokens", low=1
    )
    seq_len: int = knob(0, "tokens in a sequence (0: as packed, or 512)", flag="--seq-len", low=0)
    batch_tokens: int = knob(16_384, "tokens an optimizer step", flag="--batch-tokens", low=1)
    micro_batch: int = knob(0, "sequences a forward pass (0: what suits the device)", low=0)
    lr: float = knob(0.0, "peak learning rate (0: follows from the width)", flag="--lr", low=0)
    schedule: Literal["cosine", "linear", "constant"] = knob("cosine", "learning rate after warmup")
    warmup: float = knob(0.05, "share of the steps that warm up", low=0, below=1)
    weight_decay: float = knob(0.1, "weight decay, not on norms and biases", low=0)
    clip: float = knob(1.0, "largest gradient norm", above=0)
    beta2: float = knob(0.95, "AdamW's second beta", above=0, below=1)
    mask_rate: float = knob(0.15, "share of tokens that a masked model must guess", above=0, below=1)
    val: float = knob(0.02, "share of documents kept for validation, where INPUT is not packed", low=0, below=1)
    val_tokens: int = knob(200_000, "most validation tokens an evaluation", low=1)
    precision: Literal["auto", "fp32", "bf16"] = knob(
        "auto", "arithmetic: auto (bf16 on a GPU, else fp32), fp32, bf16", flag="--precision"
    )
    save_every: int = knob(200, "optimizer steps between checkpoints, from which an interrupted run goes on", low=1)
    eval_every: int = knob(200, "optimizer steps between validations", low=1)
    columns: dict[str, str] = knob({}, "wanted name -> name in the file")


STAGE = Stage(
    name="pretrain",
    help="A corpus or packed tokens to a language model. It is trained from scratch, causal or masked.",
    recipe=PretrainRecipe,
    module="ptft.stages.pretrain.run",
    arguments=(Argument("data", "INPUT...", "a folder made by `ptft pack`, or a corpus", "rows"),),
    makes=CHECKPOINT,
)
