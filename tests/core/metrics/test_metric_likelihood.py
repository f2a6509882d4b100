"""Perplexity and bits per byte by total negative log likelihood."""

from __future__ import annotations

import math

import pytest

from ptft.core.metrics import names
from ptft.core.metrics.likelihood import likelihood, likelihood_measures


def test_perplexity_is_over_all_tokens_and_not_a_mean_of_texts() -> None:
    scores = likelihood([10.0, 2.0, 0.0], [4, 2, 0], [20, 5, 3], names.LIKELIHOODS)
    assert scores["perplexity"]["score"] == pytest.approx(math.exp(12 / 6))
    assert scores["bits_per_byte"]["score"] == pytest.approx(12 / math.log(2) / 25)  # no tokens, no bytes
    low, high = scores["perplexity"]["ci95"]
    assert low == pytest.approx(math.exp(1)) and high == pytest.approx(math.exp(2.5))
    assert (scores["perplexity"]["nll"], scores["perplexity"]["tokens"], scores["perplexity"]["bytes"]) == (12, 6, 25)


def test_nothing_to_score_is_not_a_number() -> None:
    found = likelihood([0.0], [0], [1], ("perplexity",))["perplexity"]
    assert math.isnan(found["score"]) and found["ci95"] is None


def test_texts_have_their_own_and_what_is_impossible_is_infinite() -> None:
    perplexity, bits = likelihood_measures([4.0, 2000.0, 0.0], [2, 1, 0], [8, 1, 0], names.LIKELIHOODS)
    assert perplexity.own is not None and bits.own is not None
    assert perplexity.own[0] == pytest.approx(math.exp(2)) and math.isinf(perplexity.own[1])
    assert bits.own[0] == pytest.approx(0.5 / math.log(2)) and math.isnan(bits.own[2])
