"""A GGUF file that transformers reads and dequantises: its answers, not its speed. For machines without llama.cpp."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gguf
import transformers
from common import Unfit, threads  # type: ignore[import-not-found]
from with_torch import Model as Network  # type: ignore[import-not-found]

ROTARY = "rope_freqs.weight"  # what Llama 3 divides its rotary frequencies by; transformers leaves it out


def prepare(folder: Path, **_: Any) -> None:
    import torch

    if threads():
        torch.set_num_threads(threads())


class Model(Network):  # type: ignore[misc]
    """Raises `Unfit` where transformers would answer otherwise than the file says."""

    def __init__(self, folder: Path, **_: Any) -> None:
        path = folder if folder.is_file() else next(iter(sorted(folder.glob("*.gguf"))))
        self.file = gguf.GGUFReader(path)
        family = self._field("general.architecture")
        if self._field(f"{family}.rope.scaling.type") not in (None, "none", ""):
            raise Unfit("transformers does not read scaled positions from a GGUF file; llama.cpp does")
        config = transformers.AutoConfig.from_pretrained(path.parent, gguf_file=path.name)
        width = self._field(f"{family}.attention.key_length")
        if width and getattr(config, "head_dim", None):
            config.head_dim = int(width)
        super().__init__(path.parent, gguf_file=path.name, config=config, dtype="float32")
        self._divide_frequencies()

    def _field(self, key: str) -> Any:
        field = self.file.get_field(key)
        return None if field is None else field.contents()

    def _divide_frequencies(self) -> None:
        import torch

        factors = next((tensor for tensor in self.file.tensors if tensor.name == ROTARY), None)
        if factors is not None:
            frequencies = self.model.base_model.rotary_emb.inv_freq
            frequencies.div_(torch.tensor(factors.data, dtype=frequencies.dtype, device=frequencies.device))
