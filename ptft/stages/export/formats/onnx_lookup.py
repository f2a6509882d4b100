"""An embedding whose table is stored as integers: rows of integers are gathered, and only they become numbers.

Standard operators, so that 4 and 8 bits, groups and channels, and a table that the output layer multiplies with too (tied
weights, stored once) go the same way. ONNX Runtime's `GatherBlockQuantized` wants the table in another shape than its products do.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ptft.stages.export.formats.onnx_nodes import Stored, take_place
from ptft.stages.export.formats.onnx_packing import MIDDLE


def look_up(stored: Stored, node: Any, in_integers: bool, unsigned: bool) -> None:
    """Replace a Gather of rows. in_integers: the table is stored for integer arithmetic (unsigned: as uint8), not in blocks."""
    made = _of_channels(stored, node, unsigned) if in_integers else _of_blocks(stored, node)
    take_place(node, made)
    stored.graph.remove(node, safe=True)


def _of_channels(stored: Stored, node: Any, unsigned: bool) -> Any:
    ints, scales = (stored.add(node, "Gather", [part, node.inputs[1]]) for part in stored.ints(unsigned)[:2])
    numbers = stored.cast(node, ints)
    if unsigned:
        numbers = stored.add(node, "Sub", [numbers, stored.keep("middle", np.array(MIDDLE, stored.dtype))])
    return stored.add(node, "Mul", [numbers, _wider(stored, node, scales)])


def _of_blocks(stored: Stored, node: Any) -> Any:
    """(rows, tokens, blocks, block) of integers less their zero points, times their scales; then blocks side by side."""
    ints, scales = (stored.add(node, "Gather", [part, node.inputs[1]]) for part in (stored.packed(), stored.scales()))
    centred = stored.add(node, "Sub", [stored.cast(node, _unpacked(stored, node, ints)), _middle(stored, node)])
    made = stored.add(node, "Mul", [centred, _wider(stored, node, stored.cast(node, scales))])
    joined, found = _flatter(stored, node, made), stored.blocks
    return joined if found.padding == 0 else _first(stored, node, joined, found.width)


def _middle(stored: Stored, node: Any) -> Any:
    """The zero points of the rows, (rows, tokens, blocks, 1), or the one of all blocks."""
    if stored.zeros() is None:
        return stored.keep("middle", np.array(1 << (stored.weight.bits - 1), stored.dtype))
    zeros = stored.add(node, "Gather", [stored.zeros(), node.inputs[1]])
    kept = _first(stored, node, _unpacked(stored, node, zeros), stored.blocks.scales.shape[1])
    return _wider(stored, node, stored.cast(node, kept))


def _unpacked(stored: Stored, node: Any, packed: Any) -> Any:
    """(..., n) bytes as (..., 2 n) values of 4 bits, the lower half first; those of 8 bits as they are."""
    if stored.weight.bits == 8:
        return packed
    low = stored.add(node, "BitwiseAnd", [packed, stored.keep("low", np.array(15, np.uint8))])
    high = stored.add(node, "BitShift", [packed, stored.keep("four", np.array(4, np.uint8))], {"direction": "RIGHT"})
    pairs = stored.add(node, "Concat", [_wider(stored, node, low), _wider(stored, node, high)], {"axis": -1})
    return _flatter(stored, node, pairs)


def _flatter(stored: Stored, node: Any, value: Any) -> Any:
    """(..., m, n) as (..., m n)."""
    shape = stored.add(node, "Shape", [value], {"end": -2})
    whole = stored.add(node, "Concat", [shape, stored.axes(-1)], {"axis": 0})
    return stored.add(node, "Reshape", [value, whole])


def _first(stored: Stored, node: Any, value: Any, count: int) -> Any:
    """(..., n) as (..., count)."""
    return stored.add(node, "Slice", [value, stored.axes(0), stored.axes(count), stored.axes(-1)])


def _wider(stored: Stored, node: Any, value: Any) -> Any:
    """(...) as (..., 1)."""
    return stored.add(node, "Unsqueeze", [value, stored.axes(-1)])
