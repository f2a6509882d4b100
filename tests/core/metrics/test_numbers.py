"""Scores of numbers are scipy's and scikit-learn's; intervals are those of rows drawn out one by one."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import pearsonr, spearmanr
from sklearn.metrics import mean_absolute_error, mean_squared_error, r2_score, root_mean_squared_error

from ptft.core.metrics.measure import draws, resampled
from ptft.core.metrics.names import NUMBERS
from ptft.core.metrics.numbers import number_measures, number_of, numbers

FEW = st.integers(-3, 3).map(float)  # ties are common
PAIRS = st.lists(st.tuples(FEW, FEW), min_size=2, max_size=20)


def correlation(function, x, y):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return np.nan_to_num(function(x, y)[0])


@settings(max_examples=50)
@given(PAIRS)
def test_scores_are_those_of_scipy_and_scikit_learn(pairs):
    x, y = map(list, zip(*pairs, strict=True))
    found = {name: score["score"] for name, score in numbers(x, y, NUMBERS, resamples=0).items()}
    assert found["pearson"] == pytest.approx(correlation(pearsonr, x, y), abs=1e-9)
    assert found["spearman"] == pytest.approx(correlation(spearmanr, x, y), abs=1e-9)
    assert found["mse"] == pytest.approx(mean_squared_error(x, y))
    assert found["mae"] == pytest.approx(mean_absolute_error(x, y))
    assert found["rmse"] == pytest.approx(root_mean_squared_error(x, y))
    assert found["r2"] == pytest.approx(r2_score(x, y))


def test_intervals_are_those_of_drawn_rows():
    random = np.random.default_rng(4)
    x = random.normal(size=30)
    y = np.round(x + random.normal(size=30))
    found = numbers(x, y, NUMBERS, resamples=200)
    counts = np.concatenate(list(draws(30, 200))).astype(int)
    rows = [np.repeat(np.arange(30), draw) for draw in counts]
    for name, function in (("pearson", pearsonr), ("spearman", spearmanr)):
        scores = [function(x[drawn], y[drawn])[0] for drawn in rows]
        assert found[name]["ci95"] == pytest.approx(np.percentile(scores, [2.5, 97.5]).tolist())
    for name, function in (("mae", mean_absolute_error), ("rmse", root_mean_squared_error), ("r2", r2_score)):
        errors = [function(x[drawn], y[drawn]) for drawn in rows]
        assert found[name]["ci95"] == pytest.approx(np.percentile(errors, [2.5, 97.5]).tolist())


@settings(max_examples=30, deadline=None)
@given(PAIRS)
def test_spearman_of_ties_and_resamples_is_that_of_rows_drawn_out(pairs):
    x, y = map(np.array, zip(*pairs, strict=True))
    values = resampled(number_measures(x, y, ("spearman",)), 5)["spearman"]
    for value, counts in zip(values, np.concatenate(list(draws(len(x), 5))).astype(int), strict=True):
        assert value == pytest.approx(correlation(spearmanr, np.repeat(x, counts), np.repeat(y, counts)), abs=1e-9)


def test_a_single_row_and_unequal_lengths():
    found = numbers([1.0], [2.0], NUMBERS, resamples=3)
    assert np.isnan(found["r2"]["score"]) and "single row" in found["r2"]["why"] and found["rmse"]["score"] == 1
    assert numbers([2.0, 2.0], [2.0, 2.0], ("r2",), resamples=3)["r2"]["score"] == 1
    with pytest.raises(ValueError, match="2 references, and 1 predictions"):
        numbers([1.0, 2.0], [1.0], NUMBERS)


def test_r2_far_from_zero_keeps_its_digits():
    x = np.arange(10.0)
    assert numbers(x + 1e9, x + 1e9 + 0.5, ("r2",), resamples=0)["r2"]["score"] == pytest.approx(1 - 2.5 / 82.5)


def test_a_correlation_far_from_zero_keeps_its_digits():
    x = np.arange(10.0)
    assert numbers(x + 1e9, x * 1e-9, ("pearson",), resamples=0)["pearson"]["score"] == pytest.approx(1.0)


def test_what_is_constant_is_told_apart_from_nothing():
    found = numbers([0.1] * 7, [1.0, 2, 3, 4, 5, 6, 7], ("pearson", "spearman"), resamples=10)
    assert {name: score["score"] for name, score in found.items()} == {"pearson": 0.0, "spearman": 0.0}


@pytest.mark.parametrize(
    ("value", "number"),
    [(1, 1.0), (2.5, 2.5), ("-3e2", -300.0), (True, None), ("much", None), (float("nan"), None), ([1], None)],
)
def test_what_counts_as_a_number(value, number):
    assert number_of(value) == number
