"""Adapter folders: found, loaded, merged; what would be wrong in silence is an error."""

from __future__ import annotations

import json

import pytest
import tiny
import torch

from ptft.core import adapters, models
from ptft.core.errors import InputError
from ptft.core.modeling_bottleneck import BottleneckConfig
from ptft.core.weights import tensors

IDS = torch.tensor([[5, 6, 7, 8]])


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return tiny.causal(tmp_path_factory.mktemp("base") / "causal", scale=1.0)


def make(base, folder, config, longer: int = 0):
    """A peft adapter whose weights are not those it begins with."""
    from peft import get_peft_model

    torch.manual_seed(0)
    model, _ = models.load_plain(base, "float32")
    if longer:
        model.resize_token_embeddings(400 + longer, mean_resizing=False)
    model.name_or_path = str(base)
    model = get_peft_model(model, config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.05 * torch.randn_like(parameter))
    model.save_pretrained(folder, save_embedding_layers=bool(longer))
    models.load_tokenizer(base).save_pretrained(folder)
    return model.eval()


def lora(**more):
    from peft import LoraConfig

    return LoraConfig(r=4, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM", **more)


def answers(model):
    with torch.no_grad():
        return model(input_ids=IDS).logits


def test_an_adapter_is_merged_to_the_same_answers_and_stays_tied(base, tmp_path):
    model = make(base, tmp_path / "a", lora())
    whole = adapters.merged(models.load(tmp_path / "a"))
    assert torch.allclose(answers(whole.model), answers(model), atol=1e-6)
    assert whole.model.get_input_embeddings().weight is whole.model.get_output_embeddings().weight
    assert all(parameter.requires_grad for parameter in whole.model.parameters())


def test_an_adapter_saved_by_peft_alone_has_its_bases_tokenizer(base, tmp_path):
    folder = tmp_path / "adapter"
    make(base, folder, lora())
    for path in [*folder.glob("tokenizer*"), *folder.glob("chat_template*")]:
        path.unlink()
    assert models.load(folder).tokenizer("今天")["input_ids"] == models.load(base).tokenizer("今天")["input_ids"]


def test_a_plain_model_is_merged_already(base):
    loaded = models.load(base)
    assert adapters.merged(loaded) is loaded


def test_a_tensor_that_is_missing_is_an_error_not_a_new_one(base, tmp_path):
    from safetensors.torch import load_file, save_file

    make(base, tmp_path / "a", lora())
    path = tmp_path / "a" / "adapter_model.safetensors"
    held = load_file(path)
    held.pop(next(name for name in held if "layers.1" in name and "lora_B" in name))
    save_file(held, path, metadata={"format": "pt"})
    with pytest.raises(InputError, match=r"lack 1 of the model's tensors.*layers\.1"):
        models.load(tmp_path / "a")


@pytest.mark.parametrize("stored", ["bfloat16", "float16"])
def test_merging_is_done_in_full_whatever_the_base_is_stored_in(base, tmp_path, stored):
    """peft#2321: in half precision a small update is rounded away."""
    half = models.load_plain(base, stored)[0]
    models.save(half, models.load_tokenizer(base), tmp_path / "half")
    make(tmp_path / "half", tmp_path / "a", lora(lora_alpha=0.01))
    plain = models.load_plain(tmp_path / "half", "float32")[0]
    whole = adapters.merged_from(tmp_path / "a")
    name = "model.layers.0.self_attn.q_proj.weight"
    assert whole.dtype == torch.float32
    moved = (whole.get_parameter(name) - plain.get_parameter(name)).abs()
    assert 0 < float(moved.max()) < 1e-3  # less than half precision keeps


def test_added_tokens_are_there_after_merging(base, tmp_path):
    """peft#1300: an adapter with the embeddings of a longer vocabulary than its base's."""
    model = make(base, tmp_path / "a", lora(), longer=8)
    assert any(tensor.shape[0] == 408 for tensor in tensors(tmp_path / "a"))
    loaded = models.load(tmp_path / "a")
    whole = adapters.merged_from(tmp_path / "a")
    for found in (loaded.model, whole):
        assert torch.allclose(answers(found), answers(model), atol=1e-6) and answers(found).size(-1) == 408


def test_an_adapter_on_the_tied_output_layer_is_not_lost(base, tmp_path):
    from peft import LoraConfig

    config = LoraConfig(r=4, target_modules=["q_proj", "lm_head"], task_type="CAUSAL_LM")
    model = make(base, tmp_path / "a", config)
    assert torch.allclose(answers(adapters.merged_from(tmp_path / "a")), answers(model), atol=1e-6)


def test_what_cannot_be_merged_says_so(base, tmp_path):
    from peft import PromptTuningConfig

    config = PromptTuningConfig(num_virtual_tokens=4, task_type="CAUSAL_LM")
    make(base, tmp_path / "a", config)
    with pytest.raises(InputError, match="method prompt cannot be merged"):
        adapters.merged(models.load(tmp_path / "a"))


def test_the_base_inside_the_folder_comes_first(base, tmp_path):
    make(base, tmp_path / "a", lora())
    assert adapters.base_folder(tmp_path / "a") == base
    tiny.causal(tmp_path / "a" / "base")
    assert adapters.base_folder(tmp_path / "a") == tmp_path / "a" / "base"


def test_settings_that_are_cut_off_are_an_error(base, tmp_path):
    make(base, tmp_path / "a", lora())
    path = tmp_path / "a" / "adapter_config.json"
    path.write_text(path.read_text()[:40])
    with pytest.raises(InputError, match="not valid JSON"):
        adapters.settings_of(tmp_path / "a")


def test_the_end_of_turn_an_adapter_learnt_is_its_own(base, tmp_path):
    model = make(base, tmp_path / "a", lora())
    model.generation_config.eos_token_id = [0, 3]
    model.generation_config.save_pretrained(tmp_path / "a")
    assert models.load(tmp_path / "a").model.generation_config.eos_token_id == [0, 3]
    assert models.load(base).model.generation_config.eos_token_id == 0
    assert adapters.merged_from(tmp_path / "a").generation_config.eos_token_id == [0, 3]


# ---------------------------------------------------------------- bottleneck adapters


ENDS = r".*mlp\.down_proj"


def test_a_bottleneck_adapter_is_saved_and_loaded_by_peft(base, tmp_path):
    model = make(base, tmp_path / "a", BottleneckConfig(target_modules=ENDS, size=8, task_type="CAUSAL_LM"))
    found = models.load(tmp_path / "a").model
    assert torch.equal(answers(found), answers(model))
    settings = json.loads((tmp_path / "a" / "adapter_config.json").read_text())
    assert (settings["peft_type"], settings["size"]) == ("BOTTLENECK", 8)
    assert {tensor.name.split(".")[-2] for tensor in tensors(tmp_path / "a")} == {"bottleneck_down", "bottleneck_up"}


def test_a_bottleneck_adapter_can_be_switched_off_and_taken_off(base, tmp_path):
    plain = answers(models.load(base).model)
    model = make(base, tmp_path / "a", BottleneckConfig(target_modules=ENDS, size=8, task_type="CAUSAL_LM"))
    assert not torch.allclose(answers(model), plain, atol=1e-4)
    with model.disable_adapter():
        assert torch.equal(answers(model), plain)
    with pytest.raises(ValueError, match="not linear"):
        model.merge_adapter()
    assert torch.equal(answers(model.unload()), plain)


def test_a_bottleneck_layer_is_the_formula(base, tmp_path):
    """y + up(relu(down(y))) on the output y of the layer it is around."""
    model = make(base, tmp_path / "a", BottleneckConfig(target_modules=ENDS, size=8, task_type="CAUSAL_LM"))
    layer = model.get_base_model().model.layers[0].mlp.down_proj
    x = torch.randn(3, 64)
    y = x @ layer.base_layer.weight.T
    down, up = layer.bottleneck_down["default"], layer.bottleneck_up["default"]
    wanted = y + torch.relu(y @ down.weight.T + down.bias) @ up.weight.T + up.bias
    assert torch.allclose(layer(x), wanted, atol=1e-6)


def test_two_bottleneck_adapters_share_a_base(base, tmp_path):
    config = BottleneckConfig(target_modules=ENDS, size=8, task_type="CAUSAL_LM")
    model = make(base, tmp_path / "a", config)
    first = answers(model)
    model.add_adapter("second", BottleneckConfig(target_modules=ENDS, size=4, task_type="CAUSAL_LM"))
    assert torch.equal(answers(model), first)
    model.set_adapter("second")
    assert torch.equal(answers(model), answers(models.load(base).model))  # it has learnt nothing yet
