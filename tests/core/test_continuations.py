"""Continuations: what is shared runs once, and says the same as every sequence by itself."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ptft.core import continuations
from ptft.core.continuations import score_continuations, takes_trees
from ptft.core.errors import InputError
from ptft.core.models import Loaded
from ptft.core.tree import tree_of

LENGTH = 64
SHARED = [random.Random(3).randrange(400) for _ in range(40)]


def _loaded(model: Any) -> Loaded:
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(3)
    return Loaded(model.eval(), None, "causal", (), LENGTH, Path("model"))


def _families() -> dict[str, Callable[[], Any]]:
    import transformers as hf

    size = tiny.sizes(num_key_value_heads=1)
    return {
        "llama": lambda: hf.LlamaForCausalLM(hf.LlamaConfig(**size)),
        "qwen3": lambda: hf.Qwen3ForCausalLM(hf.Qwen3Config(**size, head_dim=16)),
        "gpt2": lambda: hf.GPT2LMHeadModel(
            hf.GPT2Config(vocab_size=400, n_embd=32, n_layer=2, n_head=2, n_positions=LENGTH)
        ),
        "granite": lambda: hf.GraniteForCausalLM(
            hf.GraniteConfig(**size, logits_scaling=3.0)
        ),  # logits change after the head
        "mistral": lambda: hf.MistralForCausalLM(hf.MistralConfig(**size, sliding_window=8)),
        "bloom": lambda: hf.BloomForCausalLM(
            hf.BloomConfig(vocab_size=400, hidden_size=32, n_layer=2, n_head=2)
        ),  # ALiBi
    }


TREES = ("llama", "qwen3", "gpt2", "granite")


@pytest.fixture(scope="module")
def models() -> dict[str, Loaded]:
    torch.manual_seed(1)
    return {name: _loaded(make()) for name, make in _families().items()}


def _alone(loaded: Loaded, context: list[int], continuation: list[int]) -> float:
    """By the definition: one pass, one softmax a token."""
    ids = (context + continuation)[-(LENGTH + 1) :]
    with torch.inference_mode():
        chances = loaded.model(input_ids=torch.tensor([ids[:-1]])).logits[0].double().log_softmax(-1)
    first = len(ids) - len(continuation)
    return float(sum(chances[place - 1, ids[place]] for place in range(first, len(ids))))


def _rows(seed: int) -> list[list[tuple[list[int], list[int]]]]:
    draw = random.Random(seed)
    some = lambda low, high: [draw.randrange(400) for _ in range(draw.randint(low, high))]  # noqa: E731
    rows = []
    for number in range(5):
        context = (SHARED if number % 2 else []) + some(1, 9)
        stem = some(0, 3)
        rows.append([(context, stem + some(1, 4)) for _ in range(draw.randint(1, 4))])
    rows.append([([*some(30, 60), *SHARED], some(1, 3)) for _ in range(2)])  # contexts that differ, and one is cut
    return rows


@pytest.mark.parametrize("family", [*TREES, "mistral", "bloom"])
@pytest.mark.parametrize("size", [0, 1, 8, 32])
def test_trees_agree_with_every_sequence_alone(family: str, size: int, models: dict[str, Loaded]) -> None:
    loaded, rows = models[family], _rows(5)
    assert takes_trees(loaded) == (family in TREES)
    found = [score.loglikelihood for row in score_continuations(loaded, rows, size) for score in row]
    np.testing.assert_allclose(found, [_alone(loaded, *pair) for row in rows for pair in row], atol=1e-5)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6), family=st.sampled_from(TREES[:3]))
def test_together_is_apart(seed: int, family: str, models: dict[str, Loaded]) -> None:
    rows = _rows(seed)
    together, apart = (score_continuations(models[family], rows, 0, plain=plain) for plain in (False, True))
    for one, other in zip(together, apart, strict=True):
        np.testing.assert_allclose([s.loglikelihood for s in one], [s.loglikelihood for s in other], atol=1e-5)
        assert [s.greedy for s in one] == [s.greedy for s in other]
        assert np.argmax([s.loglikelihood for s in one]) == np.argmax([s.loglikelihood for s in other])


def test_what_rows_share_runs_once(models: dict[str, Loaded], monkeypatch: pytest.MonkeyPatch) -> None:
    loaded, seen = models["llama"], []
    forward = type(loaded.model).forward

    def counted(self: Any, *args: Any, **kwargs: Any) -> Any:
        seen.append(kwargs["input_ids"].numel())
        return forward(self, *args, **kwargs)

    rows = [[([*SHARED, number], [1, 2, choice]) for choice in range(5)] for number in range(4)]
    assert takes_trees(loaded)
    monkeypatch.setattr(type(loaded.model), "forward", counted)
    score_continuations(loaded, rows, 4)
    # the 40 shared tokens once; of each row its own token and the two that its choices begin with
    assert seen == [40, 4 * 3]
    seen.clear()
    score_continuations(loaded, rows, 4, plain=True)
    assert sum(seen) == 4 * 43


def test_a_context_is_cut_from_the_left_and_told(models: dict[str, Loaded]) -> None:
    context, answer = list(range(100)), [5, 6]
    ((score,),) = score_continuations(models["llama"], [[(context, answer)]], 0)
    assert score.cut == 102 - (LENGTH + 1)
    assert score.loglikelihood == pytest.approx(_alone(models["llama"], context, answer), abs=1e-5)
    ((short,),) = score_continuations(models["llama"], [[(context, answer)]], 0, context=8)
    ((same,),) = score_continuations(models["llama"], [[(context[-7:], answer)]], 0)
    assert short.cut == 93 and short.loglikelihood == pytest.approx(same.loglikelihood, abs=1e-5)


def test_greedy_is_the_likeliest_token_at_each_place(models: dict[str, Loaded]) -> None:
    loaded, context = models["qwen3"], [3, 4, 5]
    ids = list(context)
    for _ in range(3):
        with torch.inference_mode():
            ids.append(int(loaded.model(input_ids=torch.tensor([ids])).logits[0, -1].argmax()))
    ((best, other),) = score_continuations(loaded, [[(context, ids[3:]), (context, [ids[3], 7, 8])]], 0)
    assert best.greedy == tuple(ids[3:]) and best.likeliest == best.loglikelihood
    assert other.likeliest > other.loglikelihood


def test_outputs_that_are_not_numbers_are_refused(models: dict[str, Loaded]) -> None:
    import copy

    model = copy.deepcopy(models["llama"].model)
    with torch.no_grad():
        model.model.norm.weight.fill_(float("nan"))
    broken = Loaded(model, None, "causal", (), LENGTH, Path("model"))
    with pytest.raises(InputError, match="not finite"):
        score_continuations(broken, [[([1, 2], [3]), ([1, 2], [4])]], 0)


def test_a_model_that_ignores_the_mask_is_found_out(models: dict[str, Loaded], monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = models["gpt2"]
    monkeypatch.setattr(
        continuations, "_mask", lambda tree, skipped, width: np.tri(width, skipped + width, skipped, dtype=bool)
    )
    monkeypatch.setattr(continuations, "_TAKES", {})
    assert not takes_trees(loaded)


def test_a_tree_holds_each_beginning_once() -> None:
    tree = tree_of([([1, 2, 3, 4], 2), ([1, 2, 3, 5], 2), ([1, 2, 6], 2), ([1, 2, 3, 7, 8], 2)])
    assert tree.tokens == [1, 2, 3, 7] and tree.is_chain and tree.used == [1, 2, 3]
    split = tree_of([([1, 2, 3], 1), ([1, 5, 3], 1)])
    assert (split.tokens, split.parents, split.places) == ([1, 2, 5], [-1, 0, 0], [0, 1, 1])
    assert split.seen.tolist() == [[True, False, False], [True, True, False], [True, False, True]]
    assert split.ends == [([0, 1], [2, 3]), ([0, 2], [5, 3])]
