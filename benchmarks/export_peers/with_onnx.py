"""A folder with model.onnx in ONNX Runtime: a decoder with optimum's names of keys and values, or an encoder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from common import threads

DTYPES = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
}


def opened(folder: Path, provider: str) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads()
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    graph = next(path for path in (folder / "model.onnx", folder / "onnx" / "model.onnx") if path.is_file())
    return onnxruntime.InferenceSession(str(graph), options, [provider, "CPUExecutionProvider"])


class Model:
    """Keys and values stay with ONNX Runtime between the steps (IO binding): only ids go in, only logits come out."""

    def __init__(self, folder: Path, provider: str = "CPUExecutionProvider", **_: Any) -> None:
        self.session = opened(folder, provider)
        self.inputs = {found.name: found for found in self.session.get_inputs()}
        self.outputs = [found.name for found in self.session.get_outputs()]
        self.past = [name for name in self.inputs if name.startswith("past_key_values.")]
        self.cache: dict[str, Any] = {}
        self.length = 0

    def logits(self, ids: np.ndarray) -> np.ndarray:
        """ids (tokens,) -> float32 (tokens, vocabulary)."""
        self._forget(1)
        return self._pass(ids[None])[0].astype(np.float32)

    def start(self, ids: np.ndarray) -> np.ndarray:
        """ids (batch, tokens), of equal lengths -> the most probable next ids (batch,). The cache starts anew."""
        self._forget(len(ids))
        return self._pass(ids)[:, -1].argmax(-1)

    def step(self, ids: np.ndarray) -> np.ndarray:
        """One token more of each text: ids (batch,) -> the next (batch,)."""
        return self._pass(ids[:, None])[:, -1].argmax(-1)

    def _forget(self, rows: int) -> None:
        self.length = 0
        self.cache = {name: onnxruntime.OrtValue.ortvalue_from_numpy(self._nothing(name, rows)) for name in self.past}

    def _nothing(self, name: str, rows: int) -> np.ndarray:
        """Keys or values of no tokens: (rows, heads, 0, width)."""
        _, heads, _, width = self.inputs[name].shape
        return np.zeros((rows, heads, 0, width), DTYPES[self.inputs[name].type])

    def _pass(self, ids: np.ndarray) -> np.ndarray:
        """ids (batch, new tokens) -> logits (batch, new tokens or the last alone, vocabulary); the cache grows."""
        rows, fresh = ids.shape
        total = self.length + fresh
        given = {
            "input_ids": ids.astype(np.int64),
            "attention_mask": np.ones((rows, total), np.int64),
            "position_ids": np.tile(np.arange(self.length, total, dtype=np.int64), (rows, 1)),
        }
        binding = self.session.io_binding()
        for name, array in given.items():
            if name in self.inputs:
                binding.bind_cpu_input(name, np.ascontiguousarray(array, DTYPES[self.inputs[name].type]))
        for name, value in self.cache.items():
            binding.bind_ortvalue_input(name, value)
        for name in self.outputs:
            binding.bind_output(name)
        self.session.run_with_iobinding(binding)
        found = dict(zip(self.outputs, binding.get_outputs(), strict=True))
        self.cache = {name: found[name.replace("past_key_values", "present")] for name in self.past}
        self.length = total
        return found["logits"].numpy()


class Classifier:
    def __init__(self, folder: Path, provider: str = "CPUExecutionProvider", **_: Any) -> None:
        self.session = opened(folder, provider)
        self.inputs = {found.name for found in self.session.get_inputs()}

    def classes(self, ids: np.ndarray, mask: np.ndarray) -> np.ndarray:
        """ids and mask (batch, tokens) -> float32 (batch, classes)."""
        given = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        found = self.session.run(["logits"], {name: given[name] for name in self.inputs})
        return found[0].astype(np.float32)
