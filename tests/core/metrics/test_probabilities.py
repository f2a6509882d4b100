"""Scores of probabilities are scikit-learn's, calibration torchmetrics'; resamples are those of rows drawn out one by one."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sklearn

from ptft.core.errors import UsageError
from ptft.core.metrics.measure import draws, resampled, scores
from ptft.core.metrics.names import PROBABILITIES
from ptft.core.metrics.probabilities import calibration_figure, probabilities, probability_measures

TENTHS = st.integers(0, 10).map(lambda tenth: tenth / 10)  # ties are common
BINARY = st.lists(st.tuples(st.booleans(), TENTHS), min_size=1, max_size=20)
MANY = st.lists(
    st.tuples(st.integers(0, 2), st.lists(st.integers(1, 4), min_size=3, max_size=3)), min_size=1, max_size=20
)


def scored(references: list[str], labels: str, chances: np.ndarray, **options: str) -> dict[str, float]:
    measures = probability_measures(references, list(labels), chances, PROBABILITIES, **options)
    return {measure.name: measure.score() for measure in measures}


@settings(max_examples=60, deadline=None)
@given(BINARY)
def test_of_two_labels_they_are_scikit_learns(rows: list[tuple[bool, float]]) -> None:
    truth = [False, True, *(row[0] for row in rows)]  # both occur, without which scikit-learn has no value
    sure = np.array([0.3, 0.6, *(row[1] for row in rows)])
    found = scored(["01"[value] for value in truth], "01", np.column_stack([1 - sure, sure]))
    assert found["auroc"] == pytest.approx(sklearn.roc_auc_score(truth, sure))
    assert found["average_precision"] == pytest.approx(sklearn.average_precision_score(truth, sure))
    assert found["log_loss"] == pytest.approx(sklearn.log_loss(truth, np.column_stack([1 - sure, sure])))
    assert found["brier"] == pytest.approx(sklearn.brier_score_loss(truth, sure))


@settings(max_examples=60, deadline=None)
@given(MANY)
def test_of_several_labels_they_are_scikit_learns(rows: list[tuple[int, list[int]]]) -> None:
    truth = np.array([0, 1, 2, *(row[0] for row in rows)])
    weights = np.array([[1, 2, 3], [3, 1, 1], [2, 2, 2], *(row[1] for row in rows)], dtype=float)
    chances = weights / weights.sum(axis=1, keepdims=True)
    found = scored([str(label) for label in truth], "012", chances)
    assert found["auroc"] == pytest.approx(sklearn.roc_auc_score(truth, chances, multi_class="ovr"))
    precision = sklearn.average_precision_score(np.eye(3)[truth], chances, average="macro")
    assert found["average_precision"] == pytest.approx(precision)
    assert found["log_loss"] == pytest.approx(sklearn.log_loss(truth, chances))
    assert found["brier"] == pytest.approx(sklearn.brier_score_loss(truth, chances, labels=[0, 1, 2]))


def test_scikit_learns_examples() -> None:
    """The docstrings of roc_auc_score, average_precision_score, brier_score_loss and log_loss."""
    sure = np.array([0.1, 0.4, 0.35, 0.8])
    found = scored(list("0011"), "01", np.column_stack([1 - sure, sure]))
    assert found["auroc"] == 0.75 and found["average_precision"] == pytest.approx(0.83, abs=0.005)
    sure = np.array([0.1, 0.9, 0.8, 0.3])
    assert scored(list("0110"), "01", np.column_stack([1 - sure, sure]))["brier"] == pytest.approx(0.0375)
    table = np.array([[0.8, 0.1, 0.1], [0.2, 0.7, 0.1], [0.2, 0.2, 0.6]])
    assert scored(list("ehs"), "ehs", table)["brier"] == pytest.approx(0.146, abs=0.001)
    table = np.array([[0.1, 0.9], [0.9, 0.1], [0.8, 0.2], [0.35, 0.65]])
    spam = probabilities(["spam", "ham", "ham", "spam"], ["ham", "spam"], table, ("log_loss",), resamples=0)
    assert spam["log_loss"]["score"] == pytest.approx(0.21616, abs=1e-5)


# ---------------------------------------------------------------- resamples


def drawn_out(labels: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(labels)
    truth = random.integers(labels, size=30)
    weights = random.integers(1, 5, size=(30, labels)) + 2.0 * np.eye(labels)[truth]
    return truth, weights / weights.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("labels", [2, 3])
def test_resamples_are_those_of_rows_drawn_out(labels: int) -> None:
    truth, chances = drawn_out(labels)
    names = [str(label) for label in range(labels)]
    values = resampled(probability_measures([names[t] for t in truth], names, chances, PROBABILITIES), 20)
    for place, counts in enumerate(np.concatenate(list(draws(30, 20))).astype(int)):
        rows = np.repeat(np.arange(30), counts)
        sides = truth[rows], chances[rows, 1] if labels == 2 else chances[rows]
        assert values["auroc"][place] == pytest.approx(sklearn.roc_auc_score(*sides, multi_class="ovr"))
        flags = sides[0] if labels == 2 else np.eye(labels)[sides[0]]
        assert values["average_precision"][place] == pytest.approx(sklearn.average_precision_score(flags, sides[1]))
        assert values["log_loss"][place] == pytest.approx(sklearn.log_loss(truth[rows], chances[rows]))
        ece = probability_measures([names[t] for t in truth[rows]], names, chances[rows], ("ece",))[0].score()
        assert values["ece"][place] == pytest.approx(ece)


# ---------------------------------------------------------------- what is missing or wrong


@pytest.mark.parametrize("label", ["0", "1"])
def test_one_class_only_has_no_ranking_and_says_why(label: str) -> None:
    found = probabilities([label] * 3, ["0", "1"], [[0.5, 0.5], [0.2, 0.8], [0.9, 0.1]], PROBABILITIES, resamples=10)
    for name in ("auroc", "average_precision"):
        assert math.isnan(found[name]["score"]) and found[name]["ci95"] is None and label in found[name]["why"]
    assert all(math.isfinite(found[name]["score"]) for name in ("log_loss", "brier", "ece"))


def test_a_resample_of_one_class_has_no_value_but_the_interval_stands() -> None:
    found = probabilities(list("0001"), ["0", "1"], [[0.9, 0.1], [0.6, 0.4], [0.4, 0.6], [0.5, 0.5]], ("auroc",))
    assert found["auroc"]["score"] == pytest.approx(2 / 3) and found["auroc"]["ci95"] is not None


def test_a_label_that_no_row_has_is_no_part_of_the_mean() -> None:
    table = np.array([[0.6, 0.3, 0.1], [0.3, 0.6, 0.1], [0.2, 0.7, 0.1], [0.5, 0.4, 0.1]])
    found = probabilities(list("abba"), list("abc"), table, PROBABILITIES, resamples=0)
    assert found["auroc"]["score"] == found["average_precision"]["score"] == 1
    assert found["auroc"]["labels"] == 2 and "sum over labels" in found["brier"]["of"]


def test_a_reference_without_a_column_had_no_chance() -> None:
    table = np.array([[0.5, 0.5], [0.5, 0.5]])
    found = scored(["a", "c"], "ab", table)
    assert found["log_loss"] == pytest.approx((-math.log(0.5) - math.log(np.finfo(float).eps)) / 2)
    assert found["brier"] == pytest.approx((0.5 + 1.5) / 2)


def test_of_several_labels_one_can_be_asked_for() -> None:
    truth, chances = drawn_out(3)
    found = scored([str(label) for label in truth], "012", chances, positive="2")
    assert found["auroc"] == pytest.approx(sklearn.roc_auc_score(truth == 2, chances[:, 2]))
    with pytest.raises(UsageError, match="no row has the label 'x'"):
        scored(["0"], "01", np.array([[0.5, 0.5]]), positive="x")


@pytest.mark.parametrize(
    ("row", "match"),
    [([math.nan, 0.5], "nan is no probability"), ([-0.1, 1.1], "-0.1 is no"), ([0.0, 1.2], "1.2 is no"), ([0.2, 0.2], "sum to 0.4")],
)  # fmt: skip
def test_what_is_no_probability_is_refused(row: list[float], match: str) -> None:
    with pytest.raises(ValueError, match=f"row 2: .*{match}"):
        probability_measures(["a", "b"], ["a", "b"], [[0.5, 0.5], row], PROBABILITIES)
    with pytest.raises(ValueError, match="1 references, and probabilities of 2 rows"):
        calibration_figure(["a"], ["a", "b"], [[0.5, 0.5], [0.5, 0.5]])


# ---------------------------------------------------------------- calibration


def test_ece_is_torchmetrics() -> None:
    """torchmetrics 1.9.0, multiclass_calibration_error(n_bins=15), printed these; it computes in single precision."""
    table = [[0.25, 0.20, 0.55], [0.55, 0.05, 0.40], [0.10, 0.28, 0.62], [0.90, 0.05, 0.05]]
    assert scored(list("0120"), "012", np.array(table))["ece"] == pytest.approx(0.39500001072883606, abs=1e-6)
    random = np.random.default_rng(7)
    weights = random.random((200, 4)) ** 4
    truth = [str(label) for label in random.integers(4, size=200)]
    found = scored(truth, "0123", weights / weights.sum(axis=1, keepdims=True))
    assert found["ece"] == pytest.approx(0.39514559507369995, abs=1e-6)


def test_the_calibration_figure_adds_up_to_the_ece() -> None:
    truth, chances = drawn_out(3)
    references = [str(label) for label in truth]
    bins = calibration_figure(references, list("012"), chances)["bins"]
    assert sum(one["n"] for one in bins) == 30
    assert all(one["low"] < one["confidence"] <= one["high"] + 1e-12 for one in bins)
    gaps = sum(one["n"] / 30 * abs(one["confidence"] - one["accuracy"]) for one in bins)
    assert gaps == pytest.approx(scored(references, "012", chances)["ece"])
    assert calibration_figure([], ["a"], np.zeros((0, 1))) == calibration_figure([], [], np.array([])) == {}


@pytest.mark.parametrize(("sure", "low"), [(0.2, 2 / 15), (1.0, 14 / 15), (0.2 + 1e-9, 3 / 15)])
def test_an_edge_belongs_to_the_bin_below(sure: float, low: float) -> None:
    """As in Guo et al.: a bin is open below and closed above."""
    others = (1 - sure) / 9
    labels = list("abcdefghij")
    (bin_,) = calibration_figure(["a"], labels, [[sure, *[others] * 9]])["bins"]
    assert bin_["low"] == pytest.approx(low)


def test_no_warning_of_numpy_reaches_anyone() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        probabilities(["a"], ["a"], [[1.0]], PROBABILITIES, resamples=3)
        probabilities([], ["a"], np.zeros((0, 1)), PROBABILITIES, resamples=3)


def test_resamples_and_slices_without_a_label_are_of_the_others() -> None:
    """Only the last row is of "c": a third of the resamples lack it."""
    truth, chances = drawn_out(3)
    truth = np.where(truth == 2, 0, truth)
    truth[-1] = 2
    measures = probability_measures([str(label) for label in truth], list("012"), chances, ("auroc",))
    values = resampled(measures, 20)["auroc"]
    lacking = 0
    for value, counts in zip(values, np.concatenate(list(draws(30, 20))).astype(int), strict=True):
        rows = np.repeat(np.arange(30), counts)
        there = [label for label in range(3) if (truth[rows] == label).any()]
        each = [sklearn.roc_auc_score(truth[rows] == label, chances[rows, label]) for label in there]
        assert value == pytest.approx(np.mean(each))
        lacking += len(there) < 3
    assert 0 < lacking < 20
    among = np.arange(30) < 29
    alone = probability_measures([str(label) for label in truth[among]], list("012"), chances[among], PROBABILITIES)
    all_of_them = probability_measures([str(label) for label in truth], list("012"), chances, PROBABILITIES)
    sliced = scores(all_of_them, resamples=0, among=among)
    assert {name: score["score"] for name, score in sliced.items()} == pytest.approx(
        {measure.name: measure.score() for measure in alone}
    )
