"""Which weight gets which scheme."""

from __future__ import annotations

import pytest
import small_models

from ptft.core.quantising import Scheme
from ptft.core.quantising.matrices import matrices
from ptft.core.quantising.planning import bits_a_weight, fitting, left_out, plan_for


def test_embeddings_and_output_layers_stay_at_8_bits_and_tied_ones_are_one() -> None:
    found = plan_for(small_models.make("llama"), Scheme(4, 32, method="gptq"))
    assert "lm_head.weight" not in found
    assert found["model.embed_tokens.weight"] == Scheme(8, 32)
    assert found["model.layers.0.self_attn.q_proj.weight"] == Scheme(4, 32, method="gptq")
    assert sum(scheme is not None and scheme.bits == 4 for scheme in found.values()) == 14


def test_asked_for_they_take_4_bits() -> None:
    found = plan_for(small_models.make("llama"), Scheme(4, 64), outer=Scheme(4, 64))
    assert found["model.embed_tokens.weight"] == Scheme(4, 64)


def test_small_heads_and_tables_stay_as_they_are() -> None:
    found = plan_for(small_models.make("bert"), Scheme(4, 32))
    assert found["classifier.weight"] is None
    assert found["bert.embeddings.position_embeddings.weight"] is None
    assert found["bert.embeddings.token_type_embeddings.weight"] is None
    assert found["bert.pooler.dense.weight"] == Scheme(4, 32)


def test_layers_can_be_kept() -> None:
    found = plan_for(small_models.make("llama"), Scheme(8, 0), keep=("down_proj", "lm_head"))
    assert {name for name, scheme in found.items() if scheme is None} == {
        "model.embed_tokens.weight", "model.layers.0.mlp.down_proj.weight", "model.layers.1.mlp.down_proj.weight",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("width", "found"), [(256, Scheme(4, 128)), (192, Scheme(4, 64)), (96, Scheme(4, 32)), (40, Scheme(8, 0))]
)
def test_a_width_that_the_group_does_not_divide_takes_a_smaller_one(width: int, found: Scheme) -> None:
    assert fitting(Scheme(4, 128), width) == found


def test_bits_a_weight_count_scales() -> None:
    model = small_models.make("llama")
    found = plan_for(model, Scheme(4, 32))
    inner = [name for name in found if "layers" in name]
    assert bits_a_weight(model, found, inner) == 4.5
    assert bits_a_weight(model, found, ["model.embed_tokens.weight"]) == 8.5
    assert 4.5 < bits_a_weight(model, found) < 8.5


def test_matrices_are_out_by_in_in_every_family() -> None:
    found = {matrix.name: matrix for matrix in matrices(small_models.make("gpt2"))}
    assert found["transformer.h.0.attn.c_attn.weight"].shape == (192, 64)
    assert tuple(found["transformer.h.0.mlp.c_proj.weight"].read().shape) == (64, 256)
    assert found["transformer.wte.weight"].users == ("transformer.wte", "lm_head")


def test_experts_in_one_tensor_are_named_as_left_out() -> None:
    import transformers

    config = transformers.MixtralConfig(**small_models.SHARED, num_local_experts=2)
    model = transformers.MixtralForCausalLM(config)
    found = left_out(model, plan_for(model, Scheme(4, 32)))
    assert found["model.layers.0.mlp.experts.down_proj"] == 2 * 96 * 64
    assert "model.layers.0.self_attn.q_proj.weight" not in found
    assert left_out(small_models.make("llama"), plan_for(small_models.make("llama"), Scheme(4, 32))) == {}
