"""Tiny models in the files of other runtimes: real exports of torch's, and GGUF files of ptft's own."""

from __future__ import annotations

import shutil
import warnings
from pathlib import Path
from typing import Any

import numpy as np

PROMPTS = ["The quick brown fox", "今天天气很好", "Shares rose"]


def beside(checkpoint: Path, folder: Path) -> Path:
    """A checkpoint's folder without its weights."""
    shutil.copytree(checkpoint, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("*.safetensors", "run.json"))
    return folder


def bert(folder: Path) -> Path:
    """A classifier of one layer, which exports faster, and of weights so large that texts differ."""
    import tiny
    import torch
    from transformers import BertConfig, BertForSequenceClassification

    torch.manual_seed(1)
    config = BertConfig(**tiny.sizes(num_hidden_layers=1, id2label=dict(enumerate(tiny.LABELS))), pad_token_id=1)
    model = BertForSequenceClassification(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(20.0 if parameter.dim() > 1 else 1.0)
    model.eval().save_pretrained(folder)
    tiny.tokenizer().save_pretrained(folder)
    return folder


# ---------------------------------------------------------------- ONNX


def onnx_classifier(checkpoint: Path, folder: Path, dynamo: bool = False) -> Path:
    """A BERT classifier exported by torch, with input_ids and attention_mask."""
    import torch
    from transformers import AutoModelForSequenceClassification

    class Logits(torch.nn.Module):
        def __init__(self, model: Any) -> None:
            super().__init__()
            self.model = model

        def forward(self, input_ids: Any, attention_mask: Any) -> Any:
            return self.model(input_ids=input_ids, attention_mask=attention_mask).logits

    model = Logits(AutoModelForSequenceClassification.from_pretrained(checkpoint).eval())
    ids = torch.randint(5, 300, (2, 6))
    each = {0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC}
    inputs = ["input_ids", "attention_mask"]
    _exported(model, (ids, torch.ones_like(ids)), inputs, ["logits"], (each, each), beside(checkpoint, folder), dynamo)
    return folder


def onnx_with_cache(checkpoint: Path, folder: Path) -> Path:
    """A causal model exported by torch with keys and values as inputs and outputs, under optimum's names."""
    import torch
    from transformers import AutoModelForCausalLM, DynamicCache

    class Cached(torch.nn.Module):
        def __init__(self, model: Any) -> None:
            super().__init__()
            self.model = model

        def forward(self, input_ids: Any, attention_mask: Any, position_ids: Any, past: Any) -> Any:
            cache = DynamicCache()
            for layer, (keys, values) in enumerate(past):
                cache.update(keys, values, layer)
            found = self.model(
                input_ids=input_ids, attention_mask=attention_mask, position_ids=position_ids, past_key_values=cache,
                use_cache=True,
            )  # fmt: skip
            layers = found.past_key_values.layers
            return (found.logits, *(part for layer in layers for part in (layer.keys, layer.values)))

    model = AutoModelForCausalLM.from_pretrained(checkpoint).eval()
    config, before, new = model.config, 5, 3
    names = [f"{{}}.{layer}.{part}" for layer in range(config.num_hidden_layers) for part in ("key", "value")]
    inputs = ["input_ids", "attention_mask", "position_ids", *(name.format("past_key_values") for name in names)]
    ids = torch.randint(5, 300, (2, new))
    mask = torch.ones(2, before + new, dtype=torch.int64)
    positions = torch.arange(before, before + new)[None].expand(2, new)
    size = (2, config.num_key_value_heads, before, config.head_dim)
    past = [(torch.randn(size), torch.randn(size)) for _ in range(config.num_hidden_layers)]
    varies = torch.export.Dim.DYNAMIC
    each, cached = {0: varies, 1: varies}, {0: varies, 2: varies}
    shapes = (each, each, each, [(cached, cached)] * config.num_hidden_layers)
    outputs = ["logits", *(name.format("present") for name in names)]
    _exported(Cached(model).eval(), (ids, mask, positions, past), inputs, outputs, shapes, beside(checkpoint, folder))
    return folder


def _exported(
    model: Any, given: Any, inputs: list[str], outputs: list[str], shapes: Any, folder: Path, dynamo: bool = False
) -> None:
    """dynamo: torch's newer exporter, which takes seconds where the older one takes a tenth."""
    import torch

    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        if dynamo:
            torch.onnx.export(
                model, given, folder / "model.onnx", input_names=inputs, output_names=outputs, dynamic_shapes=shapes,
                dynamo=True, verbose=False, optimize=False,
            )  # fmt: skip
        else:
            axes = {name: list(sizes) for name, sizes in zip(inputs, _leaves(shapes), strict=True)}
            torch.onnx.export(
                model, given, folder / "model.onnx", input_names=inputs, output_names=outputs, dynamic_axes=axes,
                dynamo=False,
            )  # fmt: skip


def _leaves(shapes: Any) -> list[Any]:
    return [shapes] if isinstance(shapes, dict) else [leaf for part in shapes for leaf in _leaves(part)]


def int8(folder: Path, quantised: Path) -> Path:
    """ONNX Runtime's dynamic INT8 of a folder's graph."""
    import onnx
    import onnxruntime
    from onnxruntime.quantization import QuantType, quantize_dynamic

    shutil.copytree(folder, quantised)
    plain = quantised / "plain.onnx"
    # matrices that the graph transposes become constants, which is what can be quantised
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(plain)
    onnxruntime.InferenceSession(folder / "model.onnx", options, ["CPUExecutionProvider"])
    model = onnx.load(plain)
    del model.graph.value_info[:]  # the exporter's shapes, which the quantiser would trip over
    onnx.save(model, plain)
    quantize_dynamic(plain, quantised / "model.onnx", weight_type=QuantType.QInt8)
    plain.unlink()
    return quantised


# ---------------------------------------------------------------- ONNX graphs by hand: no exporter, milliseconds


def onnx_bag(
    folder: Path, config: Any, outputs: dict[str, int], *, pooled: bool = False, causal: bool = False,
    inputs: tuple[str, ...] = ("input_ids", "attention_mask"), width: int = 8,
) -> Path:  # fmt: skip
    """A graph of one embedding and one matrix an output: of each token; pooled: of their masked mean; causal: of the sum so far.

    outputs: name -> size; 0: a number a token. The weights are those of `bag_weights`. Writes config.json and a tokenizer too.
    """
    import onnx
    import tiny
    from onnx import TensorProto, helper, numpy_helper

    nodes, weights = [], bag_weights(outputs, config.vocab_size, width)
    nodes.append(helper.make_node("Gather", ["embedding", "input_ids"], ["hidden_0"]))
    last = "hidden_0"
    constants = {"last": np.array([-1]), "one": np.array([1])}
    if "attention_mask" in inputs:
        nodes.append(helper.make_node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT))
        nodes.append(helper.make_node("Unsqueeze", ["mask", "last"], ["mask_3d"]))
        nodes.append(helper.make_node("Mul", [last, "mask_3d"], ["hidden_1"]))
        last = "hidden_1"
    if causal:
        constants["axis"] = np.array(1)
        nodes.append(helper.make_node("CumSum", [last, "axis"], ["hidden_2"]))
        last = "hidden_2"
    if pooled:
        nodes.append(helper.make_node("ReduceSum", [last, "one"], ["hidden_3"], keepdims=0))
        last = "hidden_3"
    for name, size in outputs.items():
        nodes.append(helper.make_node("MatMul", [last, f"{name}_weight"], [name if size else f"{name}_2d"]))
        if not size:
            nodes.append(helper.make_node("Squeeze", [f"{name}_2d", "last"], [name]))
    tensors = [numpy_helper.from_array(array, name) for name, array in {**weights, **constants}.items()]
    given = [helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "tokens"]) for name in inputs]
    rows = ["batch"] if pooled else ["batch", "tokens"]
    made = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [*rows, size] if size else rows)
        for name, size in outputs.items()
    ]
    graph = helper.make_graph(nodes, "bag", given, made, tensors)
    folder.mkdir(parents=True, exist_ok=True)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    onnx.checker.check_model(model)
    onnx.save(model, folder / "model.onnx")
    config.save_pretrained(folder)
    tiny.tokenizer().save_pretrained(folder)
    return folder


def bag_weights(outputs: dict[str, int], vocab_size: int, width: int = 8) -> dict[str, Any]:
    """The embedding, (vocabulary, width), and a matrix an output, (width, its size)."""
    draw = np.random.default_rng(0)
    found = {"embedding": draw.normal(size=(vocab_size, width)).astype(np.float32)}
    found |= {
        f"{name}_weight": draw.normal(size=(width, size or 1)).astype(np.float32) for name, size in outputs.items()
    }
    return found


# ---------------------------------------------------------------- GGUF


def gguf_file(checkpoint: Path, path: Path, kind: str = "Q8_0", **more: Any) -> Path:
    """A Llama checkpoint as `ptft export` writes it, the file alone. kind: of the matrices.

    more: texts of the metadata by key; `pre` how text is cut, `architecture`, `rotary` a tensor that divides the rotary frequencies.
    """
    from ptft.core import models
    from ptft.stages.export.formats import gguf as exported

    written = exported.write(models.load(checkpoint), {}, path.with_name(f"{path.stem}-folder"), kind)
    if more:
        changed(written, path, **more)
    else:
        written.replace(path)
    shutil.rmtree(written.parent)
    return path


def changed(written: Path, path: Path, architecture: str = "llama", rotary: Any = None, **texts: str) -> None:
    """A GGUF file again, with other metadata."""
    import gguf

    file, writer = gguf.GGUFReader(written), gguf.GGUFWriter(path, architecture)
    wanted = {"tokenizer.ggml.pre" if name == "pre" else name.replace("__", "."): text for name, text in texts.items()}
    for name, field in file.fields.items():
        if not name.startswith("GGUF.") and name != "general.architecture" and name not in wanted:
            inner = field.types[-1] if len(field.types) > 1 else None
            writer.add_key_value(name, field.contents(), field.types[0], inner)
    for name, text in wanted.items():
        writer.add_string(name, text)
    for tensor in file.tensors:
        writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
    if rotary is not None:
        writer.add_tensor("rope_freqs.weight", rotary)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
