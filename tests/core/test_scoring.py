"""Likelihoods of texts: only what is scored goes through the output layer, and a first token where it is asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import tiny
import torch

from ptft.core.errors import InputError
from ptft.core.models import Loaded, load
from ptft.core.output_layer import logits_at, makes_all_logits
from ptft.core.scoring import Windows, begins_with, score_texts, sum_nll

TEXTS = [*tiny.TEXTS, "fox", "A model learns from text. " * 6]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    return load(tiny.causal(tmp_path_factory.mktemp("model") / "model"))


class _Bare:
    """The model of another runtime: a function from ids to all logits."""

    def __init__(self, model: Any) -> None:
        self._model, self.config, self.device = model, model.config, model.device

    def __call__(self, **inputs: Any) -> Any:
        return self._model(**inputs)


def test_windows_agree_with_one_pass_a_window(model: Loaded) -> None:
    windows = Windows(16, 8)
    for text, score in zip(TEXTS, score_texts(model, TEXTS, windows, 0), strict=True):
        ids = model.tokenizer(text, add_special_tokens=False)["input_ids"]
        total = 0.0
        for begin, first, end in windows.over(len(ids)):
            with torch.inference_mode():
                chances = model.model(input_ids=torch.tensor([ids[begin:end]])).logits[0].double().log_softmax(-1)
            total -= float(sum(chances[place - begin - 1, ids[place]] for place in range(first, end)))
        assert score.nll == pytest.approx(total, abs=1e-4) and score.tokens == len(ids) - 1


@pytest.mark.parametrize("size", [1, 8, 32])
def test_batches_change_no_likelihood(size: int, model: Loaded) -> None:
    wanted = [score.nll for score in score_texts(model, TEXTS, Windows(16, 8), 0)]
    assert [score.nll for score in score_texts(model, TEXTS, Windows(16, 8), size)] == pytest.approx(wanted, abs=1e-4)


def test_a_model_of_another_runtime_says_the_same(model: Loaded) -> None:
    bare = Loaded(_Bare(model.model), model.tokenizer, "causal", (), 64, model.folder)
    assert makes_all_logits(bare.model) and not makes_all_logits(model.model)
    ids = [model.tokenizer(text, add_special_tokens=False)["input_ids"][:40] for text in TEXTS]
    spans = [[(0, min(3, len(row) - 1), len(row))] for row in ids]
    assert sum_nll(bare, ids, spans, 2) == pytest.approx(sum_nll(model, ids, spans, 0), abs=1e-4)


def test_only_wanted_places_reach_the_output_layer(model: Loaded) -> None:
    seen: list[Any] = []
    handle = model.model.lm_head.register_forward_hook(lambda module, args, output: seen.append(output.shape))
    ids = torch.tensor([[5, 6, 7, 8], [9, 8, 7, 6]])
    rows, columns = torch.tensor([0, 1, 1]), torch.tensor([3, 0, 2])
    with torch.inference_mode():
        found, _ = logits_at(model.model, {"input_ids": ids}, rows, columns)
        handle.remove()
        whole = model.model(input_ids=ids).logits
    assert seen == [(1, 3, 400)]
    torch.testing.assert_close(found, whole[rows, columns])


def test_a_prefix_scores_the_first_token(model: Loaded) -> None:
    text = "The quick brown fox"
    (without,) = score_texts(model, [text], Windows(64, 32), 1)
    (begun,) = score_texts(model, [text], Windows(64, 32), 1, "yes")
    ids = model.tokenizer(text)["input_ids"]
    assert (begun.tokens, without.tokens) == (len(ids), len(ids) - 1)
    assert begun.bytes == len(text) > without.bytes
    wanted = sum_nll(model, [[model.tokenizer.eos_token_id, *ids]], [[(0, 1, len(ids) + 1)]], 1)
    assert begun.nll == pytest.approx(wanted[0], abs=1e-5)


def test_the_token_that_texts_begin_with() -> None:
    tokenizer = tiny.tokenizer()
    assert (begins_with(tokenizer, "auto"), begins_with(tokenizer, "no")) == ([], [])
    assert begins_with(tokenizer, "yes") == [tokenizer.eos_token_id]
    tokenizer.bos_token = "<|im_start|>"
    assert begins_with(tokenizer, "yes") == [tokenizer.bos_token_id]
    tokenizer.bos_token = tokenizer.eos_token = None
    with pytest.raises(InputError, match="neither a beginning-of-text nor an end-of-text token"):
        begins_with(tokenizer, "yes")


def test_an_adapters_virtual_tokens_are_not_scored(model: Loaded, tmp_path: Path) -> None:
    """They stand before the text and shift every place."""
    from peft import PromptTuningConfig, get_peft_model

    base = load(tiny.causal(tmp_path / "base")).model
    tuned = get_peft_model(base, PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3)).eval()
    ids = torch.tensor([[5, 6, 7, 8]])
    with torch.inference_mode():
        found, _ = logits_at(tuned, {"input_ids": ids}, torch.tensor([0, 0]), torch.tensor([1, 3]))
        whole = tuned(input_ids=ids).logits[0, -4:]
    torch.testing.assert_close(found, whole[[1, 3]])
