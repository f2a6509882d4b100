"""The loss inside the model: summed over the labelled tokens, and without all logits ever being held.

It replaces the model's own `forward`, as Liger does, so that whatever wraps the model (DDP, FSDP2, torch.compile, peft) calls it.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers.utils import ModelOutput

from ptft.core.encoding import IGNORED
from ptft.core.training.cross_entropy import linear_nll
from ptft.core.training.isolation import isolated

Transform = Callable[[torch.Tensor], torch.Tensor]
EXPERTS = ("mixtral", "qwen3_moe")  # families that route tokens to experts
# Families whose logits are exactly the output layer of the last hidden state: no scaling, no soft cap
_CAUSAL = ("llama", "gpt2", "qwen2", "qwen3", "mistral", *EXPERTS)
GIVES_LOSS = "_gives_summed_loss"
_MASKED_CLASSES = ("ForMaskedLM", "ForPreTraining")


@dataclass
class SummedLoss(ModelOutput):
    """loss: cross entropy in nats, at least float32, summed over the labelled tokens.

    parts: "pair", the cross entropy of the next-sentence labels, summed; "balance", the load-balancing loss of a mixture of
    experts, unweighted and summed over the sequences; "expert_use", the share of the routes that goes to each expert, (experts,), without a gradient.
    """

    loss: torch.Tensor | None = None
    parts: dict[str, torch.Tensor] | None = None  # ModelOutput allows one field without a default


@contextlib.contextmanager
def with_loss(model: Any, *, chunked: bool, sparse: bool = False) -> Iterator[None]:
    """Inside, `model(..., labels=...)` gives a `SummedLoss`; without labels it does what it did before.

    chunked: families known to have plain heads compute the loss a block of tokens at a time, and masked ones run their
    prediction head on labelled tokens only; all others, and heads that an adapter wraps, make all logits. sparse: few tokens
    of a causal model have labels, and its output layer sees those only, too. A batch may have
    "segments" (see `isolation`). A peft model is changed inside its wrapper. Causal labels are `input_ids` with `IGNORED`; an
    encoder-decoder's are what its decoder writes, each predicted from those before it.
    Within another one it changes nothing. Outside, the model's `forward` is the one from before; its state is never touched. A copy of the model made inside calls
    the original's layers: copy outside.
    """
    inner = model.get_base_model() if hasattr(model, "peft_config") and hasattr(model, "get_base_model") else model
    if getattr(inner, GIVES_LOSS, False):
        yield  # as it is: what wraps the forward by now (autocast) stays around it
        return
    own = inner.__dict__.get("forward")
    inner.forward = _with_loss(inner, inner.forward, chunked, sparse)
    setattr(inner, GIVES_LOSS, True)
    try:
        yield
    finally:
        delattr(inner, GIVES_LOSS)
        if own is None:
            inner.__dict__.pop("forward", None)
        else:
            inner.forward = own


def _with_loss(model: Any, original: Callable[..., Any], chunked: bool, sparse: bool) -> Callable[..., Any]:
    is_seq2seq = bool(model.config.is_encoder_decoder)
    is_causal = not is_seq2seq and not type(model).__name__.endswith(_MASKED_CLASSES)
    transform = _transform_of(model) if chunked else None

    @functools.wraps(original)  # the Trainer and `generate` read the signature
    def forward(
        *args: Any, labels: torch.Tensor | None = None, next_sentence_label: torch.Tensor | None = None, **inputs: Any
    ) -> Any:
        inputs = isolated(model.config, inputs, model.dtype)
        if labels is None:
            return original(*args, **inputs)
        if is_causal:
            labels = torch.nn.functional.pad(labels[:, 1:], (0, 1), value=IGNORED)
            inputs["use_cache"] = False  # with a cache, packed documents mix in silence
        elif is_seq2seq:
            inputs |= {**_decoder_inputs(model, inputs, labels), "use_cache": False}
        if model.config.model_type in EXPERTS:
            inputs["output_router_logits"] = True
        if transform is None:
            outputs = original(*args, **inputs)
            nll = _logits_nll(outputs.prediction_logits if "prediction_logits" in outputs else outputs.logits, labels)
        else:
            outputs = model.base_model(*args, **inputs)
            nll = _head_nll(
                model, transform, outputs.last_hidden_state, labels, drop_unlabelled=sparse or not is_causal
            )
        parts = _parts(model, outputs, next_sentence_label, inputs.get("attention_mask"), len(labels))
        return SummedLoss(nll, parts)

    return forward


def _decoder_inputs(model: Any, inputs: Mapping[str, Any], labels: torch.Tensor) -> dict[str, Any]:
    """What the decoder reads: the labels after the token that it begins with, as each family has it (mBART: the language).

    Families that say so in their `forward` only (M2M100) are given the labels; the mean loss they make of them is not used.
    """
    if inputs.get("decoder_input_ids") is not None or inputs.get("decoder_inputs_embeds") is not None:
        return {}
    if not hasattr(model, "prepare_decoder_input_ids_from_labels"):
        return {"labels": labels}
    return {"decoder_input_ids": model.prepare_decoder_input_ids_from_labels(labels=labels)}


# ---------------------------------------------------------------- the token loss


def _logits_nll(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    flat = logits.view(-1, logits.size(-1)).to(torch.promote_types(logits.dtype, torch.float32))
    return torch.nn.functional.cross_entropy(flat, labels.reshape(-1), ignore_index=IGNORED, reduction="sum")


@torch.compiler.disable  # type: ignore[untyped-decorator]
def _head_nll(
    model: Any, transform: Transform, hidden: torch.Tensor, labels: torch.Tensor, *, drop_unlabelled: bool
) -> torch.Tensor:
    """drop_unlabelled: a masked model labels few tokens, and the others need no logits. How many is known only at run time.

    So torch.compile ends its graph here, behind the layers: blocks of rows, written in place, hold nothing for it to win.
    """
    hidden, labels = hidden.reshape(-1, hidden.size(-1)), labels.reshape(-1)
    if drop_unlabelled:
        chosen = (labels != IGNORED).nonzero().squeeze(1)
        hidden, labels = hidden.index_select(0, chosen), labels.index_select(0, chosen)
    decoder = model.get_output_embeddings()
    return linear_nll(transform(hidden), decoder.weight, labels, decoder.bias)


def _transform_of(model: Any) -> Transform | None:
    """What lies between the last hidden state and the output layer; None where the head is not known to be plain."""
    head = model.get_output_embeddings() if hasattr(model, "get_output_embeddings") else None
    if type(head) is not torch.nn.Linear:
        return None  # none, or wrapped by an adapter
    name = type(model).__name__
    if model.config.model_type in _CAUSAL and name.endswith(("ForCausalLM", "LMHeadModel")):
        return _identity
    known = _TRANSFORMS.get(model.config.model_type)
    return known(model) if known is not None and name.endswith(_MASKED_CLASSES) else None


def _identity(hidden: torch.Tensor) -> torch.Tensor:
    return hidden


def _roberta_transform(model: Any) -> Transform:
    head = model.lm_head
    return lambda hidden: head.layer_norm(torch.nn.functional.gelu(head.dense(hidden)))


def _distilbert_transform(model: Any) -> Transform:
    return lambda hidden: model.vocab_layer_norm(model.activation(model.vocab_transform(hidden)))


_TRANSFORMS: dict[str, Callable[[Any], Transform]] = {
    "bert": lambda model: model.cls.predictions.transform,
    "modernbert": lambda model: model.head,
    "roberta": _roberta_transform,
    "distilbert": _distilbert_transform,
}


# ---------------------------------------------------------------- the other losses


def _parts(
    model: Any, outputs: Any, next_sentence_label: torch.Tensor | None, mask: torch.Tensor | None, sequences: int
) -> dict[str, torch.Tensor]:
    parts = {}
    if next_sentence_label is not None:
        logits = outputs.get("seq_relationship_logits")
        if logits is None:
            logits = model.cls.seq_relationship(outputs.pooler_output)
        parts["pair"] = torch.nn.functional.cross_entropy(logits.float(), next_sentence_label.view(-1), reduction="sum")
    if model.config.model_type in EXPERTS:
        each, routes = model.config.num_experts_per_tok, outputs.router_logits
        real = mask if mask is not None and mask.dim() == 2 else None
        parts["balance"] = _balance(routes, sequences, each, real)
        parts["expert_use"] = _expert_use(torch.cat([route.detach() for route in routes]), each)
    return parts


def _balance(routes: Sequence[torch.Tensor], sequences: int, each: int, real: torch.Tensor | None) -> torch.Tensor:
    """The load-balancing loss, summed over the sequences, mean over the layers; 1 a sequence where the load is even.

    By sequence, as in DeepSeek-V2 (2024, equations 23 to 25), so that it adds up over micro-batches and processes; over a batch,
    as in transformers, it does not. routes: of each layer (tokens, experts). each: experts a token. real: (sequences, tokens), 0
    for padding.
    """
    total = torch.zeros((), device=routes[0].device)
    for route in routes:
        logits = route.view(sequences, -1, route.size(-1)).float()
        weight = torch.ones_like(logits[..., :1]) if real is None else real[..., None].to(logits.dtype)
        weight = weight / weight.sum(1, keepdim=True)
        chosen = torch.zeros_like(logits).scatter_(2, logits.topk(each, dim=-1).indices, 1.0 / each)
        share, probability = (chosen * weight).sum(1), (logits.softmax(-1) * weight).sum(1)
        total = total + (share * probability).sum() * logits.size(-1)
    return total / len(routes)


def _expert_use(routes: torch.Tensor, each: int) -> torch.Tensor:
    """The share of (layer, token, choice) that goes to each expert. routes: (layers x tokens, experts)."""
    chosen = torch.zeros_like(routes).scatter_(1, routes.topk(each, dim=-1).indices, 1.0)
    return chosen.float().mean(0) / each
