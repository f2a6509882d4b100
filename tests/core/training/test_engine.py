"""Laws of training: accumulation equals the big batch, a resumed run equals an unbroken one, what went astray stops."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import tiny
import torch
from engine_runs import SETTINGS, Random, llama, trained, weights

from ptft.core.encoding import IGNORED
from ptft.core.errors import RunError
from ptft.core.training import Objective, Padding, Rows, Watching, micro_batch_of


def test_eight_small_batches_equal_one_big_one(tmp_path):
    big, _ = trained(tmp_path, "big")
    small, _ = trained(tmp_path, "small", replace(SETTINGS, micro_batch=1))
    assert torch.allclose(weights(big), weights(small), atol=1e-6)


def test_accumulation_counts_tokens_where_rows_differ_in_length(tmp_path):
    """Rows with 1 and with 30 labels: a mean of means would weigh them alike (transformers#34191)."""
    ids = [[5 + n] * (3 + 4 * n) for n in range(8)]
    source = Rows.of({"input_ids": row, "labels": [IGNORED] * 2 + row[2:]} for row in ids)
    settings = replace(SETTINGS, steps=2, lr=1e-4)
    found = [
        trained(
            tmp_path,
            f"m{micro}",
            replace(settings, micro_batch=micro),
            source=source,
            collate=Padding(1),
        )
        for micro in (8, 1)
    ]
    assert torch.allclose(weights(found[0][0]), weights(found[1][0]), atol=1e-6)
    for name in ("loss", "grad_norm"):
        assert found[0][1].history[0][name] == pytest.approx(found[1][1].history[0][name], rel=1e-6)


@pytest.mark.parametrize("pooling", ["mean", "last"])
def test_accumulation_is_exact_for_classifiers(tmp_path, pooling):
    from ptft.core.heads import Head, with_head

    base = tiny.causal(tmp_path / "base", scale=1.0)
    source = Rows.of(({"input_ids": [4 + n, 5, 6 + n]} for n in range(8)), [n % 3 for n in range(8)])
    found = []
    for micro in (8, 2):
        torch.manual_seed(0)
        model = with_head(base, Head("classifier", tiny.LABELS, pooling=pooling))
        settings = replace(SETTINGS, steps=3, micro_batch=micro)
        more = {"model": model, "source": source, "objective": Objective("class"), "collate": Padding(1, False)}
        found.append(weights(trained(tmp_path, f"{pooling}{micro}", settings, **more)[0]))
    assert torch.allclose(*found, atol=1e-6)


def test_recomputed_activations_and_all_logits_change_nothing(tmp_path):
    """What saves memory must not change what is learnt."""
    usual, _ = trained(tmp_path, "usual")
    for name, change in {"checkpointing": {"checkpointing": True}, "plain": {"chunked": False}}.items():
        other, _ = trained(tmp_path, name, replace(SETTINGS, **change))
        assert torch.allclose(weights(usual), weights(other), atol=2e-6), name


def test_bf16_trains_near_fp32(tmp_path):
    exact, _ = trained(tmp_path, "fp32")
    rough, _ = trained(tmp_path, "bf16", replace(SETTINGS, precision="bf16"))
    assert rough.dtype == torch.float32  # master weights
    assert not torch.equal(weights(exact), weights(rough)) and torch.allclose(weights(exact), weights(rough), atol=2e-2)


# ---------------------------------------------------------------- interruptions


class Killed(Exception):
    pass


def kill(*_):
    raise Killed


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_a_run_that_is_cut_off_ends_with_the_same_weights_bit_for_bit(tmp_path, optimizer):
    settings = replace(SETTINGS, optimizer=optimizer)
    whole, history = trained(tmp_path, "whole", settings)
    with pytest.raises(Killed):
        trained(tmp_path, "cut", replace(settings, eval_every=5), watching=Watching(validate=kill))
    assert (tmp_path / "cut" / "checkpoint-4").is_dir()
    again, resumed = trained(tmp_path, "cut", settings)
    assert torch.equal(weights(whole), weights(again))
    assert resumed.history == history.history


def test_a_run_may_go_on_with_another_micro_batch(tmp_path):
    """The remedy for too little memory."""
    whole, _ = trained(tmp_path, "whole")
    with pytest.raises(Killed):
        trained(tmp_path, "cut", replace(SETTINGS, eval_every=5), watching=Watching(validate=kill))
    again, _ = trained(tmp_path, "cut", replace(SETTINGS, micro_batch=2))
    assert torch.allclose(weights(whole), weights(again), atol=1e-6)


def test_a_mixture_of_experts_goes_on_with_its_experts(tmp_path):
    """Experts are stored under other names than they are held: a plain load would leave them random."""
    from transformers import MixtralConfig, MixtralForCausalLM

    def mixture():
        torch.manual_seed(0)
        return MixtralForCausalLM(MixtralConfig(**tiny.sizes(), num_key_value_heads=2, num_local_experts=4))

    settings = replace(SETTINGS, balance=0.01)
    whole, result = trained(tmp_path, "whole", settings, model=mixture())
    with pytest.raises(Killed):
        trained(tmp_path, "cut", replace(settings, eval_every=5), model=mixture(), watching=Watching(validate=kill))
    again, _ = trained(tmp_path, "cut", settings, model=mixture())
    assert torch.equal(weights(whole), weights(again))
    last = result.history[-1]
    assert 0.9 < last["balance"] < 2 and 0 <= last["expert_use_min"] <= 0.25 <= last["expert_use_max"] <= 1


def test_a_mixture_learns_the_same_in_small_batches(tmp_path):
    """Its balance is a sequence's own; a batch's would depend on what else is in it."""
    from transformers import MixtralConfig, MixtralForCausalLM

    found = []
    for micro in (8, 1):
        torch.manual_seed(0)
        model = MixtralForCausalLM(MixtralConfig(**tiny.sizes(), num_key_value_heads=2, num_local_experts=4))
        settings = replace(SETTINGS, balance=1.0, micro_batch=micro, lr=1e-4)
        found.append(trained(tmp_path, f"m{micro}", settings, model=model))
    assert torch.allclose(weights(found[0][0]), weights(found[1][0]), atol=1e-6)


def test_a_half_written_checkpoint_is_never_seen(tmp_path, monkeypatch):
    """The kill comes while a checkpoint is being written: only whole ones carry the name that is looked for."""
    import transformers

    def half(self, path):
        Path(path).write_text("{")
        raise Killed

    monkeypatch.setattr(transformers.TrainerState, "save_to_json", half)
    with pytest.raises(Killed):
        trained(tmp_path, "cut")
    assert not list((tmp_path / "cut").glob("checkpoint-*"))


# ---------------------------------------------------------------- which weights, and when to stop


def falling_then_rising(losses):
    values = iter(losses)
    return lambda model: {"val_loss": next(values)}


def test_the_best_weights_are_the_result(tmp_path):
    settings = replace(SETTINGS, eval_every=2, keep="best")
    stopped, _ = trained(tmp_path, "four", replace(settings, steps=4, schedule=replace(SETTINGS.schedule, steps=6)))
    watching = Watching(validate=falling_then_rising([3.0, 2.0, 2.5]))
    best, result = trained(tmp_path, "best", settings, watching=watching)
    assert result.best == 4 and torch.equal(weights(best), weights(stopped))
    last, _ = trained(tmp_path, "last", replace(settings, keep="last"))
    assert not torch.equal(weights(best), weights(last))
    again, _ = trained(tmp_path, "best", settings)  # killed after the last step, before the result was published
    assert torch.equal(weights(best), weights(again))


def test_the_best_weights_survive_an_interruption(tmp_path):
    settings = replace(SETTINGS, eval_every=2, keep="best")
    whole, _ = trained(tmp_path, "whole", settings, watching=Watching(validate=falling_then_rising([2.0, 3.0, 4.0])))

    with pytest.raises(StopIteration):
        trained(tmp_path, "cut", settings, watching=Watching(validate=falling_then_rising([2.0, 3.0])))
    again, result = trained(tmp_path, "cut", settings, watching=Watching(validate=falling_then_rising([4.0])))
    assert result.best == 2 and torch.equal(weights(whole), weights(again))


def test_it_stops_after_looks_without_a_better_one(tmp_path):
    settings = replace(SETTINGS, eval_every=1, patience=2)
    watching = Watching(validate=falling_then_rising([3.0, 2.0, 2.1, 2.2, 1.0]))
    stopped, result = trained(tmp_path, "p", settings, watching=watching)
    assert result.last_step == 4
    again, result = trained(tmp_path, "p", settings)  # killed before the result was published
    assert result.last_step == 4 and torch.equal(weights(stopped), weights(again))


# ---------------------------------------------------------------- astray


def test_a_loss_that_is_not_a_number_stops_the_run(tmp_path):
    model = llama(tmp_path)
    with torch.no_grad():
        model.get_input_embeddings().weight[:] = float("nan")
    with pytest.raises(RunError, match="diverged") as error:
        trained(tmp_path, "nan", model=model)
    assert "--lr" in error.value.remedy and not list((tmp_path / "nan").glob("checkpoint-*"))


def test_a_gradient_that_is_not_a_number_stops_before_a_checkpoint_has_it(tmp_path):
    """The loss would show it only a step later."""
    model = llama(tmp_path)
    calls = []

    def spoil(gradient):
        calls.append(1)
        return gradient * float("nan") if len(calls) == 4 else gradient

    model.get_input_embeddings().weight.register_hook(spoil)
    with pytest.raises(RunError, match="gradient norm is nan at step 4; checkpoint-2 is from before"):
        trained(tmp_path, "spoilt", model=model)
    assert [path.name for path in (tmp_path / "spoilt").glob("checkpoint-*")] == ["checkpoint-2"]


def test_a_validation_that_is_not_a_number_stops_the_run(tmp_path):
    with pytest.raises(RunError, match="validation loss is nan"):
        trained(tmp_path, "v", watching=Watching(validate=lambda model: {"val_loss": float("nan")}))


def test_best_weights_of_a_longer_run_are_not_taken_for_this_ones(tmp_path):
    """What lies after the checkpoint comes again, perhaps with another best."""
    settings = replace(SETTINGS, eval_every=1, keep="best", save_every=2)
    with pytest.raises(StopIteration):
        trained(tmp_path, "c", settings, watching=Watching(validate=falling_then_rising([5.0, 4.0, 1.0])))
    best, result = trained(
        tmp_path, "c", settings, watching=Watching(validate=falling_then_rising([4.5, 4.6, 4.7, 4.8]))
    )
    assert result.best == 2
    two, _ = trained(tmp_path, "two", replace(settings, steps=2, keep="last"))
    assert torch.equal(weights(best), weights(two))


def test_validation_is_in_the_arithmetic_of_training(tmp_path):
    """accelerate's autocast is around the forward that training calls; validation must not go past it."""
    import numpy as np

    from ptft.core.training import score_blocks

    seen = []

    def validate(model):
        layer = model.model.layers[0].self_attn.q_proj
        hook = layer.register_forward_hook(lambda module, given, made: seen.append(made.dtype))
        found = score_blocks(model, Random(), np.ones(400, np.int32), limit=4)
        hook.remove()
        return {"val_loss": found.loss}

    trained(tmp_path, "b", replace(SETTINGS, precision="bf16"), watching=Watching(validate=validate))
    assert set(seen) == {torch.bfloat16}


def test_a_checkpoint_holds_no_history_and_the_usual_configuration(tmp_path):
    trained(tmp_path, "run")
    folder = tmp_path / "run" / "checkpoint-6"
    assert json.loads((folder / "trainer_state.json").read_text())["log_history"] == []
    assert json.loads((folder / "config.json").read_text())["use_cache"] is True


def test_out_of_memory_names_the_knob_and_its_value(tmp_path):
    from ptft.core.training.out_of_memory import memory_explained

    def greedy(settings):
        with pytest.raises(RunError, match="out of memory") as error, memory_explained(settings):
            raise torch.OutOfMemoryError("CUDA out of memory")
        return error.value.remedy

    assert "hardware.micro_batch=4" in greedy(SETTINGS)
    one = replace(SETTINGS, micro_batch=1)
    assert "hardware.checkpointing=true" in greedy(one)
    assert "hardware.loss=chunked" in greedy(replace(one, checkpointing=True, chunked=False))
    assert "fsdp" in greedy(replace(one, checkpointing=True))
    assert "a smaller base" in greedy(replace(one, checkpointing=True, smaller="take a smaller base"))


def test_a_checkpoint_loads_as_it_is(tmp_path):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    trained(tmp_path, "run", tokenizer=tiny.tokenizer())
    folder = tmp_path / "run" / "checkpoint-6"
    AutoModelForCausalLM.from_pretrained(folder)
    assert AutoTokenizer.from_pretrained(folder).eos_token


@pytest.mark.parametrize(
    ("batch", "wanted", "length", "size"),
    [(12, 5, 8, 4), (7, 0, 8, 7), (64, 0, 256, 8), (5, 16, 8, 5), (1, 0, 10**6, 1)],
)
def test_micro_batches_divide_the_batch(batch, wanted, length, size):
    assert micro_batch_of(batch, wanted, length) == size or torch.cuda.is_available()
    assert micro_batch_of(16, 8, 1, processes=4) == 4


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("c++") is None, reason="torch.compile needs a C++ compiler")
def test_a_compiled_model_learns_the_same(tmp_path):
    plain, _ = trained(tmp_path, "plain", replace(SETTINGS, steps=2))
    compiled, _ = trained(tmp_path, "compiled", replace(SETTINGS, steps=2, compile=True))
    assert torch.allclose(weights(plain), weights(compiled), atol=1e-5) and compiled._compiled_call_impl is None
