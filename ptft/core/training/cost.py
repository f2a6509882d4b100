"""What training costs: FLOPs a token, and memory by part.

FLOPs follow PaLM (Chowdhery et al. 2022, appendix B): 6 for every weight that a token is multiplied with (2 forward, 4
backward), and 12 * heads * head width * positions attended to, a layer. Counted are the matrices inside layers and the output
layer, tied or not; not counted are the embedding look-up, norms and softmax. As in PaLM, causal attention counts every
position; of a mixture, only the experts that a token goes through. Recomputation (checkpointing) is work but no progress and is
not counted: these are model FLOPs.

Activations are what autograd keeps for the backward pass of transformers' own modules with fused attention, in bytes a token and
layer, as counted from its saved tensors (the test counts them again). Dropout, which would add masks, is left out.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any, Literal

from ptft.core.models import MASKED_FAMILIES
from ptft.core.training.cross_entropy import CPU_LOGITS, FEWEST_ROWS, GPU_LOGITS

CHUNK = {"cpu": CPU_LOGITS, "cuda": GPU_LOGITS}  # logits at once


# ---------------------------------------------------------------- sizes


@dataclass(frozen=True)
class Sizes:
    """Parameters by use. active: those that one token goes through. multiplied: of them, those in layers' matrix products.

    output: of the output layer, tied or not. matrices: all in layers' matrix products, of every expert. hidden: the
    two-dimensional ones among them, which Muon takes.
    """

    parameters: int
    active: int
    multiplied: int
    output: int
    matrices: int
    hidden: int


def sizes_of(model: Any) -> Sizes:
    """Count a model's parameters; it may lie on the meta device. Tied weights count once, as the output layer's."""
    import torch

    from ptft.core.training.optimizers import is_hidden_matrix

    share = _used_share(model.config)
    everything = {id(p): p for p in model.parameters()}
    tables = {id(p) for m in model.modules() if isinstance(m, torch.nn.Embedding) for p in m.parameters()}
    head = model.get_output_embeddings()
    output = everything.get(id(head.weight)) if head is not None else None
    inside = [p for key, p in everything.items() if p.dim() >= 2 and key not in tables and p is not output]
    experts = sum(p.numel() for p in inside if p.dim() == 3)
    total, matrices = sum(p.numel() for p in everything.values()), sum(p.numel() for p in inside)
    last = output.numel() if output is not None else 0
    idle = round(experts * (1 - share))
    hidden = sum(p.numel() for name, p in model.named_parameters() if is_hidden_matrix(name, p))
    return Sizes(total, total - idle, matrices - idle, last, matrices, hidden)


def _used_share(config: Any) -> float:
    """Of a mixture's experts, the share that a token goes through."""
    text = config.get_text_config()
    experts = getattr(text, "num_local_experts", 0) or getattr(text, "num_experts", 0) or 0
    return float(text.num_experts_per_tok / experts) if experts else 1.0


def sizes_from(config: Any) -> Sizes:
    """The sizes of the language model that a configuration describes, without storage for it."""
    import torch
    import transformers

    masked = config.model_type in MASKED_FAMILIES
    auto = transformers.AutoModelForMaskedLM if masked else transformers.AutoModelForCausalLM
    with torch.device("meta"):
        return sizes_of(auto.from_config(copy.deepcopy(config)))


# ---------------------------------------------------------------- FLOPs


def flops_per_token(config: Any, seq_len: int, labelled: float = 1.0, sizes: Sizes | None = None) -> float:
    """Model FLOPs to train on one token of a sequence of `seq_len`, forward and backward.

    labelled: the share of tokens that the output layer sees; of a masked model only those to be guessed need it.
    """
    sizes = sizes or sizes_from(config)
    return 6.0 * (sizes.multiplied + labelled * sizes.output) + 12.0 * _attention_width(config) * sum(
        _spans(config, seq_len)
    )


def _attention_width(config: Any) -> int:
    """Heads times head width."""
    text = config.get_text_config()
    heads = int(text.num_attention_heads)
    return heads * int(getattr(text, "head_dim", None) or text.hidden_size // heads)


def _spans(config: Any, seq_len: int) -> list[int]:
    """Positions attended to, layer by layer: a sliding window looks no further than it is wide."""
    text = config.get_text_config()
    kinds = getattr(text, "layer_types", None) or ["full_attention"] * int(text.num_hidden_layers)
    window = getattr(text, "local_attention", None) or getattr(text, "sliding_window", None) or seq_len
    return [min(seq_len, window) if kind == "sliding_attention" else seq_len for kind in kinds]


# ---------------------------------------------------------------- memory


@dataclass(frozen=True)
class Load:
    """How one process trains. micro_batch: sequences a forward pass. nproc: processes over which `fsdp` shards."""

    micro_batch: int
    seq_len: int
    precision: Literal["fp32", "bf16", "fp16", "fp8"] = "fp32"
    optimizer: Literal["adamw", "muon"] = "adamw"
    checkpointing: bool = False
    chunked: bool = True
    labelled: float = 1.0  # share of tokens that are predicted
    nproc: int = 1
    parallel: Literal["ddp", "fsdp"] = "ddp"
    device: Literal["cpu", "cuda"] = "cpu"

    @property
    def tokens(self) -> int:
        return self.micro_batch * self.seq_len

    @property
    def low(self) -> bool:
        """Whether products are in 16 bits. fp8 keeps what bf16 keeps: only the products' operands are cast."""
        return self.precision != "fp32"


@dataclass(frozen=True)
class Frozen:
    """Bytes that a weight takes which does not learn: of the matrices inside layers, and of all others."""

    layers: float = 4.0
    others: float = 4.0


@dataclass(frozen=True)
class Memory:
    """Bytes in one process, by part, at the end of a forward pass, when they are most."""

    weights: int
    gradients: int
    optimizer: int
    activations: int
    logits: int

    @property
    def total(self) -> int:
        return self.weights + self.gradients + self.optimizer + self.activations + self.logits


def memory_of(
    config: Any, sizes: Sizes, load: Load, trainable: int | None = None, frozen: Frozen | None = None
) -> Memory:
    """Memory to train `config`'s model. trainable: parameters that learn (None: all). frozen: how the others are held.

    Weights, gradients and AdamW's two moments are fp32; Muon keeps one moment for a hidden matrix. Under 16 bits autocast also
    holds a 16-bit copy of every matrix. DDP adds its buckets, as large as the gradients.
    """
    learnt = sizes.parameters if trainable is None else trainable
    frozen = frozen or Frozen()
    rest = max(0, sizes.parameters - learnt)
    layers = min(rest, sizes.matrices)
    held = 4 * learnt + round(frozen.layers * layers + frozen.others * (rest - layers))
    share = load.nproc if load.parallel == "fsdp" else 1
    copies = 2 * (sizes.matrices + sizes.output) if load.low and frozen.layers == 4 else 0
    gathered = (2 if load.low else 4) * _largest_unit(config, sizes) if share > 1 else 0
    buckets = 4 * learnt if load.nproc > 1 and load.parallel == "ddp" else 0
    one_moment = round(sizes.hidden * learnt / sizes.parameters) if load.optimizer == "muon" else 0
    return Memory(
        weights=held // share + (copies if share == 1 else gathered),
        gradients=4 * learnt // share + buckets,
        optimizer=(8 * learnt - 4 * one_moment) // share,
        activations=activations(config, load),
        logits=logits(config, load),
    )


def _largest_unit(config: Any, sizes: Sizes) -> int:
    """Parameters that FSDP gathers at once: a layer, or the embeddings with the output layer."""
    text = config.get_text_config()
    table = int(text.vocab_size) * int(text.hidden_size)
    inside = sizes.parameters - table * (1 if text.tie_word_embeddings else 2)
    return max(table * (1 if text.tie_word_embeddings else 2), inside // int(text.num_hidden_layers))


@dataclass(frozen=True)
class _Kept:
    """Bytes that a layer keeps a token, for every unit of width, of attention (heads times head width), of keys and values,
    and of the feed-forward layer, the last for each expert a token goes through; each at (fp32, 16 bits)."""  # fmt: skip

    width: tuple[int, int]
    attention: tuple[int, int]
    keys: tuple[int, int]
    feed_forward: tuple[int, int]
    routed: tuple[int, int] = (0, 0)  # width, again for each expert

    def bytes(self, low: bool, width: int, attention: int, keys: int, feed_forward: int, used: int) -> int:
        at = int(low)
        inner = self.feed_forward[at] * feed_forward + self.routed[at] * width
        return self.width[at] * width + self.attention[at] * attention + self.keys[at] * keys + inner * used


_LLAMA = _Kept((24, 26), (8, 4), (8, 4), (16, 8))
_KEPT = {
    "qwen3": _Kept((24, 26), (16, 10), (16, 10), (16, 8)),  # also norms queries and keys
    # grouped products of experts stay in fp32 under autocast
    "mixtral": _Kept((24, 24), (8, 4), (8, 4), (16, 16), routed=(8, 8)),
    "qwen3_moe": _Kept((24, 24), (16, 10), (16, 10), (16, 16), routed=(8, 8)),
    "gpt2": _Kept((16, 12), (24, 12), (0, 0), (20, 10)),  # its tanh GELU is five operations
    "bert": _Kept((16, 16), (16, 8), (0, 0), (8, 4)),
    "modernbert": _Kept((16, 12), (24, 12), (0, 0), (16, 8)),
}  # everything else is taken for a Llama


def activations(config: Any, load: Load) -> int:
    """Bytes that autograd keeps from the forward pass of one micro-batch, logits aside.

    With checkpointing: every layer's input (4 bytes a unit of width), and all of one layer, the one being recomputed.
    """
    text = config.get_text_config()
    width, layers = int(text.hidden_size), int(text.num_hidden_layers)
    layer = load.tokens * _layer_bytes(text, load.low)
    outside = (
        load.tokens * width * (24 if config.model_type in MASKED_FAMILIES else 12)
    )  # last norm, head's input, BERT's head
    if load.checkpointing:
        return layers * load.tokens * 4 * width + layer + outside
    return layers * layer + outside


def _layer_bytes(text: Any, low: bool) -> int:
    heads, attention = int(text.num_attention_heads), _attention_width(text)
    keys = attention // heads * int(getattr(text, "num_key_value_heads", None) or heads)
    inner = getattr(text, "moe_intermediate_size", None) or getattr(text, "intermediate_size", None)
    feed_forward = int(inner or getattr(text, "n_inner", None) or 4 * text.hidden_size)
    used = int(getattr(text, "num_experts_per_tok", None) or 1)
    return _KEPT.get(text.model_type, _LLAMA).bytes(low, int(text.hidden_size), attention, keys, feed_forward, used)


def logits(config: Any, load: Load) -> int:
    """Bytes of the output layer's loss at its most.

    Plain: logits, their float32 copy where they are in 16 bits, log-probabilities and gradients. Chunked: one chunk of them, and
    the gradients of the output layer and its input, which are made on the way; tokens that are not predicted have none.
    """
    text = config.get_text_config()
    vocab, width = int(text.vocab_size), int(text.hidden_size)
    if not load.chunked:
        return load.tokens * vocab * (16 if load.low else 12)
    tokens = max(1, round(load.tokens * load.labelled))
    rows = min(tokens, max(FEWEST_ROWS, CHUNK[load.device] // vocab))
    return rows * vocab * (8 if load.low else 4) + 4 * vocab * width + 4 * tokens * width
