"""GGUF, the file of llama.cpp: sizes, tokenizer, chat template and weights in one.

A `Quantised` weight keeps its integers; only its scales are rounded, to float16. Norms and biases are F32. Rows of queries and keys
are put in llama.cpp's order, integers and scales alike.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ptft.core.errors import InputError
from ptft.core.models import Loaded
from ptft.core.runtimes.gguf_file import ROTARY
from ptft.stages.export.formats import gguf_blocks as blocks
from ptft.stages.export.formats import gguf_families as families
from ptft.stages.export.formats import gguf_tokenizer
from ptft.stages.export.formats.gguf_families import Family

if TYPE_CHECKING:
    from ptft.core.quantising.scheme import Quantised

FILE = "model.gguf"
HEAD, EMBEDDINGS = "lm_head.weight", "model.embed_tokens.weight"


@dataclass(frozen=True)
class _Stored:
    """One tensor of the file. weight: integers and scales, or a torch tensor to be stored as `kind`."""

    name: str
    kind: str
    shape: tuple[int, ...]
    weight: Any

    @property
    def data(self) -> Any:
        if isinstance(self.weight, np.ndarray):
            return self.weight
        if hasattr(self.weight, "ints"):
            return blocks.packed(self.weight, self.name)
        return blocks.converted(self.weight.detach().float().cpu().numpy(), self.kind)


def write(loaded: Loaded, weights: Mapping[str, Quantised | str], out: Path, others: str = "F16") -> Path:
    """`out`/model.gguf, and the tokenizer's own files beside it. Returns the file.

    weights: by name in the state dict, integers with scales, or the name of a type (`gguf_blocks.TYPES`) to round to.
    others: the type of the matrices that are not named. Where rows are too short for a type's blocks: Q8_0 for Q6_K, else F16.

    Raises `InputError` for a family, positions or a tokenizer that llama.cpp does not compute, and weights that the model lacks.
    """
    from gguf import GGUFWriter

    family = families.family_of(loaded.model.config, str(loaded.folder))
    tensors = list(_tensors(loaded, family, weights, others))
    out.mkdir(parents=True, exist_ok=True)
    writer = GGUFWriter(out / FILE, family.architecture)
    try:
        _add_metadata(writer, loaded, tensors)
        gguf_tokenizer.add(writer, loaded)
        _write_tensors(writer, tensors)
    finally:
        writer.close()
    loaded.tokenizer.save_pretrained(out)
    return out / FILE


def refuse(loaded: Loaded) -> None:
    """Raise `InputError` for a model that llama.cpp does not compute, or a tokenizer that it does not have."""
    families.family_of(loaded.model.config, str(loaded.folder))
    if loaded.kind != "causal":
        what = f"GGUF files are written of causal language models, not of a {loaded.kind}"
        raise InputError(what, where=str(loaded.folder), remedy=families.OTHER_FORMAT)
    gguf_tokenizer.refuse(loaded)


def _add_metadata(writer: Any, loaded: Loaded, tensors: list[_Stored]) -> None:
    from gguf import GGML_QUANT_VERSION

    config = loaded.model.config
    writer.add_name(loaded.folder.resolve().name)
    for key, value in families.hyperparameters(config).items():
        getattr(writer, f"add_{key}")(value)
    families.add_scaling(writer, config)
    writer.add_file_type(_file_type(tensors))
    writer.add_quantization_version(GGML_QUANT_VERSION)


def _file_type(tensors: list[_Stored]) -> int:
    """llama.cpp's number for the type of most weights, which its tools show."""
    from gguf import LlamaFileType

    counts: Counter[str] = Counter()
    for tensor in tensors:
        counts[tensor.kind] += int(np.prod(tensor.shape)) if len(tensor.shape) > 1 else 0
    most = counts.most_common(1)[0][0]
    return int(LlamaFileType.ALL_F32 if most == "F32" else LlamaFileType[f"MOSTLY_{most}"])


def _write_tensors(writer: Any, tensors: list[_Stored]) -> None:
    """One after another, so that no more than one is in memory twice."""
    from gguf import GGMLQuantizationType
    from gguf.quants import quant_shape_to_byte_shape

    for tensor in tensors:
        kind = GGMLQuantizationType[tensor.kind]
        if tensor.kind in ("F32", "F16"):
            dtype, shape = np.dtype(np.float32 if tensor.kind == "F32" else np.float16), tensor.shape
        else:
            dtype, shape = np.dtype(np.uint8), quant_shape_to_byte_shape(tensor.shape, kind)
        size = int(np.prod(shape)) * dtype.itemsize
        writer.add_tensor_info(tensor.name, shape, dtype, size, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for tensor in tensors:
        writer.write_tensor_data(tensor.data)


# ---------------------------------------------------------------- tensors


def _tensors(loaded: Loaded, family: Family, weights: Mapping[str, Quantised | str], others: str) -> Iterator[_Stored]:
    """In the order of the model, under llama.cpp's names; an output layer that is the embeddings is left out."""
    from gguf import MODEL_ARCH, get_tensor_name_map

    model = loaded.model
    state = dict(model.state_dict())
    _refuse_unknown(weights, state)
    if _tied(model):
        del state[HEAD]
        weights = {EMBEDDINGS: weights[HEAD], **weights} if HEAD in weights else weights
    names = get_tensor_name_map(MODEL_ARCH[family.architecture.upper()], model.config.num_hidden_layers)
    for name, tensor in state.items():
        known = names.get_name(name, try_suffixes=(".weight", ".bias"))
        if known is None:
            what = f"llama.cpp has no place for the tensor {name}"
            raise InputError(what, where=str(loaded.folder), remedy=families.OTHER_FORMAT)
        order = families.row_order(name, family, model.config)
        yield _stored(known, tensor, weights.get(name, others), order)
    factors = families.rotary_factors(model)
    if factors is not None:
        yield _Stored(ROTARY, "F32", factors.shape, factors)


def _stored(known: str, tensor: Any, weight: Quantised | str, order: Any) -> _Stored:
    kind = "F32" if tensor.ndim == 1 else blocks.type_of(weight)
    shape = tuple(tensor.shape)
    if tensor.ndim == 1 or isinstance(weight, str):
        kind = blocks.fitting(shape[-1], kind)
        return _Stored(known, kind, shape, tensor if order is None else tensor[order])
    return _Stored(known, kind, shape, weight if order is None else _reordered(weight, order))


def _reordered(weight: Quantised, order: Any) -> Quantised:
    zeros = None if weight.zeros is None else weight.zeros[order]
    return replace(weight, ints=weight.ints[order], scales=weight.scales[order], zeros=zeros)


def _tied(model: Any) -> bool:
    """Whether the output layer is the embeddings, in this model and not in its configuration alone."""
    output = model.get_output_embeddings()
    return output is not None and output.weight is model.get_input_embeddings().weight


def _refuse_unknown(weights: Mapping[str, Quantised | str], state: Mapping[str, Any]) -> None:
    unknown = sorted(set(weights) - set(state))
    if unknown:
        what = f"the plan names {len(unknown)} weights that the model lacks: {', '.join(unknown[:3])}"
        raise InputError(what, remedy="make the plan from this model's own state dict")


def how_to_load() -> str:
    """Two lines of Python, run where the folder is."""
    return f'from llama_cpp import Llama\nmodel = Llama("DIR/{FILE}", n_ctx=0)'
