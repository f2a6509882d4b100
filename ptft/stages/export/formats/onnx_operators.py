"""A transformers model traced with ONNX Runtime's own operators in the place of what they compute.

Attention becomes `GroupQueryAttention` (causal; it keeps the cache) or `MultiHeadAttention`, rotary positions
`RotaryEmbedding`, RMS norms `SimplifiedLayerNormalization`: one node each where plain tracing leaves ten, which is most of the
time of a small model's token. They are described in ONNX Runtime's docs/ContribOperators.md.
"""

from __future__ import annotations

import contextlib
import copy
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

NAME = "ptft_onnx"  # of the attention function, while a model is traced
HIDDEN = -30_000.0  # added to the score of a padding key: nothing is left of it, and float16 holds it
_RMS_CLOSE, _ROTARY_CLOSE = 1e-5, 1e-5


@dataclass
class Tracer:
    """What attention layers need beside their inputs, while one pass is traced.

    mask: (batch, all tokens), 1 a token, 0 padding. past: layer -> (keys, values), (batch, heads, past tokens, width); empty
    where there is no cache. present: the same with the new tokens, filled as layers are traced.
    """

    mask: Any = None
    past: dict[int, tuple[Any, Any]] = field(default_factory=dict)
    present: dict[int, tuple[Any, Any]] = field(default_factory=dict)
    _shared: dict[str, Any] = field(default_factory=dict)

    def begin(self, mask: Any, past: Mapping[int, tuple[Any, Any]]) -> None:
        """A new pass."""
        self.mask, self.past, self.present, self._shared = mask, dict(past), {}, {}

    def attend(self, module: Any, query: Any, key: Any, value: Any, mask: Any, **given: Any) -> tuple[Any, None]:
        """transformers' attention interface: (batch, heads, tokens, width) in, (batch, tokens, heads, width) out."""
        causal = given.get("is_causal")
        causal = getattr(module, "is_causal", True) if causal is None else causal
        return (self._causal if causal else self._both_ways)(module, query, key, value, given), None

    def _causal(self, module: Any, query: Any, key: Any, value: Any, given: dict[str, Any]) -> Any:
        import torch

        batch, heads, tokens, width = query.shape
        keys, values = self.past.get(module.layer_idx, (None, None))
        whole = self.mask.shape[1]
        shape = (batch, key.shape[1], whole, width)
        attributes = {"num_heads": heads, "kv_num_heads": key.shape[1], **_causal_attributes(given, width)}
        inputs = [*map(_flat, (query, key, value)), keys, values, *self._lengths(batch), None, None, None]
        chunks = [] if keys is None else [*[None] * 5, self._new_lengths(query)]
        out, *present = torch.onnx.ops.symbolic_multi_out(
            "com.microsoft::GroupQueryAttention", [*inputs, self._bias(tokens, query.dtype), *chunks], attributes,
            dtypes=[query.dtype] * 3, shapes=[(batch, tokens, heads * width), shape, shape], version=1,
        )  # fmt: skip
        self.present[module.layer_idx] = tuple(present)
        return out.reshape(batch, tokens, heads, width)

    def _both_ways(self, module: Any, query: Any, key: Any, value: Any, given: dict[str, Any]) -> Any:
        import torch

        if given.get("sliding_window"):
            raise NotImplementedError("attention both ways in a window, which MultiHeadAttention has not")
        batch, heads, tokens, width = query.shape
        attributes = {"num_heads": heads, "scale": _scale(given, width)}
        out = torch.onnx.ops.symbolic(
            "com.microsoft::MultiHeadAttention",
            [*map(_flat, (query, key, value)), None, None, self._bias(tokens, query.dtype)], attributes,
            dtype=query.dtype, shape=(batch, tokens, heads * width), version=1,
        )  # fmt: skip
        return out.reshape(batch, tokens, heads, width)

    def _bias(self, tokens: int, dtype: Any) -> Any:
        """What padding adds to the scores, (batch, 1, new tokens, all tokens)."""
        if "bias" not in self._shared:
            hidden = (self.mask.to(dtype) - 1) * -HIDDEN
            self._shared["bias"] = hidden[:, None, None, :].expand(-1, 1, tokens, -1)
        return self._shared["bias"]

    def _lengths(self, batch: int) -> tuple[Any, Any]:
        """`seqlens_k`, (batch,), and `total_sequence_length`, (1,), both int32: of the mask, which is as long in all rows."""
        if "lengths" not in self._shared:
            whole = _size(self.mask, 1)
            self._shared["lengths"] = ((whole - 1).expand(batch), whole)
        found: tuple[Any, Any] = self._shared["lengths"]
        return found

    def _new_lengths(self, query: Any) -> Any:
        """`query_seqlens`, (batch,), int32: without it the kernel takes several new tokens after a cache of one row only."""
        if "new" not in self._shared:
            self._shared["new"] = _size(_flat(query), 1).expand(query.shape[0])
        return self._shared["new"]

    def rotate(self, plain: Any, query: Any, key: Any, cos: Any, sin: Any, *more: Any, **named: Any) -> tuple[Any, Any]:
        """transformers' `apply_rotary_pos_emb`, which is `plain`: query and key (batch, heads, tokens, width), cos and sin
        (batch or 1, tokens, width). Where only a part of the width turns, or heads come last, `plain` does it."""
        if more or named or cos.dim() != 3 or cos.shape[-1] != query.shape[-1]:
            return tuple(plain(query, key, cos, sin, *more, **named))
        return tuple(self._rotated(states, *self._tables(cos, sin, query.shape[0])) for states in (query, key))

    def _rotated(self, states: Any, positions: Any, cos: Any, sin: Any) -> Any:
        """Heads side by side, as the layers before and after want them."""
        import torch

        batch, heads, tokens, width = states.shape
        turned = torch.onnx.ops.symbolic(
            "com.microsoft::RotaryEmbedding", [_flat(states), positions, cos, sin], dtype=states.dtype,
            shape=(batch, tokens, heads * width), version=1,
        )  # fmt: skip
        return turned.reshape(batch, tokens, heads, width).transpose(1, 2)

    def turn(self, module: Any, hidden: Any, position_ids: Any) -> tuple[Any, Any]:
        """A rotary module's forward: cos and sin, (batch or 1, tokens, width), whose halves are computed once."""
        import torch

        angles = position_ids.reshape(-1, 1).float() * module.inv_freq[None].float()
        by = module.attention_scaling
        cos, sin = ((turned if by == 1 else turned * by).to(hidden.dtype) for turned in (angles.cos(), angles.sin()))
        wide = [torch.cat([table, table], -1).reshape(*position_ids.shape, -1) for table in (cos, sin)]
        self._shared[f"halves {id(wide[0])}"] = (cos, sin, wide[0])  # kept, so that no other tensor gets its id
        return wide[0], wide[1]

    def _tables(self, cos: Any, sin: Any, batch: int) -> tuple[Any, Any, Any]:
        """Positions (batch, tokens) in the tables of cos and sin, (batch * tokens, width / 2): each token has its own row."""
        import torch

        key = f"rotary {id(cos)}"  # layers of unlike kinds have tables of their own
        if key not in self._shared:
            tokens, half = cos.shape[1], cos.shape[2] // 2
            known = self._shared.get(f"halves {id(cos)}")
            tables = known[:2] if known else [table[..., :half].reshape(-1, half) for table in (cos, sin)]
            rows = torch.arange(cos.shape[0] * tokens).reshape(cos.shape[0], tokens).expand(batch, -1)
            self._shared[key] = (rows, *tables)
            self._shared[f"{key} kept"] = cos
        found: tuple[Any, Any, Any] = self._shared[key]
        return found


def _size(tensor: Any, axis: int) -> Any:
    """int32 (1,)."""
    import torch

    found = torch.onnx.ops.symbolic(
        "::Shape", [tensor], {"start": axis, "end": axis + 1}, dtype=torch.int64, shape=(1,)
    )
    return found.to(torch.int32)


def _flat(states: Any) -> Any:
    """(batch, heads, tokens, width) -> (batch, tokens, heads * width)."""
    return states.transpose(1, 2).flatten(2)


def _scale(given: dict[str, Any], width: int) -> float:
    scaling = given.get("scaling")
    return float(width**-0.5 if scaling is None else scaling)


def _causal_attributes(given: dict[str, Any], width: int) -> dict[str, Any]:
    window, softcap = given.get("sliding_window"), given.get("softcap")
    found: dict[str, Any] = {"scale": _scale(given, width)}
    return (
        found
        | ({"local_window_size": int(window)} if window else {})
        | ({"softcap": float(softcap)} if softcap else {})
    )


# ---------------------------------------------------------------- putting them in


@contextlib.contextmanager
def in_place(model: Any, tracer: Tracer) -> Iterator[None]:
    """While the block runs, `model` computes its attention, rotary positions and RMS norms through `tracer`."""
    from transformers import AttentionInterface

    configs = _configs(model)
    before = [config._attn_implementation for config in configs]
    AttentionInterface.register(NAME, tracer.attend)
    with contextlib.ExitStack() as undone:
        for config, name in zip(configs, before, strict=True):
            config._attn_implementation = NAME
            undone.callback(setattr, config, "_attn_implementation", name)
        for module in _rotary_modules(model):
            undone.callback(setattr, module, "apply_rotary_pos_emb", module.apply_rotary_pos_emb)
            module.apply_rotary_pos_emb = partial(tracer.rotate, module.apply_rotary_pos_emb)
        for rotary in filter(_is_rotary, model.modules()):
            undone.callback(rotary.__dict__.pop, "forward", None)
            rotary.forward = partial(tracer.turn, rotary)
        for norm in filter(_is_rms_norm, model.modules()):
            undone.callback(norm.__dict__.pop, "forward", None)
            norm.forward = _RmsNorm(norm)
        yield


def _configs(model: Any) -> list[Any]:
    """Every configuration that one of the model's modules reads, once."""
    found = (getattr(module, "config", None) for module in model.modules())
    return list({id(config): config for config in found if hasattr(config, "_attn_implementation")}.values())


def _rotary_modules(model: Any) -> list[Any]:
    """Python modules of the model's layers whose `apply_rotary_pos_emb` is Llama's: halves rotated, the whole width."""
    names = {type(module).__module__ for module in model.modules()}
    return [sys.modules[name] for name in sorted(names) if _rotates_halves(sys.modules[name])]


def _rotates_halves(module: Any) -> bool:
    import torch

    function = getattr(module, "apply_rotary_pos_emb", None)
    if function is None:
        return False
    draw = torch.Generator().manual_seed(0)
    query, key = torch.randn(1, 2, 3, 8, generator=draw), torch.randn(1, 1, 3, 8, generator=draw)
    angles = torch.randn(1, 3, 4, generator=draw).repeat(1, 1, 2)
    cos, sin = angles.cos(), angles.sin()
    try:
        found = function(query, key, cos, sin)
    except (TypeError, ValueError, RuntimeError, IndexError):  # another family's arguments
        return False
    halves = [
        states * cos[:, None] + torch.cat([-states[..., 4:], states[..., :4]], -1) * sin[:, None]
        for states in (query, key)
    ]
    return all(torch.allclose(a, b, atol=_ROTARY_CLOSE) for a, b in zip(found, halves, strict=True))


def _is_rotary(module: Any) -> bool:
    """Whether it gives cos and sin of position * inv_freq at any position: frequencies that hang on the length do not."""
    import torch

    if not hasattr(module, "inv_freq") or not hasattr(module, "attention_scaling"):
        return False
    tried, far = copy.deepcopy(module), 4 * int(getattr(module, "max_seq_len_cached", 0) or 1000)
    positions = torch.tensor([[0, 1, 2, 5], [7, 100, far - 1, far]], device=module.inv_freq.device)
    try:
        found = tried(module.inv_freq.new_zeros(1), positions)
    except (TypeError, ValueError, RuntimeError, IndexError, AttributeError):  # another family's arguments
        return False
    angles = (positions[..., None].float() * module.inv_freq.float()).repeat(1, 1, 2)
    expected = (angles.cos() * module.attention_scaling, angles.sin() * module.attention_scaling)
    return all(
        a.shape == b.shape and torch.allclose(a, b, atol=_ROTARY_CLOSE) for a, b in zip(found, expected, strict=True)
    )


def _is_rms_norm(module: Any) -> bool:
    """Whether it computes weight * x / sqrt(mean(x^2) + eps): Gemma's adds 1 to the weight, and stays as it is."""
    import torch

    weight, eps = getattr(module, "weight", None), getattr(module, "variance_epsilon", None)
    if not type(module).__name__.endswith("RMSNorm") or weight is None or eps is None:
        return False
    given = torch.randn(2, len(weight), generator=torch.Generator().manual_seed(0)).to(weight)
    expected = weight.float() * given.float() * torch.rsqrt(given.float().pow(2).mean(-1, keepdim=True) + eps)
    close = _RMS_CLOSE if weight.dtype == torch.float32 else 0.05
    return bool(torch.allclose(module(given).float(), expected, rtol=close, atol=close))


class _RmsNorm:
    """A norm's forward as one node."""

    def __init__(self, norm: Any) -> None:
        self.norm = norm

    def __call__(self, hidden: Any) -> Any:
        import torch

        return torch.onnx.ops.symbolic(
            "::SimplifiedLayerNormalization", [hidden, self.norm.weight],
            {"axis": -1, "epsilon": float(self.norm.variance_epsilon), "stash_type": 1},
            dtype=hidden.dtype, shape=hidden.shape, version=1,
        )  # fmt: skip
