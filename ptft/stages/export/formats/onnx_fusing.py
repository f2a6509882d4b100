"""A traced graph with fewer nodes and the same answers: on a small model's token each node costs as much as a small product.

Shapes that tracing found decide, so that nothing here knows a family: views that undo each other go, a residual sum and the norm
that reads it become one node, constants that are alike become one, and what nothing reads any more is removed.
"""

from __future__ import annotations

from typing import Any

from ptft.stages.export.formats.onnx_nodes import add

MICROSOFT = "com.microsoft"


def fused(graph: Any) -> None:
    """Change `graph` (`onnx_ir.Graph`) until nothing more can go."""
    while any([_without_views(graph), _shared(graph)]):
        _without_dead(graph)
    _with_sums(graph)
    _without_dead(graph)


# ---------------------------------------------------------------- views


def _without_views(graph: Any) -> bool:
    """Uses of reshapes and transposes that together change nothing read what was before them."""
    found = False
    for node in list(graph):
        origin = _undone(node)
        if origin is not None and not node.outputs[0].is_graph_output() and list(node.outputs[0].uses()):
            node.outputs[0].replace_all_uses_with(origin)
            found = True
    return found


def _undone(node: Any) -> Any:
    """The value that a transpose or reshape turns back into; None where it does not."""
    if node.op_type == "Transpose":
        before = node.inputs[0].producer()
        if before is None or before.op_type != "Transpose":
            return None
        outer, inner = _order(node), _order(before)
        return before.inputs[0] if [inner[axis] for axis in outer] == sorted(outer) else None
    if node.op_type == "Reshape":
        before = node.inputs[0]
        while before.producer() is not None and before.producer().op_type == "Reshape":
            before = before.producer().inputs[0]
        return before if _same(before.shape, node.outputs[0].shape) else None
    return None


def _order(node: Any) -> list[int]:
    return list(node.attributes["perm"].as_ints())


def _same(one: Any, other: Any) -> bool:
    """Whether two shapes are known, and equal: numbers, or sizes of the same name."""
    if one is None or other is None or len(one) != len(other):
        return False
    pairs = list(zip(one, other, strict=True))
    return all(a == b and (isinstance(a, int) or a.value is not None) for a, b in pairs)


# ---------------------------------------------------------------- the same computed twice


def _shared(graph: Any) -> bool:
    """Nodes with the same inputs and attributes become one."""
    first: dict[Any, Any] = {}
    found = False
    for node in list(graph):
        if any(output.is_graph_output() for output in node.outputs) or _has_graph(node):
            continue
        attributes = tuple(sorted((name, _literal(attribute.value)) for name, attribute in node.attributes.items()))
        key = (node.domain, node.op_type, tuple(map(id, node.inputs)), attributes)
        kept = first.setdefault(key, node)
        if kept is not node:
            for old, new in zip(node.outputs, kept.outputs, strict=True):
                found |= bool(list(old.uses()))
                old.replace_all_uses_with(new)
    return found


def _literal(value: Any) -> str:
    return f"{value.dtype} {value.shape} {value.tobytes()!r}" if hasattr(value, "tobytes") else str(value)


def _has_graph(node: Any) -> bool:
    return any("GRAPH" in str(attribute.type) for attribute in node.attributes.values())


# ---------------------------------------------------------------- sums and norms


def _with_sums(graph: Any) -> None:
    """SimplifiedLayerNormalization of a sum of equal shapes becomes SkipSimplifiedLayerNormalization, which gives both."""
    for node in list(graph):
        if node.op_type != "SimplifiedLayerNormalization":
            continue
        total = node.inputs[0].producer()
        if total is None or total.op_type != "Add" or not _same(total.inputs[0].shape, total.inputs[1].shape):
            continue
        epsilon = node.attributes["epsilon"].value
        made = add(
            graph, total, "SkipSimplifiedLayerNormalization", [*total.inputs, node.inputs[1]], {"epsilon": epsilon},
            MICROSOFT, outputs=4,
        )  # fmt: skip
        for old, new in ((node.outputs[0], made[0]), (total.outputs[0], made[3])):
            new.shape, new.dtype = old.shape, old.dtype
            old.replace_all_uses_with(new)


def _without_dead(graph: Any) -> None:
    """Nodes and initializers that nothing reads."""
    for node in reversed(list(graph)):
        if not any(list(output.uses()) or output.is_graph_output() for output in node.outputs):
            graph.remove(node, safe=True)
    for name, value in list(graph.initializers.items()):
        if not list(value.uses()) and not value.is_graph_output():
            del graph.initializers[name]
