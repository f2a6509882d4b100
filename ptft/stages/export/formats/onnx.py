"""ONNX for ONNX Runtime: `model.onnx` with a transformers folder's configuration and tokenizer beside it.

    import onnxruntime
    session = onnxruntime.InferenceSession("DIR/model.onnx")

A causal model is one graph with a cache under optimum's names, whose input num_logits_to_keep may be left out; classifiers, taggers, span models and masked language models take
input_ids, attention_mask and, where the family has them, token_type_ids.

    onnx_tracing     a model as a graph in full precision
    onnx_operators   ONNX Runtime's own operators in that graph
    onnx_fusing      nodes that a traced graph can do without
    onnx_weights     its weights replaced by quantised ones
    onnx_standard    the same in ONNX's own operators, for TensorRT
    onnx_lookup      embeddings among them
    onnx_nodes       building blocks of both
    onnx_packing     the layouts that the kernels read
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ptft.core.errors import InputError, RunError
from ptft.core.models import Loaded
from ptft.core.runtimes.found import GRAPH
from ptft.stages.export.formats.onnx_weights import Arithmetic, replace

if TYPE_CHECKING:
    from ptft.core.quantising.scheme import Quantised

DATA = "model.onnx.data"  # the weights, where the graph alone would be larger than protobuf's 2 GB
LARGEST_FILE = 2_000_000_000
TRIED = 8  # tokens that a graph is tried on
_CLOSE = 1e-3  # of the largest logit: what a traced graph may differ by


def graph_of(loaded: Loaded, scratch: Path, *, half: bool = False, standard: bool = False) -> Any:
    """The graph of a model in full precision (half: in float16), found to answer as the model does: once for many schemes.

    With ONNX Runtime's own operators, or where those do not fit the family (or standard is set) with ONNX's alone. scratch: a
    folder that is made and removed. Raises `InputError` for a model that cannot be traced.
    """
    import torch

    from ptft.stages.export.formats.onnx_tracing import traced

    if loaded.model.config.is_encoder_decoder:
        remedy = "export a model of one part: a decoder such as llama, or an encoder such as bert"
        raise InputError("an encoder-decoder: ONNX graphs here have one part", where=str(loaded.folder), remedy=remedy)
    dtype = torch.float16 if half else torch.float32
    for plainly in (True,) if standard else (False, True):
        try:
            graph = traced(loaded, dtype, standard=plainly)
            require_faithful(loaded, graph, scratch)
        except InputError:
            if plainly:
                raise
        else:
            break
    return graph


def write(
    loaded: Loaded, quantised: Mapping[str, Quantised], out: Path, arithmetic: Arithmetic | None = None, *,
    graph: Any = None,
) -> None:  # fmt: skip
    """Write `loaded` with the weights of `quantised` (by parameter name; the others as they are) to the folder `out`.

    graph: of `graph_of`, to trace once for many schemes; it is not changed. Raises `InputError` for models and weights that the
    format does not hold, `RunError` where the disk has no room.
    """
    made = (graph or graph_of(loaded, out.with_name(f"{out.name}-scratch"))).clone()
    replace(made.graph, quantised, arithmetic or Arithmetic())
    out.mkdir(parents=True, exist_ok=True)
    _save(made, out)
    loaded.model.config.save_pretrained(out)
    if loaded.kind == "causal" and getattr(loaded.model, "generation_config", None) is not None:
        loaded.model.generation_config.save_pretrained(out)
    loaded.tokenizer.save_pretrained(out)


def _save(model: Any, out: Path) -> None:
    """One file, or two where it would be too large for one."""
    import onnx_ir as ir

    size = sum(value.const_value.nbytes for value in model.graph.initializers.values())
    if size > shutil.disk_usage(out).free:
        remedy = f"free {size / 1e9:.1f} GB, or choose another --out"
        raise RunError("no room on the disk for the weights", where=str(out), remedy=remedy)
    model.producer_name, model.producer_version = "ptft", ""
    ir.save(model, out / GRAPH, external_data=DATA if size > LARGEST_FILE else None)


_LOAD = """import numpy, onnxruntime
onnxruntime.set_default_logger_severity(3)
from transformers import AutoTokenizer
tokenizer = AutoTokenizer.from_pretrained("DIR"{trust})
session = onnxruntime.InferenceSession("DIR/{graph}")
ids = numpy.array([tokenizer("text")["input_ids"]])
given = {{"input_ids": ids, "attention_mask": numpy.ones_like(ids), "token_type_ids": numpy.zeros_like(ids)}}
"""
_LOAD_CACHE = """given["position_ids"] = numpy.arange(ids.shape[1])[None]
for one in session.get_inputs():  # no keys and values yet; those of the next step are the outputs "present..."
    if one.name.startswith("past"):
        half = one.type == "tensor(float16)"
        given[one.name] = numpy.zeros((1, one.shape[1], 0, one.shape[3]), "float16" if half else "float32")
"""
_RUN = "outputs = session.run(None, {one.name: given[one.name] for one in session.get_inputs()})"


def how_to_load(loaded: Loaded) -> str:
    """Python, run where the folder is; `outputs[0]` are the logits (of answers: of their starts)."""
    trust = ", trust_remote_code=True" if loaded.model.config.model_type == "mean_pooled" else ""
    return _LOAD.format(graph=GRAPH, trust=trust) + (_LOAD_CACHE if loaded.kind == "causal" else "") + _RUN


# ---------------------------------------------------------------- is the graph the model?


def require_faithful(loaded: Loaded, graph: Any, scratch: Path) -> float:
    """The largest difference between the logits of a graph in full precision and of its model, as a share of the largest logit.

    Two rows of unlike length, padded on the left; a causal graph reads a prompt, then goes on from its cache. Raises `InputError`
    above 1e-3 (where either is in 16 bits: 5e-2), or where ONNX Runtime does not take the graph: a family that the tracing does not know.
    """
    ids, mask = _rows(loaded)
    expected = _of_torch(loaded, ids, mask)
    scratch.mkdir(parents=True)
    try:
        _save(graph.clone(), scratch)
        found = _of_graph(scratch / GRAPH, ids, mask)
    except Exception as error:  # onnxruntime's errors have no base of their own
        if not type(error).__module__.startswith("onnxruntime"):
            raise
        raise _unfaithful(loaded, f"does not run: {str(error)[:200]}") from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    kept = mask.astype(bool) if found.ndim == 3 or loaded.kind == "span" else slice(None)
    difference = float(np.abs(found - expected)[kept].max() / max(1e-6, np.abs(expected).max()))
    if not difference <= (_CLOSE if _is_float(graph) and loaded.model.dtype.itemsize == 4 else 50 * _CLOSE):
        raise _unfaithful(loaded, f"answers otherwise than the model: logits differ by {difference:.1%}")
    return difference


def _unfaithful(loaded: Loaded, what: str) -> InputError:
    remedy = "export it in another format, such as --format torchao"
    return InputError(
        f"the ONNX graph of this {loaded.model.config.model_type} model {what}", where=str(loaded.folder), remedy=remedy
    )


def _is_float(graph: Any) -> bool:
    return bool(graph.graph.outputs[0].dtype.itemsize == 4)


def _rows(loaded: Loaded) -> tuple[Any, Any]:
    draw = np.random.default_rng(0)
    length = min(TRIED, loaded.seq_len)
    ids = draw.integers(5, loaded.model.config.get_text_config().vocab_size, (2, length))
    mask = np.ones_like(ids)
    mask[1, : length // 2] = 0
    ids[mask == 0] = loaded.tokenizer.pad_token_id or 0
    return ids, mask


def _positions(mask: Any) -> Any:
    return np.maximum(mask.cumsum(1) - 1, 0)


def _of_torch(loaded: Loaded, ids: Any, mask: Any) -> Any:
    import torch

    given = {"input_ids": torch.from_numpy(ids), "attention_mask": torch.from_numpy(mask)}
    if loaded.kind == "causal":
        given["position_ids"] = torch.from_numpy(_positions(mask))
    with torch.inference_mode():
        found = loaded.model(**{name: tensor.to(loaded.model.device) for name, tensor in given.items()})
    return found["start_logits" if loaded.kind == "span" else "logits"].float().cpu().numpy()


def _of_graph(path: Path, ids: Any, mask: Any) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(path, options, ["CPUExecutionProvider"])
    inputs = {found.name: found for found in session.get_inputs()}
    past = [name for name in inputs if name.startswith("past")]
    cache = {name: _nothing(inputs[name], len(ids)) for name in past}
    made = []
    for new in _parts(ids.shape[1]) if past else [slice(0, ids.shape[1])]:
        given = {
            "input_ids": ids[:, new],
            "attention_mask": mask[:, : new.stop],
            "position_ids": _positions(mask)[:, new],
        }
        given["token_type_ids"] = np.zeros_like(ids)
        logits, *present = session.run(None, {name: given[name] for name in inputs if name in given} | cache)
        made.append(logits)
        cache = dict(zip(past, present, strict=False))
    return np.concatenate(made, axis=1).astype(np.float32) if past else made[0].astype(np.float32)


def _parts(length: int) -> list[slice]:
    """A prompt, several tokens, one token."""
    ends = [length // 2, length - 1, length]
    return [slice(start, stop) for start, stop in zip([0, *ends], ends, strict=False)]


def _nothing(value: Any, rows: int) -> Any:
    """Keys or values of no tokens."""
    kind = np.float16 if value.type == "tensor(float16)" else np.float32
    return np.zeros((rows, value.shape[1], 0, value.shape[3]), kind)
