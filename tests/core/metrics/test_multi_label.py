"""Scores of several labels are scikit-learn's; intervals are those of rows drawn out one by one."""

import warnings
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn import metrics as sklearn
from sklearn.metrics import f1_score

from ptft.core.metrics.measure import draws
from ptft.core.metrics.multi_label import multi_label, multi_label_measures
from ptft.core.metrics.names import MANY_LABELS

FLAGS = st.tuples(st.integers(1, 12), st.integers(2, 5)).flatmap(
    lambda shape: st.tuples(arrays(bool, shape), arrays(bool, shape))
)


SCIKIT_LEARN = {
    "f1_micro": partial(sklearn.f1_score, average="micro"), "f1_weighted": partial(sklearn.f1_score, average="weighted"),
    "f1_samples": partial(sklearn.f1_score, average="samples"),
    "precision_micro": partial(sklearn.precision_score, average="micro"),
    "recall_micro": partial(sklearn.recall_score, average="micro"),
}  # fmt: skip
MACRO = {"f1": sklearn.f1_score, "precision": sklearn.precision_score, "recall": sklearn.recall_score}


@settings(max_examples=50, deadline=None)
@given(FLAGS)
def test_scores_are_those_of_scikit_learn(flags):
    references, predictions = flags
    labels = [str(n) for n in range(references.shape[1])]
    found = multi_label(references, predictions, labels, MANY_LABELS, resamples=0)
    occurs = np.flatnonzero((references | predictions).any(axis=0))
    wanted = {
        "subset_accuracy": sklearn.accuracy_score(references, predictions),
        "hamming_loss": sklearn.hamming_loss(references, predictions),
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, theirs in SCIKIT_LEARN.items():
            wanted[name] = theirs(references, predictions, zero_division=0.0)
        for name, theirs in MACRO.items():
            each = theirs(references, predictions, average=None, zero_division=0.0)
            assert [found[name]["per_class"][label][name] for label in labels] == pytest.approx(each.tolist())
            wanted[name] = each[occurs].mean() if len(occurs) else 0.0  # scikit-learn's labels=occurs
    assert {name: score["score"] for name, score in found.items()} == pytest.approx(wanted)


def test_rows_have_their_own_scores():
    flags = np.array([[1, 1, 0], [0, 0, 0]], bool), np.array([[1, 0, 1], [0, 0, 0]], bool)
    own = {measure.name: measure.own for measure in multi_label_measures(*flags, list("abc"), MANY_LABELS)}
    assert own["f1_samples"].tolist() == [0.5, 0] and own["subset_accuracy"].tolist() == [0, 1]
    assert own["hamming_loss"].tolist() == pytest.approx([2 / 3, 0]) and own["f1"] is None
    with pytest.raises(ValueError, match="shape"):
        multi_label_measures(flags[0], flags[1][:1], list("abc"), MANY_LABELS)


def test_the_interval_is_that_of_drawn_rows():
    random = np.random.default_rng(3)
    references = random.random((40, 3)) < 0.4
    predictions = references ^ (random.random((40, 3)) < 0.2)
    found = multi_label(references, predictions, list("abc"), ("f1", "f1_micro"), resamples=100)
    counts = np.concatenate(list(draws(40, 100))).astype(int)
    for name, average in (("f1", "macro"), ("f1_micro", "micro")):
        scores = []
        for draw in counts:
            rows = np.repeat(np.arange(40), draw)
            scores.append(f1_score(references[rows], predictions[rows], average=average, zero_division=0.0))
        assert found[name]["ci95"] == pytest.approx(np.percentile(scores, [2.5, 97.5]).tolist())
