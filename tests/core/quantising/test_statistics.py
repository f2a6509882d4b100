"""What is summed of layers' inputs: without padding, once for layers that share them; calibration rows."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiny
import torch

from ptft.core.errors import InputError
from ptft.core.models import load
from ptft.core.quantising.statistics import Collector, calibration_of, collecting, padding_in


def test_sums_are_those_of_the_tokens_and_padding_does_not_count() -> None:
    draw = torch.Generator().manual_seed(0)
    layer = torch.nn.Linear(6, 3)
    given = torch.randn(2, 4, 6, generator=draw)
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]])
    with collecting({"layer": layer}) as collector:
        collector.begin(mask)
        layer(given)
        collector.begin(torch.ones(2, 4, dtype=torch.int64))
        layer(given * 2)
    tokens = torch.cat([given[mask.bool()], 2 * given.reshape(-1, 6)]).double()
    found = collector["layer"]
    assert found is not None and found.count == 14
    assert torch.allclose(found.hessian, 2 * tokens.T @ tokens / 14, rtol=1e-5)
    assert torch.allclose(found.mean_magnitude, tokens.abs().mean(0), rtol=1e-5)


def test_layers_that_are_given_the_same_tensor_share_sums() -> None:
    one, two, other, never = (torch.nn.Linear(4, 4) for _ in range(4))
    given = torch.ones(1, 3, 4)
    with collecting({"one": one, "two": two, "other": other, "never": never}) as collector:
        for _ in range(2):
            collector.begin(None)
            one(given), two(given), other(given.clone())
    assert collector["one"] is collector["two"]
    assert collector["other"] is not collector["one"]
    assert collector["never"] is None
    assert {name: sums.count for name, sums in collector.sums.items()} == {"one": 6, "other": 6}


def test_scaled_sums_are_those_of_scaled_inputs() -> None:
    tokens, scales = torch.randn(9, 5), torch.rand(5) + 0.5
    plain, scaled = Collector(), Collector()
    plain.take("x", tokens)
    scaled.take("x", tokens / scales)
    assert torch.allclose(plain.sums["x"].scaled(scales).gram, scaled.sums["x"].gram, rtol=1e-4)
    assert torch.allclose(plain.sums["x"].scaled(scales).magnitude, scaled.sums["x"].magnitude, rtol=1e-4)


def test_a_mask_that_hides_nothing_is_none() -> None:
    assert padding_in(None) is None
    assert padding_in(torch.ones(2, 3)) is None
    assert padding_in(torch.tensor([[1, 0]])).tolist() == [[True, False]]  # type: ignore[union-attr]


def test_rows_of_a_causal_model_are_of_one_length_and_begin_where_the_last_ended(tmp_path: Path) -> None:
    loaded = load(tiny.causal(tmp_path / "model"))
    found = calibration_of(loaded, tiny.TEXTS * 5, rows=6, length=16)
    ids = torch.cat([batch["input_ids"] for batch in found.batches])
    assert ids.shape == (6, 16) and found.tokens == 96
    stream = [token for text in tiny.TEXTS * 5 for token in [*loaded.tokenizer(text)["input_ids"], 0]]
    assert ids.flatten().tolist() == stream[:96]


def test_rows_of_a_classifier_are_as_it_is_used(tmp_path: Path) -> None:
    loaded = load(tiny.bert_classifier(tmp_path / "model"))
    found = calibration_of(loaded, tiny.TEXTS, tiny.TEXTS, rows=3, length=64)
    (batch,) = found.batches
    assert batch["input_ids"].shape[0] == 3
    assert batch["attention_mask"].sum(1).tolist() == sorted(batch["attention_mask"].sum(1).tolist())
    assert (batch["input_ids"][batch["attention_mask"] == 0] == 1).all()
    assert found.tokens == int(batch["attention_mask"].sum())


def test_no_text_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no token"):
        calibration_of(load(tiny.bert_classifier(tmp_path / "model")), [], rows=4)
