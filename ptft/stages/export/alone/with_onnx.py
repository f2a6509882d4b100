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
KEPT = "num_logits_to_keep"  # an input: logits of so many last tokens, 0 of all; it need not be given
SHARES = "past_present_share_buffer"  # in the graph's metadata: one buffer may be past and present
ROOM = 64  # tokens that shared buffers hold beyond the text, so that not every step makes them anew


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
    # without it TensorRT turns the integers of a quantised graph into floats
    given = [(name, {"trt_int8_enable": True}) if name.startswith("Tensorrt") else name for name in providers]
    return onnxruntime.InferenceSession(str(graph), options, given)


class Model:
    """Keys and values stay with ONNX Runtime between the steps (IO binding): only ids go in, only logits come out.

    Where the graph says that it takes one buffer as past and as present, new keys and values are written into it; elsewhere each
    step gives a cache longer by one. A graph without keys and values reads the whole text at every step.
    """

    def __init__(self, folder: Path, provider: str = CPU, **_: Any) -> None:
        self.session = opened(folder, provider)
        self.device = "cpu" if self.session.get_providers()[0] == CPU else "cuda"
        self.text = np.zeros((0, 0), np.int64)
        self.inputs = {found.name: found for found in self.session.get_inputs()}
        self.outputs = [found.name for found in self.session.get_outputs()]
        self.past = [name for name in self.inputs if name.startswith("past_key_values.")]
        self.shares, self.counts = False, {}
        if self.past:  # a graph that goes on
            self.counts = self._counts()
            self.shares = self.session.get_modelmeta().custom_metadata_map.get(SHARES) == "true"
        self.cache: dict[str, Any] = {}
        self.length = self.rows = 0  # tokens so far, texts in the batch
        self.capacity = 0  # tokens that the shared buffers hold

    def _counts(self) -> dict[int, Any]:
        """What the input num_logits_to_keep is bound to, by its number; nothing where the graph has no such input."""
        optional = [found.name for found in self.session.get_overridable_initializers()]
        wrapped = onnxruntime.OrtValue.ortvalue_from_numpy
        return {kept: wrapped(np.array([kept], np.int64)) for kept in (0, 1) if KEPT in optional}

    def logits(self, ids: np.ndarray, types: np.ndarray | None = None) -> np.ndarray:
        """ids (tokens,) -> float32 (tokens, vocabulary)."""
        self._forget(1, len(ids))
        return np.asarray(self._pass(ids[None])[0], np.float32)

    def start(self, ids: np.ndarray) -> np.ndarray:
        """ids (batch, tokens), of equal lengths -> the most probable next ids (batch,). The cache starts anew."""
        self._forget(len(ids), ids.shape[1] + ROOM)
        return np.asarray(self._pass(ids, kept=1)[:, -1].argmax(-1))

    def step(self, ids: np.ndarray) -> np.ndarray:
        """One token more of each text: ids (batch,) -> the next (batch,)."""
        return np.asarray(self._pass(ids[:, None], kept=1)[:, -1].argmax(-1))

    def _forget(self, rows: int, tokens: int) -> None:
        """tokens: that the buffers shall hold, where they are shared."""
        self.length = 0
        self.text = np.zeros((rows, 0), np.int64)
        if not self.shares:
            self._take({name: self._nothing(name, rows) for name in self.past})
        elif rows != self.rows or tokens > self.capacity:
            self._take({name: self._nothing(name, rows, tokens) for name in self.past})
        self.rows = rows

    def _take(self, arrays: dict[str, np.ndarray]) -> None:
        """The cache becomes `arrays`; shared buffers are bound here, once for many steps."""
        device = self.device if self.shares else "cpu"
        self.cache = {name: onnxruntime.OrtValue.ortvalue_from_numpy(array, device) for name, array in arrays.items()}
        self.binding = self.session.io_binding()
        if self.shares:
            self.capacity = next(iter(arrays.values())).shape[2]
            for name, value in self.cache.items():
                self.binding.bind_ortvalue_input(name, value)
            for name in self.outputs:
                if name == "logits":
                    self.binding.bind_output(name)
                else:
                    self.binding.bind_ortvalue_output(name, self.cache[name.replace("present", "past_key_values")])

    def _grow(self, tokens: int) -> None:
        """Shared buffers of `tokens`, with what is in them now."""
        longer = {}
        for name, value in self.cache.items():
            longer[name] = self._nothing(name, self.rows, tokens)
            longer[name][:, :, : self.length] = value.numpy()[:, :, : self.length]
        self._take(longer)

    def _nothing(self, name: str, rows: int, tokens: int = 0) -> np.ndarray:
        """Keys or values: zeros of (rows, heads, tokens, width)."""
        _, heads, _, width = self.inputs[name].shape
        return np.zeros((rows, heads, tokens, width), DTYPES[self.inputs[name].type])

    def _pass(self, ids: np.ndarray, kept: int = 0) -> np.ndarray:
        """ids (batch, new tokens) -> logits (batch, new tokens or fewer of the last, vocabulary); the cache grows.

        kept: 1 asks for logits of the last token alone, 0 of all; a graph may give those of all new tokens nevertheless.
        """
        if not self.past:
            ids = self.text = np.concatenate([self.text, ids], axis=1)
            self.length = 0
        total = self.length + ids.shape[1]
        if self.shares and total > self.capacity:
            self._grow(total + ROOM)
        for name, array in self._given(ids, total).items():
            if name in self.inputs:
                self.binding.bind_cpu_input(name, np.ascontiguousarray(array, DTYPES[self.inputs[name].type]))
        if self.counts:
            self.binding.bind_ortvalue_input(KEPT, self.counts[kept])
        if self.shares:
            self.binding.bind_output("logits")
        else:
            self._bind_cache()
        self.session.run_with_iobinding(self.binding)
        self.length = total
        found = dict(zip(self.outputs, self.binding.get_outputs(), strict=True))
        if not self.shares:
            self.cache = {name: found[name.replace("past_key_values", "present")] for name in self.past}
        return np.asarray(found["logits"].numpy())

    def _given(self, ids: np.ndarray, total: int) -> dict[str, np.ndarray]:
        """What a graph may be fed with beside its cache."""
        rows = len(ids)
        return {
            "input_ids": ids, "attention_mask": np.ones((rows, total), np.int64), "token_type_ids": np.zeros_like(ids),
            "position_ids": np.tile(np.arange(self.length, total, dtype=np.int64), (rows, 1)),
        }  # fmt: skip

    def _bind_cache(self) -> None:
        """As input what the last pass gave; every output wherever ONNX Runtime puts it."""
        for name, value in self.cache.items():
            self.binding.bind_ortvalue_input(name, value)
        for name in self.outputs:
            self.binding.bind_output(name, "cpu" if name == "logits" else self.device)


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
