"""Which parameters are decayed, which are Muon's, and that two optimizers step, save and load as one."""

from __future__ import annotations

from dataclasses import replace

import pytest
import tiny
import torch
from engine_runs import SETTINGS

from ptft.core.training.optimizers import Together, is_hidden_matrix, optimizer_of


@pytest.fixture
def model(tmp_path):
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(tiny.causal(tmp_path / "m", scale=1.0))


def names_by_decay(model, optimizer):
    by_id = {id(parameter): name for name, parameter in model.named_parameters()}
    return {
        decayed: {
            by_id[id(p)]
            for group in optimizer.param_groups
            for p in group["params"]
            if bool(group["weight_decay"]) == decayed
        }
        for decayed in (True, False)
    }


@pytest.mark.parametrize("kind", ["adamw", "muon"])
def test_norms_and_biases_are_not_decayed_and_every_parameter_has_its_place(model, kind):
    optimizer = optimizer_of(model, replace(SETTINGS, optimizer=kind))
    found = names_by_decay(model, optimizer)
    assert found[True] | found[False] == {name for name, _ in model.named_parameters()}
    assert not found[True] & found[False]
    assert found[False] == {name for name, _ in model.named_parameters() if "norm" in name or name.endswith("bias")}


def test_muon_takes_the_matrices_inside_layers_only(model):
    optimizer = optimizer_of(model, replace(SETTINGS, optimizer="muon"))
    muon = {id(p) for group in optimizer.parts[0].param_groups for p in group["params"]}
    hidden = {id(p) for name, p in model.named_parameters() if "proj" in name}
    assert muon == hidden and isinstance(optimizer, Together)
    assert not is_hidden_matrix("model.embed_tokens.weight", model.get_input_embeddings().weight)


def test_two_that_step_as_one_are_saved_and_loaded_as_one(model):
    settings = replace(SETTINGS, optimizer="muon")
    optimizer = optimizer_of(model, settings)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 / (step + 1))

    def step(model, optimizer):
        model(input_ids=torch.arange(8)[None], labels=torch.arange(8)[None]).loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    step(model, optimizer)
    scheduler.step()
    assert {group["lr"] for part in optimizer.parts for group in part.param_groups} == {settings.lr / 2}
    import copy

    twin = copy.deepcopy(model)
    other = optimizer_of(twin, settings)
    other.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    step(model, optimizer)
    step(twin, other)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), twin.parameters(), strict=True))
