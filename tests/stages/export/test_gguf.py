"""GGUF files: integers and scales as they were given, read back by the gguf package, transformers and (where installed) llama.cpp."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny

from ptft.core.errors import InputError, from_os_error
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


PLACES = {
    "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down", "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm", "model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output",
}  # fmt: skip


def back(tensors: dict[str, Any], name: str, heads: int = 0) -> Any:
    """What the file holds of a parameter; heads: of a Llama's queries or keys, whose rows are put back."""
    part, last = name.removeprefix("model.layers.").rsplit(".", 1)
    layer, _, inner = part.partition(".")
    there = f"{PLACES[part]}.{last}" if part in PLACES else f"blk.{layer}.{PLACES[inner]}.{last}"
    found = tensors[there]
    if heads:  # even rows of a head were its first half, odd ones its second
        by_head = found.reshape(heads, -1, *found.shape[1:])
        found = np.concatenate([by_head[:, 0::2], by_head[:, 1::2]], axis=1).reshape(found.shape)
    return found


def heads_of(name: str, config: Any) -> int:
    return {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}.get(name.split(".")[-2], 0)


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("scheme", SCHEMES.values(), ids=SCHEMES)
def test_every_tensor_is_read_back_as_it_was_given(tmp_path, scheme, tied):
    """By gguf's own reading; scales of symmetric schemes are float16 already, so those are equal to the bit."""
    made = load(tiny.causal(tmp_path / "model", **WIDE, tie_word_embeddings=tied, attention_bias=True, mlp_bias=True))
    draw_biases(made.model)
    weights = planned(made, scheme)
    _, tensors = read(exported.write(made, weights, tmp_path / "gguf"))
    names = dict(made.model.named_parameters())
    assert len(tensors) == len(names)
    for name, parameter in names.items():
        found = back(tensors, name, heads_of(name, made.model.config))
        wanted = (weights[name].dequantised() if name in weights else parameter.detach()).numpy()
        if (
            name in weights and weights[name].zeros is not None
        ):  # the offset of a block is a float16, its zero point no integer
            assert np.abs(found - wanted).max() < 1e-3 * np.abs(wanted).max(), name
        else:
            assert found.dtype == np.float32 and (found == wanted).all(), name


def draw_biases(model: Any) -> None:
    import torch

    torch.manual_seed(2)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() == 1:
                parameter.normal_(1.0 if "norm" in name else 0.0, 0.3)


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


def test_a_model_in_q6_k(tmp_path):
    """Which takes rows of 256."""
    loaded = load(tiny.causal(tmp_path / "model", 1.0, hidden_size=256, intermediate_size=256, num_attention_heads=4))
    named = {name: "Q6_K" for name, weight in loaded.model.named_parameters() if weight.dim() > 1}
    exported.write(loaded, named, tmp_path / "gguf")
    again = load(tmp_path / "gguf")
    assert again.runtime is not None and [kind for kind, _ in again.runtime.types] == ["Q6_K", "F32"]
    wanted = logits(loaded.model)
    assert 0 < np.abs(logits(again.model) - wanted).max() < 0.1 * np.abs(wanted).max()


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


def test_a_merged_adapter(tmp_path):
    from peft import LoraConfig, get_peft_model

    from ptft.core.adapters import merged

    base = load(tiny.causal(tmp_path / "base", **WIDE))
    adapter = get_peft_model(
        copy.deepcopy(base.model), LoraConfig(target_modules=["q_proj", "down_proj"], init_lora_weights=False)
    )
    adapter.peft_config["default"].base_model_name_or_path = str(tmp_path / "base")
    adapter.save_pretrained(tmp_path / "adapter")
    base.tokenizer.save_pretrained(tmp_path / "adapter")
    whole = merged(load(tmp_path / "adapter"))
    exported.write(whole, {}, tmp_path / "gguf", "F32")
    found = logits(load(tmp_path / "gguf").model)
    assert np.abs(found - logits(adapter.eval())).max() < 1e-4
    assert np.abs(found - logits(base.model)).max() > 0.1


def test_a_folder_of_any_name(tmp_path):
    name = "模型 v1.0 (é) 'q' #100%"
    fields, _ = read(exported.write(load(tiny.causal(tmp_path / name)), {}, tmp_path / f"{name} gguf"))
    assert fields["general.name"] == name and load(tmp_path / f"{name} gguf").kind == "causal"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, the disk that is always full")
@pytest.mark.parametrize("rows", [400, 20_000])
def test_no_room_on_the_disk(tmp_path, rows):
    """In the metadata, and in the middle of a tensor."""
    loaded = load(tiny.causal(tmp_path / "model", vocab_size=rows))
    (tmp_path / "gguf").mkdir()
    (tmp_path / "gguf" / exported.FILE).symlink_to("/dev/full")
    with pytest.raises(OSError) as raised:
        exported.write(loaded, {}, tmp_path / "gguf")
    assert from_os_error(raised.value).message == "the disk is full"


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
