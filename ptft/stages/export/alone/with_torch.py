"""A folder that transformers loads, in torch: full precision, torchao, compressed-tensors, ..."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from common import threads  # type: ignore[import-not-found]

AUTO = {
    "causal": "AutoModelForCausalLM", "masked": "AutoModelForMaskedLM", "classifier": "AutoModelForSequenceClassification",
    "tagger": "AutoModelForTokenClassification", "span": "AutoModelForQuestionAnswering",
}  # fmt: skip
READERS = {"torchao": "torchao.quantization", "compressed-tensors": "compressed_tensors"}  # by what config.json names


def prepare(folder: Path, kind: str = "", trust: bool = False, code: str = "", **_: Any) -> None:
    """Import what loading would import, by making the network without weights."""
    if threads():
        torch.set_num_threads(threads())
    if code:
        _register(code)
    config = transformers.AutoConfig.from_pretrained(folder, trust_remote_code=trust)
    method = (getattr(config, "quantization_config", None) or {}).get("quant_method", "")
    if method in READERS:
        importlib.import_module(READERS[method])
    causal = "CausalLM" in (config.architectures or [""])[0]
    auto = getattr(transformers, AUTO[kind or ("causal" if causal else "classifier")])
    with torch.device("meta"):
        auto.from_config(config, trust_remote_code=trust)


def _register(code: str) -> None:
    """Make the class of a file known. code: its path; the file registers nothing itself under transformers' plain names."""
    name = Path(code).stem
    spec = importlib.util.spec_from_file_location(name, code)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    classes = [found for _, found in inspect.getmembers(module, inspect.isclass) if found.__module__ == name]
    for model in classes:
        if not issubclass(model, transformers.PreTrainedModel):
            continue
        config: Any = model.config_class  # type: ignore[attr-defined]
        transformers.AutoConfig.register(config.model_type, config)
        transformers.AutoModelForSequenceClassification.register(config, model)


class _Network:
    """dtype: "auto" is the one that is stored. trust: run the folder's own code. gguf_file: its name in the folder."""

    def __init__(
        self, folder: Path, kind: str = "causal", dtype: str = "float32", trust: bool = False, gguf_file: str = "",
        config: Any = None, **_: Any,
    ) -> None:  # fmt: skip
        self.kind = kind
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        more = {"gguf_file": gguf_file} if gguf_file else {}
        more |= {"config": config} if config is not None else {}
        auto = getattr(transformers, AUTO[kind])
        self.model = auto.from_pretrained(folder, dtype=dtype, trust_remote_code=trust, **more).eval().to(self.device)

    def peak_on_device(self) -> int:
        """Bytes of a GPU's memory that torch took at most; 0 without one."""
        return int(torch.cuda.max_memory_allocated()) if self.device.type == "cuda" else 0

    def _tensor(self, array: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).long().to(self.device)


class Model(_Network):
    """A causal model that is stepped with its cache, without what transformers' generate() puts around each step."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        super().__init__(folder, **settings)
        self.cache: Any = None

    def logits(self, ids: np.ndarray, types: np.ndarray | None = None) -> np.ndarray:
        """ids (tokens,) -> float32 (tokens, vocabulary)."""
        with torch.inference_mode():
            return _array(self.model(input_ids=self._tensor(ids)[None], use_cache=False).logits[0])

    def start(self, ids: np.ndarray) -> np.ndarray:
        """ids (batch, tokens), of equal lengths -> the most probable next ids (batch,). The cache starts anew."""
        self.cache = None
        return self._next(self._tensor(ids))

    def step(self, ids: np.ndarray) -> np.ndarray:
        """One token more of each text: ids (batch,) -> the next (batch,)."""
        return self._next(self._tensor(ids)[:, None])

    def _next(self, ids: torch.Tensor) -> np.ndarray:
        with torch.inference_mode():
            found = self.model(input_ids=ids, past_key_values=self.cache, use_cache=True, logits_to_keep=1)
            self.cache = found.past_key_values
            chosen: np.ndarray = found.logits[:, -1].argmax(-1).cpu().numpy()
            return chosen


class Classifier(_Network):
    """A model that reads a text at once: a masked one, a classifier, a tagger, one that finds an answer."""

    def __init__(self, folder: Path, kind: str = "classifier", **settings: Any) -> None:
        super().__init__(folder, kind, **settings)

    def classes(self, ids: np.ndarray, mask: np.ndarray, types: np.ndarray | None = None) -> np.ndarray:
        """ids, mask and types (batch, tokens) -> float32 (batch, classes), (batch, tokens, ...) or (batch, 2, tokens) of spans."""
        given = {"input_ids": self._tensor(ids), "attention_mask": self._tensor(mask)}
        given |= {} if types is None else {"token_type_ids": self._tensor(types)}
        with torch.inference_mode():
            found = self.model(**given)
            both = self.kind == "span"
            return _array(torch.stack([found.start_logits, found.end_logits], 1) if both else found.logits)

    def logits(self, ids: np.ndarray, types: np.ndarray | None = None) -> np.ndarray:
        """One row, ids and types (tokens,) -> float32 (places, choices): see judging.claims."""
        found = self.classes(ids[None], np.ones((1, len(ids)), np.int64), None if types is None else types[None])
        return found if self.kind == "classifier" else np.asarray(found[0])


def _array(logits: torch.Tensor) -> np.ndarray:
    found: np.ndarray = logits.float().cpu().numpy()
    return found
