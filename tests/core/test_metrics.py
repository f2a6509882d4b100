"""Metrics against the reference implementations' own published values."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ptft.core.errors import UsageError
from ptft.core.metrics import as_evaluate, names
from ptft.core.metrics.bootstrap import over_cells, over_rows
from ptft.core.metrics.classification import classification, confusion
from ptft.core.metrics.likelihood import likelihood
from ptft.core.metrics.text import bleu, chrf, rouge, writing

ROUGES = ("rouge1", "rouge2", "rougeL", "rougeLsum")
CHINESE = ["今天天气很好，我们去公园散步吧。", "机器学习模型从文本中学习。"]

# sacrebleu 2.6.0, test/test_bleu.py
HYPOTHESES = ["The dog bit the man.", "It wasn't surprising.", "The man had just bitten him."]
REFERENCES = [
    ["The dog bit the man.", "The dog had bit the man."],
    ["It was not unexpected.", "No one was surprised."],
    ["The man bit him first.", "The man had bitten the dog."],
]


# ---------------------------------------------------------------- labels


def test_f1_of_scikit_learns_toy_set() -> None:
    references, predictions = list("012012"), list("021001")  # the example of sklearn.metrics.f1_score
    scores = classification(references, predictions, names.LABELS)
    assert scores["f1"]["score"] == pytest.approx(0.26667, abs=1e-5)
    assert scores["f1"]["micro"] == pytest.approx(0.33333, abs=1e-5)
    assert scores["f1"]["weighted"] == pytest.approx(0.26667, abs=1e-5)
    assert [scores["f1"]["per_class"][label]["f1"] for label in "012"] == pytest.approx([0.8, 0, 0])
    assert scores["precision"]["score"] == pytest.approx(0.22222, abs=1e-5)
    assert scores["recall"]["score"] == pytest.approx(0.33333, abs=1e-5)
    assert scores["accuracy"]["confusion"]["counts"] == [[2, 0, 0], [1, 0, 1], [0, 2, 0]]


labels = st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from("abcd")), min_size=1, max_size=40)


@settings(max_examples=30, deadline=None)
@given(labels)
def test_a_score_lies_in_its_own_interval_of_one_certain_resample(pairs: list[tuple[str, str]]) -> None:
    """The vectorised formulas give scikit-learn's value where every resample is the sample itself."""
    from ptft.core.metrics.classification import _accuracy, _macro

    references, predictions = [r for r, _ in pairs], [p for _, p in pairs]
    scores = classification(references, predictions, names.LABELS, resamples=0)
    table = confusion(references, predictions)[1][None].astype(float)
    assert _accuracy(table)[0] == pytest.approx(scores["accuracy"]["score"])
    for column, name in enumerate(("precision", "recall", "f1")):
        assert _macro(table, column)[0] == pytest.approx(scores[name]["score"])
    assert scores["f1"]["ci95"] is None


def test_one_class_only_is_no_error() -> None:
    scores = classification(["a"] * 5, ["a"] * 5, ("accuracy", "f1"))
    assert scores["accuracy"]["score"] == scores["f1"]["score"] == 1.0
    assert scores["f1"]["ci95"] == [1.0, 1.0]


# ---------------------------------------------------------------- intervals


def test_the_interval_is_that_of_a_plain_bootstrap() -> None:
    rng = random.Random(0)
    references = [rng.choice("ab") for _ in range(300)]
    predictions = [r if rng.random() < 0.8 else rng.choice("ab") for r in references]
    low, high = classification(references, predictions, ("accuracy",))["accuracy"]["ci95"]
    right = np.array([r == p for r, p in zip(references, predictions, strict=True)])
    draws = np.random.default_rng(1).integers(0, 300, (4000, 300))
    plain = np.percentile(right[draws].mean(axis=1), [2.5, 97.5])
    assert [low, high] == pytest.approx(list(plain), abs=0.01)


def test_rows_and_cells_agree_and_repeat() -> None:
    right = np.repeat([[1.0, 1.0], [0.0, 1.0]], [70, 30], axis=0)
    by_rows = over_rows(right, lambda sums: sums[:, 0] / sums[:, 1])
    by_cells = over_cells(np.array([70, 30]), lambda tables: tables[:, 0] / tables.sum(axis=1))
    assert by_rows == over_rows(right, lambda sums: sums[:, 0] / sums[:, 1])
    assert by_rows == pytest.approx(by_cells, abs=0.02)
    assert by_rows == pytest.approx([0.61, 0.79], abs=0.02)


# ---------------------------------------------------------------- texts


@pytest.mark.parametrize(
    ("tokenize", "expected"), [("auto", 48.530827), ("13a", 48.530827), ("intl", 43.91623493), ("none", 49.1919566)]
)
def test_bleu_of_sacrebleus_tests(tokenize: str, expected: float) -> None:
    assert bleu(HYPOTHESES, REFERENCES, tokenize=tokenize)["score"] == pytest.approx(expected, abs=1e-6)


def test_chrf_of_sacrebleus_tests() -> None:
    text = "Niemand hat die Absicht, eine Mauer zu errichten"
    assert chrf([text], [text])["score"] == pytest.approx(100.0)
    assert chrf(["aa"], ["ab"])["score"] == pytest.approx(8.3333 * 3, abs=1e-3)  # effective order: sacrebleu >= 2


def test_bleu_of_empty_answers_is_zero() -> None:
    assert bleu(["", "", ""], REFERENCES)["score"] == 0.0


def test_identical_chinese_texts_are_perfect() -> None:
    found = bleu(CHINESE, CHINESE)
    assert found["score"] == pytest.approx(100.0)
    assert "tok:zh" in found["signature"]
    assert all(score["score"] == 1.0 for score in rouge(CHINESE, CHINESE, ROUGES).values())


def test_rouge_of_rouge_scores_own_tests() -> None:
    """rouge_score 0.1.2, rouge_scorer_test.py: testRougeL, testMultipleRougeTypes, testRougeLSumSentenceSplitting."""
    found = rouge(["testing one"], ["testing one two"], ("rouge1", "rougeL"))
    assert [found[name]["score"] for name in ("rouge1", "rougeL")] == pytest.approx([4 / 5, 4 / 5])
    summary = rouge(
        ["Second sentence.\nFirst Sentence."], ["First sentence.\nSecond Sentence."], ("rougeLsum",), stemmer=True
    )
    assert summary["rougeLsum"]["score"] == 1.0
    assert rouge(["text first"], [["first text", "first something"]], ("rouge1",))["rouge1"]["score"] == 1.0


def test_russian_is_not_zero_either() -> None:
    assert rouge(["мама мыла раму"], ["мама мыла раму"], ("rouge1",))["rouge1"]["score"] == 1.0


@pytest.mark.parametrize(
    ("text", "expected"),
    [("plain English, naïve café", "latin"), ("今天 is a nice day", "zh"), ("今日はいい天気ですね", "char"),
     ("오늘 날씨가 좋네요", "char"), ("мама мыла раму", "other"), ("", "latin"), ("3 + 4 = 7", "latin")],
)  # fmt: skip
def test_writing(text: str, expected: str) -> None:
    assert writing([text]) == expected


# ---------------------------------------------------------------- likelihood


def test_perplexity_is_over_all_tokens_and_not_a_mean_of_texts() -> None:
    scores = likelihood([10.0, 2.0, 0.0], [4, 2, 0], [20, 5, 3], names.LIKELIHOODS)
    assert scores["perplexity"]["score"] == pytest.approx(math.exp(12 / 6))
    assert scores["bits_per_byte"]["score"] == pytest.approx(
        12 / math.log(2) / 25
    )  # a text without tokens adds no bytes
    low, high = scores["perplexity"]["ci95"]
    assert low == pytest.approx(math.exp(1)) and high == pytest.approx(math.exp(2.5))


def test_nothing_to_score_is_not_a_number() -> None:
    assert math.isnan(likelihood([0.0], [0], [1], ("perplexity",))["perplexity"]["score"])


# ---------------------------------------------------------------- names, evaluate


def test_names() -> None:
    assert names.expand(["rouge", "f1", "rouge1"]) == (*ROUGES, "f1")
    assert names.unknown(["f1", "blue"]) == ["no metric 'blue'; did you mean 'bleu'?"]
    assert names.limits("f1=90%, bleu=20", "gate") == ({"f1": 0.9, "bleu": 20.0}, [])
    assert len(names.limits("f1,acuracy=1,rouge=1", "gate")[1]) == 3


def test_as_evaluate_metrics_combine() -> None:
    import evaluate

    both = evaluate.combine([as_evaluate("f1"), as_evaluate("accuracy")])
    found = both.compute(predictions=list("021001"), references=list("012012"))
    assert found["f1"] == pytest.approx(0.26667, abs=1e-5)
    assert found["accuracy"] == pytest.approx(0.33333, abs=1e-5)
    assert as_evaluate("bleu").compute(predictions=CHINESE, references=CHINESE)["bleu"] == pytest.approx(100.0)
    assert as_evaluate("perplexity").compute(predictions=[2.0, 4.0], references=[1, 2])["perplexity"] == pytest.approx(
        math.exp(2)
    )
    with pytest.raises(UsageError, match="no metric"):
        as_evaluate("f2")
