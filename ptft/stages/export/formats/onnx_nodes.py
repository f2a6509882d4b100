"""Building blocks of a rewritten graph: a quantised weight's stored arrays, new nodes, and taking an old node's place."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ptft.stages.export.formats import onnx_packing as packing

if TYPE_CHECKING:
    from ptft.core.quantising.scheme import Quantised


class Stored:
    """A quantised weight in a graph (`onnx_ir.Graph`): each of its arrays is stored once, however many nodes read it.

    dtype: numpy's, of what the graph computes in.
    """

    def __init__(self, graph: Any, name: str, weight: Quantised) -> None:
        self.graph, self.name, self.weight = graph, name, weight
        self.dtype = graph.initializers[name].dtype.numpy()
        self._kept: dict[str, Any] = {}
        self._blocks: packing.Blocks | None = None

    @property
    def blocks(self) -> packing.Blocks:
        self._blocks = self._blocks or packing.blocks(self.weight)
        return self._blocks

    def packed(self) -> Any:
        return self.keep("packed", self.blocks.packed)

    def scales(self) -> Any:
        """Of blocks; in half the bytes where they are exact so, as those of ptft's algorithms are."""
        scales = self.blocks.scales
        with np.errstate(over="ignore"):
            halves = scales.astype(np.float16)
        return self.keep("scales", halves if (halves.astype(np.float32) == scales).all() else scales)

    def zeros(self) -> Any:
        """Of blocks; None where all are in the middle."""
        return None if self.blocks.zeros is None else self.keep("zero_points", self.blocks.zeros)

    def ints(self, unsigned: bool) -> tuple[Any, Any, Any]:
        """Integers (out, in), the scale of each output channel, and its zero point (None: 0). unsigned: from 0, around 128."""
        found = packing.columns(self.weight)
        scales = self.keep("scales", found.scales.astype(self.dtype))
        if not unsigned:
            return self.keep("ints", found.ints), scales, None
        zeros = self.keep("zero_points", np.full(len(found.ints), packing.MIDDLE, np.uint8))
        return self.keep("ints", (found.ints.astype(np.int16) + packing.MIDDLE).astype(np.uint8)), scales, zeros

    def keep(self, part: str, array: Any) -> Any:
        """An initializer named after the weight."""
        if part not in self._kept:
            self._kept[part] = initializer(self.graph, f"{self.name}_{part}", array)
        return self._kept[part]

    def axes(self, *numbers: int) -> Any:
        """int64 (n,)."""
        return self.keep("_".join(map(str, ("axes", *numbers))), np.array(numbers, np.int64))

    def add(
        self, before: Any, op: str, inputs: list[Any], attributes: dict[str, Any] | None = None, domain: str = ""
    ) -> Any:
        """The output of a new node in front of `before`."""
        return add(self.graph, before, op, inputs, attributes, domain)[0]

    def cast(self, before: Any, value: Any) -> Any:
        """`value` in the graph's type."""
        import onnx_ir as ir

        return self.add(before, "Cast", [value], {"to": ir.DataType.from_numpy(self.dtype)})


def add(
    graph: Any, before: Any, op: str, inputs: list[Any], attributes: dict[str, Any] | None = None, domain: str = "",
    outputs: int = 1,
) -> Any:  # fmt: skip
    """The outputs of a new node in front of `before`. inputs: those at the end that are None are left out."""
    import onnx_ir as ir

    while inputs[-1] is None:
        inputs = inputs[:-1]
    node = ir.node(op, inputs, attributes=attributes or {}, domain=domain, num_outputs=outputs)
    graph.insert_before(before, node)
    return node.outputs


def initializer(graph: Any, name: str, array: Any) -> Any:
    import onnx_ir as ir

    whole = np.ascontiguousarray(array).reshape(array.shape)  # which makes a row of one out of a number
    tensor = ir.tensor(whole, name=name)
    value = ir.Value(name=name, shape=ir.Shape(whole.shape), type=ir.TensorType(tensor.dtype), const_value=tensor)
    graph.register_initializer(value)
    return value


def bias_of(node: Any) -> tuple[Any, Any]:
    """The bias that is added to a product (one number an output channel), or None, and the node whose output has it in."""
    if node.op_type == "Gemm":
        return node.inputs[2] if len(node.inputs) > 2 else None, node
    uses = list(node.outputs[0].uses())
    if len(uses) == 1 and uses[0][0].op_type == "Add":
        following = uses[0][0]
        other = next(value for value in following.inputs if value is not node.outputs[0])
        if other.is_initializer() and len(other.shape) == 1:
            return other, following
    return None, node


def take_place(node: Any, made: Any) -> None:
    """`made` in the place of the node's output, a graph's output included."""
    old = node.outputs[0]
    name, is_output = old.name, old.is_graph_output()
    made.shape, made.dtype = old.shape, old.dtype
    old.replace_all_uses_with(made, replace_graph_outputs=True)
    if is_output:
        old.name, made.name = f"{name}_unquantised", name
