"""torchao's safetensors: a folder that transformers' `from_pretrained` loads, its weights as integers and scales.

On a CPU torchao keeps a byte a weight, of 4 bits too: such a file is no smaller than INT8's. Layers compute in the model's own
precision from dequantised weights; with dynamic activations in integers.
"""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ptft.core.errors import InputError
from ptft.core.models import Loaded
from ptft.core.weights import sort_header

if TYPE_CHECKING:
    from torch import Tensor

    from ptft.core.quantising.scheme import Quantised
else:
    Tensor = Any

A_BYTE_A_WEIGHT = (
    "torchao stores INT4 a byte a weight on a CPU: the file is no smaller than INT8, and only the precision is that of 4 bits; "
    "--format gguf and onnx pack two weights in a byte"
)
REMEDY = "choose 8 bits, symmetric, with a scale a row (group 0) for layers whose inputs are quantised"


def write(loaded: Loaded, weights: Mapping[str, Quantised], out: Path, dynamic: Collection[str] = ()) -> None:
    """The model with these weights (by name in the state dict), and its tokenizer. `loaded` stays as it is.

    dynamic: those of them whose layers' inputs are rounded to INT8 too, a scale a token.

    Raises `InputError` for weights that the model lacks, and dynamic ones that are not INT8 with a scale a row, or are looked up.
    """
    model = _with(loaded.model, _tensors(loaded.model, weights, dynamic))
    model.config.quantization_config = _config(loaded.model, weights, dynamic)
    model.hf_quantizer = _quantizer(model.config.quantization_config)
    _leave_out_twins(model)
    model.save_pretrained(out)
    loaded.tokenizer.save_pretrained(out)
    for path in out.glob("*.safetensors"):
        sort_header(path)


def _with(model: Any, tensors: Mapping[int, Any]) -> Any:
    """A copy of a model with other tensors in place of some; the rest is shared. tensors: by the `id` of the model's own."""
    whole = [*model.parameters(), *model.buffers()]
    copied = copy.deepcopy(model, {id(tensor): tensors.get(id(tensor), tensor) for tensor in whole})
    copied.config = copy.deepcopy(model.config)
    return copied


def _leave_out_twins(model: Any) -> None:
    """Of a quantised weight that two layers share, one stays: transformers cannot compare two of them when it ties them again."""
    seen: set[int] = set()
    for name, parameter in list(model.named_parameters(remove_duplicate=False)):
        if id(parameter) in seen and hasattr(parameter, "qdata"):
            layer, _, own = name.rpartition(".")
            model.get_submodule(layer).register_parameter(own, None)
        seen.add(id(parameter))


def _tensors(model: Any, weights: Mapping[str, Quantised], dynamic: Collection[str]) -> dict[int, Any]:
    import torch

    named = dict(model.named_parameters(remove_duplicate=False))
    unknown = sorted(set(weights) - set(named))
    if unknown:
        what = f"the plan names {len(unknown)} weights that the model lacks: {', '.join(unknown[:3])}"
        raise InputError(what, remedy="make the plan from this model's own state dict")
    embedded = _embeddings(model)
    found = {}
    for name, weight in weights.items():
        own = named[name]
        tensor = packed(weight, name, own.dtype, name in dynamic, looked_up=id(own) in embedded)
        found[id(own)] = torch.nn.Parameter(tensor.to(own.device), requires_grad=False)
    return found


def _embeddings(model: Any) -> set[int]:
    """By `id`."""
    import torch

    return {id(module.weight) for module in model.modules() if isinstance(module, torch.nn.Embedding)}


def packed(weight: Quantised, name: str, dtype: Any, dynamic: bool, looked_up: bool = False) -> Any:
    """A matrix as torchao's tensor, in which no integer changes. looked_up: of embeddings, which only one of its classes is for."""
    from torchao.quantization import Int8Tensor, IntxUnpackedToInt8Tensor

    by_rows = weight.bits == 8 and weight.zeros is None and weight.group in (0, weight.ints.shape[1])
    if dynamic and (looked_up or not by_rows):
        raise InputError(f"{name}: torchao does not quantise the inputs of such a layer", remedy=REMEDY)
    ints, scales = weight.ints.contiguous(), weight.scales.to(dtype).contiguous()
    block = (1, ints.shape[1] // scales.shape[1])
    if by_rows and not looked_up:
        return Int8Tensor(ints, scales, list(block), dtype, act_quant_kwargs=_inputs() if dynamic else None)
    ints, zeros = _signed(weight)
    return IntxUnpackedToInt8Tensor(ints, scales, zeros, _target(weight.bits), block, dtype, None)


def _signed(weight: Quantised) -> tuple[Tensor, Tensor]:
    """Integers and zero points around 0, as torchao has them: -8..7 of 4 bits, where they may have been 0..15."""
    import torch

    if weight.zeros is None:
        return weight.ints.contiguous(), torch.zeros_like(weight.scales, dtype=torch.int8)
    above = 8 if weight.bits == 4 and int(weight.ints.max()) > 7 else 0
    return (weight.ints - above).contiguous(), (weight.zeros - above).to(torch.int8).contiguous()


def _target(bits: int) -> Any:
    import torch

    return {4: torch.int4, 8: torch.int8}[bits]


def _inputs() -> Any:
    from torchao.quantization import PerRow
    from torchao.quantization.quantize_.workflows import QuantizeTensorToInt8Kwargs

    return QuantizeTensorToInt8Kwargs(granularity=PerRow())


# ---------------------------------------------------------------- configuration


def _config(model: Any, weights: Mapping[str, Quantised], dynamic: Collection[str]) -> Any:
    """For config.json: what torchao would have been asked for. Loading takes each tensor's own description from the weights."""
    import torch
    from transformers import TorchAoConfig

    linear = [name for name, module in model.named_modules() if isinstance(module, torch.nn.Linear)]
    kept = sorted(name for name in linear if f"{name}.weight" not in weights and not _is_tied(model, name, weights))
    kinds = {name.removesuffix(".weight"): _kind(weight, name in dynamic) for name, weight in weights.items()}
    alike = len({str(kind) for kind in kinds.values()}) == 1
    quant_type = next(iter(kinds.values())) if alike else _by_name(kinds)
    embedded = any(id(model.get_parameter(name)) in _embeddings(model) for name in weights)
    return TorchAoConfig(quant_type=quant_type, modules_to_not_convert=kept, include_input_output_embeddings=embedded)


def _is_tied(model: Any, name: str, weights: Mapping[str, Quantised]) -> bool:
    """Whether a layer's weight is in the plan under another name."""
    weight = model.get_submodule(name).weight
    return any(other is weight for key, other in model.named_parameters(remove_duplicate=False) if key in weights)


def _kind(weight: Quantised, dynamic: bool) -> Any:
    from torchao.quantization import (
        Int8DynamicActivationInt8WeightConfig,
        Int8WeightOnlyConfig,
        IntxWeightOnlyConfig,
        PerAxis,
        PerGroup,
    )
    from torchao.quantization.quant_primitives import MappingType

    if weight.bits == 8 and not weight.group and weight.zeros is None:
        return Int8DynamicActivationInt8WeightConfig() if dynamic else Int8WeightOnlyConfig()
    mapping = MappingType.SYMMETRIC if weight.zeros is None else MappingType.ASYMMETRIC
    each = PerGroup(weight.group) if weight.group else PerAxis(0)
    return IntxWeightOnlyConfig(weight_dtype=_target(weight.bits), granularity=each, mapping_type=mapping)


def _by_name(kinds: Mapping[str, Any]) -> Any:
    from torchao.quantization import FqnToConfig

    return FqnToConfig(OrderedDict(kinds))


def _quantizer(config: Any) -> Any:
    from transformers.quantizers.auto import AutoHfQuantizer

    return AutoHfQuantizer.from_config(config, pre_quantized=False)
