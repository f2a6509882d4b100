"""Whether an ONNX graph is what its configuration says: inputs that can be fed, and the outputs of the head that it names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ptft.core.errors import InputError
from ptft.core.runtimes.session import Session

PAST = "past_key_values.{}.{}"  # optimum's name of a cached tensor: the layer, then "key" or "value"
KEPT = "num_logits_to_keep"  # int64 (1,), which need not be given: logits of so many last tokens, 0 of all
FED = ("input_ids", "attention_mask", "token_type_ids", "position_ids")
_DIMENSIONS = {"classifier": "(batch, labels)", "span": "(batch, tokens)"}  # of other kinds: (batch, tokens, ...)


def present(name: str) -> str:
    """What optimum calls the output that becomes this cached input."""
    return name.replace("past_key_values", "present")


def outputs_of(kind: str) -> tuple[str, ...]:
    return ("start_logits", "end_logits") if kind == "span" else ("logits",)


def require_inputs(session: Session, cached: Sequence[str]) -> None:
    """Raise `InputError` where the graph wants more than tokens, masks and cached tensors."""
    strange = sorted(session.inputs.keys() - {*FED, *cached})
    if strange or "input_ids" not in session.inputs:
        what = f"the graph wants inputs that ptft does not know: {', '.join(strange[:4])}" if strange else ""
        remedy = f"export it again with the inputs {', '.join(FED[:2])}, or with past_key_values.N.key and .value"
        raise InputError(what or "the graph has no input input_ids", where=str(session.path), remedy=remedy)


def require_outputs(session: Session, kind: str, config: Any, cached: Sequence[str]) -> None:
    """Raise `InputError` where outputs of the configuration's head are not there, or are of another shape."""
    where, there = str(session.path), ", ".join(list(session.outputs)[:4])
    named = f"config.json names a {kind} model ({' '.join(config.architectures or ()) or config.model_type})"
    wanted = [*outputs_of(kind), *map(present, cached)]
    lacking = [name for name in wanted if name not in session.outputs]
    if lacking:
        remedy = "export it again with its head, or put in the config.json of the model that was exported"
        raise InputError(f"{named}, and the graph lacks {lacking[0]}: it has {there}", where=where, remedy=remedy)
    shape = session.outputs[wanted[0]]
    if shape and not _fits(shape, kind, config):
        labels = f" of {config.num_labels} labels" if kind in ("classifier", "tagger") else ""
        what = f"{named}, {wanted[0]} {_DIMENSIONS.get(kind, '(batch, tokens, ...)')}{labels}; the graph's is {shape}"
        raise InputError(what, where=where, remedy="put in the config.json of the model that was exported")


def _fits(shape: tuple[Any, ...], kind: str, config: Any) -> bool:
    if len(shape) != (2 if kind in _DIMENSIONS else 3):
        return False
    return kind not in ("classifier", "tagger") or not isinstance(shape[-1], int) or shape[-1] == config.num_labels
