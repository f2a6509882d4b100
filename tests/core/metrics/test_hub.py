"""Every metric that has a name can be had as an `evaluate.Metric`, and finds what is perfect to be so."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import evaluate
import pytest

from ptft.core.errors import UsageError
from ptft.core.metrics import as_evaluate, names
from ptft.core.metrics.hub import metric

TEXTS = ["the cat sat on the mat", "a dog"]
BOXES = [[{"label": "cat", "box": [0, 0, 10, 10]}], [{"label": "狗", "box": [5, 5, 20, 10]}]]
CHINESE = ["今天天气很好，我们去公园散步吧。", "机器学习模型从文本中学习。"]
PERFECT: dict[str, tuple[list[Any], list[Any]]] = {
    **{name: ([[1.0, 0.0], [0.0, 1.0]], [0, 1]) for name in names.PROBABILITIES},
    **{name: ([[0, 1], [1, 1]],) * 2 for name in names.MANY_LABELS},
    **{name: ([0, 1, 1],) * 2 for name in names.LABELS},
    **{name: ([1.0, 2.0, 4.0],) * 2 for name in names.NUMBERS},
    **{name: ([["B-X", "I-X", "O"], ["O"]],) * 2 for name in names.ENTITIES},
    **dict.fromkeys((*names.TEXTS, *names.SPANS), (TEXTS,) * 2),
    **{name: ([0.0, 0.0], [3, 4]) for name in names.LIKELIHOODS},
    **{name: ([[-1.0, -9.0], [-9.0, -1.0]], [0, 1]) for name in names.CHOICES},
    **{name: ([["a", "b"], ["c"]],) * 2 for name in names.RANKINGS},
    **{name: ([[{**box, "score": 0.9} for box in row] for row in BOXES], BOXES) for name in names.BOXES},
}  # fmt: skip
ASKS_MORE = ("meteor", "bertscore", "flagged")  # folders or files of the user's
ALONE = (*names.VARIETY, *names.PREFERENCE)


@pytest.mark.parametrize("name", [name for name in names.ALL if name not in (*ASKS_MORE, *ALONE)])
def test_what_is_perfect_is_found_so(name: str) -> None:
    predictions, references = PERFECT[name]
    found = metric(name).compute(predictions=predictions, references=references, resamples=10)
    best = {"perplexity": 1, "bleu": 100, "chrf": 100}.get(name, 0 if name in names.LOWER_IS_BETTER else 1)
    assert found[name] == pytest.approx(best, abs=1e-9)


def test_predictions_alone() -> None:
    assert metric("distinct1").compute(predictions=["a b a b"])["distinct1"] == pytest.approx(0.5)
    assert metric("preference").compute(predictions=[[-1.0, -2.0], [-2.0, -1.0]])["preference"] == 0.5


def test_flagged(tmp_path: Path) -> None:
    words = tmp_path / "words.txt"
    words.write_text("dog\n", encoding="utf-8")
    assert metric("flagged").compute(predictions=TEXTS, words=(words,))["flagged"] == 0.5


def test_every_family_has_a_metric_here() -> None:
    assert set(PERFECT) | {*ALONE, *ASKS_MORE} == set(names.ALL)


def test_metrics_combine() -> None:
    both = evaluate.combine([as_evaluate("f1"), as_evaluate("accuracy")])
    found = both.compute(predictions=list("021001"), references=list("012012"))
    assert found["f1"] == pytest.approx(0.26667, abs=1e-5)  # scikit-learn's toy set
    assert found["accuracy"] == pytest.approx(0.33333, abs=1e-5)
    chances = evaluate.combine([as_evaluate("auroc"), as_evaluate("brier")])
    assert chances.compute(predictions=[0.1, 0.4, 0.35, 0.8], references=[0, 0, 1, 1])["auroc"] == 0.75


def test_labels_as_numbers_texts_and_flags() -> None:
    wanted, made = [0, 1, 2, 0, 1, 2], [0, 2, 1, 0, 0, 1]
    assert metric("f1").compute(predictions=made, references=wanted)["f1"] == pytest.approx(0.26667, abs=1e-5)
    flags = metric("f1").compute(predictions=[[1, 0], [0, 1]], references=[[1, 0], [1, 1]])
    assert flags["f1"] == pytest.approx((2 / 3 + 1) / 2)
    with pytest.raises(UsageError, match="3 labels"):
        metric("f1_binary").compute(predictions=made, references=wanted)
    assert metric("recall_binary").compute(predictions=made, references=wanted, positive="0")["recall_binary"] == 1


def test_options_and_lengths_reach_the_metric() -> None:
    found = metric("acc_norm").compute(predictions=[[-4.0, -6.0]], references=[1], lengths=[[2, 6]])
    assert found["acc_norm"] == 1
    assert metric("acc").compute(predictions=[[-4.0, -6.0]], references=[1])["acc"] == 0


def test_texts_and_likelihoods() -> None:
    assert as_evaluate("bleu").compute(predictions=CHINESE, references=CHINESE)["bleu"] == pytest.approx(100.0)
    found = as_evaluate("perplexity").compute(predictions=[2.0, 4.0], references=[1, 2])
    assert found["perplexity"] == pytest.approx(math.exp(2))
    several = metric("token_f1").compute(predictions=["the cat"], references=[["dog", "cat"]])
    assert several["token_f1"] == 1
    with pytest.raises(UsageError, match="no metric"):
        as_evaluate("f2")
