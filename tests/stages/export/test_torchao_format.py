"""torchao's folders: integers and scales as they were given, loaded by transformers alone."""

from __future__ import annotations

import copy
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny

from ptft.core.errors import InputError
from ptft.core.models import Loaded, load
from ptft.core.quantising.rounding import rtn
from ptft.core.quantising.scheme import Quantised, Scheme
from ptft.core.weights import tensors
from ptft.stages.export.formats import torchao as exported

INT8, INT4 = Scheme(8, 0), Scheme(4, 32)


@pytest.fixture(scope="module")
def llama(tmp_path_factory) -> Loaded:
    return load(tiny.causal(tmp_path_factory.mktemp("llama") / "llama"))


def planned(loaded: Loaded, scheme: Scheme, outer: Scheme | None = None) -> dict[str, Quantised]:
    """The layers of the blocks; outer: embeddings too."""
    inside = {"embed": outer, "lm_head": outer, "classifier": None, "score": None}
    found = {}
    for name, weight in loaded.model.named_parameters():
        chosen = next((inside[part] for part in inside if part in name), scheme)
        if weight.dim() > 1 and chosen is not None:
            found[name] = rtn(weight.detach(), chosen)
    return found


def logits(model: Any) -> Any:
    import torch

    with torch.inference_mode():
        return model(torch.arange(5, 45)[None]).logits.numpy()


def dequantised(loaded: Loaded, weights: dict[str, Quantised]) -> Any:
    import torch

    model = copy.deepcopy(loaded.model)
    with torch.no_grad():
        for name, weight in weights.items():
            model.get_parameter(name).copy_(weight.dequantised())
    return model


@pytest.mark.parametrize("scheme", [INT8, Scheme(8, 32), INT4, Scheme(4, 32, symmetric=False), Scheme(4, 0)], ids=str)
@pytest.mark.parametrize("outer", [None, Scheme(8, 32)], ids=["embeddings stay", "embeddings in 8 bits"])
def test_what_is_loaded_computes_with_the_given_integers(tmp_path, llama, scheme, outer):
    weights = planned(llama, scheme, outer)
    before = logits(llama.model)
    exported.write(llama, weights, tmp_path)
    again = load(tmp_path)
    assert np.abs(logits(again.model) - logits(dequantised(llama, weights))).max() < 1e-5
    assert (logits(llama.model) == before).all() and not hasattr(llama.model.config, "quantization_config")
    name = "model.layers.1.mlp.down_proj.weight"
    assert (again.model.get_parameter(name).qdata == weights[name].ints).all()
    tied = again.model.lm_head.weight is again.model.model.embed_tokens.weight
    assert tied and hasattr(again.model.lm_head.weight, "qdata") == (outer is not None)


def test_dynamic_activations(tmp_path, llama):
    """Inputs are rounded too: near the dequantised model, and not the same."""
    weights = planned(llama, INT8, Scheme(8, 32))
    exported.write(llama, weights, tmp_path, [name for name in weights if "embed" not in name])
    off = np.abs(logits(load(tmp_path).model) - logits(dequantised(llama, weights))).max()
    assert 1e-4 < off < 0.1


def test_each_layer_its_own_scheme(tmp_path, llama):
    weights = planned(llama, INT4, Scheme(8, 32))
    name = "model.layers.0.mlp.down_proj.weight"
    weights[name] = rtn(llama.model.get_parameter(name).detach(), INT8)
    del weights["model.layers.0.mlp.up_proj.weight"]
    exported.write(llama, weights, tmp_path)
    again = load(tmp_path)
    assert np.abs(logits(again.model) - logits(dequantised(llama, weights))).max() < 1e-5
    assert not hasattr(again.model.get_parameter("model.layers.0.mlp.up_proj.weight"), "qdata")


def test_a_classifier(tmp_path):
    bert = load(tiny.bert_classifier(tmp_path / "bert"))
    weights = planned(bert, INT8)
    exported.write(bert, weights, tmp_path / "int8")
    again = load(tmp_path / "int8")
    assert again.labels == bert.labels
    assert np.abs(logits(again.model) - logits(dequantised(bert, weights))).max() < 1e-5


def test_a_shared_weight_is_stored_once(tmp_path, llama):
    exported.write(llama, planned(llama, INT4, Scheme(8, 32)), tmp_path)
    names = [tensor.name for tensor in tensors(tmp_path)]
    assert sum("embed_tokens" in name for name in names) == 3 and not any("lm_head" in name for name in names)


def test_the_same_twice(tmp_path, llama):
    for name in "ab":
        exported.write(llama, planned(llama, INT4), tmp_path / name)
    first, second = ((tmp_path / name / "model.safetensors").read_bytes() for name in "ab")
    assert first == second


def test_what_does_not_fit(tmp_path, llama):
    with pytest.raises(InputError, match="does not quantise the inputs"):
        exported.write(llama, planned(llama, INT4), tmp_path, planned(llama, INT4))
    weights = planned(llama, INT4)
    with pytest.raises(InputError, match=r"lacks: model\.wrong"):
        exported.write(llama, {"model.wrong": next(iter(weights.values()))}, tmp_path)


READER = """
import sys
sys.modules["ptft"] = None
import numpy, torch, transformers
model = transformers.AutoModelForCausalLM.from_pretrained(sys.argv[1]).eval()
with torch.inference_mode():
    numpy.save(sys.argv[2], model(torch.arange(5, 45)[None]).logits.numpy())
"""


@pytest.mark.slow
def test_it_loads_without_ptft(tmp_path: Path, llama: Loaded) -> None:
    weights = planned(llama, INT4, Scheme(8, 32))
    exported.write(llama, weights, tmp_path / "int4")
    subprocess.run([sys.executable, "-c", READER, tmp_path / "int4", tmp_path / "logits.npy"], check=True)
    assert np.abs(np.load(tmp_path / "logits.npy") - logits(dequantised(llama, weights))).max() < 1e-5
