"""AWQ's scales: folding leaves the model's outputs as they are, and rounding afterwards errs less."""

from __future__ import annotations

import pytest
import small_models
import torch

from ptft.core.quantising import Scheme
from ptft.core.quantising.awq import Fold, best_scales, folded, folds
from ptft.core.quantising.blocks import chains
from ptft.core.quantising.statistics import Collector

# what is exact in each family, of the first block: the sources that take scales in
EXACT = {
    "llama": {"input_layernorm", "post_attention_layernorm", "self_attn.v_proj", "mlp.up_proj"},
    "qwen2": {"input_layernorm", "post_attention_layernorm", "self_attn.v_proj", "mlp.up_proj"},
    "qwen3": {"input_layernorm", "post_attention_layernorm", "self_attn.v_proj", "mlp.up_proj"},
    "gemma": {"input_layernorm", "post_attention_layernorm", "self_attn.v_proj", "mlp.up_proj"},
    "gpt2": {"ln_1", "ln_2"},
    "bert": {"attention.self.value"},  # its norms feed the residual too
}


@pytest.mark.parametrize("family", list(EXACT))
def test_scales_fold_where_that_is_exact_and_nowhere_else(family: str) -> None:
    model, rows = small_models.make(family), small_models.rows(family)
    before = small_models.outputs(model, rows)
    (chain,) = chains(model, rows)
    block = chain.modules[0]
    layers = [
        name for name, module in block.named_modules() if getattr(getattr(module, "weight", None), "ndim", 0) == 2
    ]
    taken = set()
    with torch.no_grad():
        for fold in folds(block, lambda: chain.run(0, 0), layers):
            width = block.get_submodule(fold.layers[0]).weight.shape[0 if family == "gpt2" else 1]
            scales = fold.shared(torch.logspace(-0.5, 0.5, width))
            if folded(block, fold, scales, lambda: chain.run(0, 0)):
                taken.add(fold.source)
    assert taken == EXACT[family]
    after = small_models.outputs(model, rows)
    assert torch.allclose(before, after, atol=1e-4 * float(before.abs().max()))


def test_grouped_queries_share_the_scale_of_their_head() -> None:
    """Two heads of keys and values, four of queries, two channels each: o's inputs 0-3 come from v's rows 0-1, twice."""
    fold = Fold("v", ("o",), repeats=2, head_dim=2)
    values = torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0])
    assert fold.shared(values).tolist() == [2.0, 3.0, 2.0, 3.0, 6.0, 7.0, 6.0, 7.0]
    assert fold.narrowed(fold.shared(values)).tolist() == [2.0, 3.0, 6.0, 7.0]


def test_scales_are_larger_where_activations_are_and_lower_the_error() -> None:
    draw = torch.Generator().manual_seed(7)
    tokens = torch.randn(400, 64, generator=draw)
    tokens[:, :2] *= 40
    weight = torch.randn(32, 64, generator=draw) * 0.05
    inputs = Collector()
    inputs.take("x", tokens)
    sums = inputs.sums["x"]
    scheme = Scheme(4, 32, method="awq")
    scales = best_scales(Fold("norm", ("x",)), {"x": weight}, {"x": scheme}, sums)
    assert scales is not None
    assert float(scales[:2].min()) > 3 * float(scales[2:].max())

    from ptft.core.quantising.rounding import rtn

    plain = tokens @ (rtn(weight, scheme).dequantised() - weight).T
    scaled = tokens @ (rtn(weight * scales, scheme).dequantised() / scales - weight).T
    assert float(scaled.square().sum()) < 0.5 * float(plain.square().sum())


def test_no_scales_where_inputs_are_alike() -> None:
    inputs = Collector()
    inputs.take("x", torch.eye(64))
    weight = torch.randn(16, 64, generator=torch.Generator().manual_seed(1))
    scheme = Scheme(4, 32, method="awq")
    assert best_scales(Fold("norm", ("x",)), {"x": weight}, {"x": scheme}, inputs.sums["x"]) is None
