"""One ONNX graph in ONNX Runtime: arrays of the types it wants in, torch tensors out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ptft.core.errors import InputError, RunError
from ptft.core.runtimes.graph_file import AGAIN

# of inputs; what onnxruntime calls them
_DTYPES: dict[str, Any] = {
    "tensor(int64)": np.int64, "tensor(int32)": np.int32, "tensor(bool)": np.bool_, "tensor(float)": np.float32,
    "tensor(float16)": np.float16, "tensor(double)": np.float64,
}  # fmt: skip
_PROVIDERS = ("CUDAExecutionProvider", "CPUExecutionProvider")  # of those that are installed, the first that can


class Session:
    """inputs: name -> shape, a size that varies is a name or None. outputs: the same. optional: inputs that have a value already."""

    def __init__(self, path: Path) -> None:
        """Raises `InputError` for a graph that ONNX Runtime does not take."""
        self.path = path
        self._session = _opened(path)
        self.inputs = {found.name: tuple(found.shape) for found in self._session.get_inputs()}
        self.outputs = {found.name: tuple(found.shape) for found in self._session.get_outputs()}
        self.is_half = all(found.type == "tensor(float16)" for found in self._session.get_outputs())
        more = self._session.get_overridable_initializers()
        self.optional = frozenset(found.name for found in more)
        self._types = {found.name: found.type for found in (*self._session.get_inputs(), *more)}
        for name in self.inputs:
            kind = self._types[name]
            if kind not in _DTYPES:
                what = f"the graph's input {name} is a {kind}, which numpy cannot hold"
                raise InputError(what, where=str(path), remedy="export it again in float32 or float16")

    def dtype(self, name: str) -> Any:
        """numpy's type of an input."""
        return _DTYPES[self._types[name]]

    def run(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Every output by name, on the CPU. given: a torch tensor or an array for each of the graph's inputs, and for optional ones.

        Raises `InputError` where sizes do not fit the graph, `RunError` where ONNX Runtime gives up.
        """
        import torch

        names = [*self.inputs, *(self.optional & given.keys())]
        feeds = {name: np.ascontiguousarray(given[name], dtype=self.dtype(name)) for name in names}
        try:
            found = self._session.run(None, feeds)
        except Exception as error:  # onnxruntime's errors have no base of their own
            raise self._failed(error, feeds) from error
        return {name: torch.from_numpy(array) for name, array in zip(self.outputs, found, strict=True)}

    def _failed(self, error: Exception, feeds: Mapping[str, Any]) -> Exception:
        if not type(error).__module__.startswith("onnxruntime"):
            return error
        where, what = str(self.path), _first_line(error)
        if "allocate memory" in str(error):
            return MemoryError(what)
        if type(error).__name__ == "InvalidArgument" or self._is_fixed():
            sizes = ", ".join(f"{name} {feed.shape}" for name, feed in feeds.items())
            remedy = "export it again with dynamic axes, of the batch and of the length, for every input"
            return InputError(f"the graph does not take inputs of these sizes ({sizes})", where=where, remedy=remedy)
        return RunError(f"ONNX Runtime failed: {what}", where=where, remedy="lower --batch-size, or export it again")

    def _is_fixed(self) -> bool:
        """Whether it was exported for one batch and length only."""
        return any(shape and all(isinstance(size, int) for size in shape) for shape in self.inputs.values())


def _opened(path: Path) -> Any:
    import onnxruntime
    import torch

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.inter_op_num_threads = 1
    options.log_severity_level = 4  # fatal: errors are raised too
    there = onnxruntime.get_available_providers()
    try:
        return onnxruntime.InferenceSession(path, options, [name for name in _PROVIDERS if name in there])
    except Exception as error:  # onnxruntime's errors have no base of their own
        if not type(error).__module__.startswith("onnxruntime"):
            raise
        raise InputError(f"ONNX Runtime cannot load it: {_first_line(error)}", where=str(path), remedy=AGAIN) from error


def _first_line(error: Exception) -> str:
    return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
