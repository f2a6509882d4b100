"""A model run block by block makes what it makes in one pass."""

from __future__ import annotations

import pytest
import small_models
import torch

from ptft.core.quantising.blocks import chains


@pytest.mark.parametrize("family", [name for name in small_models.FAMILIES if name != "albert"])
def test_blocks_in_turn_make_what_the_model_makes(family: str) -> None:
    model, rows = small_models.make(family), small_models.rows(family)
    found = chains(model, rows)
    assert len(found) == (2 if family == "t5" else 1)
    states: list[torch.Tensor] = []
    model.get_submodule(found[-1].names[-1]).register_forward_hook(
        lambda _m, _a, made: states.append(made[0] if isinstance(made, tuple) else made)
    )
    small_models.outputs(model, rows)
    whole = list(states)
    with torch.no_grad():
        for chain in found:
            for block in range(len(chain.modules)):
                chain.advance(block)
    for one, other in zip(found[-1].hidden, whole, strict=True):
        assert torch.allclose(one, other, atol=1e-5 * float(other.abs().max()))


def test_blocks_that_share_their_weights_are_no_chain() -> None:
    assert chains(small_models.make("albert"), small_models.rows("albert")) == []


def test_no_hook_stays() -> None:
    model = small_models.make("llama")
    chains(model, small_models.rows("llama"))
    assert not any(module._forward_pre_hooks or module._forward_hooks for module in model.modules())
