"""Bytes by class of tensor: of a model in memory, of files of every format, and what an export will take before it is made."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from pathlib import Path
from typing import Any

from ptft.core.errors import UsageError
from ptft.core.quantising.scheme import Plan, Scheme
from ptft.stages.export.stored import CLASSES, Classes, looked_up, named_in, parts

SCALE_BYTES = 2  # float16, where a format does not take the model's own type
_TYPE_BYTES = {"float32": 4, "float16": 2, "bfloat16": 2, "F32": 4, "F16": 2, "BF16": 2}
_GGUF_BLOCK = {(4, True): 18, (4, False): 20, (8, True): 34}  # bytes of 32 weights, by bits and whether symmetric
_GGUF_WEIGHTS = 32


def in_memory(model: Any) -> dict[str, int]:
    """Bytes of a model's parameters by class; tied ones are counted once."""
    found: Counter[str] = Counter()
    classes = Classes(model)
    for name, parameter in model.named_parameters():
        found[classes.of(name)] += parameter.numel() * parameter.element_size()
    return _every_class(found)


def stored(model: Any, folder: Path) -> dict[str, int]:
    """Bytes of all tensors in a folder's safetensors, ONNX graph or GGUF file by class, scales and constants included.

    model: the one that it was made from, which says what belongs to which class.
    """
    found: Counter[str] = Counter()
    classes = Classes(model)
    for part in parts(model, folder):
        found[classes.of(part.parameter or part.name)] += part.bytes
    return _every_class(found)


def bits_a_weight(folder: Path, model: Any, plan: Plan) -> float:
    """Bits in the file for a weight that the plan quantises, scales and zero points included; 0 where it quantises none."""
    same = named_in(model)
    sizes: dict[str, int] = {
        same[name]: model.get_parameter(name).numel() for name, scheme in plan.items() if scheme is not None
    }
    taken: int = sum(part.bytes for part in parts(model, folder) if same.get(part.parameter) in sizes)
    return 8 * taken / max(1, sum(sizes.values()))


def _every_class(found: Counter[str]) -> dict[str, int]:
    return {name: found[name] for name in CLASSES}


# ---------------------------------------------------------------- what there will be


def expected(
    model: Any,
    plan: Plan,
    format_name: str,
    others: str = "float32",
    typed: Collection[str] = (),
    standard: bool = False,
) -> dict[str, int]:
    """Bytes by class of an export, from shapes alone (the model may be on torch's meta device): bits x weights, and what the
    format adds.

    plan: by the names of `named_parameters`; {}: nothing is quantised. typed: weights that GGUF holds as Q6_K. standard: in ONNX's own operators. others: the type of what is not, and in torchao and
    compressed-tensors of scales, by torch's name; of gguf, of matrices alone: what has one dimension is float32 there.
    Constants of an ONNX graph are not counted. Raises `UsageError` for a format or a type that is none.
    """
    sizes = {
        "torchao": _torchao,
        "compressed-tensors": _compressed,
        "onnx": _onnx_standard if standard else _onnx,
        "gguf": _gguf,
    }
    if format_name not in sizes or others not in _TYPE_BYTES:
        what = f"no sizes are known of {format_name} with {others}"
        raise UsageError(what, remedy=f"name {', '.join(sizes)}; and float32, float16 or bfloat16")
    each, tables, transposed = _TYPE_BYTES[others], looked_up(model), _transposed(model)
    classes = Classes(model)
    found: Counter[str] = Counter()
    for name, parameter in model.named_parameters():
        scheme = plan.get(name)
        if name in typed:
            size = _q6_k(parameter)
        elif scheme is None:
            size = parameter.numel() * (4 if format_name == "gguf" and parameter.ndim == 1 else each)
        else:
            rows, width = reversed(parameter.shape) if id(parameter) in transposed else parameter.shape
            size = sizes[format_name](scheme, rows, width, each, id(parameter) in tables)
        found[classes.of(name)] += size
    if format_name == "gguf":
        found["other"] += _rotary_factors(model.config)
    return _every_class(found)


def _q6_k(parameter: Any) -> int:
    """210 bytes of 256 weights; rows that are no multiple of that are Q8_0, as `gguf_blocks.fitting` has it."""
    bytes_, weights = (210, 256) if parameter.shape[-1] % 256 == 0 else (34, 32)
    return int(parameter.numel() * bytes_ // weights)


def _transposed(model: Any) -> set[int]:
    """Weights that are stored as (in, out), by `id`: those of GPT-2."""
    from ptft.core.quantising.blocks import is_conv1d

    return {id(module.weight) for module in model.modules() if is_conv1d(module)}


def _groups(scheme: Scheme, width: int) -> int:
    return -(-width // scheme.group) if scheme.group else 1


def _torchao(scheme: Scheme, rows: int, width: int, each: int, looked_up: bool) -> int:
    """A byte a weight whatever the bits; a scale, and but for INT8 rows of a linear layer a zero point of a byte, a group."""
    by_rows = scheme.bits == 8 and scheme.symmetric and scheme.group in (0, width) and not looked_up
    return rows * width + rows * _groups(scheme, width) * (each + (0 if by_rows else 1))


def _compressed(scheme: Scheme, rows: int, width: int, each: int, looked_up: bool) -> int:
    """Words of 32 bits and a shape of two int64; a byte a weight where activations are quantised; scales in the model's type."""
    scales = rows * _groups(scheme, width) * each
    if scheme.activations != "none":
        return rows * width + scales
    return rows * -(-width * scheme.bits // 32) * 4 + 2 * 8 + scales


def _onnx(scheme: Scheme, rows: int, width: int, each: int, looked_up: bool) -> int:
    """MatMulNBits' blocks, a row filled up to whole ones, zero points packed; INT8 with a float32 scale a row in integers."""
    from ptft.stages.export.formats.onnx_packing import largest_block

    if scheme.activations != "none":
        return rows * width + rows * 4
    block = scheme.group or largest_block(width)
    count = -(-width // block)
    zeros = 0 if scheme.symmetric else -(-count * scheme.bits // 8)
    return rows * (count * block * scheme.bits // 8 + count * SCALE_BYTES + zeros)


def _onnx_standard(scheme: Scheme, rows: int, width: int, each: int, looked_up: bool) -> int:
    """DequantizeLinear's: scales in the graph's own type, no zero points."""
    return rows * width * scheme.bits // 8 + rows * _groups(scheme, width) * each


def _gguf(scheme: Scheme, rows: int, width: int, each: int, looked_up: bool) -> int:
    """Blocks of 32 whatever the group: 4.5 bits a weight (Q4_0), 5 (Q4_1) or 8.5 (Q8_0)."""
    block = _GGUF_BLOCK.get((scheme.bits, scheme.symmetric))
    if block is None or width % _GGUF_WEIGHTS:
        return rows * width * each
    return rows * (width // _GGUF_WEIGHTS) * block


def _rotary_factors(config: Any) -> int:
    """Of llama3's positions, float32 for half of a head's width."""
    from ptft.stages.export.formats.gguf_families import head_width, rope

    return 4 * (head_width(config) // 2) if rope(config).get("rope_type") == "llama3" else 0
