"""Bits where they matter: damage is measured, and bits are spent on what takes most of it away."""

from __future__ import annotations

import itertools

import pytest
import small_models
import torch

from ptft.core.errors import UsageError
from ptft.core.quantising import Scheme
from ptft.core.quantising.planning import bits_a_weight, plan_for
from ptft.core.quantising.sensitivity import choices_of, damages, mixed, spent

LOW, HIGH = Scheme(4, 32), Scheme(8, 32)
FRAGILE = "model.layers.0.mlp.down_proj.weight"


def fragile() -> torch.nn.Module:
    """A Llama of which one layer has an outlier in every group, which leaves the other weights there few levels."""
    model = small_models.make("llama")
    with torch.no_grad():
        weight = model.get_parameter(FRAGILE)
        weight[:, ::32] = 15 * weight.abs().max()
    return model


def test_the_fragile_layer_has_the_most_damage_and_the_model_is_left_as_it_was() -> None:
    model = fragile()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    choices = choices_of(model, plan_for(model, LOW), [HIGH, LOW])
    assert len(choices) == 14 and choices[FRAGILE] == (LOW, HIGH)
    found = {(name, scheme): damage for name, scheme, damage in damages(model, choices, small_models.rows("llama"))}
    assert len(found) == 28 and all(damage == 0 for (_, scheme), damage in found.items() if scheme == HIGH)
    assert max(found, key=lambda key: found[key]) == (FRAGILE, LOW)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def test_bits_go_to_the_fragile_layer_first_and_no_more_than_there_are() -> None:
    model = fragile()
    plan = plan_for(model, LOW)
    found = mixed(model, plan, [LOW, HIGH], small_models.rows("llama"), 5.2)
    inner = [name for name in found if "layers" in name]
    assert found[FRAGILE] == HIGH
    assert found["model.embed_tokens.weight"] == plan["model.embed_tokens.weight"]
    assert 4.8 < bits_a_weight(model, found, inner) <= 5.2


def test_spending_is_near_the_best_that_there_is() -> None:
    """Against all 3^7 plans: within the damage of one step, the bound of the greedy solution."""
    model = small_models.make("llama")
    schemes = (Scheme(4, 64), Scheme(4, 32), Scheme(8, 32))
    names = [name for name in choices_of(model, plan_for(model, LOW), schemes) if "layers.0" in name]
    choices = {name: schemes for name in names if "down" not in name}
    draw = torch.Generator().manual_seed(2)
    damage = {
        name: dict(zip(schemes, sorted(torch.rand(3, generator=draw).tolist(), reverse=True), strict=True))
        for name in choices
    }
    found = spent(model, choices, damage, 5.5)
    total = sum(damage[name][scheme] for name, scheme in found.items())
    assert bits_a_weight(model, found) <= 5.5
    best = float("inf")
    for plan in itertools.product(schemes, repeat=len(choices)):
        if bits_a_weight(model, dict(zip(choices, plan, strict=True))) <= 5.5:
            best = min(best, sum(damage[name][scheme] for name, scheme in zip(choices, plan, strict=True)))
    step = max(damage[name][schemes[0]] - damage[name][schemes[2]] for name in choices)
    assert best <= total <= best + step


def test_what_does_not_fit_leaves_its_bits_to_others() -> None:
    """The first step, of 96 x 64 weights, is worth the most a bit and takes more than is left; that of 64 x 64 fits."""
    model = small_models.make("llama")
    large, small = "model.layers.0.mlp.gate_proj.weight", "model.layers.0.self_attn.q_proj.weight"
    damage = {large: {LOW: 9.0, HIGH: 0.0}, small: {LOW: 1.0, HIGH: 0.0}}
    found = spent(model, dict.fromkeys((large, small), (LOW, HIGH)), damage, 4.5 + 4 * 5000 / (160 * 64))
    assert found == {large: LOW, small: HIGH}


def test_too_few_bits_are_refused_with_what_is_possible() -> None:
    model = small_models.make("llama")
    choices = choices_of(model, plan_for(model, LOW), [LOW, HIGH])
    with pytest.raises(UsageError, match="too few") as error:
        spent(model, choices, {name: {LOW: 1.0, HIGH: 0.0} for name in choices}, 4.2)
    assert "at least 4.50" in error.value.remedy


def test_classifiers_are_compared_by_their_classes() -> None:
    model, rows = small_models.make("bert"), small_models.rows("bert")
    choices = choices_of(model, plan_for(model, LOW), [LOW, HIGH])
    assert any(damage > 0 for _, _, damage in damages(model, choices, rows))
