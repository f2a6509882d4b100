"""Heads on every kind of base: what the configuration says, what the head's own loss is, and what folding does."""

import pytest
import tiny
import torch
from transformers import AutoModelForSequenceClassification

from ptft.core import models
from ptft.core.errors import InputError
from ptft.core.heads import Head, fold, output_layer, with_head
from ptft.core.models import MANY_LABELS, NUMBER, ONE_LABEL

IDS = torch.tensor([[5, 6, 7, 0], [8, 0, 1, 1]])  # each with one end of text
MASK = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]])
BASES = {"causal": "mean", "last": "last", "masked": "mean", "seq2seq": "mean"}
LABELS = {
    ONE_LABEL: torch.tensor([0, 2]),
    MANY_LABELS: torch.tensor([[1.0, 0.0, 1.0], [0.0, 0.0, 1.0]]),
    NUMBER: torch.tensor([1.5, -2.0]),
}


@pytest.fixture(scope="module")
def bases(tmp_path_factory):
    made = tmp_path_factory.mktemp("heads")
    tiny.masked(made / "masked")
    tiny.seq2seq(made / "seq2seq")
    causal = tiny.causal(made / "causal", scale=1.0)
    (made / "last").symlink_to(causal)
    return made


def head(base, problem=ONE_LABEL):
    return Head("classifier", ("value",) if problem == NUMBER else ("a", "b", "c"), problem, BASES[base])


@pytest.mark.parametrize("problem", LABELS)
@pytest.mark.parametrize("base", BASES)
def test_the_saved_configuration_says_what_is_answered(bases, tmp_path, base, problem):
    torch.manual_seed(0)
    made = with_head(bases / base, head(base, problem)).eval()
    made.save_pretrained(tmp_path)
    models.register_mean_pooled()
    loaded = AutoModelForSequenceClassification.from_pretrained(tmp_path)
    assert loaded.config.problem_type == problem and loaded.config.pad_token_id == 1
    assert tuple(loaded.config.id2label.values()) == head(base, problem).labels
    with torch.no_grad():
        assert torch.allclose(loaded(IDS, attention_mask=MASK).logits, made(IDS, attention_mask=MASK).logits)


@pytest.mark.parametrize("problem", LABELS)
def test_the_mean_pooled_class_has_the_losses_of_transformers(bases, problem):
    torch.manual_seed(0)
    own = with_head(bases / "causal", head("causal", problem)).eval()
    family = with_head(bases / "last", head("last", problem)).eval()
    for model in (own, family):
        out = model(IDS, attention_mask=MASK, labels=LABELS[problem])
        logits = out.logits
        expected = {
            ONE_LABEL: torch.nn.functional.cross_entropy, MANY_LABELS: torch.nn.functional.binary_cross_entropy_with_logits,
            NUMBER: lambda found, right: torch.nn.functional.mse_loss(found.squeeze(), right),
        }[problem](logits, LABELS[problem])  # fmt: skip
        assert torch.allclose(out.loss, expected)


def test_padding_is_no_part_of_the_mean(bases):
    torch.manual_seed(0)
    model = with_head(bases / "causal", head("causal")).eval()
    with torch.no_grad():
        padded = model(IDS, attention_mask=MASK).logits[1]
        alone = model(IDS[1:, :2], attention_mask=MASK[1:, :2]).logits[0]
    assert torch.allclose(padded, alone, atol=1e-6)


@pytest.mark.parametrize("base", BASES)
def test_folding_is_exact(bases, base):
    torch.manual_seed(0)
    model = with_head(bases / base, head(base, NUMBER)).eval()
    biased = output_layer(bases / base, head(base, NUMBER)).bias
    assert biased == (base != "last")
    shift = 50.0 if biased else 0.0
    with torch.no_grad():
        before = model(IDS, attention_mask=MASK).logits
        fold(model, shift, 30.0)
        assert torch.allclose(model(IDS, attention_mask=MASK).logits, before * 30 + shift, rtol=1e-4, atol=1e-4)


def test_folding_changes_the_head_that_peft_trains(bases):
    from peft import LoraConfig, TaskType, get_peft_model

    torch.manual_seed(0)
    model = with_head(bases / "masked", head("masked", NUMBER))
    model = get_peft_model(model, LoraConfig(r=1, target_modules="all-linear", task_type=TaskType.SEQ_CLS)).eval()
    with torch.no_grad():
        before = model(input_ids=IDS, attention_mask=MASK).logits
        fold(model, 5.0, 3.0)
        assert torch.allclose(model(input_ids=IDS, attention_mask=MASK).logits, before * 3 + 5, atol=1e-4)
        with model.disable_adapter():
            assert torch.allclose(model(input_ids=IDS, attention_mask=MASK).logits, before, atol=0.5)


@pytest.mark.parametrize("base", BASES)
def test_scratch_is_the_same_network_without_what_was_learnt(bases, base):
    learnt, scratch = (with_head(bases / base, head(base), scratch=flag) for flag in (False, True))
    assert [p.shape for p in learnt.parameters()] == [p.shape for p in scratch.parameters()]
    assert not torch.equal(learnt.get_input_embeddings().weight, scratch.get_input_embeddings().weight)
    assert scratch.config.pad_token_id == learnt.config.pad_token_id == 1


def test_the_padding_token_can_be_named(bases):
    made = with_head(bases / "last", Head("classifier", ("a", "b"), pooling="last", pad_id=3))
    assert made.config.pad_token_id == 3


def test_a_base_whose_weights_are_not_whole_is_refused(bases, tmp_path):
    from safetensors.torch import load_file, save_file

    for file in (bases / "causal").iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    weights = load_file(tmp_path / "model.safetensors")
    weights.pop("model.layers.1.mlp.up_proj.weight")
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    for pooling in ("mean", "last"):
        with pytest.raises(InputError, match="lack"):
            with_head(tmp_path, Head("classifier", ("a", "b"), pooling=pooling))
