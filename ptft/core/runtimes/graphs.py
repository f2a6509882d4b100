"""A folder with an ONNX graph as a model: config.json, tokenizer, `model.onnx` or `onnx/model.onnx`, external data beside it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from ptft.core import models
from ptft.core.contracts import MODEL, TOKENIZER
from ptft.core.errors import InputError
from ptft.core.runtimes import graph_file
from ptft.core.runtimes.found import Runtime


def load(folder: Path, graph: Path) -> tuple[Any, models.Kind, Runtime]:
    """The graph in ONNX Runtime, what it does, and how its weights are stored.

    Raises `InputError` for a folder without configuration or tokenizer, a broken graph, an encoder-decoder, or a head that
    is not the configuration's.
    """
    _require_beside(folder)
    MODEL.require(folder)
    with models.readable(folder):
        config = models.load_config(folder)
    if config.is_encoder_decoder:
        remedy = "name the checkpoint that it was exported from; or score what another tool wrote: ptft eval -p FILE"
        raise InputError(
            "an encoder-decoder in ONNX: ptft runs encoders and decoders", where=str(folder), remedy=remedy
        )
    kind = models.kind_of(config)
    proto = graph_file.read(graph)
    graph_file.require_whole(graph, proto)
    weights = list(graph_file.weights(proto, graph.parent))
    del proto  # a copy of the weights
    from ptft.core.runtimes.onnx_model import OnnxModel
    from ptft.core.runtimes.session import Session

    model = OnnxModel(config, kind, Session(graph), tuple(entry.shape for entry in weights))
    with models.readable(folder):
        _take_generation_config(model, folder)
    return model, kind, Runtime("onnxruntime", str(graph.relative_to(folder)), _types(weights))


def _take_generation_config(model: Any, folder: Path) -> None:
    if (folder / "generation_config.json").is_file():
        from transformers import GenerationConfig

        model.generation_config = GenerationConfig.from_pretrained(folder)


def _require_beside(folder: Path) -> None:
    if not (folder / "config.json").is_file():
        remedy = "copy config.json and the tokenizer of the model that was exported beside the graph"
        raise InputError("an ONNX graph without config.json", where=str(folder), remedy=remedy)
    if TOKENIZER.missing(folder):
        remedy = "copy tokenizer.json and tokenizer_config.json of the model that was exported beside the graph"
        raise InputError("an ONNX graph without a tokenizer", where=str(folder), remedy=remedy)


def _types(weights: list[graph_file.Entry]) -> tuple[tuple[str, int], ...]:
    counts: Counter[str] = Counter()
    for entry in weights:
        counts[entry.dtype] += entry.size
    return tuple(counts.most_common())
