"""Continued pretraining: what is mixed in, what is measured, and a vocabulary that grows."""

from __future__ import annotations

import json
import math
from collections import Counter
from dataclasses import replace

import pytest
import tiny
import torch
from finetuning import SMALL, inputs, make_folder, rows_file, without_ptft
from hypothesis import given
from hypothesis import strategies as st

from ptft.core import adapters, models
from ptft.core.contracts import Inputs
from ptft.core.errors import InputError, UsageError
from ptft.core.files import expand
from ptft.core.knobs import Hardware
from ptft.core.packing import in_validation
from ptft.core.progress import Silent
from ptft.stages.finetune.domain import run as domain
from ptft.stages.finetune.domain.mixture import Mixture, general_places
from ptft.stages.finetune.domain.vocabulary import _sample
from ptft.stages.finetune.recipe import DomainRecipe

ZH = ["量子计算机用量子比特计算。", "量子比特会退相干，量子门作用于量子比特。", "纠缠的量子比特。"]
QUICK = {"batch_size": 8, "save_every": 1000, "hardware": Hardware(micro_batch=8)}
EN = ["Shares rose after the company reported record profits.", "The fox jumps over the dog."]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = make_folder(tmp_path_factory.mktemp("domain"))
    rows_file(made / "zh.jsonl", [{"id": str(n), "text": ZH[n % 3] * (1 + n % 2)} for n in range(24)])
    rows_file(made / "en.jsonl", [{"id": str(n), "text": EN[n % 2] * (1 + n % 3)} for n in range(24)])
    return made


def given_text(folder, base="causal", text="zh", **more) -> Inputs:
    rows = {name: expand([str(folder / f"{file}.jsonl")]) for name, file in {"data": text, **more}.items()}
    return Inputs(rows, {"model": folder / base})


def recipe_of(**more) -> DomainRecipe:
    general = {"general": "en.jsonl"} if "general_share" in more else {}
    return DomainRecipe(**{"max_seq_len": 16, "val": 0.2, "epochs": 1, **SMALL, **QUICK, **general, **more})


# ---------------------------------------------------------------- general text


class Numbers:
    """Sequences that are their numbers, and when they were asked for."""

    def __init__(self, name: str, count: int, draws: bool = False) -> None:
        self.name, self.count = name, count
        if draws:
            self.at = lambda index, when: {"found": (name, index, when)}

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> dict:
        return {"found": (self.name, index)}


@given(st.integers(1, 30), st.integers(1, 30), st.floats(0.01, 0.9), st.integers(1, 4), st.integers(0, 9))
def test_a_mixture_has_its_share_and_all_general_text_in_turn(domain_count, general_count, share, epochs, seed):
    """Over whole epochs each of the domain's sequences comes once an epoch, and no general one twice more than another."""
    mixture = Mixture(Numbers("domain", domain_count), Numbers("general", general_count), share, seed)
    assert abs((len(mixture) - domain_count) / len(mixture) - share) <= 1 / len(mixture)
    found = Counter(
        mixture.at(index, epoch * len(mixture) + (index * 7) % len(mixture))["found"]
        for epoch in range(epochs)
        for index in range(len(mixture))
    )
    assert all(found["domain", index] == epochs for index in range(domain_count))
    general = [found["general", index] for index in range(general_count)]
    assert max(general) - min(general) <= 1 and sum(general) == epochs * general_places(domain_count, share)


def test_a_mixture_depends_on_the_seed_and_the_place_alone():
    def drawn(seed, times=range(36)):
        mixture = Mixture(Numbers("d", 3, draws=True), Numbers("g", 20, draws=True), 0.75, seed)
        return {when: mixture.at(when % 12, when)["found"] for when in times}

    assert drawn(1) == drawn(1, reversed(range(36))) != drawn(2)
    assert drawn(1)[30] == ("g", drawn(1)[30][1], 30)  # masks are drawn by the place, too


def test_general_text_is_learnt_and_measured(folder, output_of, tmp_path):
    """A model that only sees Chinese forgets English; with English among it, it forgets less."""

    def after(share: float) -> dict:
        out = output_of(tmp_path / str(share))
        recipe = recipe_of(general_share=share, epochs=4, lr=2e-2)
        result = domain.run(recipe, given_text(folder, general="en"), out, Silent())
        assert result.counts.get("general_sequences", 0) == math.ceil(result.counts["sequences"] * share / (1 - share))
        return result.metrics

    without, mixed = after(0.0), after(0.5)
    assert mixed["general_loss_after"] < without["general_loss_after"] - 0.3
    assert mixed["general_bits_per_byte_before"] > 0 and mixed["perplexity_after"] < mixed["perplexity_before"]


def test_without_general_text_it_is_said_that_forgetting_is_not_seen(folder, output_of, tmp_path):
    progress = Silent()
    domain.run(recipe_of(), given_text(folder), output_of(tmp_path), progress)
    assert any("--general" in note for note in progress.notes)


# ---------------------------------------------------------------- measuring


def test_every_held_out_token_is_scored(folder, output_of, tmp_path):
    """Also those that do not fill a sequence. transformers' own loss, sequence by sequence."""
    made = domain.prepare(recipe_of(), given_text(folder), output_of(tmp_path), Silent())
    model = made.new_model().eval()
    split = made.measured[0].text
    ids = [int(i) for shard in domain.Packed(split.folder).tokens("val") for i in shard]
    assert len(ids) % 16, "the test needs a rest"
    pieces = [torch.tensor([ids[at : at + 16]]) for at in range(0, len(ids), 16)]
    with torch.no_grad():
        nll = sum(float(model(input_ids=p, labels=p).loss) * (p.shape[1] - 1) for p in pieces if p.shape[1] > 1)
    expected = nll / sum(piece.shape[1] - 1 for piece in pieces)
    assert made.measure(model)["val_loss"] == pytest.approx(expected, abs=1e-5)
    assert made.counts["tokens_held_out"] == len(ids)


def test_a_masked_model_guesses_the_same_tokens_each_time(folder, output_of, tmp_path):
    made = domain.prepare(recipe_of(), given_text(folder, "masked"), output_of(tmp_path), Silent())
    model = made.new_model()
    found = made.measure(model)
    assert found == made.measure_before(model) and set(found) == {"val_loss", "pseudo_perplexity"}
    source = made.source()
    assert not torch.equal(source.at(0, 0)["labels"], source.at(0, 7)["labels"])  # in training, others each time


@pytest.mark.parametrize("base", ["causal", "masked"])
def test_whole_documents_that_see_nothing_of_one_another(folder, output_of, tmp_path, base):
    recipe = recipe_of(packing="best-fit", isolate=True, max_seq_len=32, general_share=0.2)
    result = domain.run(recipe, given_text(folder, base, general="en"), output_of(tmp_path), Silent())
    assert result.metrics["eval_loss_after"] < result.metrics["eval_loss_before"]


# ---------------------------------------------------------------- new tokens


@pytest.mark.parametrize("base", ["causal", "masked"])
def test_a_longer_vocabulary(folder, output_of, tmp_path, base):
    given_rows = given_text(folder, base, general="en")
    recipe = recipe_of(new_tokens=20, general_share=0.1, epochs=2)
    plain = domain.prepare(replace(recipe, new_tokens=0), given_rows, output_of(tmp_path / "plain"), Silent())
    out, progress = output_of(tmp_path / "new"), Silent()
    result = domain.run(recipe, given_rows, out, progress)
    counts, metrics = result.counts, result.metrics
    assert counts["new_tokens"] == 20
    assert counts["tokens_per_byte_after"] < 0.8 * counts["tokens_per_byte_before"]
    before = plain.measure(plain.new_model())
    assert metrics["eval_loss_before"] == pytest.approx(
        before["val_loss"], abs=1e-6
    )  # the base's own, by its own tokenizer
    assert metrics["general_loss_before"] == pytest.approx(before["general_loss"], abs=1e-6)
    assert metrics["bits_per_byte_after"] < metrics["bits_per_byte_before"]
    assert any("compare bits per byte" in note for note in progress.notes)
    loaded = models.load(out.new)
    assert max(loaded.tokenizer(ZH[0])["input_ids"]) >= 400 and loaded.model.config.vocab_size == 420
    if base == "causal":
        assert outputs_without_ptft(out.new) == pytest.approx(outputs(loaded), abs=1e-5)


def outputs(loaded) -> list[float]:
    """Token ids of a text of the domain, and the new tokens' logits after it."""
    ids = loaded.tokenizer(ZH[0])["input_ids"]
    with torch.no_grad():
        return [*ids, *loaded.model(torch.tensor([ids])).logits[0, -1, 400:].tolist()]


def outputs_without_ptft(folder) -> list[float]:
    return without_ptft(f"""
from transformers import AutoModelForCausalLM, AutoTokenizer
ids = AutoTokenizer.from_pretrained({str(folder)!r})({ZH[0]!r})["input_ids"]
model = AutoModelForCausalLM.from_pretrained({str(folder)!r}).eval()
print(json.dumps([*ids, *model(torch.tensor([ids])).logits[0, -1, 400:].tolist()]))
""")


def test_new_tokens_come_from_what_is_learnt_from_and_are_made_once(folder, output_of, tmp_path):
    out, rows = output_of(tmp_path), given_text(folder)
    recipe = recipe_of(new_tokens=20)
    learnt = list(_sample(recipe, rows, 10**4))
    held = [row for row in map(json.loads, (folder / "zh.jsonl").open()) if in_validation(row["id"], 0.2, recipe.seed)]
    assert held and len(learnt) == 24 - len(held)
    assert 0 < len(list(_sample(recipe, rows, 2**27))) < len(learnt)  # of much text, a part
    made = domain.prepare(recipe, rows, out, Silent())
    stamp = (made.tokenizer / "tokenizer.json").stat().st_mtime_ns
    again = domain.prepare(recipe, rows, out, Silent())  # an interrupted run, begun again
    assert again == made and (made.tokenizer / "tokenizer.json").stat().st_mtime_ns == stamp
    assert made.changes_base and made.new_token_ids == tuple(range(400, 420))
    rows_of = made.new_model().get_input_embeddings().weight
    assert rows_of[400].allclose(rows_of[list(made.added.pieces[0])].mean(dim=0), atol=1e-6)
    assert not domain.prepare(recipe_of(), rows, output_of(tmp_path / "o"), Silent()).changes_base


def test_an_adapter_has_the_longer_base_inside(folder, output_of, tmp_path):
    out = output_of(tmp_path)
    result = domain.run(recipe_of(new_tokens=20, method="lora", epochs=2), given_text(folder), out, Silent())
    assert result.metrics["bits_per_byte_after"] < result.metrics["bits_per_byte_before"]
    base, loaded = models.load_plain(out.new / "base", "float32")[0], models.load(out.new)
    assert base.get_input_embeddings().weight.shape[0] == 420
    ids = torch.tensor([loaded.tokenizer(ZH[0])["input_ids"]])
    rows = [model.get_input_embeddings()(torch.arange(420)) for model in (base, loaded.model)]
    assert torch.equal(rows[0][:400], rows[1][:400]) and not torch.equal(rows[0][400:], rows[1][400:])
    with torch.no_grad():
        merged = adapters.merged(models.load(out.new)).model(ids).logits
        assert torch.allclose(merged, loaded.model(ids).logits, atol=1e-4)


# ---------------------------------------------------------------- what cannot be done


def test_an_encoder_decoder_does_not_go_on_pretraining(folder, output_of, tmp_path):
    from transformers import T5Config, T5ForConditionalGeneration

    sizes = {"vocab_size": 400, "d_model": 16, "d_kv": 8, "d_ff": 16, "num_layers": 1, "num_heads": 2}
    T5ForConditionalGeneration(T5Config(**sizes, decoder_start_token_id=1)).save_pretrained(tmp_path / "t5")
    tiny.tokenizer().save_pretrained(tmp_path / "t5")
    for step in (
        lambda given: domain.run(recipe_of(), given, output_of(tmp_path / "o"), Silent()),
        lambda given: domain.plan(recipe_of(), given, Silent()),
    ):
        with pytest.raises(InputError, match="seq2seq model cannot") as error:
            step(inputs(tmp_path / "t5", folder / "zh.jsonl"))
        assert "causal or masked" in error.value.remedy


def test_too_little_text(folder, output_of, tmp_path):
    rows_file(folder / "short.jsonl", [{"id": "1", "text": "ab"}])
    with pytest.raises(InputError, match="do not fill one sequence of 16") as error:
        domain.run(recipe_of(val=0), given_text(folder, text="short"), output_of(tmp_path / "a"), Silent())
    assert "--seq-len" in error.value.remedy
    with pytest.raises(InputError, match="of general text do not fill") as error:
        recipe = recipe_of(val=0, general_share=0.1)
        domain.run(recipe, given_text(folder, general="short"), output_of(tmp_path / "b"), Silent())
    assert error.value.where == "en.jsonl"
    with pytest.raises(InputError, match="no new token"):
        rows_file(folder / "once.jsonl", [{"id": "1", "text": "abcdefghijklmnopqrstuvwxyz"}])
        recipe = recipe_of(val=0, new_tokens=5)
        domain.run(recipe, given_text(folder, text="once"), output_of(tmp_path / "c"), Silent())


def test_nothing_to_measure_on_is_said(folder, output_of, tmp_path):
    progress = Silent()
    result = domain.run(recipe_of(val=0), given_text(folder), output_of(tmp_path), progress)
    assert any("nothing is measured" in warning and "--eval-data" in warning for warning in progress.warnings)
    assert "perplexity_after" not in result.metrics


def test_knobs_that_would_do_nothing(folder, output_of, tmp_path):
    with pytest.raises(UsageError, match="mask_rate does nothing"):
        domain.run(recipe_of(mask_rate=0.3), given_text(folder), output_of(tmp_path), Silent())
    assert DomainRecipe(general_share=0.3).problems() == ["general_share: does nothing without --general"]


def test_rows_that_are_refused_are_gathered(folder, output_of, tmp_path):
    bad = [{"id": "x", "text": 5}]
    rows_file(folder / "some-bad.jsonl", [*bad, *({"id": str(n), "text": ZH[n % 3]} for n in range(40))])
    out = output_of(tmp_path)
    recipe = recipe_of(max_bad_rows=0.1, general_share=0.1, new_tokens=3)
    given_rows = given_text(folder, text="some-bad", general="some-bad", eval_data="some-bad")
    made = domain.prepare(recipe, given_rows, out, Silent())
    assert made.counts["rows_rejected"] == 3 == len((out.new / "rejected.jsonl").read_text().splitlines())
