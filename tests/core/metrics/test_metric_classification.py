"""Scores of labels are scikit-learn's, for every name; intervals are those of rows drawn out one by one."""

from __future__ import annotations

import math
import random
import warnings
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sklearn

from ptft.core.errors import UsageError
from ptft.core.metrics.classification import (
    classification,
    confusion,
    confusion_figure,
    label_measures,
    positive_of,
)
from ptft.core.metrics.measure import draws, resampled, scores
from ptft.core.metrics.names import LABELS

AVERAGED = [name for name in LABELS if not name.endswith("_binary")]
LABELLED = st.lists(st.tuples(st.sampled_from("abcde"), st.sampled_from("abdef")), min_size=1, max_size=30)
TWO = st.lists(st.tuples(st.sampled_from("01"), st.sampled_from("01")), min_size=1, max_size=20)
BY_AVERAGE = {"f1": sklearn.f1_score, "precision": sklearn.precision_score, "recall": sklearn.recall_score}
OTHERS = {
    "accuracy": sklearn.accuracy_score, "balanced_accuracy": sklearn.balanced_accuracy_score,
    "mcc": sklearn.matthews_corrcoef, "kappa": sklearn.cohen_kappa_score,
}  # fmt: skip


def theirs(name: str) -> Callable[..., float]:
    figure, _, average = name.partition("_")
    if name in OTHERS:
        return OTHERS[name]
    return partial(BY_AVERAGE[figure], average=average or "macro", zero_division=0.0)


def quietly(function: Callable[..., float], *sides: Sequence[str], **options: str) -> float:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return float(function(*sides, **options))


def test_scikit_learns_toy_set() -> None:
    references, predictions = list("012012"), list("021001")  # the example of sklearn.metrics.f1_score
    found = classification(references, predictions, AVERAGED)
    assert found["f1"]["score"] == pytest.approx(0.26667, abs=1e-5)
    assert found["f1"]["micro"] == found["f1_micro"]["score"] == pytest.approx(0.33333, abs=1e-5)
    assert found["f1"]["weighted"] == found["f1_weighted"]["score"] == pytest.approx(0.26667, abs=1e-5)
    assert [found["f1"]["per_class"][label]["f1"] for label in "012"] == pytest.approx([0.8, 0, 0])
    assert found["precision"]["score"] == pytest.approx(0.22222, abs=1e-5)
    assert found["recall"]["score"] == pytest.approx(0.33333, abs=1e-5)


@settings(max_examples=60, deadline=None)
@given(LABELLED)
def test_every_score_is_scikit_learns(pairs: list[tuple[str, str]]) -> None:
    """Labels only predicted, only there, and one class only are among what is drawn."""
    sides = [r for r, _ in pairs], [p for _, p in pairs]
    found = classification(*sides, AVERAGED, resamples=0)
    for name in AVERAGED:
        assert found[name]["score"] == pytest.approx(quietly(theirs(name), *sides), nan_ok=True, abs=1e-12), name
        assert found[name]["ci95"] is None


@settings(max_examples=40, deadline=None)
@given(TWO, st.sampled_from("01"))
def test_binary_scores_are_scikit_learns(pairs: list[tuple[str, str]], positive: str) -> None:
    sides = [*(r for r, _ in pairs), "0", "1"], [*(p for _, p in pairs), "1", "1"]
    names = ("f1_binary", "precision_binary", "recall_binary")
    for measure in label_measures(*sides, names, positive=positive):
        assert measure.score() == pytest.approx(quietly(theirs(measure.name), *sides, pos_label=positive)), measure.name
        assert measure.detail["positive"] == positive


def test_one_class_only_is_no_error() -> None:
    found = classification(["a"] * 5, ["a"] * 5, LABELS)
    assert all(score["score"] == 1 for name, score in found.items() if name not in ("mcc", "kappa"))
    assert found["f1"]["ci95"] == [1.0, 1.0]
    assert found["mcc"]["score"] == 0 and math.isnan(found["kappa"]["score"]) and "'a'" in found["kappa"]["why"]
    assert found["kappa"]["ci95"] is None


def test_unequal_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="2 references, and 1 predictions"):
        label_measures(["a", "b"], ["a"], ("f1",))


def test_a_row_is_right_or_not() -> None:
    accuracy, f1 = label_measures(["a", "b"], ["a", "a"], ("accuracy", "f1"))
    assert accuracy.own is not None and accuracy.own.tolist() == [1, 0] and f1.own is None


# ---------------------------------------------------------------- the positive label


@pytest.mark.parametrize(
    ("labels", "positive"),
    [("01", "1"), (["yes", "no"], "yes"), (["True", "False"], "True"), (["NEGATIVE", "POSITIVE"], "POSITIVE"),
     (["是", "否"], "是"), (["正面", "负面"], "正面"), (["ham", "spam"], "spam"), ([" b", "a"], "a"), (["-1", "1"], "1"),
     (["no", "other"], "other"), (["spam"], "spam"), (["0"], "1"), (["负"], "正"), ([], "")],
)  # fmt: skip
def test_what_reads_as_positive(labels: Sequence[str], positive: str) -> None:
    assert positive_of(list(labels)) == positive == positive_of(list(labels)[::-1])


def test_the_asked_label_is_positive_or_there_is_an_error() -> None:
    assert positive_of(["a", "b", "c"], "b") == "b"
    with pytest.raises(UsageError, match="no row has the label 'd'") as missing:
        positive_of(["a", "b"], "d")
    assert "'a', 'b'" in missing.value.remedy
    with pytest.raises(UsageError, match="3 labels"):
        positive_of(["a", "b", "c"])


def test_a_positive_label_that_no_row_has_scores_nothing() -> None:
    found = classification(["0", "0"], ["0", "0"], ("f1_binary",), resamples=5)["f1_binary"]
    assert found["score"] == 0 and found["positive"] == "1"


# ---------------------------------------------------------------- the confusion matrix


def test_confusion() -> None:
    labels, table = confusion(list("012012"), list("021001"))
    assert labels == list("012") and table.tolist() == [[2, 0, 0], [1, 0, 1], [0, 2, 0]]
    figure = confusion_figure(["好", "坏"], ["好", "一般"])
    assert figure["labels"] == sorted(["好", "坏", "一般"]) and figure["rows_are"] == "references"
    assert sum(map(sum, figure["counts"])) == 2
    many = [str(label) for label in range(61)]
    assert confusion_figure(many, many) == {} != confusion_figure(many[:60], many[:60])


# ---------------------------------------------------------------- intervals


def pairs_of(rows: int) -> tuple[list[str], list[str]]:
    rng = random.Random(0)
    references = [rng.choice("aab") for _ in range(rows)]
    return references, [r if rng.random() < 0.8 else rng.choice("abc") for r in references]


def test_resamples_are_scikit_learns_of_rows_drawn_out() -> None:
    references, predictions = pairs_of(25)
    values = resampled(label_measures(references, predictions, AVERAGED), 20)
    for place, counts in enumerate(np.concatenate(list(draws(25, 20))).astype(int)):
        sides = [np.repeat(side, counts).tolist() for side in (references, predictions)]
        for name in AVERAGED:
            assert values[name][place] == pytest.approx(quietly(theirs(name), *sides)), name


def test_a_slice_is_scored_as_if_it_were_all() -> None:
    references, predictions = pairs_of(60)
    among = np.arange(60) % 3 == 0
    sides = [np.array(side)[among].tolist() for side in (references, predictions)]
    sliced = scores(label_measures(references, predictions, AVERAGED), resamples=0, among=among)
    alone = classification(*sides, AVERAGED, resamples=0)
    assert {n: s["score"] for n, s in sliced.items()} == pytest.approx({n: s["score"] for n, s in alone.items()})


def test_the_interval_is_that_of_a_plain_bootstrap() -> None:
    references, predictions = pairs_of(300)
    low, high = classification(references, predictions, ("accuracy",))["accuracy"]["ci95"]
    right = np.array([r == p for r, p in zip(references, predictions, strict=True)])
    plain = np.percentile(right[np.random.default_rng(1).integers(0, 300, (4000, 300))].mean(axis=1), [2.5, 97.5])
    assert [low, high] == pytest.approx(list(plain), abs=0.01)


def test_many_labels_and_rows_are_quick() -> None:
    """3,000 labels: a table of them all for each resample would be 70 GB."""
    references = [str(row % 3000) for row in range(6000)]
    found = classification(references, references[1:] + references[:1], ("f1", "mcc"), resamples=20)
    assert found["f1"]["score"] == 0 and "per_class" not in found["f1"]
