"""A model as an ONNX graph in full precision: one graph that reads prompts and goes on from a cache, or one with a head."""

from __future__ import annotations

import contextlib
import copy
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import torch

from ptft.core.errors import InputError
from ptft.core.models import Loaded
from ptft.stages.export.formats.onnx_fusing import fused
from ptft.stages.export.formats.onnx_nodes import add, initializer
from ptft.stages.export.formats.onnx_operators import Tracer, in_place

OPSET = 21  # the first with 4-bit types and blocked DequantizeLinear
PAST, PRESENT = "past_key_values.{}.{}", "present.{}.{}"  # optimum's names: a layer, then "key" or "value"
KEPT = "num_logits_to_keep"
SHARES = "past_present_share_buffer"  # onnxruntime-genai's name, in the graph's metadata
END = 2**62  # of a slice, past any text
_EACH = ("Add", "Cast", "Div", "Mul", "Tanh")  # what may follow the output layer: a bias, a scale, Gemma's soft cap
ELSEWHERE = "export it in another format, such as --format torchao"


def traced(loaded: Loaded, dtype: Any = torch.float32, *, standard: bool = False) -> Any:
    """The model of `loaded` as an `onnx_ir.Model`. Initializers have the names of its parameters, tied ones once, and share their
    memory where the type is the same: what changes the model afterwards changes the graph.

    Inputs: input_ids, attention_mask, and as the family has them token_type_ids or (causal) position_ids and
    past_key_values.N.key and .value; outputs: logits (span: start_logits, end_logits) and present.N.key and .value. Batch and
    lengths vary. standard: ONNX's own operators only, for runtimes other than ONNX Runtime on a CPU; slower there.
    Raises `InputError` for a model that cannot be traced.
    """
    model = _in_type(loaded.model, dtype)
    tracer = None if standard else Tracer()
    try:
        wrapped = _Decoder(model, tracer) if loaded.kind == "causal" else _Headed(model, tracer, loaded)
        with _quiet(), torch.no_grad(), contextlib.nullcontext() if tracer is None else in_place(model, tracer):
            program = torch.onnx.export(
                wrapped, (), kwargs=wrapped.example(), dynamic_shapes=wrapped.varying(), dynamo=True, verbose=False,
                optimize=False, opset_version=OPSET, input_names=wrapped.inputs, output_names=wrapped.outputs,
            )  # fmt: skip
    except (torch.onnx.OnnxExporterError, KeyError, AttributeError, NotImplementedError) as error:
        raise _untraceable(loaded, str(error.__cause__ or error)) from error
    made = _tidied(program.model, model)
    fused(made.graph)
    if loaded.kind == "causal" and not standard:
        _with_kept(made.graph)
        if _shares(made.graph):
            made.metadata_props[SHARES] = "true"
    return made


def _in_type(model: Any, dtype: Any) -> Any:
    """The model on the CPU with its weights in `dtype`; what it computes for itself, as rotary frequencies, keeps its type."""
    here = next(model.parameters())
    if here.dtype == dtype and here.device.type == "cpu":
        return model.eval()
    changed = copy.deepcopy(model).cpu().eval()
    for tensor in changed.state_dict(keep_vars=True).values():
        if tensor.is_floating_point():
            tensor.data = tensor.data.to(dtype)
    return changed


def _untraceable(loaded: Loaded, why: str) -> InputError:
    first = next((line for line in why.splitlines() if line.strip()), "")
    what = f"a {loaded.model.config.model_type} model cannot be traced to an ONNX graph: {first[:200]}"
    return InputError(what, where=str(loaded.folder), remedy=ELSEWHERE)


# ---------------------------------------------------------------- what is traced


class _Decoder(torch.nn.Module):  # type: ignore[misc]
    """input_ids, attention_mask, position_ids and the cache -> logits and the cache with the new tokens."""

    def __init__(self, model: Any, tracer: Tracer | None) -> None:
        super().__init__()
        self.model, self.tracer = model, tracer
        text = model.config.get_text_config()
        self.layers = int(text.num_hidden_layers)
        heads = int(text.num_attention_heads)
        self.heads = int(getattr(text, "num_key_value_heads", None) or heads)
        self.width = int(getattr(text, "head_dim", None) or text.hidden_size // heads)
        each = [(layer, part) for layer in range(self.layers) for part in ("key", "value")]
        self.inputs = ["input_ids", "attention_mask", "position_ids", *(PAST.format(*at) for at in each)]
        self.outputs = ["logits", *(PRESENT.format(*at) for at in each)]

    def example(self) -> dict[str, Any]:
        rows, before, new = 2, 5, 3
        ids = torch.arange(1, rows * new + 1).reshape(rows, new)
        positions = torch.arange(before, before + new)[None].repeat(rows, 1)
        size = (rows, self.heads, before, self.width)
        past = [torch.zeros(size, dtype=self.model.dtype) for _ in range(2 * self.layers)]
        mask = torch.ones(rows, before + new, dtype=torch.int64)
        return {"input_ids": ids, "attention_mask": mask, "position_ids": positions, "past": past}

    def varying(self) -> dict[str, Any]:
        if self.tracer is None:  # the mask's length is found to be the sum of the others
            rows = new = before = whole = torch.export.Dim.DYNAMIC
        else:
            rows, new, before, whole = map(torch.export.Dim, ("batch", "length", "past_length", "total_length"))
        fresh, past = {0: rows, 1: new}, [{0: rows, 2: before} for _ in range(2 * self.layers)]
        return {"input_ids": fresh, "attention_mask": {0: rows, 1: whole}, "position_ids": fresh, "past": past}

    def forward(self, input_ids: Any, attention_mask: Any, position_ids: Any, past: list[Any]) -> Any:
        pairs = dict(enumerate(zip(past[::2], past[1::2], strict=True)))
        given = {"input_ids": input_ids, "position_ids": position_ids}
        logits, present = (self._plain if self.tracer is None else self._fused)(given, attention_mask, pairs)
        return (logits, *(part for layer in range(self.layers) for part in present[layer]))

    def _fused(self, given: dict[str, Any], mask: Any, past: Mapping[int, Any]) -> tuple[Any, Mapping[int, Any]]:
        assert self.tracer is not None
        self.tracer.begin(mask, past)
        return self.model(**given, use_cache=False).logits, self.tracer.present

    def _plain(self, given: dict[str, Any], mask: Any, past: Mapping[int, Any]) -> tuple[Any, Mapping[int, Any]]:
        from transformers import DynamicCache

        cache = DynamicCache()
        for layer, (keys, values) in past.items():
            cache.update(keys, values, layer)
        found = self.model(**given, attention_mask=mask, past_key_values=cache, use_cache=True)
        return found.logits, {layer: (kept.keys, kept.values) for layer, kept in enumerate(cache.layers)}


class _Headed(torch.nn.Module):  # type: ignore[misc]
    """input_ids, attention_mask and token_type_ids (of families that tell the texts of a pair apart) -> the head's outputs."""

    def __init__(self, model: Any, tracer: Tracer | None, loaded: Loaded) -> None:
        super().__init__()
        self.model, self.tracer = model, tracer
        text = model.config.get_text_config()
        typed = "token_type_ids" in loaded.tokenizer.model_input_names and bool(getattr(text, "type_vocab_size", 0))
        self.inputs = ["input_ids", "attention_mask", *(["token_type_ids"] if typed else [])]
        self.outputs = ["start_logits", "end_logits"] if loaded.kind == "span" else ["logits"]

    def example(self) -> dict[str, Any]:
        ids = torch.arange(2, 14).reshape(2, 6)
        filled = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "token_type_ids": torch.zeros_like(ids)}
        return {name: filled[name] for name in self.inputs}

    def varying(self) -> dict[str, Any]:
        rows, length = map(torch.export.Dim, ("batch", "length"))
        return {name: {0: rows, 1: length} for name in self.inputs}

    def forward(self, input_ids: Any, attention_mask: Any, token_type_ids: Any = None) -> Any:
        types = {} if token_type_ids is None else {"token_type_ids": token_type_ids}
        if self.tracer is not None:
            self.tracer.begin(attention_mask, {})
        found = self.model(input_ids=input_ids, attention_mask=attention_mask, **types)
        return tuple(found[name] for name in self.outputs)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The exporter tells of its own deprecations, as Python's warnings and as log lines."""
    import logging

    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


# ---------------------------------------------------------------- the graph


def _tidied(traced_model: Any, model: Any) -> Any:
    """Initializers under the names of the model's parameters, sizes that say what they are, no paths of this machine."""
    graph = traced_model.graph
    named = dict(model.named_parameters(remove_duplicate=False))
    first: dict[int, str] = {}
    for name, tensor in named.items():
        first.setdefault(tensor.data_ptr(), name)
    for value in list(graph.initializers.values()):
        name = str(value.name).removeprefix("model.")
        value.name = first[named[name].data_ptr()] if name in named else name
    for value in (*graph.inputs, *graph.outputs):
        value.shape = _sizes(value)
    for part in (traced_model, graph, *graph.all_nodes(), *graph.initializers.values()):
        part.metadata_props.clear()  # stack traces
        part.doc_string = None
    return traced_model


def _with_kept(graph: Any) -> None:
    """An input `num_logits_to_keep`, int64 (1,), that need not be given: logits of so many last tokens; 0, as by default, of all.

    A prompt's next token wants the last alone: the others cost as much as the output layer is of the model. Nothing is changed
    where something other than tokens one by one stands between that layer and the logits.
    """
    import numpy as np
    import onnx_ir as ir

    node = graph.outputs[0].producer()
    while node is not None and node.op_type in _EACH:
        node = next((value.producer() for value in node.inputs if value.producer() is not None), None)
    if node is None or node.op_type != "MatMul" or len(node.inputs[0].shape) != 3:
        return
    count = initializer(graph, KEPT, np.zeros(1, np.int64))
    graph.inputs.append(count)
    start = add(graph, node, "Neg", [count])[0]
    given = node.inputs[0]
    end, axis = (
        initializer(graph, f"{KEPT}_{name}", np.array([at], np.int64)) for name, at in (("end", END), ("axis", 1))
    )
    last = add(graph, node, "Slice", [given, start, end, axis])[0]
    last.dtype = given.dtype
    node.replace_input_with(0, last)
    for value in (node.outputs[0], graph.outputs[0]):
        value.shape = ir.Shape(["batch", "kept_length", value.shape[2]])


def _shares(graph: Any) -> bool:
    """Whether one buffer, longer than the text, can be both past and present: GroupQueryAttention, which writes in place and is
    told of the length, reads the cache; whatever else asks for its sizes does not ask for its length."""
    past = [value for value in graph.inputs if str(value.name).startswith("past_key_values.")]
    readers = [node for value in past for node, _ in value.uses()]
    return bool(past) and all(node.op_type == "GroupQueryAttention" or _asks_for_rows(node) for node in readers)


def _asks_for_rows(node: Any) -> bool:
    attributes = {name: found.value for name, found in node.attributes.items()}
    return bool(node.op_type == "Shape" and attributes.get("start", 0) == 0 and attributes.get("end") == 1)


def _sizes(value: Any) -> Any:
    """Names for the sizes that vary."""
    import onnx_ir as ir

    lengths = {"attention_mask": "total_length", "past_key_values": "past_length", "present": "total_length"}
    length = lengths.get(str(value.name).split(".")[0], "length")
    named = ["batch", "heads", length, "width"] if len(value.shape) == 4 else ["batch", length, "width"]
    return ir.Shape([size if isinstance(size, int) else named[axis] for axis, size in enumerate(value.shape)])
