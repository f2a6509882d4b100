"""Inputs of layers in 8 bits: ranges, and what rounding them does."""

from __future__ import annotations

import pytest
import small_models
import torch

from ptft.core.errors import UsageError
from ptft.core.quantising import Scheme
from ptft.core.quantising.activations import Activation, quantised_inputs, ranges, rounded_by_token
from ptft.core.quantising.planning import plan_for
from ptft.core.quantising.statistics import Calibration


class _Model(torch.nn.Module):
    """One layer on what it is given."""

    base_model_prefix = ""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(4, 4)

    def forward(self, x: torch.Tensor, attention_mask: torch.Tensor | None = None) -> torch.Tensor:
        return self.layer(x)


PLAN = {"layer.weight": Scheme(8, 0, activations="static")}


def test_ranges_reach_from_the_least_to_the_greatest_value_that_is_no_padding() -> None:
    given = torch.linspace(-1, 3, 2 * 3 * 4).reshape(2, 3, 4)
    mask = torch.tensor([[1, 1, 1], [1, 1, 0]])
    found = ranges(_Model(), PLAN, Calibration(({"x": given, "attention_mask": mask},)))["layer.weight"]
    most = float(given[1, 1].max())
    assert found.scale == pytest.approx((most + 1) / 255)
    assert found.zero == round(-128 + 1 / found.scale)
    assert float(found.rounded(torch.zeros(1))) == 0.0


def test_percentiles_leave_outliers_out() -> None:
    """The reference: numpy's percentiles of all values."""
    draw = torch.Generator().manual_seed(0)
    values = torch.randn(4, 500, 4, generator=draw)
    values[0, 0, 0] = 40.0
    rows = Calibration(tuple({"x": part[None]} for part in values))
    found = ranges(_Model(), PLAN, rows, 99.0)["layer.weight"]
    least, most = (float(values.flatten().quantile(q)) for q in (0.01, 0.99))
    assert found.scale == pytest.approx((most - least) / 255, rel=0.02)
    assert ranges(_Model(), PLAN, rows)["layer.weight"].scale > 5 * found.scale
    assert ranges(_Model(), PLAN, rows, symmetric=True)["layer.weight"] == Activation(pytest.approx(40 / 127), 0)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="percentile"):
        ranges(_Model(), PLAN, rows, 10.0)


def test_a_scale_a_token_is_half_a_step_off_at_most() -> None:
    values = torch.randn(3, 5, 8) * torch.logspace(-3, 3, 5)[:, None]
    gap = (rounded_by_token(values) - values).abs()
    assert (gap <= values.abs().amax(-1, keepdim=True) / 127 * 0.501).all()
    assert rounded_by_token(torch.zeros(2, 3)).tolist() == [[0.0] * 3] * 2


@pytest.mark.parametrize("activations", ["dynamic", "static"])
@pytest.mark.parametrize("family", ["llama", "gpt2", "bert"])
def test_a_model_computes_on_rounded_inputs_while_open(family: str, activations: str) -> None:
    model, rows = small_models.make(family), small_models.rows(family)
    plan = plan_for(model, Scheme(8, 0, activations=activations))  # type: ignore[arg-type]
    before = small_models.outputs(model, rows)
    found = ranges(model, plan, rows) if activations == "static" else None
    with quantised_inputs(model, plan, found):
        inside = small_models.outputs(model, rows)
    assert torch.equal(small_models.outputs(model, rows), before)
    gap = float((inside - before).abs().mean() / before.abs().mean())
    assert 0 < gap < 0.15


def test_static_inputs_without_a_range_are_refused() -> None:
    model = _Model()
    with pytest.raises(UsageError, match="without a range"), quantised_inputs(model, PLAN):
        pass
    assert not model.layer._forward_pre_hooks
