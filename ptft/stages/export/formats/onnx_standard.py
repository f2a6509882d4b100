"""Quantised weights in ONNX's own operators, as TensorRT reads them: DequantizeLinear of integers, QuantizeLinear and
DequantizeLinear around inputs, and the products as they were. No zero points: TensorRT takes none but 0.

ONNX Runtime on a CPU runs it too, and is slower than with its own operators.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ptft.core.errors import InputError
from ptft.stages.export.formats.onnx_nodes import Stored, initializer

if TYPE_CHECKING:
    from ptft.core.quantising.activations import Activation


def dequantise(stored: Stored, static: Activation | None) -> None:
    """Every use of the initializer reads what its integers stand for. static: how the other factor of its products is rounded.

    Raises `InputError` for zero points other than 0, of weights or activations.
    """
    if stored.weight.zeros is not None or (static is not None and static.zero):
        what = f"{stored.name} has zero points, and TensorRT takes symmetric integers alone"
        raise InputError(what, remedy="quantise weights and activations symmetrically")
    whole = stored.graph.initializers[stored.name]
    numbers = _numbers(stored)
    for node, place in list(whole.uses()):
        node.replace_input_with(place, _turned(stored, node, numbers))
        if static is not None:
            for product in _products(node):
                _round_input(stored, product, static)
    del stored.graph.initializers[stored.name]


def _numbers(stored: Stored) -> Any:
    """(out, in), of a scale an output channel or a block."""
    weight = stored.weight
    scales = np.asarray(weight.scales.cpu()).astype(stored.dtype)
    attributes = {"axis": 1, "block_size": weight.group} if weight.group else {"axis": 0}
    kept = stored.keep("scales", scales if weight.group else scales.reshape(-1))
    made = stored.add(stored.graph[0], "DequantizeLinear", [_ints(stored), kept], attributes)
    made.shape, made.dtype = _shape(weight.ints), stored.graph.initializers[stored.name].dtype
    return made


def _ints(stored: Stored) -> Any:
    """int8, or two 4-bit integers a byte."""
    import ml_dtypes

    kinds = {4: ml_dtypes.int4, 8: np.int8}
    if stored.weight.bits not in kinds:
        what = f"{stored.name} has {stored.weight.bits} bits: ONNX's own operators take 4 or 8"
        raise InputError(what, remedy="choose int4 or int8")
    return stored.keep("ints", np.asarray(stored.weight.ints.cpu()).astype(kinds[stored.weight.bits]))


def _shape(tensor: Any) -> Any:
    import onnx_ir as ir

    return ir.Shape(list(tensor.shape))


def _turned(stored: Stored, node: Any, numbers: Any) -> Any:
    """(in, out) where a product takes the matrix as it is stored: GPT-2's are the other way round."""
    turns = node.op_type == "MatMul" or (node.op_type == "Gemm" and not node.attributes.get_int("transB", 0))
    return stored.add(node, "Transpose", [numbers], {"perm": [1, 0]}) if turns else numbers


def _products(node: Any) -> list[Any]:
    """The products that a use of the weight leads to: none of a Gather."""
    if node.op_type == "Transpose":
        return [product for product, _ in node.outputs[0].uses()]
    return [node] if node.op_type in ("MatMul", "Gemm") else []


def _round_input(stored: Stored, product: Any, static: Activation) -> None:
    """QuantizeLinear and DequantizeLinear of int8, once where several products read one input at one scale."""
    given, name = product.inputs[0], f"{product.inputs[0].name}_{static.scale!r}"
    known = next((node for node, _ in given.uses() if node.name == name), None)
    if known is None:
        step = initializer(stored.graph, f"{name}_scale", np.array(static.scale, np.float32))
        point = initializer(stored.graph, f"{name}_zero_point", np.array(0, np.int8))
        rounded = stored.add(product, "QuantizeLinear", [given, step, point])
        rounded.producer().name = name
        known = stored.add(product, "DequantizeLinear", [rounded, step, point]).producer()
    else:
        known = next(node for node, _ in known.outputs[0].uses())
    product.replace_input_with(0, known.outputs[0])
