"""`ptft finetune merge`: a whole checkpoint with the adapter's answers, its tokenizer, its labels and its end of turn."""

from __future__ import annotations

import pytest
import tiny
import torch
from finetuning import without_ptft
from method_runs import IDS, MASK, answers, finished, toy

from ptft.core import models
from ptft.core.contracts import Inputs
from ptft.core.errors import InputError
from ptft.core.progress import Silent
from ptft.core.weights import tensors
from ptft.stages.finetune import merge
from ptft.stages.finetune.recipe import Lora, MergeRecipe


@pytest.fixture(scope="module")
def bases(tmp_path_factory):
    made = tmp_path_factory.mktemp("bases")
    tiny.causal(made / "causal", scale=1.0)
    tiny.masked(made / "masked")
    tiny.seq2seq(made / "seq2seq")
    return made


def merged(folder, out, precision="fp32"):
    return merge.run(MergeRecipe(precision=precision), Inputs({}, {"model": folder}), out, Silent())


@pytest.mark.parametrize(
    ("base", "kind", "method", "lora"),
    [
        ("causal", "causal", "lora", Lora(rank=4)),
        ("causal", "classifier", "lora", Lora(rank=4, init="pissa")),
        (
            "masked",
            "classifier",
            "lora",
            Lora(rank=4, dora=True),
        ),  # its pooler is two layers, which peft cannot put back
        ("masked", "span", "ia3", Lora()),
        ("seq2seq", "seq2seq", "lora", Lora(rank=4)),
    ],
)
def test_the_merged_model_gives_the_adapter_s_answers(bases, output_of, tmp_path, base, kind, method, lora):
    adapter, out = output_of(tmp_path / "adapter"), output_of(tmp_path / "merged")
    model, _ = finished(toy(bases / base, method, kind=kind, lora=lora), adapter)
    result = merged(adapter.new, out)
    assert 0 <= result.metrics["largest_difference"] < 1e-5
    loaded = models.load(out.new)
    assert torch.allclose(answers(loaded.model, kind), answers(model, kind), atol=1e-5)
    assert loaded.labels == models.load(adapter.new).labels
    assert not (out.new / "adapter_config.json").exists()


def test_it_is_stored_as_asked_and_merged_in_full(bases, output_of, tmp_path):
    adapter, out = output_of(tmp_path / "adapter"), output_of(tmp_path / "merged")
    finished(toy(bases / "causal", "lora"), adapter)
    assert merged(adapter.new, out, "bf16").metrics["largest_difference"] < 1e-5
    assert {tensor.dtype for tensor in tensors(out.new)} == {"BF16"}


def test_new_tokens_and_the_end_of_turn_are_kept(bases, output_of, tmp_path):
    adapter, out = output_of(tmp_path / "adapter"), output_of(tmp_path / "merged")
    model, _ = finished(toy(bases / "causal", "lora", longer=8), adapter)
    model.generation_config.eos_token_id = [0, 3]
    model.generation_config.save_pretrained(adapter.new)
    merged(adapter.new, out)
    loaded = models.load(out.new)
    assert torch.allclose(answers(loaded.model, "causal"), answers(model, "causal"), atol=1e-5)
    assert answers(loaded.model, "causal").size(-1) == 408
    assert loaded.model.generation_config.eos_token_id == [0, 3]
    assert loaded.tokenizer.chat_template == models.load_tokenizer(adapter.new).chat_template
    embeddings = loaded.model.get_input_embeddings().weight
    assert loaded.model.config.tie_word_embeddings and embeddings is loaded.model.get_output_embeddings().weight


def test_an_adapter_trained_on_four_bits_goes_into_the_full_base(bases, output_of, tmp_path):
    adapter, out = output_of(tmp_path / "adapter"), output_of(tmp_path / "merged")
    finished(toy(bases / "causal", "qlora"), adapter)
    metrics = merged(adapter.new, out).metrics
    assert metrics["largest_difference"] < 1e-5 < metrics["largest_difference_from_4bit"]
    assert "quantization_config" not in (out.new / "config.json").read_text()
    assert {tensor.dtype for tensor in tensors(out.new)} == {"F32"}


@pytest.mark.parametrize("method", ["adapter", "prompt", "prefix", "p-tuning"])
def test_methods_without_merging_say_so(bases, output_of, tmp_path, method):
    adapter, out = output_of(tmp_path / "adapter"), output_of(tmp_path / "merged")
    finished(toy(bases / "causal", method), adapter, steps=1)
    with pytest.raises(InputError, match=f"method {method} cannot be merged"):
        merged(adapter.new, out)
    assert not any(out.new.iterdir())


def test_a_whole_model_is_no_adapter(bases, output_of, tmp_path):
    with pytest.raises(InputError, match="no adapter"):
        merged(bases / "causal", output_of(tmp_path))


def test_the_plan_says_what_would_be_made(bases, output_of, tmp_path):
    adapter = output_of(tmp_path)
    finished(toy(bases / "causal", "lora"), adapter, steps=1)
    plan = merge.plan(MergeRecipe(precision="bf16"), Inputs({}, {"model": adapter.new}), Silent())
    lines = dict(plan.lines)
    assert lines["stored as"] == "bf16" and str(lines["adapter"]).startswith("lora, 4,")
    assert lines["parameters"] == models.count_parameters(models.load(bases / "causal").model)[0]


def test_it_loads_where_ptft_is_not(bases, output_of, tmp_path):
    adapter, out = output_of(tmp_path / "adapter"), output_of(tmp_path / "merged")
    model, _ = finished(toy(bases / "causal", "lora", kind="classifier"), adapter)
    merged(adapter.new, out)
    found = without_ptft(f"""
from transformers import AutoModelForSequenceClassification
model = AutoModelForSequenceClassification.from_pretrained({str(out.new)!r}, trust_remote_code=True).eval()
with torch.no_grad():
    logits = model(input_ids=torch.tensor({IDS.tolist()}), attention_mask=torch.tensor({MASK.tolist()})).logits
print(json.dumps([logits[0].tolist(), [model.config.id2label[n] for n in range(3)]]))
""")
    assert found[0] == pytest.approx(answers(model, "classifier")[0].tolist(), abs=1e-5)
    assert tuple(found[1]) == tiny.LABELS
