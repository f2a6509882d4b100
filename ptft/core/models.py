"""Models: load any folder that holds one, put a head on, save it so that it loads without ptft."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ptft.core.contracts import CHECKPOINT, TOKENIZER
from ptft.core.errors import InputError

if TYPE_CHECKING:
    import numpy.typing as npt

Kind = Literal["classifier", "causal", "masked"]
MASKED_FAMILIES = (
    "bert",
    "distilbert",
    "roberta",
    "electra",
    "deberta",
    "deberta-v2",
    "modernbert",
    "xlm-roberta",
    "albert",
)
DEFAULT_SEQ_LEN = 512
HEADS = ("score", "classifier", "pooler", "pre_classifier", "head")  # parts that a new task trains from nothing
HEAD_BASE = "base"  # inside a LoRA classifier's folder: the base with its (untrained) head and label names


@dataclass(frozen=True)
class Loaded:
    """A model ready to use. labels: of a classifier, by id. seq_len: the most tokens it takes."""

    model: Any
    tokenizer: Any
    kind: Kind
    labels: tuple[str, ...]
    seq_len: int
    folder: Path


def load(folder: Path, *, dtype: str = "auto") -> Loaded:
    """Load a checkpoint, a PEFT adapter (with its base) or a torchao export, in eval mode, on the GPU if there is one.

    Raises `InputError` for a folder that is not a model, an unknown architecture, or weights that cannot be read.
    """
    CHECKPOINT.require(folder)
    with readable(folder):
        if (folder / "adapter_config.json").is_file():
            model, kind = _load_adapter(folder, dtype)
        else:
            model, kind = _load_plain(folder, dtype)
        tokenizer = load_tokenizer(folder)
    model = model.eval().to(device())
    labels = tuple(model.config.id2label[i] for i in range(model.config.num_labels)) if kind == "classifier" else ()
    return Loaded(model, tokenizer, kind, labels, seq_len_of(model.config), folder)


def device() -> Any:
    import torch

    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


@contextlib.contextmanager
def readable(folder: Path) -> Iterator[None]:
    """Turn what transformers, safetensors and json raise on a broken folder into one clear error."""
    from safetensors import SafetensorError

    try:
        yield
    except (
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        OSError,
        RuntimeError,
        SafetensorError,
        ImportError,
    ) as error:
        if type(error).__name__ == "OutOfMemoryError":
            raise
        lines = [line for line in str(error).splitlines() if line.strip()]
        what = f"the model cannot be loaded: {lines[0] if lines else type(error).__name__}"
        remedy = "check that config.json, the weights and the tokenizer are whole and of one model"
        raise InputError(what, where=str(folder), remedy=remedy) from error


def _load_plain(folder: Path, dtype: str) -> tuple[Any, Kind]:
    import transformers

    kind = kind_of(load_config(folder))
    auto = {
        "classifier": transformers.AutoModelForSequenceClassification,
        "masked": transformers.AutoModelForMaskedLM,
        "causal": transformers.AutoModelForCausalLM,
    }[kind]
    model, info = auto.from_pretrained(folder, dtype=dtype, trust_remote_code=False, output_loading_info=True)
    refuse_missing(folder, info)
    return model, kind


def refuse_missing(folder: Path, info: dict[str, Any], but: tuple[str, ...] = ()) -> None:
    """transformers fills what a checkpoint lacks with random numbers; only a new head (`but`) may be so."""
    lacking = [str(key) for key in info.get("missing_keys", ())]
    lacking += [str(key[0] if isinstance(key, tuple) else key) for key in info.get("mismatched_keys", ())]
    lacking = sorted(key for key in lacking if not any(part in key for part in but))
    if lacking:
        what = f"the weights lack {len(lacking):,} of the model's tensors: {', '.join(lacking[:3])}"
        raise InputError(what, where=str(folder), remedy="copy the folder again, or take an earlier checkpoint")


def load_config(folder: Path) -> Any:
    """A folder's configuration."""
    import transformers

    register_mean_pooled()
    return transformers.AutoConfig.from_pretrained(folder, trust_remote_code=False)


def register_mean_pooled() -> None:
    """Make our own class known, so that loading its folders never runs code found in a folder."""
    import transformers

    from ptft.core.modeling_mean_pooled import MeanPooledConfig, MeanPooledForSequenceClassification

    transformers.AutoConfig.register(MeanPooledConfig.model_type, MeanPooledConfig, exist_ok=True)
    transformers.AutoModelForSequenceClassification.register(
        MeanPooledConfig, MeanPooledForSequenceClassification, exist_ok=True
    )


def _load_adapter(folder: Path, dtype: str) -> tuple[Any, Kind]:
    from peft import PeftModel

    base = adapter_base(folder)
    model, kind = _load_plain(base, dtype)
    return PeftModel.from_pretrained(model, folder), kind


def adapter_base(folder: Path) -> Path:
    """Where the base of an adapter folder is: inside it for a classifier, else where its config says."""
    if (folder / HEAD_BASE / "config.json").is_file():
        return folder / HEAD_BASE
    named = (
        json.loads((folder / "adapter_config.json").read_text(encoding="utf-8")).get("base_model_name_or_path") or ""
    )
    base = Path(named)
    if not named or not base.is_dir():
        remedy = "put the base back, or set base_model_name_or_path in adapter_config.json to where it is now"
        raise InputError(f"the adapter's base {named!r} is not there", where=str(folder), remedy=remedy)
    return base


def kind_of(config: Any) -> Kind:
    """What a configuration's saved model does, by the class that saved it."""
    saved_by = " ".join(config.architectures or ())
    if "SequenceClassification" in saved_by:
        return "classifier"
    if "MaskedLM" in saved_by or (config.model_type in MASKED_FAMILIES and "Causal" not in saved_by):
        return "masked"
    return "causal"


def seq_len_of(config: Any) -> int:
    text = config.get_text_config()
    return int(getattr(text, "max_position_embeddings", 0) or getattr(text, "n_positions", 0) or DEFAULT_SEQ_LEN)


# ---------------------------------------------------------------- tokenizers


def load_tokenizer(folder: Path) -> Any:
    from transformers import AutoTokenizer

    register_mean_pooled()
    TOKENIZER.require(folder)
    with readable(folder):
        return AutoTokenizer.from_pretrained(folder, trust_remote_code=False)


def token_bytes(tokenizer: Any) -> npt.NDArray[np.int32]:
    """UTF-8 bytes that each token id stands for, shape (vocabulary,), int32; 0 for special tokens.

    Exact for byte-level BPE, where every character of a token is one byte; elsewhere the bytes of the decoded token.
    """
    sizes = np.zeros(len(tokenizer), dtype=np.int32)
    special = set(tokenizer.all_special_ids) | {
        index for index, added in tokenizer.added_tokens_decoder.items() if added.special
    }
    byte_level = is_byte_level(tokenizer)
    for token, index in tokenizer.get_vocab().items():
        if index not in special:
            sizes[index] = len(token) if byte_level else len(_decoded(tokenizer, token).encode())
    return sizes


def is_byte_level(tokenizer: Any) -> bool:
    backend = getattr(tokenizer, "backend_tokenizer", None)
    return backend is not None and "ByteLevel" in str(backend.decoder)


def _decoded(tokenizer: Any, token: str) -> str:
    return str(tokenizer.convert_tokens_to_string([token])).removeprefix("##")


# ---------------------------------------------------------------- heads


def with_head(folder: Path, labels: tuple[str, ...], *, pooling: str, scratch: bool, dtype: str = "auto") -> Any:
    """A classifier over the checkpoint in `folder`; scratch: the same network with no learnt weights.

    pooling (causal bases only): "mean" uses `MeanPooledForSequenceClassification`, "last" the family's own class.
    """
    import transformers

    names: dict[str, Any] = {
        "num_labels": len(labels),
        "id2label": dict(enumerate(labels)),
        "label2id": {label: index for index, label in enumerate(labels)},
    }
    config = load_config(folder)
    if kind_of(config) == "causal" and pooling == "mean":
        return _mean_pooled(folder, config, names, scratch)
    pad = load_tokenizer(folder).pad_token_id
    auto = transformers.AutoModelForSequenceClassification
    if scratch:
        for key, value in {**names, "pad_token_id": pad}.items():
            setattr(config, key, value)
        return auto.from_config(config)
    model, info = auto.from_pretrained(
        folder, dtype=dtype, ignore_mismatched_sizes=True, pad_token_id=pad, trust_remote_code=False,
        output_loading_info=True, **names,
    )  # fmt: skip
    refuse_missing(folder, info, but=HEADS)
    return model


def _mean_pooled(folder: Path, config: Any, names: dict[str, Any], scratch: bool) -> Any:
    import transformers

    from ptft.core.modeling_mean_pooled import MeanPooledConfig, MeanPooledForSequenceClassification

    own = MeanPooledConfig(backbone=config, pad_token_id=config.pad_token_id, **names)
    model = MeanPooledForSequenceClassification(own)
    if not scratch:
        model.model, info = transformers.AutoModel.from_pretrained(
            folder, dtype="float32", trust_remote_code=False, output_loading_info=True
        )
        refuse_missing(folder, info)
    return model


# ---------------------------------------------------------------- saving, merging


def save(model: Any, tokenizer: Any, folder: Path) -> None:
    """A model and its tokenizer as a Hugging Face folder, with its own module beside it where transformers has no class."""
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def merged(loaded: Loaded) -> Loaded:
    """The same model with its adapter folded into the weights, in full precision (merging in 8 bits loses more: peft#2321)."""
    if not hasattr(loaded.model, "merge_and_unload"):
        return loaded
    model = loaded.model.float().merge_and_unload()
    return replace(loaded, model=model.requires_grad_(True))  # peft froze the base


def count_parameters(model: Any) -> tuple[int, int]:
    """(all, trainable) parameters; tied ones are counted once."""
    everything = {id(p): p for p in model.parameters()}.values()
    return sum(p.numel() for p in everything), sum(p.numel() for p in everything if p.requires_grad)


def default_lr(model: Any) -> float:
    """A peak learning rate for training from scratch with AdamW, inverse to the width (after muP): 4e-3 at 128, 6.7e-4 at 768."""
    width = model.config.get_text_config().hidden_size
    return float(min(4e-3, 0.512 / width))
