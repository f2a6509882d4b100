from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest
import tiny
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st

from ptft.core.errors import InputError, UsageError
from ptft.core.training.heads import with_loss
from ptft.stages.pretrain.architectures import config_for, load_from, new_model, refuse_other_tokenizer
from ptft.stages.pretrain.architectures.dial import TOLERANCE, heads_for, shape_for
from ptft.stages.pretrain.architectures.families import FAMILIES, Ends
from ptft.stages.pretrain.architectures.presets import PRESETS
from ptft.stages.pretrain.recipe import Architecture, PretrainRecipe

SMALL = Architecture(layers=2, width=64)
# total parameters as published, at the published vocabulary and positions
PUBLISHED = {
    "gpt2-124m": (50_257, 1024, 124_439_808),
    "gpt2-355m": (50_257, 1024, 354_823_168),
    "smollm2-135m": (49_152, 8192, 134_515_008),
    "smollm2-360m": (49_152, 8192, 361_821_120),
    "llama-1b": (128_256, 131_072, 1_235_814_400),
    "tinyllama-1.1b": (32_000, 2048, 1_100_048_384),
    "llama-7b": (32_000, 2048, 6_738_415_616),
    "qwen3-0.6b": (151_936, 40_960, 596_049_920),
    "qwen3-1.7b": (151_936, 40_960, 1_720_574_976),
    "qwen3-30b-a3b": (151_936, 40_960, 30_532_122_624),
    "bert-base": (30_522, 512, 109_514_298),  # with the prediction head
    "bert-large": (30_522, 512, 335_174_458),
    "modernbert-base": (50_368, 8192, 149_655_232),
    "modernbert-large": (50_368, 8192, 395_881_664),
}


@pytest.fixture(scope="module")
def tokenizer():
    return tiny.tokenizer()


def recipe_for(name, **more):
    family = FAMILIES[PRESETS[name].family if name in PRESETS else name]
    return PretrainRecipe(**{"model": name, "objective": family.kind, **more})


def parameters(model):
    return sum(p.numel() for p in {id(p): p for p in model.parameters()}.values())


def on_meta(recipe, config):
    with torch.device("meta"):
        return new_model(recipe, config)


# ---------------------------------------------------------------- counting


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("name", FAMILIES)
def test_the_count_is_the_models(tokenizer, name, tied):
    """By formula and by building: equal, for dialled sizes, given sizes and grouped heads."""
    family = FAMILIES[name]
    if name == "bert" and not tied:
        with pytest.raises(UsageError, match="one matrix"):
            config_for(
                PretrainRecipe(model=name, objective="masked", architecture=Architecture(tie_embeddings=False)),
                tokenizer,
                64,
            )
        return
    objectives = ("masked", "masked+nsp") if family.pairs else (family.kind,)
    for objective in objectives:
        for sizes in ({}, {"layers": 3, "width": 96}, {"kv_heads": 2} if family.grouped else {"layers": 4}):
            given = Architecture(tie_embeddings=tied, **sizes)
            recipe = PretrainRecipe(model=name, objective=objective, params=2_000_000, architecture=given)
            ends = Ends(len(tokenizer), 64, tied, objective == "masked+nsp")
            expected = family.count(shape_for(family, ends, given, recipe.params), ends)
            assert parameters(on_meta(recipe, config_for(recipe, tokenizer, 64))) == expected


@pytest.mark.parametrize("name", PUBLISHED)
def test_presets_have_their_published_sizes(name):
    vocab, positions, published = PUBLISHED[name]
    preset = PRESETS[name]
    assert FAMILIES[preset.family].count(preset.shape, Ends(vocab, positions, preset.tied)) == published


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_keeps_its_sizes_and_takes_the_tokenizers_vocabulary(tokenizer, name):
    recipe, preset = recipe_for(name), PRESETS[name]
    config = config_for(recipe, tokenizer, 128)
    assert config.vocab_size == len(tokenizer) and config.max_position_embeddings == 128
    assert (config.num_hidden_layers, config.hidden_size) == (preset.shape.layers, preset.shape.width)
    expected = FAMILIES[preset.family].count(preset.shape, Ends(len(tokenizer), 128, preset.tied))
    assert parameters(on_meta(recipe, config)) == expected
    assert preset.source


# ---------------------------------------------------------------- the dial


@settings(deadline=None, max_examples=30)
@given(
    name=st.sampled_from(sorted(FAMILIES)),
    vocab=st.sampled_from([512, 4096, 8192, 16_384, 32_768, 50_304, 100_352, 151_936]),
    exponent=st.floats(5, math.log10(7e9)),
    tied=st.booleans(),
)
def test_the_dial_comes_within_a_tenth(name, vocab, exponent, tied):
    """Wherever the vocabulary leaves room: embeddings 64 wide take no more than half of the parameters (or the vocabulary is small)."""
    family, wanted, ends = FAMILIES[name], round(10**exponent), Ends(vocab, 512, tied)
    if vocab * 64 * (1 if tied else 2) > wanted / 2 and vocab > 512:
        return
    shape = shape_for(family, ends, Architecture(), wanted)
    assert abs(family.count(shape, ends) / wanted - 1) <= TOLERANCE
    assert shape.width % shape.heads == 0 and (shape.width // shape.heads) % 2 == 0
    assert shape.width < 256 or shape.head_width == 64
    assert 1 / 8 < shape.layers / max(1, shape.width / family.aspect) < 8


def test_the_dial_turns_usual_sizes_out():
    """GPT-2's own shapes come back from their numbers; the demo's is the one that was measured (docs/log.md)."""
    gpt2 = shape_for(FAMILIES["gpt2"], Ends(50_257, 1024, True), Architecture(), 124_439_808)
    assert (gpt2.layers, gpt2.width, gpt2.heads) == (12, 768, 12)
    demo = shape_for(FAMILIES["llama"], Ends(4096, 256, True), Architecture(), 1_000_000)
    assert (demo.layers, demo.width, demo.heads, demo.feed_forward) == (2, 128, 2, 352)
    large = shape_for(FAMILIES["llama"], Ends(32_000, 2048, False), Architecture(), 6_738_415_616)
    assert 28 <= large.layers <= 36 and 3840 <= large.width <= 4352


def test_more_parameters_make_no_smaller_network():
    family, ends = FAMILIES["llama"], Ends(32_768, 512, True)
    counts = [
        family.count(shape_for(family, ends, Architecture(), n * 10**6), ends) for n in (10, 25, 60, 150, 400, 1000)
    ]
    assert counts == sorted(counts)


def test_given_sizes_stay_and_the_others_follow(tokenizer):
    recipe = recipe_for("llama", params=5_000_000, architecture=Architecture(layers=3))
    config = config_for(recipe, tokenizer, 64)
    assert config.num_hidden_layers == 3
    assert parameters(on_meta(recipe, config)) == pytest.approx(5_000_000, rel=0.1)
    given = Architecture(layers=2, width=96, heads=6, kv_heads=3)
    config = config_for(recipe_for("qwen3", architecture=given), tokenizer, 64)
    assert (config.num_attention_heads, config.num_key_value_heads, config.head_dim) == (6, 3, 16)


@pytest.mark.parametrize(
    ("width", "kv", "heads"), [(16, 0, 1), (32, 0, 2), (64, 0, 2), (128, 0, 2), (768, 0, 12), (768, 5, 0)]
)
def test_heads_are_64_wide_where_they_can_be(width, kv, heads):
    found = heads_for(width, kv)
    assert found == heads if heads else width % found or found % kv


def test_what_cannot_be_is_refused(tokenizer):
    def refused(match, **more):
        with pytest.raises(UsageError, match=match) as caught:
            config_for(PretrainRecipe(**more), tokenizer, 64)
        return caught.value.remedy

    assert "did you mean llama?" in refused("no family", model="lama")
    assert "did you mean modernbert?" in refused("no family", model="modern-bert", objective="masked")
    assert "gpt2-124m" in refused("no family", model="gtp2-124m")
    assert "bert, modernbert" in refused("no masked model", model="llama-1b", objective="masked")
    assert "qwen3-moe" in refused("no causal model", model="bert")
    assert "--model bert" in refused("no head for sentence pairs", model="modernbert", objective="masked+nsp")
    refused("heads", architecture=Architecture(layers=1, width=32, heads=5))
    refused("cannot share 3", architecture=Architecture(layers=1, width=64, heads=4, kv_heads=3))
    refused("key and value head for every head", model="gpt2", architecture=Architecture(kv_heads=1))
    refused(r"has its own architecture\.layers", model="gpt2-124m", architecture=Architecture(layers=2))
    assert "--params" in refused("no llama of 10,000 parameters", params=10_000, architecture=Architecture(width=512))


def test_a_vocabulary_too_large_for_the_dial_is_said():
    with pytest.raises(UsageError, match="with a vocabulary of 151,936 the nearest has"):
        shape_for(FAMILIES["llama"], Ends(151_936, 512, True), Architecture(), 1_000_000)
    with pytest.raises(UsageError, match="nearest has 100,912"):  # a fifth too large is too large
        shape_for(FAMILIES["llama"], Ends(6144, 512, True), Architecture(), 85_000)


# ---------------------------------------------------------------- they train, save and load


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_learns_and_loads_without_ptft(tokenizer, name, tmp_path):
    sizes = replace(SMALL, layers=3)
    recipe = recipe_for(name, architecture=replace(sizes, experts=4) if FAMILIES[name].experts else sizes)
    config = config_for(recipe, tokenizer, 32)
    model = new_model(recipe, config).train()
    assert model.dtype == torch.float32
    first, last = _learn(model, tokenizer, recipe.is_causal)
    assert last < first - 1
    model.eval().save_pretrained(tmp_path)
    auto = transformers.AutoModelForCausalLM if recipe.is_causal else transformers.AutoModelForMaskedLM
    loaded, info = auto.from_pretrained(tmp_path, output_loading_info=True)
    assert not info["missing_keys"] and type(loaded) is type(model)
    ids = torch.arange(20)[None]
    torch.testing.assert_close(loaded.eval()(ids).logits, model(ids).logits)
    saved = json.loads((tmp_path / "config.json").read_text())
    assert not saved.get("output_router_logits", False) and saved["eos_token_id"] == tokenizer.eos_token_id
    assert saved["pad_token_id"] == tokenizer.pad_token_id and saved["initializer_range"] == math.sqrt(2 / (5 * 64))


def _learn(model, tokenizer, causal, steps=20):
    ids = torch.tensor(tokenizer(tiny.TEXTS[0])["input_ids"] * 4)[:32].repeat(4, 1)
    hidden = torch.arange(32) % 3 == 1
    labels = ids if causal else ids.masked_fill(~hidden, -100)
    inputs = ids if causal else ids.masked_fill(hidden, tokenizer.mask_token_id)
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    losses = []
    with with_loss(model, chunked=True):
        for _ in range(steps):
            loss = model(input_ids=inputs, labels=labels).loss / int((labels != -100).sum())
            losses.append(loss.item())
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
    return losses[0], losses[-1]


def test_first_weights_follow_the_seed(tokenizer):
    recipe = recipe_for("llama", architecture=SMALL)
    config = config_for(recipe, tokenizer, 32)
    one, same, other = (new_model(r, config) for r in (recipe, recipe, replace(recipe, seed=2)))
    weights = [model.model.layers[0].mlp.up_proj.weight for model in (one, same, other)]
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])


@pytest.mark.parametrize("name", ["mixtral", "qwen3-moe"])
def test_a_mixture_has_the_recipes_experts(tokenizer, name):
    given = Architecture(layers=2, width=64, experts=6, experts_per_token=3, balance=0.02)
    config = config_for(recipe_for(name, architecture=given), tokenizer, 32)
    assert (config.num_local_experts, config.num_experts_per_tok, config.router_aux_loss_coef) == (6, 3, 0.02)


def test_modernbert_looks_far_in_every_third_layer(tokenizer):
    config = config_for(recipe_for("modernbert", architecture=Architecture(layers=7, width=64)), tokenizer, 48)
    assert [kind == "full_attention" for kind in config.layer_types] == [True, False, False, True, False, False, True]
    assert config.local_attention == 48  # a window is no wider than the sequence
    assert config_for(recipe_for("modernbert"), tokenizer, 4096).local_attention == 128


def test_rotary_positions_turn_slower_over_long_sequences(tokenizer):
    short, long = (config_for(recipe_for("llama", architecture=SMALL), tokenizer, n) for n in (4096, 8192))
    assert (short.rope_parameters["rope_theta"], long.rope_parameters["rope_theta"]) == (10_000, 500_000)
    assert config_for(recipe_for("qwen3-0.6b"), tokenizer, 64).rope_parameters["rope_theta"] == 1_000_000


# ---------------------------------------------------------------- config.json


def written(folder, **config):
    path = folder / "config.json"
    path.write_text(json.dumps(config))
    return str(path)


def test_a_config_file_decides_but_for_the_vocabulary(tokenizer, tmp_path):
    sizes = tiny.sizes(vocab_size=99, num_key_value_heads=2, head_dim=16)
    path = written(tmp_path, model_type="qwen3", dtype="bfloat16", eos_token_id=98, **sizes)
    recipe = PretrainRecipe(model=path)
    config = config_for(recipe, tokenizer, 128)
    model = new_model(recipe, config)
    assert config.vocab_size == len(tokenizer) and config.eos_token_id == tokenizer.eos_token_id
    assert config.max_position_embeddings == 128 and model.dtype == torch.float32


def test_a_config_file_that_cannot_be_trained_is_refused(tokenizer, tmp_path):
    bert = written(tmp_path, model_type="bert", **tiny.sizes())
    with pytest.raises(UsageError, match="'bert' is no causal model"):
        config_for(PretrainRecipe(model=bert), tokenizer, 32)
    with pytest.raises(UsageError, match="learnt positions for 64 tokens") as caught:
        config_for(PretrainRecipe(model=bert, objective="masked"), tokenizer, 65)
    assert "--seq-len to 64" in caught.value.remedy
    with pytest.raises(InputError, match="model's configuration"):
        config_for(PretrainRecipe(model=str(tmp_path / "none.json")), tokenizer, 32)
    with pytest.raises(InputError, match="model's configuration"):
        config_for(PretrainRecipe(model=written(tmp_path, model_type="no-such")), tokenizer, 32)
    quantised = written(tmp_path, model_type="llama", quantization_config={"quant_method": "gptq"}, **tiny.sizes())
    with pytest.raises(InputError, match="quantised"):
        config_for(PretrainRecipe(model=quantised), tokenizer, 32)


# ---------------------------------------------------------------- --from


def test_a_checkpoint_goes_on_in_float32(tmp_path):
    folder = tiny.causal(tmp_path / "m")
    whole = transformers.AutoModelForCausalLM.from_pretrained(folder)
    whole.to(torch.bfloat16).save_pretrained(folder)
    model = load_from(folder, PretrainRecipe(from_checkpoint=str(folder), seq_len=256))
    assert model.dtype == torch.float32 and model.training
    assert model.config.max_position_embeddings == 256
    torch.testing.assert_close(model.model.norm.weight, whole.model.norm.weight.float())


def test_a_masked_checkpoint_gains_a_pair_head(tmp_path):
    folder = tiny.masked(tmp_path / "m")
    model = load_from(folder, PretrainRecipe(objective="masked+sop"))
    assert type(model) is transformers.BertForPreTraining and model.training
    plain = load_from(folder, PretrainRecipe(objective="masked"))
    torch.testing.assert_close(
        model.cls.predictions.transform.dense.weight, plain.cls.predictions.transform.dense.weight
    )
    broken = tmp_path / "m" / "model.safetensors"
    from safetensors.torch import load_file, save_file

    save_file({k: v for k, v in load_file(broken).items() if "layer.1" not in k}, broken, {"format": "pt"})
    with pytest.raises(InputError, match="lack"):
        load_from(folder, PretrainRecipe(objective="masked+sop"))


def test_a_checkpoint_that_cannot_go_on_is_refused(tmp_path):
    causal, masked = tiny.causal(tmp_path / "c"), tiny.masked(tmp_path / "m")
    with pytest.raises(UsageError, match="this is a causal model, and the objective is masked") as caught:
        load_from(causal, PretrainRecipe(objective="masked"))
    assert "--objective causal" in caught.value.remedy
    with pytest.raises(UsageError, match="learnt positions for 64"):
        load_from(masked, PretrainRecipe(objective="masked", seq_len=128))
    with pytest.raises(InputError, match="classifier"):
        load_from(tiny.bert_classifier(tmp_path / "k"), PretrainRecipe(objective="masked"))
    config = json.loads((causal / "config.json").read_text())
    (causal / "config.json").write_text(json.dumps({**config, "quantization_config": {"quant_method": "torchao"}}))
    with pytest.raises(InputError, match="quantised"):
        load_from(causal, PretrainRecipe())
    adapter = tmp_path / "a"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text("{}")
    (adapter / "adapter_model.safetensors").write_bytes(b"")
    with pytest.raises(InputError, match="adapter"):
        load_from(adapter, PretrainRecipe())


def test_another_tokenizer_is_refused_and_a_wrapping_one_is_not(tmp_path):
    from tokenizers.processors import TemplateProcessing

    made = tiny.tokenizer()
    made.save_pretrained(tmp_path / "one")
    made.backend_tokenizer.post_processor = TemplateProcessing(
        single="<|endoftext|> $A", special_tokens=[("<|endoftext|>", 0)]
    )
    made.save_pretrained(tmp_path / "wraps")
    tiny.tokenizer(380).save_pretrained(tmp_path / "other")
    assert (tmp_path / "one/tokenizer.json").read_bytes() != (tmp_path / "wraps/tokenizer.json").read_bytes()
    refuse_other_tokenizer(tmp_path / "one", tmp_path / "wraps")
    with pytest.raises(UsageError, match="another tokenizer"):
        refuse_other_tokenizer(tmp_path / "one", tmp_path / "other")


@pytest.mark.parametrize("family", ["llama", "qwen3", "mixtral", "gpt2"])
def test_what_is_added_to_the_residual_stream_begins_quieter(family):
    """By sqrt(2 layers) (Radford et al. 2019, section 2.3)."""
    sizes = Architecture(layers=8, width=64)
    recipe = PretrainRecipe(model=family, architecture=sizes)
    model = new_model(recipe, config_for(recipe, tiny.tokenizer(), 64))
    spread = {name: float(parameter.std()) for name, parameter in model.named_parameters() if parameter.dim() > 1}
    added = [value for name, value in spread.items() if any(part in name for part in ("o_proj", "down_proj", "c_proj"))]
    others = [value for name, value in spread.items() if "up_proj" in name or "c_fc" in name or "q_proj" in name]
    assert len(added) == 16 and others
    assert all(value == pytest.approx(others[0] / 4, rel=0.1) for value in added)
