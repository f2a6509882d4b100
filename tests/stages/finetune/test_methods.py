"""Every method on every kind of model: it learns, touches nothing else, and is the same model when it is loaded again."""

from __future__ import annotations

import json
from dataclasses import replace
from types import SimpleNamespace

import pytest
import tiny
import torch
from finetuning import without_ptft
from method_runs import IDS, MASK, answers, finished, learn, loss_of, toy

from ptft.core import models
from ptft.core.errors import UsageError
from ptft.core.knobs import Hardware
from ptft.stages.finetune import methods
from ptft.stages.finetune.base import Base, base_of
from ptft.stages.finetune.methods import parts
from ptft.stages.finetune.recipe import Bottleneck, DomainRecipe, InstructionRecipe, Lora, Partial, Prompt, TaskRecipe

PEFT = ("lora", "qlora", "adapter", "prompt", "prefix", "p-tuning", "ia3")
EVERY = ("full", "partial", *PEFT)


@pytest.fixture(scope="module")
def bases(tmp_path_factory):
    """causal, masked and seq2seq; "grouped" is causal with one key head for two, and an output layer of its own."""
    made = tmp_path_factory.mktemp("bases")
    tiny.causal(made / "causal", scale=1.0)
    tiny.causal(made / "grouped", scale=1.0, num_key_value_heads=1, tie_word_embeddings=False)
    tiny.masked(made / "masked")
    tiny.seq2seq(made / "seq2seq")
    return made


def cells():
    """Each base as it is, every head on the causal one, and one on the masked; T5's other heads read an end of text."""
    kinds = {
        "causal": ("causal", "classifier", "tagger", "span"),
        "masked": ("masked", "tagger"),
        "seq2seq": ("seq2seq",),
    }
    return [(base, kind, method) for base, made in kinds.items() for kind in made for method in EVERY]


def refused(kind: str, method: str) -> bool:
    virtual = method in methods.PROMPT_METHODS
    return virtual and (kind == "masked" or (method != "prefix" and kind in ("tagger", "span")))


@pytest.mark.parametrize(("base", "kind", "method"), cells())
def test_a_method_learns_and_loads_again_with_the_same_answers(bases, output_of, tmp_path, base, kind, method):
    prepared, out = toy(bases / base, method, kind=kind), output_of(tmp_path)
    if refused(kind, method):
        with pytest.raises(UsageError):
            methods.attach(prepared, "fp32", out.state)
        return
    model, losses = finished(prepared, out)
    assert min(losses[1:]) < losses[0]
    _, trainable = models.count_parameters(model)
    assert trainable == sum(p.numel() for p in model.parameters() if p.requires_grad) > 0
    loaded = models.load(out.new)
    assert loaded.kind == kind and torch.allclose(answers(loaded.model, kind), answers(model, kind), atol=1e-5)


@pytest.mark.parametrize("method", [*PEFT, "partial"])
def test_what_is_frozen_has_no_gradient_and_stays_as_it_was(bases, output_of, tmp_path, method):
    prepared = toy(bases / "causal", method)
    model = methods.attach(prepared, "fp32", output_of(tmp_path).state)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    learn(prepared, model, 1)
    frozen = {name for name, p in model.named_parameters() if not p.requires_grad}
    assert frozen and all(p.grad is None for name, p in model.named_parameters() if name in frozen)
    changed = {name for name, p in model.named_parameters() if not torch.equal(p, before[name])}
    assert changed and not changed & frozen


@pytest.mark.parametrize("method", ["adapter", "lora"])
def test_it_begins_as_the_base(bases, output_of, tmp_path, method):
    prepared = toy(bases / "causal", method, adapter=Bottleneck(placement="houlsby"))
    model = methods.attach(prepared, "fp32", output_of(tmp_path).state)
    assert torch.equal(answers(model, "causal"), answers(prepared.new_model(), "causal"))


@pytest.mark.parametrize("kind", ["causal", "classifier"])
@pytest.mark.parametrize(
    "lora",
    [Lora(rank=4, init="pissa"), Lora(rank=4, rslora=True), Lora(rank=4, dora=True), Lora(rank=4, last_layers=1),
     Lora(rank=4, targets=("q_proj", "v_proj")), Lora(rank=4, init="pissa", rslora=True)],
    ids=str,
)  # fmt: skip
def test_every_kind_of_lora_is_the_same_on_the_plain_base(bases, output_of, tmp_path, kind, lora):
    """PiSSA changes the base, and peft's conversion drops a head: both would be wrong in silence."""
    prepared, out = toy(bases / "causal", "lora", kind=kind, lora=lora), output_of(tmp_path)
    model, _ = finished(prepared, out)
    assert torch.allclose(answers(models.load(out.new).model, kind), answers(model, kind), atol=1e-5)
    names = {name for name, p in model.named_parameters() if p.requires_grad and "lora_A" in name}
    if lora.last_layers:
        assert names and all(".layers.1." in name for name in names)
    if lora.targets:
        assert len(names) == 4


def test_pissa_begins_with_the_same_answers_and_larger_parts(bases, output_of, tmp_path):
    prepared = toy(bases / "causal", "lora", lora=Lora(rank=4, alpha=4, init="pissa"))
    model = methods.attach(prepared, "fp32", output_of(tmp_path).state)
    assert torch.allclose(answers(model, "causal"), answers(prepared.new_model(), "causal"), atol=1e-5)
    up = next(p for name, p in model.named_parameters() if "lora_B" in name)
    assert up.abs().max() > 0.01


def test_in_bf16_what_is_frozen_is_half_and_what_learns_is_not(bases, output_of, tmp_path):
    for method in ("lora", "prefix"):
        prepared, out = toy(bases / "causal", method, kind="classifier"), output_of(tmp_path / method)
        model, losses = finished(prepared, out, precision="bf16")
        kinds = {(p.requires_grad, p.dtype) for p in model.parameters()}
        assert kinds == {(True, torch.float32), (False, torch.bfloat16)} and losses[-1] < losses[0]
        assert torch.allclose(
            answers(models.load(out.new).model, "classifier"), answers(model, "classifier"), atol=0.05
        )


def test_four_bits_are_where_they_should_be(bases, output_of, tmp_path):
    prepared, out = toy(bases / "causal", "qlora", kind="classifier"), output_of(tmp_path)
    model, _ = finished(prepared, out)
    packed = {name for name, p in model.named_parameters() if type(p).__name__ == "Params4bit"}
    assert len(packed) == 14 and not any("embed" in name or "score" in name for name in packed)
    plain, _ = models.count_parameters(prepared.new_model())
    everything, trainable = models.count_parameters(model)
    head = 3 * 33  # the head's copy that is trained, its first one beside it
    assert everything == plain + trainable and trainable > head
    settings = json.loads((out.new / "quantization.json").read_text())
    assert settings["bnb_4bit_quant_type"] == "nf4" and settings["llm_int8_skip_modules"] == ["score"]


def test_qlora_without_bitsandbytes_says_how_to_get_it(bases, monkeypatch):
    import importlib.util

    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *a: None if name == "bitsandbytes" else find(name, *a)
    )
    with pytest.raises(UsageError) as error:
        refuse(bases / "causal", DomainRecipe(method="qlora"))
    assert "ptft[qlora]" in error.value.remedy


@pytest.mark.parametrize("method", ["lora", "adapter", "prompt", "ia3", "p-tuning"])
def test_recomputing_activations_gives_the_same_gradients(bases, output_of, tmp_path, method):
    found = []
    for recomputed in (False, True):
        prepared = toy(bases / "causal", method)
        model = methods.attach(prepared, "fp32", output_of(tmp_path / str(recomputed)).state)
        if recomputed:
            model.activation_checkpointing_enable()
        loss_of(prepared, model.train()).backward()
        found.append([p.grad.clone() for p in model.parameters() if p.requires_grad])
    assert all(torch.allclose(a, b, atol=1e-6) and b.abs().sum() > 0 for a, b in zip(*found, strict=True) if a.any())
    assert any(b.any() for b in found[1])


# ---------------------------------------------------------------- prompts


def test_a_prompt_begins_from_its_text(bases, output_of, tmp_path):
    prepared = toy(bases / "causal", "prompt", prompt=Prompt(tokens=5, init="机器学习"))
    model = methods.attach(prepared, "fp32", output_of(tmp_path).state)
    ids = models.load_tokenizer(bases / "causal")("机器学习", add_special_tokens=False)["input_ids"]
    wanted = model.get_base_model().get_input_embeddings().weight[[ids[n % len(ids)] for n in range(5)]]
    assert torch.equal(model.prompt_encoder["default"].embedding.weight, wanted)


def test_the_loss_behind_a_prompt_counts_the_text_alone(bases, output_of, tmp_path):
    """Chunked in the model, through peft's wrapper, it equals the plain loss of the text's tokens."""
    prepared = toy(bases / "causal", "prompt")
    model = methods.attach(prepared, "fp32", output_of(tmp_path).state).eval()
    logits = model(input_ids=IDS, attention_mask=MASK).logits[:, 4:].float()
    plain = torch.nn.functional.cross_entropy(
        logits[:, :-1].reshape(-1, logits.size(-1)), prepared.labels()[:, 1:].reshape(-1), reduction="sum"
    )
    assert float(loss_of(prepared, model)) == pytest.approx(float(plain), rel=1e-5)


def test_virtual_tokens_take_places_from_the_text(bases):
    base = base_at(bases / "causal")
    assert base.length(DomainRecipe(method="prompt", prompt=Prompt(tokens=10))) == base.length(DomainRecipe()) - 10


# ---------------------------------------------------------------- new tokens, parts


@pytest.mark.parametrize("base", ["causal", "grouped"])
@pytest.mark.parametrize("method", ["full", "partial", "lora", "qlora"])
def test_new_tokens_learn_and_old_ones_stay_with_lora(bases, output_of, tmp_path, base, method):
    prepared, out = toy(bases / base, method, longer=8), output_of(tmp_path)
    begun = prepared.new_model()
    model, _ = finished(prepared, out)
    loaded = models.load(out.new)
    assert torch.allclose(answers(loaded.model, "causal"), answers(model, "causal"), atol=1e-5)
    head = loaded.model.get_output_embeddings()(torch.eye(32)).T
    changed = (head - begun.get_output_embeddings().weight).abs().sum(1) > 1e-6
    assert bool(changed[400:].all())
    if method in ("lora", "qlora"):
        assert not bool(changed[:400].any())


@pytest.mark.parametrize(
    ("partial", "kind", "learns", "stays"),
    [
        (Partial("layers", 1), "causal", {"model.layers.1.", "model.norm"}, {"model.layers.0.", "model.embed"}),
        (Partial("norms"), "causal", {"model.layers.0.input_layernorm", "model.norm"}, {"model.layers.0.mlp"}),
        (Partial("head"), "causal", {"embed_tokens"}, {"model.layers"}),  # tied
        (Partial("head"), "classifier", {"score"}, {"model.layers", "model.embed"}),
        (Partial("layers", 1), "tagger", {"score", "model.layers.1."}, {"model.layers.0."}),
    ],
)
def test_partial_trains_what_it_says(bases, output_of, tmp_path, partial, kind, learns, stays):
    prepared = toy(bases / "causal", "partial", kind=kind, partial=partial)
    model = methods.attach(prepared, "fp32", output_of(tmp_path).state)
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    assert all(any(part in name for name in trained) for part in learns)
    assert not any(part in name for part in stays for name in trained)


def test_norms_and_biases_of_a_masked_model(bases, output_of, tmp_path):
    prepared = toy(bases / "masked", "partial", partial=Partial("norms"))
    model = methods.attach(prepared, "fp32", output_of(tmp_path).state)
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    assert trained == {name for name, _ in model.named_parameters() if "LayerNorm" in name or name.endswith("bias")}


# ---------------------------------------------------------------- refusals


def base_at(folder):
    config = models.load_config(folder)
    return Base(folder, folder, models.kind_of(config), config, models.load_tokenizer(folder))


def refuse(folder, recipe) -> None:
    methods.refuse_unfit(recipe, base_at(folder))


FSDP, RECOMPUTE = Hardware(parallel="fsdp"), Hardware(checkpointing=True)


@pytest.mark.parametrize(
    ("base", "recipe", "message"),
    [
        ("masked", DomainRecipe(method="prompt"), "masked language model"),
        ("masked", DomainRecipe(method="prefix"), "masked language model"),
        ("causal", DomainRecipe(method="p-tuning", isolate=True), "packed rows"),
        ("causal", InstructionRecipe(method="prefix", packing=True), "packed rows"),
        ("causal", TaskRecipe(method="prompt", task="tags"), "off by the virtual tokens"),
        ("causal", TaskRecipe(method="prompt", task="classification", pooling="last"), "padding"),
        ("seq2seq", TaskRecipe(method="prefix", task="classification"), "heads on a t5 model"),
        ("causal", DomainRecipe(method="prefix", hardware=RECOMPUTE), "recompute"),
        ("causal", DomainRecipe(method="prompt", prompt=Prompt(tokens=64)), "no place for text"),
        ("causal", DomainRecipe(method="qlora", hardware=FSDP), "fsdp"),
        ("causal", DomainRecipe(method="lora", hardware=FSDP), "fsdp"),
        ("causal", DomainRecipe(method="qlora", lora=Lora(init="pissa")), "4 bits"),
        ("causal", DomainRecipe(method="lora", lora=Lora(init="pissa", dora=True)), "DoRA"),
        ("causal", DomainRecipe(method="adapter", new_tokens=5), "new tokens"),
        ("causal", TaskRecipe(method="lora", init="scratch"), "scratch"),
        ("causal", DomainRecipe(method="lora", lora=Lora(last_layers=3)), "the base has 2"),
        ("causal", DomainRecipe(method="partial", partial=Partial(last_layers=3)), "the base has 2"),
        ("causal", DomainRecipe(method="lora", lora=Lora(targets=("query",))), "no linear layer query"),
    ],
)
def test_what_makes_no_sense_is_refused_before_data_is_read(bases, base, recipe, message):
    with pytest.raises(UsageError, match=message):
        refuse(bases / base, recipe)


def test_the_refusal_is_the_command_s(bases):
    """`base_of` asks, which every purpose and its plan begin with."""
    inputs = SimpleNamespace(folders={"model": bases / "masked"})
    with pytest.raises(UsageError, match="masked language model"):
        base_of(DomainRecipe(method="prompt"), inputs, None)
    assert base_of(DomainRecipe(method="lora"), inputs, None).kind == "masked"


def test_a_family_without_a_past_takes_no_prefix(tmp_path):
    from transformers import DistilBertConfig, DistilBertForMaskedLM

    config = DistilBertConfig(vocab_size=400, dim=32, hidden_dim=64, n_layers=2, n_heads=2, pad_token_id=1)
    tiny._saved(DistilBertForMaskedLM(config), tmp_path / "distilbert", 1.0)
    with pytest.raises(UsageError, match="no past keys and values"):
        refuse(tmp_path / "distilbert", TaskRecipe(method="prefix", task="classification"))


# ---------------------------------------------------------------- rates, bytes, families


def test_learning_rates_follow_the_method(bases):
    model = models.load_plain(bases / "causal", "float32")[0]
    rates = {method: methods.default_lr(method, model) for method in EVERY}
    assert rates["lora"] == rates["qlora"] == pytest.approx(10 * rates["full"])
    assert all(rates[method] > rates["full"] for method in PEFT)


@pytest.mark.parametrize("method", ["lora", "ia3", "p-tuning"])
def test_an_adapter_is_the_same_bytes_each_time(bases, output_of, tmp_path, method):
    found = []
    for number in ("1", "2"):
        out = output_of(tmp_path / number)
        finished(toy(bases / "causal", method), out)
        found.append({path.name: path.read_bytes() for path in sorted(out.new.iterdir()) if path.is_file()})
    assert found[0] == found[1] and "README.md" not in found[0]


def families():
    from transformers import BartConfig, DistilBertConfig, GPT2Config, ModernBertConfig, RobertaConfig

    size = {"n_embd": 32, "n_layer": 2, "n_head": 2}
    bart = {"encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 2, "decoder_attention_heads": 2}
    short = {"vocab_size": 400, "pad_token_id": 1, "eos_token_id": 0, "bos_token_id": 0}
    # a configuration; ends of feed-forward networks, of attention, projections to keys and values
    yield "causal", GPT2Config(**size, **short), 2, 2, 2
    yield "masked", RobertaConfig(**tiny.sizes(pad_token_id=1)), 2, 2, 4
    yield "masked", DistilBertConfig(**short, dim=32, hidden_dim=64, n_layers=2, n_heads=2), 2, 2, 4
    yield "masked", ModernBertConfig(**tiny.sizes(**short, cls_token_id=0, sep_token_id=0)), 2, 2, 2
    yield "seq2seq", BartConfig(**bart, **short, d_model=32, encoder_ffn_dim=64, decoder_ffn_dim=64), 4, 6, 12


@pytest.mark.parametrize(("kind", "config", "ends", "attentions", "values"), families(), ids=lambda v: type(v).__name__)
def test_the_layers_of_every_family_are_found(kind, config, ends, attentions, values):
    with torch.device("meta"):
        model = models.auto_class(kind).from_config(config)
    found = [
        parts.names_matching(model, p) for p in (parts.FEED_FORWARD_END, parts.ATTENTION_END, parts.KEYS_AND_VALUES)
    ]
    assert [len(names) for names in found] == [ends, attentions, values]
    assert not set(found[0]) & set(found[1]) and len(parts.last_layers(model, 1)) == len(parts.stacks(model))


# ---------------------------------------------------------------- without ptft


def test_adapters_load_where_ptft_is_not(bases, output_of, tmp_path):
    wanted, lines = {}, []
    for method in ("lora", "adapter", "prompt", "prefix", "p-tuning", "ia3"):
        for kind in ("causal", "classifier"):
            out, name = output_of(tmp_path / f"{method}-{kind}"), f"{method} {kind}"
            model, _ = finished(toy(bases / "causal", method, kind=kind), out, steps=1)
            wanted[name] = answers(model, kind).flatten()[:24].tolist()
            auto = "AutoModelForCausalLM" if kind == "causal" else "AutoModelForSequenceClassification"
            base = bases / "causal" if kind == "causal" else out.new / "base"
            lines.append(f"found[{name!r}] = answer({auto}, {str(base)!r}, {str(out.new)!r})")
    code = f"""
import warnings; warnings.simplefilter("ignore")
from pathlib import Path
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification
ids, mask = torch.tensor({IDS.tolist()}), torch.tensor({MASK.tolist()})
def answer(auto, base, folder):
    if Path(folder, "modeling_bottleneck.py").exists():
        sys.path.insert(0, folder)
        import modeling_bottleneck
    model = PeftModel.from_pretrained(auto.from_pretrained(base, trust_remote_code=True), folder).eval()
    with torch.no_grad():
        logits = model(input_ids=ids, attention_mask=mask).logits
    return (logits[mask.bool()] if logits.shape[:2] == mask.shape else logits).flatten()[:24].tolist()
found = {{}}
{chr(10).join(lines)}
print(json.dumps(found))
"""
    found = without_ptft(code)
    assert found.keys() == wanted.keys()
    for name, values in wanted.items():
        assert found[name] == pytest.approx(values, abs=1e-5), name


def test_a_recipe_of_another_seed_begins_elsewhere(bases, output_of, tmp_path):
    prepared = toy(bases / "causal", "lora")
    found = []
    for seed in (1, 1, 2):
        other = replace(prepared, recipe=replace(prepared.recipe, seed=seed))
        model = methods.attach(other, "fp32", output_of(tmp_path / str(len(found))).state)
        found.append(next(p.detach().clone() for name, p in model.named_parameters() if "lora_A" in name))
    assert torch.equal(found[0], found[1]) and not torch.equal(found[0], found[2])
