"""SQuAD's normalisation and scores in English; characters in Chinese."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptft.core.metrics.names import SPANS
from ptft.core.metrics.spans import exact_match, normalised, span_rows, spans, token_f1


@pytest.mark.parametrize(
    ("prediction", "reference", "exact", "f1"),
    [
        ("The Denver Broncos!", "denver broncos", 1, 1),
        ("a theatre", "theatre", 1, 1),
        ("in 1998", "1998", 0, 2 / 3),
        ("U.S. Army", "us army", 1, 1),
        ("Broncos", "Carolina Panthers", 0, 0),
        ("the the", "", 1, 1),
        ("", "something", 0, 0),
        ("北京大学。", "北京大学", 1, 1),
        ("北 京", "北京", 1, 1),
        ("北京的大学", "北京大学", 0, 8 / 9),
        ("上海", "北京", 0, 0),
        ("《红楼梦》", "红楼梦", 1, 1),
        ("iPhone手机", "iphone 手机", 1, 1),
    ],
)
def test_one_answer(prediction: str, reference: str, exact: float, f1: float) -> None:
    assert exact_match(prediction, reference) == exact
    assert token_f1(prediction, reference) == pytest.approx(f1)


# What the script of SQuAD 2.0 (evaluate-v2.0.py, as huggingface/evaluate has it in metrics/squad_v2/compute_score.py)
# printed for these pairs: compute_exact and compute_f1.
SQUAD = [
    ("The Denver Broncos!", "denver broncos", 1, 1.0), ("in the year 1066", "1066", 0, 0.5),
    ("a cat and an apple", "cat and apple", 1, 1.0), ("Saint-Denis", "Saint Denis", 0, 0), ("U.S.A.", "USA", 1, 1.0),
    ("the the the", "the", 1, 1), ("", "", 1, 1), ("", "1990", 0, 0),
    ('John\'s "big" house', "johns big house house", 0, 0.8571428571428571), ("10,000 people", "10000 People", 1, 1.0),
    ("“quoted”", "quoted", 0, 0), ("naïve café – bar", "naïve café bar", 0, 0.8571428571428571),
    ("B B B A", "b a a", 0, 0.5), ("1/2 of it", "12 of it", 1, 1.0),
    ("Théâtre\u00a0de la Ville", "théâtre de la ville", 1, 1.0),
]  # fmt: skip


@pytest.mark.parametrize(("prediction", "reference", "exact", "f1"), SQUAD)
def test_english_as_by_squads_script(prediction: str, reference: str, exact: float, f1: float) -> None:
    assert exact_match(prediction, reference) == exact
    assert token_f1(prediction, reference) == pytest.approx(f1, abs=1e-12)


def test_references_of_which_nothing_is_left_are_no_answers() -> None:
    """As in the script: gold answers are those that normalise to something."""
    assert span_rows(["", "", "cat"], [["the", "cat"], ["the", "..."], ["The", "cat"]], SPANS).tolist() == [
        [0, 0],
        [1, 1],
        [1, 1],
    ]


def test_english_is_normalised_as_by_squads_script() -> None:
    """Its script deletes ASCII punctuation alone, so a curly quote stays."""
    assert normalised("The  “cat's” (an) hat, A $5.") == "“cats” hat 5"


def test_the_best_of_several_references_counts_and_none_means_no_answer() -> None:
    rows = span_rows(["the cat", "", "x"], [["dog", "cat"], [], []], SPANS)
    assert rows.tolist() == [[1, 1], [1, 1], [0, 0]]
    found = spans(["the cat", "", "x"] * 20, [["dog", "cat"], [], []] * 20, SPANS, resamples=200)
    for score in found.values():
        low, high = score["ci95"]
        assert score["score"] == pytest.approx(2 / 3) and low < 2 / 3 < high


@given(st.text(), st.text())
def test_f1_is_symmetric_and_one_of_what_is_equal(one: str, other: str) -> None:
    assert token_f1(one, other) == token_f1(other, one) <= 1
    assert exact_match(one, one) == token_f1(one, one) == 1
