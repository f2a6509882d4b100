"""Logits at the places that are wanted, and no others: a model's output layer is much of its work, and most of its memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any


def logits_at(model: Any, inputs: Mapping[str, Any], rows: Any, columns: Any) -> tuple[Any, Any]:
    """The model's logits at places of its inputs (rows, columns: LongTensors (places,)), shape (places, vocabulary), and its outputs.

    What the model does to logits after its output layer (scaling, a soft cap) is done to these, too. Models whose output layer
    cannot be told (of another runtime) compute all logits.
    """
    width = int(inputs["input_ids"].shape[1])
    with _hidden_at(model, rows, columns, width) as gathered:
        outputs = model(**inputs)
    logits = outputs.logits
    if not gathered:
        return logits[rows, columns + logits.shape[1] - width], outputs
    return logits.reshape(len(rows), logits.shape[-1]), outputs


@contextmanager
def _hidden_at(model: Any, rows: Any, columns: Any, width: int) -> Iterator[list[bool]]:
    """While open, the output layer sees only these places; the list is filled once it has."""
    gathered: list[bool] = []
    layer = _output_layer(model)
    if layer is None:
        yield gathered
        return

    def gather(module: Any, args: tuple[Any, ...]) -> tuple[Any, ...] | None:
        if not args or args[0].dim() != 3 or gathered:
            return None
        gathered.append(True)
        virtual = args[0].shape[1] - width  # tokens that a prompt-learning adapter puts before the text
        return (args[0][rows, columns + virtual][None], *args[1:])

    handle = layer.register_forward_pre_hook(gather)
    try:
        yield gathered
    finally:
        handle.remove()


def makes_all_logits(model: Any) -> bool:
    """Whether a model's logits are made at every place, wanted or not."""
    return _output_layer(model) is None


def _output_layer(model: Any) -> Any:
    find = getattr(model, "get_output_embeddings", None)
    try:
        layer = find() if find is not None else None
    except (NotImplementedError, AttributeError):
        return None
    return layer if hasattr(layer, "register_forward_pre_hook") else None
