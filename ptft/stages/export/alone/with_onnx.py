"""A folder with model.onnx in ONNX Runtime: a decoder with optimum's names of keys and values, or an encoder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from common import Unfit, threads  # type: ignore[import-not-found]

DTYPES = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
}


CPU = "CPUExecutionProvider"
PROVIDERS = {
    "cpu": (CPU,), "cuda": ("CUDAExecutionProvider", CPU),
    "tensorrt": ("TensorrtExecutionProvider", "CUDAExecutionProvider", CPU),
}  # fmt: skip


def opened(folder: Path, provider: str) -> onnxruntime.InferenceSession:
    """provider: cpu, cuda, tensorrt, or ONNX Runtime's own name. Raises `Unfit` where it is not there, or did not start."""
    wanted = PROVIDERS.get(provider, tuple(dict.fromkeys((provider, CPU))))
    there = onnxruntime.get_available_providers()
    if wanted[0] not in there:
        raise Unfit(f"this ONNX Runtime has no {wanted[0]} (it has {', '.join(there)})")
    session = _session(folder, [name for name in wanted if name in there])
    if session.get_providers()[0] != wanted[0]:
        raise Unfit(f"{wanted[0]} did not start: its libraries are missing, or there is no GPU")
    return session


def _session(folder: Path, providers: list[str]) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads()
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    graph = next(path for path in (folder / "model.onnx", folder / "onnx" / "model.onnx") if path.is_file())
    return onnxruntime.InferenceSession(str(graph), options, providers)


class Model:
    """Keys and values stay with ONNX Runtime between the steps (IO binding): only ids go in, only logits come out.

    A graph without keys and values reads the whole text at every step.
    """

    def __init__(self, folder: Path, provider: str = CPU, **_: Any) -> None:
        self.session = opened(folder, provider)
        self.device = "cpu" if self.session.get_providers()[0] == CPU else "cuda"
        self.text = np.zeros((0, 0), np.int64)
        self.inputs = {found.name: found for found in self.session.get_inputs()}
        self.outputs = [found.name for found in self.session.get_outputs()]
        self.past = [name for name in self.inputs if name.startswith("past_key_values.")]
        self.cache: dict[str, Any] = {}
        self.length = 0

    def logits(self, ids: np.ndarray, types: np.ndarray | None = None) -> np.ndarray:
        """ids (tokens,) -> float32 (tokens, vocabulary)."""
        self._forget(1)
        return np.asarray(self._pass(ids[None])[0], np.float32)

    def start(self, ids: np.ndarray) -> np.ndarray:
        """ids (batch, tokens), of equal lengths -> the most probable next ids (batch,). The cache starts anew."""
        self._forget(len(ids))
        return np.asarray(self._pass(ids)[:, -1].argmax(-1))

    def step(self, ids: np.ndarray) -> np.ndarray:
        """One token more of each text: ids (batch,) -> the next (batch,)."""
        return np.asarray(self._pass(ids[:, None])[:, -1].argmax(-1))

    def _forget(self, rows: int) -> None:
        self.length = 0
        self.text = np.zeros((rows, 0), np.int64)
        self.cache = {name: onnxruntime.OrtValue.ortvalue_from_numpy(self._nothing(name, rows)) for name in self.past}

    def _nothing(self, name: str, rows: int) -> np.ndarray:
        """Keys or values of no tokens: (rows, heads, 0, width)."""
        _, heads, _, width = self.inputs[name].shape
        return np.zeros((rows, heads, 0, width), DTYPES[self.inputs[name].type])

    def _pass(self, ids: np.ndarray) -> np.ndarray:
        """ids (batch, new tokens) -> logits (batch, new tokens or the last alone, vocabulary); the cache grows."""
        if not self.past:
            ids = self.text = np.concatenate([self.text, ids], axis=1)
            self.length = 0
        rows, fresh = ids.shape
        total = self.length + fresh
        given = {
            "input_ids": ids.astype(np.int64),
            "attention_mask": np.ones((rows, total), np.int64),
            "token_type_ids": np.zeros_like(ids),
            "position_ids": np.tile(np.arange(self.length, total, dtype=np.int64), (rows, 1)),
        }
        binding = self.session.io_binding()
        for name, array in given.items():
            if name in self.inputs:
                binding.bind_cpu_input(name, np.ascontiguousarray(array, DTYPES[self.inputs[name].type]))
        for name, value in self.cache.items():
            binding.bind_ortvalue_input(name, value)
        for name in self.outputs:
            binding.bind_output(name, "cpu" if name == "logits" else self.device)
        self.session.run_with_iobinding(binding)
        found = dict(zip(self.outputs, binding.get_outputs(), strict=True))
        self.cache = {name: found[name.replace("past_key_values", "present")] for name in self.past}
        self.length = total
        return np.asarray(found["logits"].numpy())


class Classifier:
    """A graph that reads a text at once: a masked model, a classifier, a tagger, one that finds an answer."""

    def __init__(self, folder: Path, provider: str = CPU, kind: str = "classifier", **_: Any) -> None:
        self.session = opened(folder, provider)
        self.kind = kind
        self.inputs = {found.name for found in self.session.get_inputs()}

    def classes(self, ids: np.ndarray, mask: np.ndarray, types: np.ndarray | None = None) -> np.ndarray:
        """ids, mask and types (batch, tokens) -> float32 (batch, classes), (batch, tokens, ...) or (batch, 2, tokens) of spans."""
        rows, tokens = ids.shape
        given = {
            "input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids) if types is None else types,
            "position_ids": np.tile(np.arange(tokens), (rows, 1)),
        }  # fmt: skip
        asked = ["start_logits", "end_logits"] if self.kind == "span" else ["logits"]
        found = self.session.run(asked, {name: given[name].astype(np.int64) for name in self.inputs})
        return np.asarray(np.stack(found, 1) if self.kind == "span" else found[0], np.float32)

    def logits(self, ids: np.ndarray, types: np.ndarray | None = None) -> np.ndarray:
        """One row, ids and types (tokens,) -> float32 (places, choices): see judging.claims."""
        found = self.classes(ids[None], np.ones((1, len(ids)), np.int64), None if types is None else types[None])
        return found if self.kind == "classifier" else np.asarray(found[0])
