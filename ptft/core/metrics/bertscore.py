"""BERTScore with a local model: every token is matched with the other text's most similar one."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ptft.core.errors import InputError, UsageError
from ptft.core.metrics.measure import Measure, of_mean

_BATCH = 32  # pairs compared together
# layers that agreed best with people on WMT16 (Zhang et al. 2020, table 8, and bert_score's list); else the last one
BEST_LAYERS = {
    "bert-base-uncased": 9, "bert-large-uncased": 18, "bert-base-multilingual-cased": 9, "bert-base-chinese": 8,
    "roberta-base": 10, "roberta-large": 17, "roberta-large-mnli": 19, "distilroberta-base": 5,
    "distilbert-base-uncased": 5, "distilbert-base-multilingual-cased": 5, "albert-base-v2": 9, "xlm-roberta-base": 9,
    "xlm-roberta-large": 17, "deberta-base": 9, "deberta-large": 16, "deberta-xlarge-mnli": 40, "mpnet-base": 8,
}  # fmt: skip
_REMEDY = "name a folder with an encoder (BERT, RoBERTa, XLM-R, MiniLM ...) and its tokenizer: --set bertscore=DIR"


def bertscore_measure(predictions: Sequence[str], references: Sequence[Sequence[str]], folder: Path | None) -> Measure:
    """F1 of BERTScore averaged over rows, no idf, not rescaled (Zhang et al. 2020, section 3); the best reference counts.

    folder: an encoder, or an encoder-decoder of which the encoder is taken, with its tokenizer. Raises `UsageError`
    without one, `InputError` where it holds none.
    """
    if folder is None:
        raise UsageError("bertscore needs a model at hand: it compares a model's embeddings of words", remedy=_REMEDY)
    model = _load(folder)
    own = np.full(len(predictions), -np.inf)
    pairs = [(row, text, wanted) for row, text in enumerate(predictions) for wanted in references[row]]
    pairs.sort(key=lambda pair: -len(pair[1]) - len(pair[2]))  # pairs of one batch alike in length
    for start in range(0, len(pairs), _BATCH):
        batch = pairs[start : start + _BATCH]
        scores = _scores(model, [pair[1] for pair in batch], [pair[2] for pair in batch])
        np.maximum.at(own, [pair[0] for pair in batch], scores)
    return of_mean("bertscore", own, model=model.name, layer=model.layer, idf=False, rescaled=False)


@dataclass(frozen=True)
class _Model:
    name: str
    network: Any
    tokenizer: Any
    layer: int
    longest: int  # tokens


def _load(folder: Path) -> _Model:
    import torch
    from transformers import AutoModel, AutoTokenizer

    try:
        network = AutoModel.from_pretrained(folder, local_files_only=True, dtype=torch.float32)
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError) as error:
        message = f"no model that can be read: {str(error).splitlines()[0]}"
        raise InputError(message, where=str(folder), remedy=_REMEDY) from error
    if tokenizer.pad_token_id is None:
        raise InputError("the tokenizer has no padding token", where=str(folder), remedy=_REMEDY)
    if network.config.is_encoder_decoder:
        network = network.get_encoder()
    network.eval().to("cuda" if torch.cuda.is_available() else "cpu")
    name = _name(folder)
    layers = int(network.config.num_hidden_layers)
    layer = BEST_LAYERS.get(name, layers)
    return _Model(name, network, tokenizer, min(layer, layers), _longest(network.config, tokenizer))


def _name(folder: Path) -> str:
    """What the model was saved as, else the folder's name."""
    saved = json.loads((folder / "config.json").read_text("utf-8")).get("_name_or_path") or folder.name
    return str(saved).rstrip("/").rsplit("/", 1)[-1]


def _longest(config: Any, tokenizer: Any) -> int:
    places = getattr(config, "max_position_embeddings", None) or 512
    if config.model_type in ("roberta", "xlm-roberta", "camembert"):
        places -= 2  # the first of its places are for padding
    return min(int(tokenizer.model_max_length), int(places))


def _scores(model: _Model, predictions: list[str], references: list[str]) -> Any:
    """F1 of each pair, shape (pairs,); 0 where a text has no tokens of its own."""
    import torch

    written, has_written, counts_written = _embedded(model, predictions)
    wanted, has_wanted, counts_wanted = _embedded(model, references)
    alike = written @ wanted.transpose(1, 2)
    # the marks at either end are not counted, but may be what a token is matched with: so in bert_score
    best_written = alike.masked_fill(~has_wanted[:, None, :], -1).amax(dim=2)
    best_wanted = alike.masked_fill(~has_written[:, :, None], -1).amax(dim=1)
    precision = (best_written * counts_written).sum(dim=1) / counts_written.sum(dim=1)
    recall = (best_wanted * counts_wanted).sum(dim=1) / counts_wanted.sum(dim=1)
    found = 2 * precision * recall / (precision + recall)
    return torch.nan_to_num(found, nan=0.0).double().cpu().numpy()


def _embedded(model: _Model, texts: list[str]) -> tuple[Any, Any, Any]:
    """Unit vectors of the tokens (texts, tokens, width), which are not padding, and which count: neither mark nor padding."""
    import torch

    batch = model.tokenizer(
        [text.strip() for text in texts], padding=True, truncation=True, max_length=model.longest, return_tensors="pt",
        return_special_tokens_mask=True,
    ).to(model.network.device)  # fmt: skip
    marks = batch.pop("special_tokens_mask").bool()
    has = batch["attention_mask"].bool()
    with torch.no_grad():
        hidden = model.network(**batch, output_hidden_states=True).hidden_states[model.layer]
    return torch.nn.functional.normalize(hidden, dim=-1), has, (has & ~marks).float()
