"""A traced graph's weights replaced by quantised ones: the nodes that compute with them, and what they are stored as."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ptft.core.errors import InputError
from ptft.stages.export.formats.onnx_lookup import look_up
from ptft.stages.export.formats.onnx_nodes import Stored, add, bias_of, take_place
from ptft.stages.export.formats.onnx_standard import dequantise

if TYPE_CHECKING:
    from ptft.core.quantising.activations import Activation
    from ptft.core.quantising.scheme import Plan, Quantised

MICROSOFT = "com.microsoft"


@dataclass(frozen=True)
class Arithmetic:
    """How the graph computes with quantised matrices, by weight name; those that are not named are quantised in weights alone.

    dynamic: in integers, the activations quantised as they come (W8A8). static: with activations quantised as calibration found.
    Both want 8 bits with a scale an output channel. accuracy_level (MatMulNBits', of weights alone): 4 lets the kernel round
    activations to 8 bits inside each block, which is many times faster on a CPU; 1 computes in float32. unsigned: matrices in
    integers as uint8, for CPUs of which `onnx_packing.saturates`. standard: DequantizeLinear in the place of ONNX Runtime's own
    operators, for TensorRT; with a graph that was traced so, and activations that are static and symmetric or not quantised.
    """

    dynamic: Collection[str] = ()
    static: Mapping[str, Activation] = field(default_factory=dict)
    accuracy_level: Literal[1, 4] = 4
    unsigned: bool = False
    standard: bool = False

    @classmethod
    def of(cls, plan: Plan, static: Mapping[str, Activation] | None = None, *, standard: bool = False) -> Arithmetic:
        """static: what `activations.ranges` found (standard: with symmetric=True)."""
        dynamic = [name for name, scheme in plan.items() if scheme is not None and scheme.activations == "dynamic"]
        return cls(frozenset(dynamic), static or {}, standard=standard)


def replace(graph: Any, quantised: Mapping[str, Quantised], arithmetic: Arithmetic) -> None:
    """Put `quantised` in the place of the initializers of `graph` (`onnx_ir.Graph`) with their names.

    Raises `InputError` for a name that the graph does not have, or a weight that is neither looked up nor multiplied with.
    """
    lacking = sorted(quantised.keys() - graph.initializers.keys())
    if lacking:
        what = f"the graph has no weight {lacking[0]!r} to quantise, and {len(lacking) - 1:,} others"
        raise InputError(what, remedy="name weights as the model's parameters are named")
    if arithmetic.standard and arithmetic.dynamic:
        what = "activations quantised as they come want operators that TensorRT lacks"
        raise InputError(what, remedy="choose INT8 with static activations, or weights alone")
    for name, weight in quantised.items():
        stored = Stored(graph, name, weight)
        if arithmetic.standard:
            dequantise(stored, arithmetic.static.get(name))
        else:
            _Replacement(stored, arithmetic).make()


class _Replacement:
    """One weight's uses, each replaced by nodes that read the same stored integers."""

    def __init__(self, stored: Stored, arithmetic: Arithmetic) -> None:
        self.stored, self.arithmetic = stored, arithmetic
        self.static = arithmetic.static.get(stored.name)
        self.in_integers = self.static is not None or stored.name in arithmetic.dynamic
        if self.in_integers and stored.dtype != np.float32:
            what = f"{stored.name} computes in integers, which ONNX Runtime does beside float32 alone"
            raise InputError(what, remedy="trace the model in float32, or quantise its weights alone")

    def make(self) -> None:
        initializers = self.stored.graph.initializers
        for node, _ in list(initializers[self.stored.name].uses()):
            self._use(node)
        del initializers[self.stored.name]

    def _use(self, node: Any) -> None:
        if node.op_type == "Gather":
            look_up(self.stored, node, self.in_integers, self.arithmetic.unsigned)
        elif node.op_type == "Transpose":
            for product, _ in list(node.outputs[0].uses()):
                self._multiply(product)
            self.stored.graph.remove(node, safe=True)
        else:
            self._multiply(node)

    def _multiply(self, node: Any) -> None:
        if node.op_type not in ("MatMul", "Gemm"):
            what = f"{self.stored.name} is used by {node.op_type}: products and embeddings alone can be quantised"
            raise InputError(what, remedy="keep this weight in full precision")
        bias, last = bias_of(node)
        take_place(last, (self._in_integers if self.in_integers else self._in_blocks)(node, bias))
        for old in {last: None, node: None}:
            self.stored.graph.remove(old, safe=True)

    def _in_blocks(self, node: Any, bias: Any) -> Any:
        stored, found = self.stored, self.stored.blocks
        scales = stored.cast(node, stored.scales())  # of a constant: the runtime does it once
        attributes = {
            "K": found.width, "N": found.rows, "bits": found.bits, "block_size": found.block,
            "accuracy_level": self.arithmetic.accuracy_level,
        }  # fmt: skip
        inputs = [node.inputs[0], stored.packed(), scales, stored.zeros(), None, bias]
        return stored.add(node, "MatMulNBits", inputs, attributes, MICROSOFT)

    def _in_integers(self, node: Any, bias: Any) -> Any:
        ints, *rest = self.stored.ints(self.arithmetic.unsigned)
        matrix = self.stored.add(node, "Transpose", [ints], {"perm": [1, 0]})
        made = (self._dynamic if self.static is None else self._static)(node, matrix, *rest)
        return made if bias is None else self.stored.add(node, "Add", [made, bias])

    def _dynamic(self, node: Any, matrix: Any, scales: Any, zeros: Any) -> Any:
        """DynamicQuantizeLinear of the input, one for all matrices that share it, then MatMulInteger and the two scales."""
        rounded = _dynamically_rounded(self.stored.graph, node)
        product = self.stored.add(node, "MatMulInteger", [rounded[0], matrix, rounded[2], zeros])
        both = self.stored.add(node, "Mul", [rounded[1], scales])
        return self.stored.add(node, "Mul", [self.stored.cast(node, product), both])

    def _static(self, node: Any, matrix: Any, scales: Any, zeros: Any) -> Any:
        """QuantizeLinear and DequantizeLinear around the input, DequantizeLinear of the weights, and the product as it was."""
        assert self.static is not None
        stored = self.stored
        step = stored.keep("input_scale", np.array(self.static.scale, np.float32))
        # moved up to uint8, for which the kernels are fast
        point = stored.keep("input_zero_point", np.array(self.static.zero + 128, np.uint8))
        rounded = stored.add(node, "QuantizeLinear", [node.inputs[0], step, point])
        given = stored.add(node, "DequantizeLinear", [rounded, step, point])
        weights = stored.add(node, "DequantizeLinear", [matrix, scales, zeros], {"axis": 1})
        return stored.add(node, "MatMul", [given, weights])


def _dynamically_rounded(graph: Any, node: Any) -> Any:
    """uint8 values, scale and zero point of the node's first input."""
    given = node.inputs[0]
    for user, _ in given.uses():
        if user.op_type == "DynamicQuantizeLinear":
            return user.outputs
    return add(graph, node, "DynamicQuantizeLinear", [given], outputs=3)
