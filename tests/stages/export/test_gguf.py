"""GGUF files: integers and scales as they were given, read back by the gguf package, transformers and (where installed) llama.cpp."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny

from ptft.core.errors import InputError
from ptft.core.models import Loaded, load
from ptft.core.quantising.rounding import rtn
from ptft.core.quantising.scheme import Quantised, Scheme
from ptft.stages.export.formats import gguf as exported

SCHEMES = {
    "Q4_0": Scheme(4, 32), "Q4_0 of wider groups": Scheme(4, 64), "Q4_0 of rows": Scheme(4, 0),
    "Q4_1": Scheme(4, 32, symmetric=False), "Q8_0": Scheme(8, 32), "Q8_0 of rows": Scheme(8, 0),
}  # fmt: skip


@pytest.fixture(scope="module")
def llama(tmp_path_factory) -> Loaded:
    """Two heads share keys and values; the output layer is the embeddings."""
    return load(tiny.causal(tmp_path_factory.mktemp("llama") / "llama", **WIDE))


WIDE = {"hidden_size": 64, "intermediate_size": 128, "num_attention_heads": 4, "num_key_value_heads": 2}


def qwen(folder: Path, version: int, **more: Any) -> Loaded:
    import torch
    import transformers

    torch.manual_seed(1)
    config = getattr(transformers, f"Qwen{version}Config")
    model = getattr(transformers, f"Qwen{version}ForCausalLM")
    width = 128 if version == 3 else 16  # transformers reads Qwen3 files of 128 alone
    settings = {"bos_token_id": None, "eos_token_id": 0, "head_dim": width}
    made = model(config(**tiny.sizes(**WIDE, **settings, **more)))
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.normal_(0, 0.3 if parameter.dim() > 1 else 1.0)
    return load(tiny._saved(made, folder, 1.0))


def planned(loaded: Loaded, scheme: Scheme) -> dict[str, Quantised]:
    """Every matrix; embeddings and output layer in 8 bits."""
    outer = Scheme(8, 32)
    return {
        name: rtn(weight.detach(), outer if "embed" in name or "lm_head" in name else scheme)
        for name, weight in loaded.model.named_parameters() if weight.dim() > 1
    }  # fmt: skip


def dequantised(loaded: Loaded, weights: dict[str, Quantised]) -> Any:
    import torch

    model = copy.deepcopy(loaded.model)
    with torch.no_grad():
        for name, weight in weights.items():
            model.get_parameter(name).copy_(weight.dequantised())
    return model


def logits(model: Any) -> Any:
    import torch

    with torch.inference_mode():
        return model(torch.arange(5, 45)[None]).logits.numpy()


def read(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Metadata and dequantised tensors, by the gguf package."""
    from gguf import GGUFReader
    from gguf.quants import dequantize

    file = GGUFReader(path)
    fields = {name: field.contents() for name, field in file.fields.items() if not name.startswith("GGUF.")}
    return fields, {tensor.name: dequantize(tensor.data, tensor.tensor_type) for tensor in file.tensors}


@pytest.mark.parametrize("scheme", SCHEMES.values(), ids=SCHEMES)
def test_integers_and_scales_stay_as_given(tmp_path, llama, scheme):
    weights = planned(llama, scheme)
    _, tensors = read(exported.write(llama, weights, tmp_path))
    for ours, theirs in (("mlp.down_proj", "ffn_down"), ("self_attn.v_proj", "attn_v")):
        wanted = weights[f"model.layers.1.{ours}.weight"].dequantised().numpy()
        scale = np.abs(wanted).max()
        assert np.abs(tensors[f"blk.1.{theirs}.weight"] - wanted).max() < 2e-3 * scale
        if scheme.symmetric:  # the scales of these schemes are float16 already
            assert (tensors[f"blk.1.{theirs}.weight"] == wanted).all()


@pytest.mark.parametrize("scheme", [Scheme(4, 32), Scheme(4, 32, symmetric=False), Scheme(8, 0)], ids=str)
def test_transformers_computes_what_torch_computes(tmp_path, llama, scheme):
    weights = planned(llama, scheme)
    exported.write(llama, weights, tmp_path)
    wanted = logits(dequantised(llama, weights))
    assert np.abs(logits(load(tmp_path).model) - wanted).max() < 1e-2
    assert np.abs(logits(llama.model) - wanted).max() > 3e-2


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("tied", [True, False])
def test_qwen(tmp_path, version, tied):
    loaded = qwen(tmp_path / "qwen", version, tie_word_embeddings=tied)
    weights = planned(loaded, Scheme(4, 32))
    fields, tensors = read(exported.write(loaded, weights, tmp_path / "gguf"))
    assert fields["general.architecture"] == f"qwen{version}"
    assert ("output.weight" in tensors) != tied
    assert ("blk.0.attn_q.bias" in tensors) == (version == 2)
    assert np.abs(logits(load(tmp_path / "gguf").model) - logits(dequantised(loaded, weights))).max() < 1e-2


@pytest.mark.parametrize("kind", ["F32", "F16", "BF16", "Q8_0", "Q5_1", "Q5_0", "Q4_1", "Q4_0"])
def test_types_that_gguf_rounds_to(tmp_path, llama, kind):
    named = {name: kind for name, weight in llama.model.named_parameters() if weight.dim() > 1}
    exported.write(llama, named, tmp_path)
    again = load(tmp_path)
    assert again.runtime is not None and again.runtime.types[0][0] == kind
    off = np.abs(logits(again.model) - logits(llama.model)).max()
    assert off <= {"F32": 1e-6, "F16": 0.01, "BF16": 0.05, "Q8_0": 0.1}.get(kind, 2.0)


def test_settings(tmp_path, llama):
    fields, tensors = read(exported.write(llama, {}, tmp_path, "F32"))
    config = llama.model.config
    wanted = {
        "general.architecture": "llama", "general.file_type": 0, "llama.vocab_size": 400, "llama.context_length": 64,
        "llama.embedding_length": 64, "llama.block_count": 2, "llama.feed_forward_length": 128,
        "llama.attention.head_count": 4, "llama.attention.head_count_kv": 2, "llama.rope.dimension_count": 16,
        "llama.attention.key_length": 16,
    }  # fmt: skip
    assert {key: fields[key] for key in wanted} == wanted
    assert fields["llama.attention.layer_norm_rms_epsilon"] == pytest.approx(config.rms_norm_eps)
    assert fields["llama.rope.freq_base"] == config.rope_parameters["rope_theta"]
    assert "output.weight" not in tensors  # tied
    assert len(tensors) == 2 + 9 * config.num_hidden_layers


def test_a_tied_weight_may_be_planned_under_either_name(tmp_path, llama):
    weight = rtn(llama.model.lm_head.weight.detach(), Scheme(8, 32))
    _, tensors = read(exported.write(llama, {"lm_head.weight": weight}, tmp_path))
    assert (tensors["token_embd.weight"] == weight.dequantised().numpy()).all()


def test_the_same_twice(tmp_path, llama):
    weights = planned(llama, Scheme(4, 32))
    first, second = (exported.write(llama, weights, tmp_path / name).read_bytes() for name in ("a", "b"))
    assert first == second


LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
SCALINGS = {
    "llama3": {**LLAMA3, "original_max_position_embeddings": 32}, "linear": {"rope_type": "linear", "factor": 2.0},
    "yarn": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16},
}  # fmt: skip


@pytest.mark.parametrize("kind", SCALINGS)
def test_scaled_positions(tmp_path, kind):
    loaded = load(tiny.causal(tmp_path / "model", rope_parameters={"rope_theta": 10_000.0, **SCALINGS[kind]}))
    fields, tensors = read(exported.write(loaded, {}, tmp_path / "gguf", "F32"))
    if kind == "llama3":  # transformers leaves the tensor out; ptft's reader does not
        assert tensors["rope_freqs.weight"].max() == pytest.approx(8) and tensors["rope_freqs.weight"].min() == 1
        assert np.abs(logits(load(tmp_path / "gguf").model) - logits(loaded.model)).max() < 1e-4
    else:
        assert fields["llama.rope.scaling.type"] == kind
        assert fields["llama.rope.scaling.factor"] == SCALINGS[kind]["factor"]
    assert fields.get("llama.rope.scaling.original_context_length") == (16 if kind == "yarn" else None)


# ---------------------------------------------------------------- what is refused


def test_other_families_are_refused(tmp_path):
    import transformers

    config = transformers.GPT2Config(vocab_size=400, n_embd=32, n_layer=1, n_head=2)
    folder = tiny._saved(transformers.GPT2LMHeadModel(config), tmp_path / "gpt2", 1.0)
    with pytest.raises(InputError, match="not of gpt2"):
        exported.write(load(folder), {}, tmp_path / "gguf")
    assert not (tmp_path / "gguf").exists()


def test_positions_that_llama_cpp_does_not_compute(tmp_path):
    rope = {"rope_theta": 10_000.0, "rope_type": "dynamic", "factor": 2.0}
    with pytest.raises(InputError, match="positions dynamic"):
        exported.write(load(tiny.causal(tmp_path / "model", rope_parameters=rope)), {}, tmp_path / "gguf")


def test_weights_that_do_not_fit(tmp_path, llama):
    name = "model.layers.0.mlp.up_proj.weight"
    weight = rtn(llama.model.get_parameter(name).detach(), Scheme(4, 32))
    wide = rtn(llama.model.get_parameter(name).detach(), Scheme(8, 0, symmetric=False))
    for wrong, said in (
        (wide, "no type for 8 bits, asymmetric"), (replace(weight, scales=weight.scales * 1e9), "too large for float16"),
        (replace(weight, ints=weight.ints + 8), "do not fit in 4 bits"), (replace(weight, group=16), "no multiples of 32"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=said):
            exported.write(llama, {name: wrong}, tmp_path)
    with pytest.raises(InputError, match=r"lacks: model\.wrong"):
        exported.write(llama, {"model.wrong": weight}, tmp_path)


# ---------------------------------------------------------------- llama.cpp


@pytest.mark.parametrize("kind", ["F32", "Q4_0"])
def test_llama_cpp_computes_it(tmp_path, llama, kind):
    """The same maths in F32; with blocks, llama.cpp rounds the inputs of layers to 8 bits too."""
    llama_cpp = pytest.importorskip("llama_cpp", reason="needs llama-cpp-python, which builds for ten minutes")
    weights = planned(llama, Scheme(4, 32)) if kind == "Q4_0" else {}
    path = exported.write(llama, weights, tmp_path, "F32")
    model = llama_cpp.Llama(str(path), n_ctx=64, logits_all=True, verbose=False)
    ids = list(range(5, 45))
    model.eval(ids)
    wanted = logits(dequantised(llama, weights))[0]
    off = np.abs(model.scores[: len(ids)] - wanted)
    assert off.max() < (1e-3 if kind == "F32" else 0.5)
    assert (model.scores[: len(ids)].argmax(-1) == wanted.argmax(-1)).mean() > 0.9
