"""Distinct n-grams and repetition, against the formulas of their papers on texts counted by hand."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ptft.core.metrics.measure import scores
from ptft.core.metrics.variety import variety_measures

NAMES = ("distinct1", "distinct2", "distinct3", "repetition")


def found(texts: list[str]) -> dict[str, float]:
    return {measure.name: measure.score() for measure in variety_measures(texts, NAMES)}


def test_distinct_is_over_all_texts_together() -> None:
    """Li et al. 2016: "I do n't know" twice has 4 distinct words of 8."""
    assert found(["I do not know", "I do not know"]) == pytest.approx(
        {"distinct1": 0.5, "distinct2": 0.5, "distinct3": 0.5, "repetition": 0.0}
    )
    assert found(["a b", "b a"])["distinct2"] == 1.0  # no pair goes over the end of a text


def test_repetition_is_seq_rep_4() -> None:
    """Welleck et al. 2019: 1 - distinct 4-grams / 4-grams; "a b a b a b a" has 4, of which 2 are distinct."""
    assert found(["a b a b a b a", "a b c d"])["repetition"] == pytest.approx((0.5 + 0) / 2)


def test_chinese_is_by_character() -> None:
    assert found(["好好学习"])["distinct1"] == pytest.approx(3 / 4)
    assert found(["好好好好好"])["repetition"] == pytest.approx(0.5)


def test_texts_too_short_have_none() -> None:
    measures = {measure.name: measure for measure in variety_measures(["", "a b"], NAMES)}
    assert np.isnan(measures["distinct3"].score()) and np.isnan(measures["repetition"].score())
    assert measures["distinct1"].own == pytest.approx([np.nan, 1.0], nan_ok=True)
    assert all(np.isnan(measure.score()) for measure in variety_measures([], NAMES))


words = st.lists(st.sampled_from("abc"), max_size=9)


@settings(max_examples=60, deadline=None)
@given(st.lists(words, min_size=1, max_size=6))
def test_vectorised_counts_are_the_plain_ones(texts: list[list[str]]) -> None:
    values = found([" ".join(text) for text in texts])
    pairs = [pair for text in texts for pair in pairwise(text)]
    assert values["distinct2"] == pytest.approx(len(set(pairs)) / len(pairs) if pairs else np.nan, nan_ok=True)
    grams = [[tuple(text[i : i + 4]) for i in range(len(text) - 3)] for text in texts]
    shares = [1 - len(set(row)) / len(row) for row in grams if row]
    assert values["repetition"] == pytest.approx(np.mean(shares) if shares else np.nan, nan_ok=True)


def test_distinct_of_a_slice_is_that_of_its_rows_alone() -> None:
    texts = ["a b c", "a b d", "x y z", "x x x"]
    among = np.array([True, True, False, False])
    part = scores(variety_measures(texts, NAMES), 50, among=among)
    assert part["distinct1"]["score"] == found(texts[:2])["distinct1"] == pytest.approx(4 / 6)


def test_distinct_has_no_interval_and_says_why() -> None:
    """Resamples repeat rows, so nearly all of them score lower than the sample: it would lie outside its own interval."""
    score = scores(variety_measures([f"w{i} v{i}" for i in range(40)], ["distinct1", "repetition"]))
    assert score["distinct1"]["ci95"] is None and "resample" in score["distinct1"]["no_interval"]


def test_repetition_has_an_interval() -> None:
    low, high = scores(variety_measures(["a a a a a a", "a b c d e f"] * 20, ["repetition"]))["repetition"]["ci95"]
    assert 0 < low < 1 / 3 < high < 2 / 3
