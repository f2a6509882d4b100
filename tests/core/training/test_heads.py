from __future__ import annotations

import inspect
import os
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from families import CAUSAL, MASKED, VOCABULARY, tiny, tiny_bert_for_pairs

from ptft.core.encoding import IGNORED
from ptft.core.training import cross_entropy
from ptft.core.training.cross_entropy import linear_nll
from ptft.core.training.heads import EXPERTS, with_loss

FAMILIES = [*CAUSAL, *MASKED]


def batch(causal: bool, rows: int = 3, length: int = 20) -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    ids = torch.randint(3, VOCABULARY, (rows, length))
    labels = ids.clone()
    labels[:, 0] = IGNORED
    if not causal:
        labels[torch.rand(rows, length) > 0.3] = IGNORED
    return {"input_ids": ids, "labels": labels}


def reference(model: Any, given: dict[str, torch.Tensor], causal: bool) -> torch.Tensor:
    """The sum, from transformers' own logits."""
    labels = given["labels"]
    logits = model(**{name: value for name, value in given.items() if name not in ("labels", "next_sentence_label")})
    logits = logits.get("prediction_logits", logits.get("logits"))
    if causal:
        logits, labels = logits[:, :-1], labels[:, 1:]
    return F.cross_entropy(logits.reshape(-1, VOCABULARY), labels.reshape(-1), reduction="sum")


def gradients(model: Any, loss: torch.Tensor) -> dict[str, torch.Tensor]:
    model.zero_grad()
    loss.backward()
    return {name: value.grad.clone() for name, value in model.named_parameters() if value.grad is not None}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor], tolerance: float = 1e-6) -> None:
    assert one.keys() == other.keys()
    for name in one:
        assert (one[name] - other[name]).norm() <= tolerance * (other[name].norm() + 1e-3), name


@pytest.mark.parametrize("chunked", [True, False], ids=["chunked", "plain"])
@pytest.mark.parametrize("family", FAMILIES)
def test_loss_and_gradients_are_those_of_the_models_own_logits(
    family: str, chunked: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cross_entropy, "FEWEST_ROWS", 7)
    monkeypatch.setattr(cross_entropy, "CPU_LOGITS", 1)
    model, causal = tiny(family).double(), family in CAUSAL
    if family in EXPERTS:
        model.set_experts_implementation("eager")  # grouped products know no float64
    given = batch(causal)
    expected = reference(model, given, causal)
    wanted = gradients(model, expected)
    with with_loss(model, chunked=chunked):
        found = model(**given).loss
        assert found.item() == pytest.approx(expected.item(), rel=1e-6)
        same(gradients(model, found), wanted)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_chunked_loss_never_makes_all_logits(family: str) -> None:
    model, causal = tiny(family), family in CAUSAL
    seen: list[Any] = []
    model.get_output_embeddings().register_forward_hook(lambda *_: seen.append(1))
    with with_loss(model, chunked=True):
        model(**batch(causal))
    assert not seen
    with with_loss(model, chunked=False):
        model(**batch(causal))
    assert seen


def test_an_output_layer_may_see_labelled_tokens_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a conversation only the answers are learnt: the rest needs no logits, and the loss and gradients are the same."""
    seen: list[int] = []

    def counted(hidden: torch.Tensor, *rest: Any) -> torch.Tensor:
        seen.append(len(hidden))
        return linear_nll(hidden, *rest)

    monkeypatch.setattr("ptft.core.training.heads.linear_nll", counted)
    model, given = tiny("llama").double(), batch(causal=True)
    given["labels"][:, :15] = IGNORED
    found = []
    for sparse in (False, True):
        with with_loss(model, chunked=True, sparse=sparse):
            loss = model(**given).loss
        found.append((loss.detach(), gradients(model, loss)))
    assert torch.allclose(found[0][0], found[1][0]) and seen == [3 * 20, 3 * 5]
    same(found[1][1], found[0][1])


def test_a_masked_head_sees_labelled_tokens_only() -> None:
    model, given = tiny("bert"), batch(causal=False)
    rows: list[int] = []
    model.cls.predictions.transform.register_forward_hook(lambda _, inputs, __: rows.append(inputs[0].size(0)))
    with with_loss(model, chunked=True):
        model(**given)
    assert rows == [int((given["labels"] != IGNORED).sum())]


@pytest.mark.parametrize("chunked", [True, False])
def test_the_pair_loss_is_summed_beside_the_token_loss(chunked: bool) -> None:
    model, given = tiny_bert_for_pairs().double(), batch(causal=False)
    given |= {"token_type_ids": torch.randint(0, 2, (3, 20)), "next_sentence_label": torch.tensor([0, 1, 1])}
    outputs = model(**given)
    tokens = (given["labels"] != IGNORED).sum()
    pairs = F.cross_entropy(outputs.seq_relationship_logits, given["next_sentence_label"])
    expected = gradients(model, (outputs.loss - pairs) * tokens + 3 * pairs)
    with with_loss(model, chunked=chunked):
        found = model(**given)
        assert found.parts["pair"].item() == pytest.approx(3 * pairs.item(), rel=1e-5)
        assert found.loss.item() == pytest.approx(((outputs.loss - pairs) * tokens).item(), rel=1e-5)
        same(gradients(model, found.loss + found.parts["pair"]), expected, 1e-5)


@pytest.mark.parametrize("chunked", [True, False])
@pytest.mark.parametrize("family", ["mixtral", "qwen3_moe"])
def test_experts_report_balance_and_use(family: str, chunked: bool) -> None:
    model, given = tiny(family), batch(causal=True)
    own = model(**given, output_router_logits=True)
    expected = sum_over_sequences(own.router_logits, len(given["input_ids"]))
    wanted = gradients(model, expected)
    with with_loss(model, chunked=chunked):
        parts = model(**given).parts
        assert parts["balance"].item() == pytest.approx(expected.item(), rel=1e-6)
        same(gradients(model, parts["balance"]), wanted)
    use = parts["expert_use"]
    chosen = torch.cat([logits.topk(2).indices.flatten() for logits in own.router_logits])
    assert use.tolist() == pytest.approx((torch.bincount(chosen, minlength=4) / len(chosen)).tolist())
    assert not use.requires_grad


def sum_over_sequences(routes: Any, sequences: int) -> Any:
    """transformers' loss of each layer and sequence alone; it counts two choices a token, ours their share."""
    from transformers.models.mixtral.modeling_mixtral import load_balancing_loss_func

    each = [load_balancing_loss_func((part,), 4, 2) / 2 for route in routes for part in route.view(sequences, -1, 4)]
    return sum(each) / len(routes)


def test_balance_survives_recomputed_activations() -> None:
    model, given = tiny("mixtral").train(), batch(causal=True)
    with with_loss(model, chunked=True):
        outputs = model(**given)
        wanted = gradients(model, outputs.loss + outputs.parts["balance"])
        model.gradient_checkpointing_enable()
        outputs = model(**given)
        assert len(model.model.layers) == 2
        same(gradients(model, outputs.loss + outputs.parts["balance"]), wanted)


def test_forward_is_the_models_own_again() -> None:
    model = tiny("llama")
    before, state = model.forward, list(model.state_dict())
    with with_loss(model, chunked=True):
        assert inspect.signature(model.forward) == inspect.signature(before)
        assert list(model.state_dict()) == state
        assert model(input_ids=torch.tensor([[5, 6]])).logits.shape == (1, 2, VOCABULARY)
        with with_loss(model, chunked=False):  # one inside the other, as in validation
            assert model(**batch(causal=True)).loss > 0
        assert model(**batch(causal=True)).parts == {}
    assert model.forward == before and "forward" not in vars(model)
    with pytest.raises(ValueError), with_loss(model, chunked=True):
        raise ValueError
    assert model.forward == before


def test_a_forward_that_was_replaced_already_is_put_back() -> None:
    model = tiny("llama")
    own = model.forward
    model.forward = lambda **inputs: own(**inputs)  # as accelerate does for mixed precision
    mine = model.forward
    with with_loss(model, chunked=True):
        assert model(**batch(causal=True)).loss > 0
    assert model.forward is mine


def test_the_cache_stays_off() -> None:
    model = tiny("llama")
    model.config.use_cache = True
    caches: list[Any] = []
    model.model.layers[0].register_forward_pre_hook(
        lambda _, args, kwargs: caches.append(kwargs["past_key_values"]), with_kwargs=True
    )
    for chunked in (True, False):
        with with_loss(model, chunked=chunked):
            model(**batch(causal=True))
    assert caches == [None, None]


@pytest.mark.parametrize("targets", [["q_proj", "v_proj"], ["q_proj", "lm_head"]], ids=["inside", "head"])
def test_an_adapter_gets_the_same_gradients(targets: list[str]) -> None:
    import peft

    model = peft.get_peft_model(
        tiny("llama").double(), peft.LoraConfig(target_modules=targets, init_lora_weights=False)
    )
    given = batch(causal=True)
    expected = reference(model, given, causal=True)
    wanted = gradients(model, expected)
    logits_made: list[Any] = []
    hook = model.get_output_embeddings().register_forward_hook(lambda *_: logits_made.append(1))
    with with_loss(model, chunked=True):
        found = model(**given).loss
        assert found.item() == pytest.approx(expected.item(), rel=1e-6)
        same(gradients(model, found), wanted)
    hook.remove()
    assert bool(logits_made) == ("lm_head" in targets)
    assert wanted and all("lora" in name for name in wanted)
    assert model(**given).loss.item() == pytest.approx(expected.item() / (3 * 19), rel=1e-6)


def test_data_parallel_calls_it(tmp_path: Any) -> None:
    import torch.distributed as dist

    model = tiny("qwen3").double()
    given = batch(causal=True)
    expected = reference(model, given, causal=True)
    wanted = gradients(model, expected)
    dist.init_process_group("gloo", init_method=f"file://{tmp_path / 'meet'}", rank=0, world_size=1)
    try:
        wrapped = torch.nn.parallel.DistributedDataParallel(model)
        with with_loss(model, chunked=True):
            found = wrapped(**given).loss
            assert found.item() == pytest.approx(expected.item(), rel=1e-6)
            same(gradients(model, found), wanted)
    finally:
        dist.destroy_process_group()


@pytest.mark.parametrize("family", ["llama", "mixtral", "bert"])
def test_mixed_precision_wraps_it(family: str) -> None:
    """accelerate replaces the forward once more, and rebuilds what it returns."""
    import accelerate
    from accelerate.state import AcceleratorState

    AcceleratorState._reset_state(reset_partial_state=True)
    model, causal = tiny(family), family in CAUSAL
    given = batch(causal)
    expected = reference(model, given, causal).item()
    own = model.forward
    with with_loss(model, chunked=True):
        wrapped = accelerate.Accelerator(mixed_precision="bf16", cpu=True).prepare_model(model)
        outputs = wrapped(**given)
        outputs.loss.backward()
        assert outputs.loss.dtype == torch.float32
        assert outputs.loss.item() == pytest.approx(expected, rel=2e-2) and outputs.loss.item() != expected
        assert ("balance" in outputs.parts) == (family == "mixtral")
    assert model.forward == own


@pytest.mark.skipif(os.name == "nt", reason="gloo meets in a file")
def test_sharded_parameters_are_whole_when_it_needs_them(tmp_path: Any) -> None:
    import torch.distributed as dist
    from torch.distributed.fsdp import fully_shard

    given = batch(causal=False)
    plain = tiny("bert").double()
    wanted = gradients(plain, reference(plain, given, causal=False))
    dist.init_process_group("gloo", init_method=f"file://{tmp_path / 'meet'}", rank=0, world_size=1)
    try:
        model = tiny("bert").double()
        for layer in model.bert.encoder.layer:
            fully_shard(layer)
        fully_shard(model)
        with with_loss(model, chunked=True):
            loss = model(**given).loss
            model.zero_grad()
            loss.backward()
        found = {name: value.grad.full_tensor() for name, value in model.named_parameters()}
        same(found, {name: wanted[name] for name in found}, 1e-5)
    finally:
        dist.destroy_process_group()


def test_a_compiled_model_calls_it() -> None:
    """A masked one: how many tokens are labelled differs from batch to batch."""
    model = tiny("bert", num_hidden_layers=1)
    batches = [batch(causal=False, rows=rows) for rows in (3, 3)]
    batches[1]["labels"][:, 7] = batches[1]["input_ids"][:, 7]
    expected = [reference(model, given, causal=False).item() for given in batches]
    torch._dynamo.reset()
    with with_loss(model, chunked=True):
        model.compile(backend="eager")
        for given, wanted in zip(batches, expected, strict=True):
            loss = model(**given).loss
            assert loss.item() == pytest.approx(wanted, rel=1e-5)
            loss.backward()


# ---------------------------------------------------------------- the cross entropy itself


@pytest.mark.parametrize("bias", [True, False])
def test_linear_nll_is_cross_entropy(bias: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cross_entropy, "FEWEST_ROWS", 4)
    monkeypatch.setattr(cross_entropy, "CPU_LOGITS", 1)
    torch.manual_seed(0)
    given = [torch.randn(10, 6), torch.randn(30, 6) * 20, *([torch.randn(30)] if bias else [])]
    labels = torch.tensor([3, IGNORED, 0, 29, 7, IGNORED, 1, 2, 3, 4])
    found, wanted = ([value.clone().requires_grad_() for value in given] for _ in range(2))
    loss = linear_nll(found[0], found[1], labels, *found[2:])
    expected = F.cross_entropy(F.linear(*wanted), labels, ignore_index=IGNORED, reduction="sum")
    (loss / 7).backward()
    (expected / 7).backward()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-6)
    for mine, theirs in zip(found, wanted, strict=True):
        assert torch.allclose(mine.grad, theirs.grad, atol=1e-6, rtol=1e-5)
    with pytest.raises(RuntimeError, match="already taken"):
        loss.backward()


def test_nothing_labelled_is_a_loss_of_nothing() -> None:
    hidden, weight = torch.randn(0, 6, requires_grad=True), torch.randn(30, 6, requires_grad=True)
    loss = linear_nll(hidden, weight, torch.zeros(0, dtype=torch.int64))
    loss.backward()
    assert loss.item() == 0 and not weight.grad.any()


@pytest.mark.parametrize("autocast", [True, False])
def test_half_precision_sums_in_full(autocast: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cross_entropy, "CPU_LOGITS", 1)
    torch.manual_seed(0)
    given = [torch.randn(2000, 8), torch.randn(50, 8), torch.randn(50)]
    labels = torch.randint(0, 50, (2000,))
    labels[::3] = IGNORED
    wanted = [value.clone().requires_grad_() for value in given]
    expected = F.cross_entropy(F.linear(*wanted), labels, ignore_index=IGNORED, reduction="sum")
    expected.backward()
    mine = [value.to(torch.float32 if autocast else torch.bfloat16).requires_grad_() for value in given]
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        loss = linear_nll(mine[0], mine[1], labels, mine[2])
    loss.backward()
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(expected.item(), rel=1e-3)
    for half, full in zip(mine, wanted, strict=True):
        assert half.grad.dtype == half.dtype
        assert (half.grad.float() - full.grad).norm() < 2e-2 * full.grad.norm()


def test_without_gradients_none_are_made() -> None:
    hidden, weight = torch.randn(5, 6), torch.randn(30, 6, requires_grad=True)
    with torch.no_grad():
        assert not linear_nll(hidden, weight, torch.arange(5)).requires_grad
    frozen = linear_nll(hidden.requires_grad_(), weight.detach(), torch.arange(5))
    frozen.backward()
    assert hidden.grad is not None
