"""ONNX graphs for GPUs: what TensorRT wants of a graph is checked everywhere, and both of ONNX Runtime's providers where they are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny

from ptft.core.errors import InputError
from ptft.core.models import Loaded, load
from ptft.core.quantising.activations import Activation, quantised_inputs, ranges
from ptft.core.quantising.applying import applied
from ptft.core.quantising.planning import plan_for
from ptft.core.quantising.rounding import rtn
from ptft.core.quantising.scheme import Scheme
from ptft.core.quantising.statistics import calibration_of
from ptft.stages.export.formats.onnx import graph_of, write
from ptft.stages.export.formats.onnx_weights import Arithmetic, replace

STATIC = Scheme(8, 0, activations="static")
TRT = {"trt_int8_enable": True}
MODELS: dict[str, Callable[[Path], Path]] = {
    "bert": tiny.bert_classifier, "llama": lambda folder: tiny.causal(folder, num_hidden_layers=1),
}  # fmt: skip


@dataclass(frozen=True)
class Exported:
    """expected: logits of torch with the same integers, on the inputs `given`. weights, rounded: how many, and with such inputs."""

    folder: Path
    expected: Any
    weights: int
    rounded: int


def given(folder: Path) -> dict[str, Any]:
    """What a graph's session is fed with: two rows of ten tokens, and a cache of none."""
    import onnxruntime

    session = onnxruntime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
    ids = np.arange(3, 23).reshape(2, 10)
    known = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
    known["position_ids"] = np.tile(np.arange(10), (2, 1))
    inputs = {found.name: found for found in session.get_inputs()}
    half = any(found.type == "tensor(float16)" for found in inputs.values())
    past = {
        name: np.zeros((2, found.shape[1], 0, found.shape[3]), np.float16 if half else np.float32)
        for name, found in inputs.items() if "past" in name
    }  # fmt: skip
    return {name: known[name] for name in inputs if name in known} | past


def answer(folder: Path, providers: list[Any]) -> tuple[Any, list[str]]:
    """Logits, and the providers that the session has."""
    import onnxruntime

    session = onnxruntime.InferenceSession(folder / "model.onnx", providers=providers)
    return session.run(["logits"], given(folder))[0].astype(np.float32), session.get_providers()


def expected_of(loaded: Loaded, plan: Any, found: Any) -> Any:
    import torch

    ids = torch.arange(3, 23).reshape(2, 10)
    with torch.inference_mode(), quantised_inputs(loaded.model, plan, found):
        return loaded.model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits.float().numpy()


def static(make: Callable[[Path], Path], folder: Path) -> Exported:
    """Weights and activations in 8 bits, in ONNX's own operators."""
    loaded = load(make(folder / "model"))
    graph = graph_of(loaded, folder / "scratch", standard=True)
    plan = plan_for(loaded.model, STATIC)
    found = ranges(loaded.model, plan, calibration_of(loaded, tiny.TEXTS), symmetric=True)
    quantised = applied(loaded.model, plan)
    write(loaded, quantised, folder / "static", Arithmetic.of(plan, found, standard=True), graph=graph)
    return Exported(folder / "static", expected_of(loaded, plan, found), len(quantised), len(found))


@pytest.fixture(scope="module", params=MODELS)
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    return static(MODELS[request.param], tmp_path_factory.mktemp(request.param))


# ---------------------------------------------------------------- everywhere


def test_the_graph_is_what_tensorrt_takes(made: Exported) -> None:
    """ONNX's own operators; integers of constants, int8, a zero point of 0; every product of a weight has a rounded input."""
    import onnx

    model = onnx.load(made.folder / "model.onnx")
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    by_output = {name: node for node in model.graph.node for name in node.output}
    assert {node.domain for node in model.graph.node} == {""} and [found.domain for found in model.opset_import] == [""]
    assert 9 <= model.opset_import[0].version <= 23
    assert not model.metadata_props  # which would tell that one buffer may be past and present
    kinds = {node.op_type for node in model.graph.node}
    assert {"QuantizeLinear", "DequantizeLinear"} <= kinds
    assert not kinds & {"DynamicQuantizeLinear", "MatMulInteger", "QLinearMatMul"}
    for node in model.graph.node:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            assert node.input[1] in constants
            for name in node.input[2:]:
                values = onnx.numpy_helper.to_array(constants[name])
                assert values.dtype == np.int8 and not values.any()
    weights = [node for node in model.graph.node if node.op_type == "DequantizeLinear" and node.input[0] in constants]
    assert len(weights) == made.weights
    rounded = 0
    for node in model.graph.node:
        if node.op_type in ("MatMul", "Gemm"):
            given, matrix = (by_output.get(name) for name in node.input[:2])
            behind = by_output.get(matrix.input[0]) if matrix and matrix.op_type == "Transpose" else matrix
            rounded += all(side is not None and side.op_type == "DequantizeLinear" for side in (given, behind))
    assert rounded == made.rounded >= 7
    onnx.checker.check_model(model, full_check=True)


def test_it_computes_what_calibration_said(made: Exported) -> None:
    found, _ = answer(made.folder, ["CPUExecutionProvider"])
    assert np.abs(found - made.expected).max() < 1e-3 * np.abs(made.expected).max()


def test_weights_alone_in_standard_operators(tmp_path: Path) -> None:
    """GPT-2, whose matrices are stored the other way round; ONNX Runtime may round the inputs of 8-bit products."""
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(1)
    sizes = {"vocab_size": 400, "n_embd": 32, "n_layer": 1, "n_head": 2, "n_positions": 64}
    model = GPT2LMHeadModel(GPT2Config(**sizes, bos_token_id=0, eos_token_id=0))
    loaded = load(tiny._saved(model, tmp_path / "model", 3.0))
    kept = {name: tensor.clone() for name, tensor in loaded.model.state_dict().items()}
    graph = graph_of(loaded, tmp_path / "scratch", standard=True)
    for number, scheme in enumerate((Scheme(8, 0), Scheme(4, 32))):
        loaded.model.load_state_dict(kept)
        plan = plan_for(loaded.model, scheme)
        write(loaded, applied(loaded.model, plan), tmp_path / f"{number}", Arithmetic(standard=True), graph=graph)
        found, _ = answer(tmp_path / f"{number}", ["CPUExecutionProvider"])
        expected = expected_of(loaded, plan, {})
        assert np.abs(found - expected).max() < 0.02 * np.abs(expected).max()


def test_what_tensorrt_lacks_is_refused(made: Exported) -> None:
    import onnx_ir as ir
    import torch

    graph = ir.load(made.folder / "model.onnx").graph
    name = next(iter(graph.initializers))
    quantised = rtn(torch.randn(8, 32), Scheme(4, 32, False))
    with pytest.raises(InputError, match="operators that TensorRT lacks"):
        replace(graph, {name: quantised}, Arithmetic(dynamic={name}, standard=True))
    with pytest.raises(InputError, match="zero points"):
        replace(graph, {name: quantised}, Arithmetic(standard=True))
    symmetric = rtn(torch.randn(8, 32), Scheme(8, 0))
    with pytest.raises(InputError, match="zero points"):
        replace(graph, {name: symmetric}, Arithmetic(static={name: Activation(0.1, 3)}, standard=True))


# ---------------------------------------------------------------- on a GPU


def need(provider: str) -> None:
    import onnxruntime

    if provider not in onnxruntime.get_available_providers():
        pytest.skip(f"ONNX Runtime has no {provider} here: install onnxruntime-gpu on a machine with a GPU")


def test_static_integers_in_tensorrt(made: Exported) -> None:
    """Within what fusing may change: rounding happens at other places, to a share of the largest logit."""
    need("TensorrtExecutionProvider")
    found, there = answer(
        made.folder, [("TensorrtExecutionProvider", TRT), "CUDAExecutionProvider", "CPUExecutionProvider"]
    )
    assert there[0] == "TensorrtExecutionProvider"
    assert np.abs(found - made.expected).max() < 0.05 * np.abs(made.expected).max()


@pytest.mark.parametrize("scheme", [Scheme(4, 32), Scheme(8, 32)], ids=str)
@pytest.mark.parametrize("name", MODELS)
def test_weights_alone_in_cuda(name: str, scheme: Scheme, tmp_path: Path) -> None:
    """In float16, the type of CUDA's attention."""
    need("CUDAExecutionProvider")
    loaded = load(MODELS[name](tmp_path / "model"))
    plan = plan_for(loaded.model, scheme)
    quantised = applied(loaded.model, plan)
    graph = graph_of(loaded, tmp_path / "scratch", half=True)
    write(loaded, quantised, tmp_path / "out", graph=graph)
    found, there = answer(tmp_path / "out", ["CUDAExecutionProvider", "CPUExecutionProvider"])
    expected = expected_of(loaded, plan, {})
    assert there[0] == "CUDAExecutionProvider"
    assert np.abs(found - expected).max() < 0.05 * np.abs(expected).max()
