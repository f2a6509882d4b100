"""Packed weights against ONNX Runtime's kernels: one product or one look-up, next to torch with the dequantised matrix."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ptft.core.errors import InputError
from ptft.core.quantising.rounding import rtn
from ptft.core.quantising.scheme import Quantised, Scheme
from ptft.stages.export.formats.onnx_packing import blocks, columns, largest_block, saturates
from ptft.stages.export.formats.onnx_weights import Arithmetic, replace

SCHEMES = [Scheme(bits, group, symmetric) for bits in (4, 8) for group in (0, 32, 64) for symmetric in (True, False)]


def weight(rows: int = 48, width: int = 64, seed: int = 0) -> Any:
    import torch

    return torch.randn(rows, width, generator=torch.Generator().manual_seed(seed)) * 3


def answer(op: str, given: Any, matrix: Any, quantised: Quantised, arithmetic: Arithmetic | None = None) -> Any:
    """What a graph of one node (and what belongs to it) answers once its weight `w` (out, in) is quantised."""
    import onnx_ir as ir
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper

    nodes = {
        "Gather": [helper.make_node("Gather", ["w", "x"], ["y"])],
        "MatMul": [helper.make_node("Transpose", ["w"], ["t"], perm=[1, 0]), helper.make_node("MatMul", ["x", "t"], ["y"])],
    }[op]  # fmt: skip
    kind = TensorProto.INT64 if op == "Gather" else TensorProto.FLOAT
    graph = helper.make_graph(
        nodes, "one", [helper.make_tensor_value_info("x", kind, list(given.shape))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)], [numpy_helper.from_array(matrix.numpy(), "w")],
    )  # fmt: skip
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)]
    model = ir.from_proto(helper.make_model(graph, opset_imports=opsets, ir_version=10))
    replace(model.graph, {"w": quantised}, arithmetic or Arithmetic(accuracy_level=1))
    session = onnxruntime.InferenceSession(ir.to_proto(model).SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": given})[0]


@pytest.mark.parametrize("scheme", SCHEMES, ids=str)
def test_a_product_is_that_of_the_dequantised_matrix(scheme: Scheme) -> None:
    matrix = weight()
    made = rtn(matrix, scheme)
    given = np.random.default_rng(1).normal(size=(2, 3, 64)).astype(np.float32)
    assert np.allclose(answer("MatMul", given, matrix, made), given @ made.dequantised().numpy().T, atol=1e-3)


@pytest.mark.parametrize("scheme", SCHEMES, ids=str)
def test_a_look_up_is_that_of_the_dequantised_table(scheme: Scheme) -> None:
    matrix = weight()
    made = rtn(matrix, scheme)
    ids = np.array([[0, 47, 5], [5, 1, 2]])
    assert np.array_equal(answer("Gather", ids, matrix, made), made.dequantised().numpy()[ids])


def test_the_faster_arithmetic_rounds_activations_in_their_blocks() -> None:
    """Within the error of 8 bits: half a 127th of a block's largest activation, times the weights it meets (Cauchy-Schwarz)."""
    matrix, given = weight(), np.random.default_rng(1).normal(size=(4, 64)).astype(np.float32)
    for scheme in (Scheme(4, 32), Scheme(8, 0)):
        made = rtn(matrix, scheme)
        exact = given @ made.dequantised().numpy().T
        found = answer("MatMul", given, matrix, made, Arithmetic(accuracy_level=4))
        bound = np.abs(given).max() / 254 * 8 * np.linalg.norm(made.dequantised().numpy(), axis=1)
        assert np.abs(found - exact).max() > 0 and (np.abs(found - exact) <= bound).all()


def test_widths_that_no_block_divides_are_padded_and_computed_right() -> None:
    import torch

    ints = torch.randint(-8, 8, (5, 40), generator=torch.Generator().manual_seed(0)).to(torch.int8)
    made = Quantised(ints, torch.rand(5, 1) + 0.5, None, 4, 0)
    packed = blocks(made)
    assert (
        largest_block(40) == 16
        and largest_block(1536) == 256
        and largest_block(576) == 64
        and packed.packed.shape == (5, 3, 8)
        and packed.padding == 8
    )
    given = np.random.default_rng(1).normal(size=(3, 40)).astype(np.float32)
    assert np.allclose(
        answer("MatMul", given, made.dequantised(), made), given @ made.dequantised().numpy().T, atol=1e-3
    )
    ids = np.array([4, 0])
    assert np.array_equal(answer("Gather", ids, made.dequantised(), made), made.dequantised().numpy()[ids])


def test_nibbles_are_in_the_order_that_the_operator_documents() -> None:
    """ONNX Runtime, docs/ContribOperators.md, MatMulNBits: the first 4 bits are the lower half of a byte; 8 stands for 0."""
    import torch

    ints = torch.tensor([[-8, 7] + [0] * 30], dtype=torch.int8)
    packed = blocks(Quantised(ints, torch.ones(1, 1), None, 4, 32))
    assert packed.packed[0, 0, :2].tolist() == [0xF0, 0x88] and packed.zeros is None
    with_zeros = blocks(Quantised(ints, torch.ones(1, 1), torch.tensor([[-3]], dtype=torch.int8), 4, 32))
    assert with_zeros.zeros is not None and with_zeros.zeros.tolist() == [[5]]


@pytest.mark.parametrize("unsigned", [False, True])
def test_dynamic_integers_round_the_activations_alone(unsigned: bool) -> None:
    """DynamicQuantizeLinear of the ONNX specification: uint8, one scale for the whole input, 0 exact."""
    matrix, given = weight(), np.random.default_rng(1).normal(size=(4, 64)).astype(np.float32)
    made = rtn(matrix, Scheme(8, 0))
    scale = np.float32((max(given.max(), 0) - min(given.min(), 0)) / 255)
    zero = np.clip(np.rint(-min(given.min(), 0) / scale), 0, 255)
    rounded = (np.clip(np.rint(given / scale) + zero, 0, 255) - zero) * scale
    expected = rounded @ made.dequantised().numpy().T
    assert np.allclose(
        answer("MatMul", given, matrix, made, Arithmetic(dynamic={"w"}, unsigned=unsigned)), expected, atol=2e-2
    )


@pytest.mark.parametrize("unsigned", [False, True])
def test_static_integers_round_as_calibration_said(unsigned: bool) -> None:
    import torch

    from ptft.core.quantising.activations import Activation

    matrix, given = weight(), np.random.default_rng(1).normal(size=(4, 64)).astype(np.float32)
    made, input_ = rtn(matrix, Scheme(8, 0)), Activation(0.02, -5)
    expected = input_.rounded(torch.from_numpy(given)) @ made.dequantised().T
    assert np.allclose(
        answer("MatMul", given, matrix, made, Arithmetic(static={"w": input_}, unsigned=unsigned)), expected, atol=2e-2
    )


def test_tables_of_channels_too() -> None:
    matrix, ids = weight(), np.array([[0, 47], [5, 1]])
    made = rtn(matrix, Scheme(8, 0))
    for unsigned in (False, True):
        found = answer("Gather", ids, matrix, made, Arithmetic(dynamic={"w"}, unsigned=unsigned))
        assert np.array_equal(found, made.dequantised().numpy()[ids])


def test_which_processors_saturate() -> None:
    assert saturates("fma avx avx2 bmi2") and saturates("avx2 avx512f avx512bw")
    assert not saturates("avx2 avx512f avx512_vnni") and not saturates("avx2 avx_vnni") and not saturates("asimd")


def test_what_the_kernels_do_not_take_is_refused() -> None:
    import torch

    ints, scales = torch.zeros(2, 64, dtype=torch.int8), torch.ones(2, 8)
    with pytest.raises(InputError, match="groups of 8"):
        blocks(Quantised(ints, scales, None, 4, 8))
    with pytest.raises(InputError, match="do not hold"):
        blocks(Quantised(ints - 9, scales[:, :2], None, 4, 32))
    for quantised in (rtn(weight(), Scheme(8, 32)), rtn(weight(), Scheme(8, 0, False)), rtn(weight(), Scheme(4, 0))):
        with pytest.raises(InputError, match="a scale an output channel"):
            columns(quantised)
