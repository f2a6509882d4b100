"""The families that a GGUF file can hold, and what llama.cpp must know of one: sizes, rotary positions, the order of rows.

Keys and their meaning: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ptft.core.errors import InputError

OTHER_FORMAT = "export it to another format: --format onnx or torchao"


@dataclass(frozen=True)
class Family:
    """architecture: llama.cpp's name. interleaved: its rotary code turns neighbouring rows of a head, where transformers turns
    a row of the first half with one of the second. factors: it reads `rope_freqs.weight`.
    """

    architecture: str
    interleaved: bool = False
    factors: bool = False


FAMILIES = {
    "llama": Family("llama", interleaved=True, factors=True),  # SmolLM too
    "mistral": Family("llama", interleaved=True, factors=True),
    "qwen2": Family("qwen2"),
    "qwen3": Family("qwen3"),
}


def family_of(config: Any, where: str) -> Family:
    """Raises `InputError` for a family that is not written here, and for settings that llama.cpp would not follow."""
    family = FAMILIES.get(config.model_type)
    if family is None:
        known = ", ".join(FAMILIES)
        raise InputError(
            f"GGUF files are written of {known}, not of {config.model_type}", where=where, remedy=OTHER_FORMAT
        )
    problems = [
        (getattr(config, "hidden_act", "silu") != "silu", f"the activation {getattr(config, 'hidden_act', '')}"),
        (rope(config).get("partial_rotary_factor", 1) != 1, "rotary positions on a part of each head"),
        (rope(config).get("rope_type", "default") not in SCALED, f"the positions {rope(config).get('rope_type')}"),
        (rope(config).get("rope_type") == "llama3" and not family.factors, "llama3's positions in another family"),
    ]
    for wrong, what in problems:
        if wrong:
            raise InputError(f"llama.cpp does not compute this model: {what}", where=where, remedy=OTHER_FORMAT)
    return family


SCALED = ("default", "llama3", "linear", "yarn")


def rope(config: Any) -> dict[str, Any]:
    """Rotary settings: rope_theta, rope_type, and what that type needs."""
    return dict(getattr(config, "rope_parameters", None) or {})


def head_width(config: Any) -> int:
    return int(getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads)


def hyperparameters(config: Any) -> dict[str, int | float]:
    """By the name of the writer's method: `GGUFWriter.add_...`."""
    heads, width = config.num_attention_heads, head_width(config)
    return {
        "vocab_size": config.vocab_size, "context_length": context(config), "embedding_length": config.hidden_size,
        "block_count": config.num_hidden_layers, "feed_forward_length": config.intermediate_size, "head_count": heads,
        "head_count_kv": getattr(config, "num_key_value_heads", None) or heads, "key_length": width, "value_length": width,
        "rope_dimension_count": width, "rope_freq_base": float(rope(config).get("rope_theta", 10_000.0)),
        "layer_norm_rms_eps": config.rms_norm_eps,
    }  # fmt: skip


def context(config: Any) -> int:
    """Tokens; those of a sliding window where the model has one, beyond which llama.cpp would look further back than it did."""
    window = getattr(config, "sliding_window", None)
    used = getattr(config, "use_sliding_window", config.model_type == "mistral")
    most = int(config.max_position_embeddings)
    return min(most, int(window)) if window and used else most


def add_scaling(writer: Any, config: Any) -> None:
    """Keys for positions that are scaled by a rule. llama3's are divided by a tensor instead."""
    from gguf import RopeScalingType

    settings = rope(config)
    kind = settings.get("rope_type", "default")
    if kind not in ("linear", "yarn"):
        return
    writer.add_rope_scaling_type(RopeScalingType(kind))
    writer.add_rope_scaling_factor(float(settings["factor"]))
    if kind == "yarn":
        writer.add_rope_scaling_orig_ctx_len(
            int(settings.get("original_max_position_embeddings") or config.max_position_embeddings)
        )
        for name, key in (("beta_fast", "yarn_beta_fast"), ("beta_slow", "yarn_beta_slow")):
            if settings.get(name):
                getattr(writer, f"add_rope_scaling_{key}")(float(settings[name]))


def rotary_factors(model: Any) -> npt.NDArray[np.float32] | None:
    """What llama3's frequencies are divided by, (head width / 2,); None for other positions."""
    settings = rope(model.config)
    if settings.get("rope_type") != "llama3":
        return None
    width = head_width(model.config)
    plain = float(settings["rope_theta"]) ** -(np.arange(0, width, 2, dtype=np.float64) / width)
    scaled: npt.NDArray[np.float64] = model.base_model.rotary_emb.inv_freq.double().cpu().numpy()
    return (plain / scaled).astype(np.float32)


def row_order(name: str, family: Family, config: Any) -> npt.NDArray[np.int64] | None:
    """The rows of a query or key projection (weight or bias) in llama.cpp's order; None where they stay as they are.

    Row 2i of a head is transformers' row i, row 2i + 1 its row i + half.
    """
    heads = {"q_proj": config.num_attention_heads, "k_proj": hyperparameters(config)["head_count_kv"]}
    part = next((part for part in heads if f".{part}." in name), None)
    if part is None or not family.interleaved:
        return None
    rows = np.arange(int(heads[part]) * head_width(config))
    return rows.reshape(int(heads[part]), 2, -1).swapaxes(1, 2).reshape(-1)
