"""Models: load any folder that holds one, put a head on, save it so that it loads without ptft."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ptft.core.contracts import MODEL, TOKENIZER
from ptft.core.errors import InputError
from ptft.core.runtimes.found import Runtime, gguf_of, graph_of

if TYPE_CHECKING:
    import numpy.typing as npt

# causal and masked language models, encoder-decoders; classifiers (of one label, of several, and of a number), taggers of tokens,
# finders of an answer's span
Kind = Literal["causal", "masked", "seq2seq", "classifier", "tagger", "span"]
HEADED = ("classifier", "tagger", "span")  # kinds with a head trained for one task
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
ONE_LABEL, MANY_LABELS, NUMBER = "single_label_classification", "multi_label_classification", "regression"


@dataclass(frozen=True)
class Loaded:
    """A model ready to use. labels: of a classifier or tagger, by id. seq_len: the most tokens it takes.

    folder: where it is; of a model named by its GGUF file, that file. runtime: of an ONNX graph or a GGUF file.
    """

    model: Any
    tokenizer: Any
    kind: Kind
    labels: tuple[str, ...]
    seq_len: int
    folder: Path
    runtime: Runtime | None = None

    @property
    def problem(self) -> str:
        """What a classifier's head answers, in transformers' words; a checkpoint that does not say chooses one label."""
        return str(getattr(self.model.config, "problem_type", None) or ONE_LABEL)


def load(folder: Path, *, dtype: str = "auto") -> Loaded:
    """Load a checkpoint, a PEFT adapter (with its base), a torchao export, an ONNX graph or a GGUF file (or its folder), in
    eval mode, on the GPU if there is one. Where a folder holds several of these, the first of this list that it holds.

    Raises `InputError` for a folder that is not a model, an unknown architecture, or weights that cannot be read.
    """
    if (file := gguf_of(folder)) is not None:
        return _load_gguf(folder, file, dtype)
    if (graph := graph_of(folder)) is not None:
        return _load_graph(folder, graph)
    return _load_torch(folder, dtype)


def _load_torch(folder: Path, dtype: str) -> Loaded:
    from ptft.core import adapters

    MODEL.require(folder)
    with readable(folder):
        if adapters.is_adapter(folder):
            model, kind = adapters.load(folder, dtype)
        else:
            model, kind = load_plain(folder, dtype)
        has_own = TOKENIZER.is_valid(folder) or not adapters.is_adapter(folder)  # peft saves an adapter without one
        tokenizer = load_tokenizer(folder if has_own else adapters.base_folder(folder))
    return _ready(model, tokenizer, kind, folder)


def _load_graph(folder: Path, graph: Path) -> Loaded:
    from ptft.core.runtimes import graphs

    model, kind, runtime = graphs.load(folder, graph)
    return _ready(model, load_tokenizer(folder), kind, folder, runtime)


def _load_gguf(folder: Path, file: Path, dtype: str) -> Loaded:
    from ptft.core.runtimes import gguf_file

    if folder.is_dir():
        MODEL.require(folder)
    model, tokenizer, kind, runtime = gguf_file.load(file, dtype, beside=folder.is_dir())
    return _ready(model, tokenizer, kind, folder, runtime)


def _ready(model: Any, tokenizer: Any, kind: Kind, folder: Path, runtime: Runtime | None = None) -> Loaded:
    model = model.eval().to(device())
    labels, seq_len = labels_of(model.config, kind), _most_tokens(model, tokenizer, kind)
    return Loaded(model, tokenizer, kind, labels, seq_len, folder, runtime)


def _most_tokens(model: Any, tokenizer: Any, kind: Kind) -> int:
    """What the model takes, less an adapter's virtual tokens; a head is not asked for more than it was trained on."""
    settings = getattr(model, "active_peft_config", None)
    most = seq_len_of(model.config) - int(getattr(settings, "num_virtual_tokens", None) or 0)
    return min(most, int(tokenizer.model_max_length)) if kind in HEADED else most


def labels_of(config: Any, kind: Kind) -> tuple[str, ...]:
    """Label names by id."""
    if kind not in ("classifier", "tagger"):
        return ()
    return tuple(config.id2label[index] for index in range(config.num_labels))


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
        if "does not recognize this architecture" in what:
            remedy = "upgrade transformers (pip install -U transformers), or name a model of a family that it knows"
        raise InputError(what, where=str(folder), remedy=remedy) from error


def load_plain(folder: Path, dtype: str, **more: Any) -> tuple[Any, Kind]:
    """A checkpoint that is no adapter, and what it does. more: for `from_pretrained`, e.g. quantization_config."""
    kind = kind_of(load_config(folder))
    model, info = auto_class(kind).from_pretrained(
        folder, dtype=dtype, trust_remote_code=False, output_loading_info=True, **more
    )
    refuse_missing(folder, info)
    return model, kind


def auto_class(kind: Kind) -> Any:
    """transformers' class that loads a model of this kind."""
    import transformers

    return {
        "causal": transformers.AutoModelForCausalLM,
        "masked": transformers.AutoModelForMaskedLM,
        "seq2seq": transformers.AutoModelForSeq2SeqLM,
        "classifier": transformers.AutoModelForSequenceClassification,
        "tagger": transformers.AutoModelForTokenClassification,
        "span": transformers.AutoModelForQuestionAnswering,
    }[kind]


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


_SAVED_BY: dict[str, Kind] = {
    "SequenceClassification": "classifier", "TokenClassification": "tagger", "QuestionAnswering": "span",
}  # fmt: skip


def kind_of(config: Any) -> Kind:
    """What a configuration's saved model does, by the class that saved it."""
    saved_by = " ".join(config.architectures or ())
    for part, kind in _SAVED_BY.items():
        if part in saved_by:
            return kind
    if config.is_encoder_decoder:
        return "seq2seq"
    if "MaskedLM" in saved_by or (config.model_type in MASKED_FAMILIES and "Causal" not in saved_by):
        return "masked"
    return "causal"


def seq_len_of(config: Any) -> int:
    return stated_seq_len(config) or DEFAULT_SEQ_LEN


def stated_seq_len(config: Any) -> int:
    """The most tokens that a configuration says its model takes; 0 of families without a limit, as T5."""
    text = config.get_text_config()
    return int(getattr(text, "max_position_embeddings", 0) or getattr(text, "n_positions", 0) or 0)


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


# ---------------------------------------------------------------- saving, counting


def save(model: Any, tokenizer: Any, folder: Path) -> None:
    """A model and its tokenizer as a Hugging Face folder, with its own module beside it where transformers has no class."""
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def count_parameters(model: Any) -> tuple[int, int]:
    """(all, trainable) parameters; tied ones are counted once."""
    everything = {id(p): p for p in model.parameters()}.values()
    return sum(map(_size, everything)), sum(p.numel() for p in everything if p.requires_grad)


def _size(parameter: Any) -> int:
    """How many weights a parameter stands for; bitsandbytes holds two of four bits in a byte."""
    packed = type(parameter).__name__ == "Params4bit" and parameter.element_size() == 1
    return int(parameter.numel()) * (2 if packed else 1)


def default_lr(model: Any) -> float:
    """A peak learning rate for training from scratch with AdamW, inverse to the width (after muP): 4e-3 at 128, 6.7e-4 at 768."""
    width = model.config.get_text_config().hidden_size
    return float(min(4e-3, 0.512 / width))
