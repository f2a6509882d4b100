"""The likeliest choice, as lm-evaluation-harness takes it, and the likelier text."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptft.core.metrics.choices import choice_measures, choices, preference_measure
from ptft.core.metrics.measure import scores
from ptft.core.metrics.names import CHOICES

ROWS = st.lists(st.lists(st.tuples(st.floats(-50, -0.1), st.integers(1, 30)), min_size=2, max_size=5), min_size=1)


@given(ROWS)
def test_acc_and_acc_norm_are_those_of_lm_evaluation_harness(rows: list[list[tuple[float, int]]]) -> None:
    """api/task.py, MultipleChoiceTask: argmax of the log-likelihoods, and of those over the choices' lengths."""
    answers = [len(row) - 1 for row in rows]
    lls, lengths = ([[pair[side] for pair in row] for row in rows] for side in (0, 1))
    found = choices(answers, lls, lengths, CHOICES, resamples=0)
    plain = [int(np.argmax(row) == answer) for row, answer in zip(lls, answers, strict=True)]
    normed = [
        int(np.argmax(np.array(row) / np.array(sizes)) == answer)
        for row, sizes, answer in zip(lls, lengths, answers, strict=True)
    ]
    assert found["acc"]["score"] == pytest.approx(np.mean(plain))
    assert found["acc_norm"]["score"] == pytest.approx(np.mean(normed))


def test_ties_take_the_first_and_answers_may_be_several() -> None:
    acc, norm = choice_measures([0, [1, 2]], [[-1.0, -1.0], [-9.0, -4.0, -5.0]], [[3, 3], [1, 1, 10]], CHOICES)
    assert acc.own is not None and acc.own.tolist() == [1, 1]
    assert norm.own is not None and norm.own.tolist() == [1, 1]
    assert choice_measures([1], [[-1.0, -1.0]], [[3, 3]], ("acc",))[0].score() == 0
    assert choice_measures([0], [[-5.0, 0.0]], [[5, 0]], ("acc_norm",))[0].score() == 1  # nothing is not likely


@pytest.mark.parametrize(
    ("answer", "lls", "lengths", "match"),
    [(2, [-1.0, -2.0], [1, 1], "none of 2 choices"), (-1, [-1.0, -2.0], [1, 1], "none of 2"), ([], [-1.0], [1], "none of 1"),
     (0, [math.nan, -2.0], [1, 1], "not a number"), (0, [-1.0, -2.0], [1], "1 lengths"), (0, [], [], "0 log")],
)  # fmt: skip
def test_what_cannot_be_chosen_from_is_refused(
    answer: object, lls: list[float], lengths: list[int], match: str
) -> None:
    with pytest.raises(ValueError, match=f"row 2: .*{match}"):
        choice_measures([0, answer], [[-1.0], lls], [[1], lengths], CHOICES)  # type: ignore[list-item]


def test_preference_and_its_ties() -> None:
    measure = preference_measure([[-1.0, -2.0], [-3.0, -2.0], [-1.0, -1.0], [-1.0, -5.0]])
    assert measure.score() == (1 + 0 + 0.5 + 1) / 4 and measure.detail["ties"] == 1
    low, high = scores([measure], 200)["preference"]["ci95"]
    assert low < 0.625 < high
    with pytest.raises(ValueError, match="row 1"):
        preference_measure([[math.nan, 0.0]])
