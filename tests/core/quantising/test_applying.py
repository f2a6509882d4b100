"""A plan applied to a model: integers for all that it names, and the model as it is with them."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import small_models
import torch

from ptft.core.errors import InputError, UsageError
from ptft.core.quantising import Scheme
from ptft.core.quantising.applying import applied
from ptft.core.quantising.matrices import matrices
from ptft.core.quantising.planning import plan_for


def off(model: Any, other: Any, family: str) -> float:
    """Mean squared difference of outputs on the calibration rows."""
    rows = small_models.rows(family)
    return float((small_models.outputs(model, rows) - small_models.outputs(other, rows)).square().mean())


@pytest.mark.parametrize("method", ["rtn", "hqq", "gptq", "awq"])
@pytest.mark.parametrize("family", small_models.FAMILIES)
def test_the_model_becomes_what_the_integers_stand_for(family: str, method: Any) -> None:
    model = small_models.make(family)
    original = copy.deepcopy(model)
    plan = plan_for(model, Scheme(4, 32, method=method))
    found = applied(model, plan, small_models.rows(family))
    assert list(found) == [name for name, scheme in plan.items() if scheme is not None]
    for matrix in matrices(model):
        if matrix.name in found:
            made = found[matrix.name]
            assert torch.equal(matrix.read(), made.dequantised())
            assert made.ints.shape == matrix.shape and (made.bits, made.group) == (plan[matrix.name].bits, plan[matrix.name].group)  # fmt: skip
        else:
            assert torch.equal(matrix.read(), original.get_parameter(matrix.name))
    assert not any(module._forward_pre_hooks or module._forward_hooks for module in model.modules())
    assert 0 < off(model, original, family) < float("inf")


@pytest.mark.parametrize("family", ["llama", "gpt2", "bert"])
def test_gptq_errs_less_than_rounding_on_the_calibration_rows(family: str) -> None:
    errors = {}
    for method in ("rtn", "gptq"):
        model = small_models.make(family)
        applied(model, plan_for(model, Scheme(4, 32, method=method)), small_models.rows(family))  # type: ignore[arg-type]
        errors[method] = off(model, small_models.make(family), family)
    assert errors["gptq"] < 0.8 * errors["rtn"]


def test_later_blocks_are_calibrated_on_what_earlier_ones_became() -> None:
    """With a first block of noise, the second one's integers are others than those made for the original's states."""
    rows, name = small_models.rows("llama"), "model.layers.1.mlp.down_proj.weight"
    alone, both = small_models.make("llama"), small_models.make("llama")
    second = {
        key: scheme for key, scheme in plan_for(alone, Scheme(4, 32, method="gptq")).items() if "layers.1." in key
    }
    noisy = {**second, "model.layers.0.mlp.down_proj.weight": Scheme(4, 32)}
    one, other = applied(alone, second, rows)[name], applied(both, noisy, rows)[name]
    assert not torch.equal(one.ints, other.ints)


def test_tied_weights_stay_tied() -> None:
    model = small_models.make("llama")
    found = applied(model, plan_for(model, Scheme(8, 0)))
    assert model.lm_head.weight is model.model.embed_tokens.weight
    assert torch.equal(model.lm_head.weight, found["model.embed_tokens.weight"].dequantised())


def test_what_cannot_be_done_is_refused() -> None:
    model = small_models.make("llama")
    with pytest.raises(UsageError, match="gptq needs calibration rows"):
        applied(model, plan_for(model, Scheme(4, 32, method="gptq")))
    with pytest.raises(UsageError, match=r"lm_head\.weight"):
        applied(model, {"lm_head.weight": Scheme(8, 0)})
    with pytest.raises(UsageError, match="float32"):
        applied(small_models.make("llama").bfloat16(), plan_for(model, Scheme(8, 0)))
    with torch.no_grad():
        model.model.layers[1].mlp.up_proj.weight[0, 0] = float("nan")
    with pytest.raises(InputError, match=r"layers\.1\.mlp\.up_proj\.weight"):
        applied(model, plan_for(model, Scheme(4, 32)))
