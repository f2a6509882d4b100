"""GGUF files (llama.cpp's format): what they hold, and the model in torch, its weights dequantised.

The format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md. transformers reads the causal families it knows.
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ptft.core import models
from ptft.core.errors import InputError
from ptft.core.runtimes import gguf_tokenizer
from ptft.core.runtimes.found import Runtime
from ptft.core.runtimes.graph_file import Entry

AGAIN = "fetch the file again, or make it again"
PLAIN = ("F32", "F16", "BF16")  # types that nothing was lost in
ROTARY = "rope_freqs.weight"  # what Llama 3 divides its rotary frequencies by, computed when the file was made
NOT_SCALED = ("none", "")
SCALING_READ = ("gpt-oss",)  # families whose scaled positions transformers reads


def reader(path: Path) -> Any:
    """A `gguf.GGUFReader`: metadata, and tensors mapped into memory. Raises `InputError` for a broken file."""
    from gguf import GGUFReader

    if path.stat().st_size < 24 or path.open("rb").read(4) != b"GGUF":
        raise InputError("not a GGUF file, or a truncated one", where=str(path), remedy=AGAIN)
    try:
        return GGUFReader(path)
    except (ValueError, KeyError, IndexError, OverflowError, MemoryError, struct.error, UnicodeDecodeError) as error:
        raise InputError("a corrupt or truncated GGUF file", where=str(path), remedy=AGAIN) from error


def weights(found: Any) -> Iterator[Entry]:
    """The tensors in the order of torch: (out, in). `ROTARY` is no weight."""
    for tensor in found.tensors:
        if tensor.name != ROTARY:
            shape = tuple(int(size) for size in reversed(tensor.shape))
            yield Entry(tensor.name, tensor.tensor_type.name, shape, int(tensor.n_bytes))


def load(path: Path, dtype: str, beside: bool) -> tuple[Any, Any, models.Kind, Runtime]:
    """The model in torch, its tokenizer, its kind, and how its weights were stored. beside: a tokenizer in the folder comes first;
    not where the file alone is named, and hashed.

    Raises `InputError` for a broken file, a family that transformers does not know, and scaled positions that it does not read.
    """
    file = reader(path)
    architecture = _text(file, "general.architecture")
    _refuse_scaled_positions(file, architecture, path)
    with _readable(path, architecture):
        import transformers

        config = transformers.AutoConfig.from_pretrained(path.parent, gguf_file=path.name)
        kind = models.kind_of(config)
        if kind != "causal":
            remedy = "name the checkpoint that it was made from"
            raise InputError(f"a GGUF file of {architecture}, which is not causal", where=str(path), remedy=remedy)
        _hide_progress()
        model, info = transformers.AutoModelForCausalLM.from_pretrained(
            path.parent, gguf_file=path.name, config=config, dtype=dtype, output_loading_info=True
        )
        splitting = _text(file, "tokenizer.ggml.model"), _text(file, "tokenizer.ggml.pre")
        tokenizer, told = gguf_tokenizer.load(path, *splitting, beside)
    models.refuse_missing(path, info)
    _apply_rotary(model, file, path)
    return model, tokenizer, kind, _runtime(path, file, told)


def _hide_progress() -> None:
    """The bar of transformers' reader knows no switch."""
    from functools import partial

    from transformers import modeling_gguf_pytorch_utils as reading

    if not isinstance(reading.tqdm, partial):
        reading.tqdm = partial(reading.tqdm, disable=True)


@contextmanager
def _readable(path: Path, architecture: str) -> Iterator[None]:
    """`models.readable`, with a word of its own for an architecture that transformers has no way to read."""
    with models.readable(path):
        try:
            yield
        except (ValueError, NotImplementedError, KeyError) as error:
            if "not supported" in str(error) or "Unknown gguf model_type" in str(error):
                what = f"transformers cannot read GGUF files of the architecture {architecture!r}"
                remedy = "name the checkpoint that it was made from; or score llama.cpp's answers: ptft eval -p FILE"
                raise InputError(what, where=str(path), remedy=remedy) from error
            raise


def _text(file: Any, key: str) -> str:
    field = file.get_field(key)
    return "" if field is None else str(field.contents())


def _refuse_scaled_positions(file: Any, architecture: str, path: Path) -> None:
    """transformers drops these settings without a word, and every score would be wrong."""
    scaling = _text(file, f"{architecture}.rope.scaling.type")
    if scaling not in NOT_SCALED and architecture not in SCALING_READ:
        what = f"the file scales its positions ({scaling}), which transformers does not read"
        raise InputError(what, where=str(path), remedy="name the checkpoint that it was made from")


def _apply_rotary(model: Any, file: Any, path: Path) -> None:
    """Divide the rotary frequencies as the file says: transformers leaves that tensor out."""
    import torch

    factors = next((tensor for tensor in file.tensors if tensor.name == ROTARY), None)
    if factors is None:
        return
    frequencies = getattr(getattr(model.base_model, "rotary_emb", None), "inv_freq", None)
    if frequencies is None or len(frequencies) != len(factors.data):
        what = f"the file holds {ROTARY}, which ptft cannot apply to {type(model).__name__}"
        raise InputError(what, where=str(path), remedy="name the checkpoint that it was made from")
    frequencies.div_(torch.tensor(factors.data, dtype=frequencies.dtype, device=frequencies.device))


def _runtime(path: Path, file: Any, told: str) -> Runtime:
    counts: Counter[str] = Counter()
    for entry in weights(file):
        counts[entry.dtype] += entry.size
    types = tuple(counts.most_common())
    packed = ", ".join(name for name, _ in types if name not in PLAIN)
    note = f"weights dequantised from {packed}: computed in torch, not in llama.cpp" if packed else ""
    return Runtime("torch", path.name, types, "; ".join(filter(None, (note, told))))
