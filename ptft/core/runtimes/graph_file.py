"""An ONNX file read without running it: whether it is whole, and which weights it holds."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from ptft.core.errors import InputError

AGAIN = "fetch the folder again, or export it again from its checkpoint"
# safetensors' names of the types that weights have; other initializers are indices, shapes and masks
_TYPES = {
    "FLOAT": ("F32", 32), "DOUBLE": ("F64", 64), "FLOAT16": ("F16", 16), "BFLOAT16": ("BF16", 16), "INT8": ("I8", 8),
    "UINT8": ("U8", 8), "INT4": ("I4", 4), "UINT4": ("U4", 4), "INT2": ("I2", 2), "UINT2": ("U2", 2),
    "FLOAT8E4M3FN": ("F8_E4M3", 8), "FLOAT8E5M2": ("F8_E5M2", 8),
}  # fmt: skip
# what ONNX Runtime's quantisers call the numbers beside a quantised tensor
_BESIDE = ("_scale", "_scales", "_zero_point", "_zero_points", "_g_idx")
_COPIES = 4  # an embedding, an output layer and little else have a vocabulary's length


class Entry(NamedTuple):
    """One weight tensor as stored; bytes in the file."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    bytes: int

    @property
    def size(self) -> int:
        return math.prod(self.shape)


def read(path: Path) -> Any:
    """The `onnx.ModelProto`, its external tensors left where they are. Raises `InputError` for a file that is no graph."""
    import onnx
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load(path, load_external_data=False)
    except (DecodeError, ValueError, OSError) as error:
        raise InputError("a corrupt or truncated ONNX file", where=str(path), remedy=AGAIN) from error
    if not model.graph.output:
        raise InputError("not an ONNX graph: it has no outputs", where=str(path), remedy=AGAIN)
    return model


def require_whole(path: Path, model: Any) -> None:
    """Raise `InputError` where a file that holds the graph's external tensors is not beside it, or too short."""
    from onnx.external_data_helper import ExternalDataInfo

    for tensor in initializers(model):
        if not tensor.external_data:
            continue
        info = ExternalDataInfo(tensor)
        stored = path.parent / info.location
        if path.parent.resolve() not in stored.resolve().parents:
            what = f"the graph keeps weights outside its folder: {info.location}"
            raise InputError(what, where=str(path), remedy=AGAIN)
        if not stored.is_file():
            remedy = f"put {info.location} beside {path.name}: it holds the graph's weights"
            raise InputError(f"the weights' file {info.location} is not there", where=str(path), remedy=remedy)
        if stored.stat().st_size < (info.offset or 0) + (info.length or 0):
            raise InputError(f"the weights' file {info.location} is cut short", where=str(path), remedy=AGAIN)


def weights(model: Any, folder: Path) -> Iterator[Entry]:
    """The tensors that stand for a network's parameters: no scalars, indices, scales or zero points. folder: of external data.

    Tied embeddings that an exporter stored twice count once, as long as nothing quantised them apart. A tensor of packed 4-bit weights (MatMulNBits) has the shape of what it stands for. Constants that are computed and not
    learnt (rotary frequencies) cannot be told apart and are counted.
    """
    packed = {node.input[1]: _packed_shape(node) for node in model.graph.node if node.op_type == "MatMulNBits"}
    seen = _second_copies(model, folder)
    for tensor in initializers(model):
        known = _TYPES.get(_type_name(tensor))
        beside = len(tensor.dims) < 2 and tensor.name.endswith(_BESIDE)
        if known is None or not tensor.dims or beside or tensor.name in seen or _beside_packed(tensor.name, packed):
            continue
        seen.add(tensor.name)
        stored = math.prod(tensor.dims) * known[1] // 8
        yield Entry(tensor.name, known[0], packed.get(tensor.name, tuple(tensor.dims)), stored)


def _second_copies(model: Any, folder: Path) -> set[str]:
    """Of the tensors with the longest side, the vocabulary's, those that are another one again, or its transpose."""
    from onnx.numpy_helper import to_array

    known = [tensor for tensor in initializers(model) if len(tensor.dims) == 2 and _type_name(tensor) in _TYPES]
    longest = max((max(tensor.dims) for tensor in known), default=0)
    known = [tensor for tensor in known if max(tensor.dims) == longest]
    if len(known) > _COPIES:
        return set()
    arrays: list[Any] = []
    found: set[str] = set()
    for tensor in known:
        array = to_array(tensor, str(folder))
        array = array if array.shape[0] == longest else array.T
        if any(array.shape == other.shape and (array == other).all() for other in arrays):
            found.add(tensor.name)
        arrays.append(array)
    return found


def initializers(model: Any) -> Iterator[Any]:
    yield from model.graph.initializer
    for node in model.graph.node:
        if node.op_type == "Constant":
            for attribute in node.attribute:
                if attribute.name == "value" and attribute.HasField("t"):
                    attribute.t.name = attribute.t.name or node.output[0]
                    yield attribute.t


def _packed_shape(node: Any) -> tuple[int, ...]:
    sizes = {attribute.name: attribute.i for attribute in node.attribute}
    return int(sizes["N"]), int(sizes["K"])


def _beside_packed(name: str, packed: dict[str, tuple[int, ...]]) -> bool:
    return bool(packed) and name.endswith(_BESIDE)


def _type_name(tensor: Any) -> str:
    import onnx

    return str(onnx.TensorProto.DataType.Name(tensor.data_type))
