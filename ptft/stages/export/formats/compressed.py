"""compressed-tensors: the safetensors of llm-compressor, which vLLM runs in integers and transformers dequantises.

transformers loads such a folder where the package `compressed-tensors` is installed; on the first forward pass it makes plain
matrices of the integers, so there it saves room on disk alone. Layout: pack-quantized and int-quantized, with the fields of its
`QuantizationConfig` in config.json.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ptft.core.errors import InputError
from ptft.core.files import write_json
from ptft.core.models import Loaded

if TYPE_CHECKING:
    from torch import Tensor

    from ptft.core.quantising.scheme import Quantised
else:
    Tensor = Any

OLDEST = "0.15"  # the package's versions that transformers takes
_TOKENS = {"num_bits": 8, "type": "int", "symmetric": True, "strategy": "token", "dynamic": True}


def write(loaded: Loaded, weights: Mapping[str, Quantised], out: Path, dynamic: Collection[str] = ()) -> None:
    """The model with these weights (by name in the state dict), and its tokenizer. `loaded` stays as it is.

    dynamic: those of them whose layers' inputs are rounded to INT8 too, a scale a token.

    Raises `InputError` for weights that are not those of linear layers, for which the format's readers have no place, and for
    zero points: transformers expects them unpacked while it loads and packed in the file, and refuses every such folder.
    """
    layers = _layers(loaded.model, weights)
    _refuse_zero_points(weights)
    state = dict(loaded.model.state_dict())
    for name, weight in weights.items():
        dtype = state.pop(name).dtype
        state |= _stored(name, weight, dtype, name in dynamic)
    loaded.model.save_pretrained(out, state_dict=state)
    loaded.tokenizer.save_pretrained(out)
    config = json.loads((out / "config.json").read_text(encoding="utf-8"))
    write_json(out / "config.json", config | {"quantization_config": _config(loaded.model, weights, layers, dynamic)})


def _layers(model: Any, weights: Mapping[str, Quantised]) -> list[str]:
    """Names of the linear layers."""
    import torch

    embedded = {id(module.weight) for module in model.modules() if isinstance(module, torch.nn.Embedding)}
    linear = {
        f"{name}.weight" for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and id(module.weight) not in embedded
    }  # fmt: skip
    others = sorted(set(weights) - linear)
    if others:
        what = f"compressed-tensors holds linear layers of their own alone, not {', '.join(others[:3])}"
        raise InputError(what, remedy="leave embeddings and what is tied to them as they are, or choose another format")
    return [name.removesuffix(".weight") for name in weights]


def _refuse_zero_points(weights: Mapping[str, Quantised]) -> None:
    asymmetric = [name for name, weight in weights.items() if weight.zeros is not None]
    if asymmetric:
        what = f"transformers loads no compressed-tensors with zero points, as of {asymmetric[0]}"
        raise InputError(what, remedy="quantise symmetrically, or choose another format")


def _stored(name: str, weight: Quantised, dtype: Any, dynamic: bool) -> dict[str, Tensor]:
    """What is stored of a matrix: as int-quantized has it where its inputs are rounded too, else as pack-quantized."""
    import torch

    scales = {f"{name}_scale": weight.scales.to(dtype)}
    if dynamic:
        return scales | {name: weight.ints.contiguous()}
    shape = torch.tensor(weight.ints.shape, dtype=torch.int64)
    return scales | {f"{name}_packed": packed(weight.ints, weight.bits), f"{name}_shape": shape}


def packed(ints: Tensor, bits: int) -> Tensor:
    """int8 (rows, columns) in -8..7 or -128..127 to int32 (rows, columns * bits / 32, rounded up).

    Shifted to start at 0; the first column is in the lowest bits of the first word.
    """
    import torch

    each = 32 // bits
    padded = torch.nn.functional.pad(ints.to(torch.int64) + 2 ** (bits - 1), (0, -ints.shape[1] % each))
    words = padded.reshape(len(ints), -1, each) << torch.arange(0, 32, bits, device=ints.device)
    return words.sum(-1).to(torch.int32)  # the highest bit is the sign: the sum wraps around


# ---------------------------------------------------------------- configuration


def _config(
    model: Any, weights: Mapping[str, Quantised], layers: list[str], dynamic: Collection[str]
) -> dict[str, Any]:
    """For config.json: a group of layers for each way of quantising."""
    import torch

    groups: dict[str, dict[str, Any]] = {}
    for layer in layers:
        group = _group(weights[f"{layer}.weight"], f"{layer}.weight" in dynamic)
        groups.setdefault(json.dumps(group), group | {"targets": []})["targets"].append(layer)
    kinds = sorted({group["format"] for group in groups.values()})
    linear = [name for name, module in model.named_modules() if isinstance(module, torch.nn.Linear)]
    return {
        "quant_method": "compressed-tensors", "format": kinds[0] if len(kinds) == 1 else "mixed-precision",
        "quantization_status": "compressed", "kv_cache_scheme": None, "global_compression_ratio": None,
        "config_groups": {f"group_{index}": group for index, group in enumerate(groups.values())},
        "ignore": sorted(set(linear) - set(layers)),
    }  # fmt: skip


def _group(weight: Quantised, dynamic: bool) -> dict[str, Any]:
    kind = "int-quantized" if dynamic else "pack-quantized"
    inputs = _TOKENS if dynamic else None
    return {"weights": _arguments(weight), "input_activations": inputs, "output_activations": None, "format": kind}


def _arguments(weight: Quantised) -> dict[str, Any]:
    return {
        "num_bits": weight.bits, "type": "int", "symmetric": True, "dynamic": False,
        "strategy": "group" if weight.group else "channel", "group_size": weight.group or None,
    }  # fmt: skip


def how_to_load(auto: str) -> str:
    """Lines of Python, run where the folder is. auto: transformers' class."""
    return f'# pip install "compressed-tensors>={OLDEST}"\nfrom transformers import {auto}\nmodel = {auto}.from_pretrained("DIR")'
