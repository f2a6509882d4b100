"""compressed-tensors: the layout by its definition, and (where the package is installed) what transformers computes with it."""

from __future__ import annotations

import copy
import json
from typing import Any

import numpy as np
import pytest
import tiny
import torch

from ptft.core.errors import InputError
from ptft.core.models import Loaded, load
from ptft.core.quantising.rounding import rtn
from ptft.core.quantising.scheme import Quantised, Scheme
from ptft.core.weights import tensors
from ptft.stages.export.formats import compressed

IDS = torch.arange(5, 45)[None]
LAYER = "model.layers.0.mlp.down_proj"


@pytest.fixture(scope="module")
def llama(tmp_path_factory) -> Loaded:
    return load(tiny.causal(tmp_path_factory.mktemp("llama") / "llama", tie_word_embeddings=False))


def planned(loaded: Loaded, scheme: Scheme) -> dict[str, Quantised]:
    """Every linear layer; the output layer in 8 bits."""
    return {
        name: rtn(weight.detach(), Scheme(8, 0) if "lm_head" in name else scheme)
        for name, weight in loaded.model.named_parameters() if weight.dim() > 1 and "embed" not in name
    }  # fmt: skip


def unpacked(words: Any, bits: int, width: int) -> Any:
    """One bit after another: weight i of a row is bits i * bits and on of its words, from 0 at the lowest integer."""
    rows = []
    for row in words.tolist():
        whole = sum((word % 2**32) << (32 * index) for index, word in enumerate(row))
        rows.append([(whole >> (bits * index)) % 2**bits - 2 ** (bits - 1) for index in range(width)])
    return torch.tensor(rows, dtype=torch.int8)


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("width", [32, 33])
def test_packing(bits, width):
    torch.manual_seed(0)
    ints = torch.randint(-(2 ** (bits - 1)), 2 ** (bits - 1), (5, width), dtype=torch.int8)
    words = compressed.packed(ints, bits)
    assert words.dtype == torch.int32 and words.shape == (5, -(-width * bits // 32))
    assert (unpacked(words, bits, width) == ints).all()


def test_what_is_stored(tmp_path, llama):
    weights = planned(llama, Scheme(4, 32))
    compressed.write(llama, weights, tmp_path)
    shapes = {tensor.name: (tensor.dtype, tensor.shape) for tensor in tensors(tmp_path)}
    assert shapes[f"{LAYER}.weight_packed"] == ("I32", (32, 8))
    assert shapes[f"{LAYER}.weight_scale"] == ("F32", (32, 2))
    assert shapes[f"{LAYER}.weight_shape"] == ("I64", (2,))
    assert f"{LAYER}.weight" not in shapes and "model.embed_tokens.weight" in shapes
    settings = json.loads((tmp_path / "config.json").read_text())["quantization_config"]
    assert settings["quant_method"] == "compressed-tensors" and settings["format"] == "pack-quantized"
    assert [group["weights"]["num_bits"] for group in settings["config_groups"].values()] == [4, 8]
    assert [group["weights"]["strategy"] for group in settings["config_groups"].values()] == ["group", "channel"]
    assert settings["ignore"] == []
    assert not hasattr(llama.model.config, "quantization_config")


def test_dynamic_activations_are_stored_a_byte_a_weight(tmp_path, llama):
    weights = {f"{LAYER}.weight": planned(llama, Scheme(8, 0))[f"{LAYER}.weight"]}
    compressed.write(llama, weights, tmp_path, weights)
    shapes = {tensor.name: (tensor.dtype, tensor.shape) for tensor in tensors(tmp_path)}
    assert shapes[f"{LAYER}.weight"] == ("I8", (32, 64)) and shapes[f"{LAYER}.weight_scale"] == ("F32", (32, 1))
    settings = json.loads((tmp_path / "config.json").read_text())["quantization_config"]
    assert settings["config_groups"]["group_0"]["input_activations"]["strategy"] == "token"
    assert "lm_head" in settings["ignore"] and LAYER not in settings["ignore"]


def test_what_is_refused(tmp_path, llama):
    embeddings = rtn(llama.model.get_input_embeddings().weight.detach(), Scheme(8, 32))
    with pytest.raises(InputError, match=r"not model\.embed_tokens\.weight"):
        compressed.write(llama, {"model.embed_tokens.weight": embeddings}, tmp_path)
    with pytest.raises(InputError, match="no compressed-tensors with zero points"):
        compressed.write(llama, planned(llama, Scheme(4, 32, symmetric=False)), tmp_path)


def computed(loaded: Loaded, weights: dict[str, Quantised]) -> Any:
    """Logits of the model with dequantised weights."""
    model = copy.deepcopy(loaded.model)
    with torch.inference_mode():
        for name, weight in weights.items():
            model.get_parameter(name).copy_(weight.dequantised())
        return model(IDS).logits.numpy()


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("scheme", [Scheme(4, 32), Scheme(4, 0), Scheme(8, 0)], ids=str)
def test_transformers_computes_with_the_given_integers(tmp_path, scheme, tied):
    pytest.importorskip("compressed_tensors", reason="needs compressed-tensors")
    loaded = load(tiny.causal(tmp_path / "model", tie_word_embeddings=tied))
    weights = planned(loaded, scheme)
    compressed.write(loaded, weights, tmp_path / "out")
    with torch.inference_mode():
        found = load(tmp_path / "out").model(IDS).logits.numpy()
    assert np.abs(found - computed(loaded, weights)).max() < 1e-5


def test_transformers_rounds_dynamic_inputs(tmp_path, llama):
    """The output layer's stay: two formats in one file."""
    pytest.importorskip("compressed_tensors", reason="needs compressed-tensors")
    weights = planned(llama, Scheme(8, 0))
    compressed.write(llama, weights, tmp_path, [name for name in weights if "lm_head" not in name])
    with torch.inference_mode():
        found = load(tmp_path).model(IDS).logits.numpy()
    assert 1e-4 < np.abs(found - computed(llama, weights)).max() < 0.1
