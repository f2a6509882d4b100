"""Scores of several labels are scikit-learn's; intervals are those of rows drawn out one by one."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import accuracy_score, f1_score

from ptft.core.metrics.bootstrap import SEED
from ptft.core.metrics.multi_label import multi_label
from ptft.core.metrics.names import MANY_LABELS

FLAGS = st.tuples(st.integers(1, 12), st.integers(2, 5)).flatmap(
    lambda shape: st.tuples(arrays(bool, shape), arrays(bool, shape))
)


@settings(max_examples=50)
@given(FLAGS)
def test_scores_are_those_of_scikit_learn(flags):
    references, predictions = flags
    labels = [str(n) for n in range(references.shape[1])]
    found = multi_label(references, predictions, labels, MANY_LABELS, resamples=0)
    occurs = (references | predictions).any(axis=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        micro = f1_score(references, predictions, average="micro", zero_division=0.0)
        macro = (
            0.0
            if not occurs.any()
            else f1_score(references, predictions, labels=np.flatnonzero(occurs), average="macro", zero_division=0.0)
        )
        each = f1_score(references, predictions, average=None, zero_division=0.0)
    assert [found["f1"]["per_class"][label]["f1"] for label in labels] == pytest.approx(each.tolist())
    assert found["f1"]["score"] == pytest.approx(macro)
    assert found["f1_micro"]["score"] == pytest.approx(micro)
    assert found["subset_accuracy"]["score"] == pytest.approx(accuracy_score(references, predictions))


def test_the_interval_is_that_of_drawn_rows():
    random = np.random.default_rng(3)
    references = random.random((40, 3)) < 0.4
    predictions = references ^ (random.random((40, 3)) < 0.2)
    found = multi_label(references, predictions, list("abc"), ("f1", "f1_micro"), resamples=100)
    draws = np.random.default_rng(SEED).multinomial(40, np.full(40, 1 / 40), size=100)
    for name, average in (("f1", "macro"), ("f1_micro", "micro")):
        scores = []
        for draw in draws:
            rows = np.repeat(np.arange(40), draw)
            scores.append(f1_score(references[rows], predictions[rows], average=average, zero_division=0.0))
        assert found[name]["ci95"] == pytest.approx(np.percentile(scores, [2.5, 97.5]).tolist())
