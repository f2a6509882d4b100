"""Bytes by class: every byte of the files is in one class, and what is expected is what is written."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
import transformers

from ptft.core.errors import UsageError
from ptft.core.models import Loaded, load
from ptft.core.quantising.activations import Activation
from ptft.core.quantising.matrices import matrices
from ptft.core.quantising.planning import is_outer, plan_for
from ptft.core.quantising.rounding import rtn
from ptft.core.quantising.scheme import Quantised, Scheme
from ptft.core.runtimes.graph_file import initializers, read
from ptft.core.weights import tensors
from ptft.stages.export import sizes
from ptft.stages.export.formats import compressed, gguf, onnx, torchao
from ptft.stages.export.formats.onnx_tracing import traced
from ptft.stages.export.formats.onnx_weights import Arithmetic

WIDE = {
    "vocab_size": 1100,
    "hidden_size": 96,
    "intermediate_size": 160,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}
INT4, INT8, OUTER = Scheme(4, 32), Scheme(8, 0), Scheme(8, 32)
SCHEMES = {"int4": INT4, "int4 with zero points": replace(INT4, symmetric=False), "int8": INT8}


def gpt2(folder: Path) -> Path:
    config = transformers.GPT2Config(vocab_size=1100, n_embd=96, n_layer=1, n_head=4, n_positions=64)
    return tiny._saved(transformers.GPT2LMHeadModel(config), folder, 1.0)


def bert(folder: Path) -> Path:
    config = transformers.BertConfig(**tiny.sizes(**{**WIDE, "num_key_value_heads": 4}), num_labels=3, pad_token_id=1)
    return tiny._saved(transformers.BertForSequenceClassification(config), folder, 1.0)


MODELS: dict[str, Any] = {
    "tied": lambda folder: tiny.causal(folder, **WIDE),
    "untied": lambda folder: tiny.causal(folder, **WIDE, tie_word_embeddings=False),
    "gpt2": gpt2,
    "bert": bert,
}
HELD = {
    "torchao": ("tied", "untied", "bert"), "compressed-tensors": ("tied", "untied", "bert"), "gguf": ("tied", "untied"),
    "onnx": ("tied", "untied", "gpt2", "bert"),
}  # fmt: skip
PAIRS = [
    pytest.param(name, model, scheme, id=f"{name} {model} {key}")
    for name, models in HELD.items() for model in models for key, scheme in SCHEMES.items()
    if scheme.symmetric or name != "compressed-tensors"  # which has no zero points
]  # fmt: skip


@pytest.fixture(scope="module")
def model_of(tmp_path_factory):
    """A model by name, and its ONNX graph, each made once."""
    made: dict[str, Any] = {}

    def model(name: str) -> Loaded:
        if name not in made:
            made[name] = load(MODELS[name](tmp_path_factory.mktemp(name.replace(" ", "-")) / "model"))
        return made[name]

    def graph(name: str) -> Any:
        key = f"graph of {name}"
        if key not in made:
            made[key] = traced(model(name))
        return made[key]

    model.graph = graph
    return model


def planned(loaded: Loaded, format_name: str, scheme: Scheme) -> dict[str, Scheme | None]:
    """What the format holds: compressed-tensors no embeddings."""
    plan = plan_for(loaded.model, scheme, outer=OUTER)
    for matrix in matrices(loaded.model):
        if format_name == "compressed-tensors" and is_outer(loaded.model, matrix):
            plan[matrix.name] = None
    return plan


def written(model_of: Any, name: str, format_name: str, plan: dict[str, Scheme | None], out: Path) -> Path:
    loaded = model_of(name)
    quantised: dict[str, Quantised] = {
        matrix.name: rtn(matrix.read(), scheme)
        for matrix in matrices(loaded.model) if (scheme := plan.get(matrix.name)) is not None
    }  # fmt: skip
    dynamic = [key for key, scheme in plan.items() if scheme is not None and scheme.activations == "dynamic"]
    if format_name == "onnx":
        static = {key: Activation(0.1, 3) for key, scheme in plan.items() if scheme and scheme.activations == "static"}
        onnx.write(loaded, quantised, out, Arithmetic.of(plan, static), graph=model_of.graph(name))
    elif format_name == "gguf":
        gguf.write(loaded, quantised, out)
    else:
        {"torchao": torchao, "compressed-tensors": compressed}[format_name].write(loaded, quantised, out, dynamic)
    return out


def bytes_of_tensors(folder: Path) -> int:
    """Read in another way: ONNX Runtime's arrays, the gguf package's, the headers of safetensors."""
    from onnx.numpy_helper import to_array

    if (folder / "model.onnx").exists():
        return sum(to_array(tensor).nbytes for tensor in initializers(read(folder / "model.onnx")))
    if (folder / "model.gguf").exists():
        import gguf as package

        return sum(tensor.data.nbytes for tensor in package.GGUFReader(folder / "model.gguf").tensors)
    return sum(tensor.bytes for tensor in tensors(folder))


@pytest.mark.parametrize(("format_name", "name", "scheme"), PAIRS)
def test_sizes_are_expected_and_whole(model_of, tmp_path, format_name, name, scheme):
    model = model_of(name).model
    plan = planned(model_of(name), format_name, scheme)
    folder = written(model_of, name, format_name, plan, tmp_path / "out")
    found = sizes.stored(model, folder)
    assert sum(found.values()) == bytes_of_tensors(folder)
    foretold = sizes.expected(model, plan, format_name, "float16" if format_name == "gguf" else "float32")
    slack = 200 if format_name == "onnx" else 0  # constants: shapes, axes, the middle of a range
    for key in sizes.CLASSES:
        if not (format_name == "onnx" and key == "other"):
            assert foretold[key] <= found[key] <= foretold[key] + slack, key
    assert sum(found.values()) == pytest.approx(sum(foretold.values()), rel=0.05)
    quantised = sum(model.get_parameter(key).numel() * found.bits for key, found in plan.items() if found is not None)
    assert 8 * sum(found.values()) > quantised
    meta = load_without_weights(model)
    assert sizes.expected(meta, plan, format_name, "float16" if format_name == "gguf" else "float32") == foretold


def load_without_weights(model: Any) -> Any:
    with torch.device("meta"):
        return type(model)(model.config)


INTEGERS = [
    ("torchao", "dynamic", "bert"), ("compressed-tensors", "dynamic", "bert"), ("onnx", "dynamic", "bert"),
    ("onnx", "static", "bert"), ("onnx", "dynamic", "gpt2"),
]  # fmt: skip


@pytest.mark.parametrize(("format_name", "activations", "name"), INTEGERS)
def test_activations_in_integers(model_of, tmp_path, format_name, activations, name):
    plan = planned(model_of(name), format_name, replace(INT8, activations=activations))
    folder = written(model_of, name, format_name, plan, tmp_path / "out")
    model = model_of(name).model
    found, foretold = sizes.stored(model, folder), sizes.expected(model, plan, format_name)
    assert sum(found.values()) == bytes_of_tensors(folder)
    assert found["linear"] == pytest.approx(foretold["linear"], abs=5 * len(plan))  # a scale and a zero point an input


@pytest.mark.parametrize("name", MODELS)
def test_a_checkpoint_is_what_is_in_memory(model_of, name):
    loaded = model_of(name)
    found = sizes.stored(loaded.model, loaded.folder)
    assert found == sizes.in_memory(loaded.model) == sizes.expected(loaded.model, {}, "torchao")
    assert sum(found.values()) == sum(tensor.bytes for tensor in tensors(loaded.folder))
    assert found["embeddings"] and found["linear"] and found["norms"]
    assert bool(found["head"]) == (name in ("untied", "bert")) and (name != "bert" or found["head"] == 4 * 3 * 97)


def test_rows_with_zero_points_in_torchao(model_of, tmp_path):
    plan = planned(model_of("tied"), "torchao", Scheme(8, 0, symmetric=False))
    folder = written(model_of, "tied", "torchao", plan, tmp_path / "out")
    model = model_of("tied").model
    assert sizes.stored(model, folder) == sizes.expected(model, plan, "torchao")


def test_half_precision_of_what_stays(model_of, tmp_path):
    loaded = model_of("untied")
    plan = planned(loaded, "torchao", INT4)
    halved = replace(loaded, model=copy.deepcopy(loaded.model).to(torch.bfloat16))
    quantised = {
        matrix.name: rtn(matrix.read(), found) for matrix in matrices(loaded.model) if (found := plan[matrix.name])
    }
    torchao.write(halved, quantised, tmp_path)
    assert sizes.stored(loaded.model, tmp_path) == sizes.expected(loaded.model, plan, "torchao", "bfloat16")


@pytest.mark.parametrize(("format_name", "bits"), [("torchao", 8 + 40 / 32), ("compressed-tensors", 4 + 32 / 32), ("onnx", 4.5), ("gguf", 4.5)])  # fmt: skip
def test_bits_of_a_weight(model_of, tmp_path, format_name, bits):
    loaded = model_of("tied")
    plan = {name: None if "embed" in name else found for name, found in planned(loaded, format_name, INT4).items()}
    folder = written(model_of, "tied", format_name, plan, tmp_path / "out")
    assert sizes.bits_a_weight(folder, loaded.model, plan) == pytest.approx(bits, rel=0.01)
    one = {next(name for name, found in plan.items() if found is not None): INT4}
    assert sizes.bits_a_weight(folder, loaded.model, one) == pytest.approx(bits, rel=0.01)
    assert sizes.bits_a_weight(folder, loaded.model, {}) == 0


def test_llama3_positions_are_a_tensor_of_gguf(tmp_path):
    rope = {"rope_type": "llama3", "rope_theta": 1e4, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 64}  # fmt: skip
    loaded = load(tiny.causal(tmp_path / "model", rope_parameters=rope))
    gguf.write(loaded, {}, tmp_path / "out")
    found = sizes.stored(loaded.model, tmp_path / "out")
    assert found == sizes.expected(loaded.model, {}, "gguf", "float16") and found["other"] == 4 * 8


def test_a_backbone_alone_and_strange_names(tmp_path, model_of):
    """A checkpoint whose names lack the backbone's prefix, and one with a tensor that the model does not know."""
    from safetensors.torch import save_file

    loaded = model_of("bert")
    state = {name.removeprefix("bert."): tensor for name, tensor in loaded.model.state_dict().items()}
    save_file(state | {"strange.weight": torch.zeros(3), "scale": torch.zeros(1)}, tmp_path / "model.safetensors")
    found, known = sizes.stored(loaded.model, tmp_path), sizes.in_memory(loaded.model)
    assert found == {**known, "other": known["other"] + 16}


def test_an_unknown_format(model_of):
    with pytest.raises(UsageError, match="no sizes are known of exl2"):
        sizes.expected(model_of("tied").model, {}, "exl2")
    with pytest.raises(UsageError, match="float8"):
        sizes.expected(model_of("tied").model, {}, "onnx", "float8")
