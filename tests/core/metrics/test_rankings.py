"""Scores of rankings, against scikit-learn's where it has them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, ndcg_score

from ptft.core.metrics.names import RANKINGS
from ptft.core.metrics.rankings import ranking_measures, rankings

ITEMS = list("abcdefgh")
QUERIES = st.tuples(st.permutations(ITEMS), st.sets(st.sampled_from(ITEMS), min_size=1))


@settings(max_examples=60, deadline=None)
@given(st.lists(QUERIES, min_size=1, max_size=5))
def test_full_rankings_are_scikit_learns(queries: list[tuple[list[str], set[str]]]) -> None:
    """Where every item is ranked, map is the mean of average_precision_score and ndcg that of ndcg_score."""
    found = rankings([q for q, _ in queries], [sorted(r) for _, r in queries], RANKINGS, resamples=0)
    gains = np.array([[item in relevant for item in ranking] for ranking, relevant in queries], dtype=float)
    sureness = -np.arange(len(ITEMS), dtype=float)
    precision = [average_precision_score(row, sureness) for row in gains]
    assert found["map"]["score"] == pytest.approx(np.mean(precision))
    assert found["ndcg"]["score"] == pytest.approx(ndcg_score(gains, np.tile(sureness, (len(gains), 1))))
    assert found["top1"]["score"] == pytest.approx(gains[:, 0].mean())
    assert found["top5"]["score"] == pytest.approx(gains[:, :5].any(axis=1).mean())
    assert found["mrr"]["score"] == pytest.approx((1 / (gains.argmax(axis=1) + 1)).mean())


def test_by_hand() -> None:
    """Relevant are a and z; found are a at place 2, and z not at all."""
    found = rankings([["b", "a", "c"]], [["a", "z"]], RANKINGS, resamples=0)
    assert found["map"]["score"] == pytest.approx(0.5 / 2)
    assert found["ndcg"]["score"] == pytest.approx((1 / math.log2(3)) / (1 + 1 / math.log2(3)))
    assert (found["mrr"]["score"], found["top1"]["score"], found["top5"]["score"]) == (0.5, 0, 1)


def test_twice_listed_counts_once_and_at_its_first_place() -> None:
    measures = ranking_measures([["b", "b", "b", "b", "b", "a", "a"]], [["a", "a"]], RANKINGS)
    assert {measure.name: measure.score() for measure in measures} == pytest.approx(
        {"top1": 0, "top5": 1, "map": 0.5, "mrr": 0.5, "ndcg": 1 / math.log2(3)}
    )


def test_nothing_listed_is_0_and_nothing_relevant_does_not_count() -> None:
    for measure in ranking_measures([[], ["a"], ["a"]], [["a"], [], ["a"]], RANKINGS):
        assert measure.score() == 0.5 and measure.detail == {"rows_without_relevant": 1}
        assert measure.own is not None and math.isnan(measure.own[1])
    assert all(math.isnan(measure.score()) for measure in ranking_measures([["a"]], [[]], RANKINGS))
