"""A GGUF file in llama.cpp, through the functions of its C library that llama-cpp-python names."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path
from typing import Any

import llama_cpp
import numpy as np
from common import threads  # type: ignore[import-not-found]

CONTEXT, ROWS = 512, 8  # tokens of a text at most, where the settings do not say; texts of a batch at most


class Model:
    """Texts of a batch are llama.cpp's sequences, each with a cache of its own."""

    def __init__(
        self, folder: Path, repack: bool | None = None, context: int = CONTEXT, rows: int = ROWS, **_: Any
    ) -> None:
        """repack: let llama.cpp bring the weights into the order that this processor's instructions like (AMX, AVX-512).

        None: unless the processor has AMX tiles, whose kernels crash at a second token of integer weights (llama.cpp#20824).
        """
        self.most, self.rows = context, rows
        path = folder if folder.is_file() else next(iter(sorted(folder.glob("*.gguf"))))
        self._silence = llama_cpp.llama_log_callback(lambda *_: None)  # kept: the library calls it
        llama_cpp.llama_log_set(self._silence, ctypes.c_void_p(0))
        llama_cpp.llama_backend_init()
        how = llama_cpp.llama_model_default_params()
        how.use_extra_bufts = _repacks() if repack is None else repack
        self.model = llama_cpp.llama_model_load_from_file(str(path).encode(), how)
        if not self.model:
            raise ValueError(f"llama.cpp cannot load {path}")
        self.context = llama_cpp.llama_init_from_model(self.model, self._settings())
        self.vocabulary = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(self.model))
        self.batch = llama_cpp.llama_batch_init(context * rows, 0, 1)
        self.length = 0

    def _settings(self) -> Any:
        settings = llama_cpp.llama_context_default_params()
        settings.n_ctx, settings.n_seq_max = self.most * self.rows, self.rows
        settings.n_batch, settings.n_ubatch = self.most * self.rows, self.most
        settings.n_threads = settings.n_threads_batch = threads() or len(os.sched_getaffinity(0))
        # its default is F16: the cache is not what is compared
        settings.type_k = settings.type_v = llama_cpp.GGML_TYPE_F32
        return settings

    def logits(self, ids: np.ndarray, types: np.ndarray | None = None) -> np.ndarray:
        """ids (tokens,) -> float32 (tokens, vocabulary)."""
        self._forget()
        return self._pass(ids[None], last=False)

    def start(self, ids: np.ndarray) -> np.ndarray:
        """ids (batch, tokens), of equal lengths -> the most probable next ids (batch,). The cache starts anew."""
        self._forget()
        return np.asarray(self._pass(ids, last=True).argmax(-1))

    def step(self, ids: np.ndarray) -> np.ndarray:
        """One token more of each text: ids (batch,) -> the next (batch,)."""
        return np.asarray(self._pass(ids[:, None], last=True).argmax(-1))

    def _forget(self) -> None:
        llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(self.context), True)
        self.length = 0

    def _pass(self, ids: np.ndarray, last: bool) -> np.ndarray:
        """Logits (tokens asked for, vocabulary) of all tokens, or of the last of each text."""
        rows, fresh = ids.shape
        asked = 0
        for place, (row, column) in enumerate(np.ndindex(rows, fresh)):
            wanted = column == fresh - 1 or not last
            self.batch.token[place], self.batch.pos[place] = int(ids[row, column]), self.length + column
            self.batch.n_seq_id[place], self.batch.seq_id[place][0] = 1, row
            self.batch.logits[place] = wanted
            asked += wanted
        self.batch.n_tokens = rows * fresh
        if llama_cpp.llama_decode(self.context, self.batch):
            raise RuntimeError("llama_decode failed")
        self.length += fresh
        found = llama_cpp.llama_get_logits(self.context)
        return np.ctypeslib.as_array(found, shape=(asked, self.vocabulary)).copy()


def _repacks() -> bool:
    flags = Path("/proc/cpuinfo")
    return not (flags.is_file() and "amx_tile" in flags.read_text())
