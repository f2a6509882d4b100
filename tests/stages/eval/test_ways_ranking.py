"""Ranking by log-likelihood and the likelihood of texts, as ways: rows in, rows of predictions out, scored by their kind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny

from ptft.core.errors import InputError
from ptft.core.metrics.kinds import KINDS, measures
from ptft.core.models import Loaded, load
from ptft.core.rows import Row
from ptft.core.scoring import Windows, score_texts
from ptft.stages.eval.recipe import EvalRecipe
from ptft.stages.eval.task.file import read
from ptft.stages.eval.ways.choices import Choices
from ptft.stages.eval.ways.language import Language

TOPICS = "kind: choices\ntemplate: '{{text}} is about'\nchoices: [business, sport, 科技]\nanswer: '{{label}}'\n"
ROWS = [
    Row({"id": str(number), "text": text, "label": label}, "rows.jsonl", number + 1)
    for number, (text, label) in enumerate([
        ("Shares rose", "business"), ("球队赢得了比赛", "sport"), ("机器学习", "科技"), ("The dog", "sport"), ("Profits", "business"),
    ])
]  # fmt: skip


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    return load(tiny.causal(tmp_path_factory.mktemp("ways") / "model"))


def _choices(model: Loaded, folder: Path, text: str = TOPICS, rows: Any = (), **knobs: Any) -> Choices:
    (folder / "some.yaml").write_text(text, encoding="utf-8")
    return Choices(model, read(folder / "some.yaml"), EvalRecipe(**knobs), rows)


def test_a_row_says_all_that_its_scores_need(model: Loaded, tmp_path: Path) -> None:
    way = _choices(model, tmp_path)
    assert [way.problem(row) for row in ROWS] == [None] * len(ROWS)
    found = way.predict(ROWS)
    for row, made in zip(ROWS, found, strict=True):
        assert made["input"] == f"{row.data['text']} is about" and made["reference"] == row.data["label"]
        nats = dict(zip(["business", "sport", "科技"], made["loglikelihoods"], strict=True))
        assert made["prediction"] == max(nats, key=nats.__getitem__)
        assert made["lengths"] == [8, 5, 2]  # characters
        assert list(made["probabilities"]) == list(nats) and sum(made["probabilities"].values()) == pytest.approx(1)
        assert np.log(made["probabilities"]["sport"] / made["probabilities"]["business"]) == pytest.approx(
            nats["sport"] - nats["business"]
        )
    scores = {m.name: m.score() for m in measures(way.kind, found, ["acc", "acc_norm", "accuracy", "log_loss"])}
    assert scores["acc"] == scores["accuracy"] == np.mean([row["prediction"] == row["reference"] for row in found])
    assert way.kind in KINDS and "cut" not in found[0] and way.remarks(found) == []


@pytest.mark.parametrize("shots", [0, 2])
def test_neither_batches_nor_blocks_change_an_answer(shots: int, model: Loaded, tmp_path: Path) -> None:
    text = TOPICS + f"shots: {shots}\nshots_from: data\n"
    whole = _choices(model, tmp_path, text, ROWS).predict(ROWS)
    for size in (1, 8, 32):
        way = _choices(model, tmp_path, text, ROWS, batch_size=size)
        pieces = [made for start in (3, 0) for made in way.predict(ROWS[start : start + 3])]
        for one, other in zip([*whole[3:], *whole[:3]], pieces, strict=True):
            assert one["prediction"] == other["prediction"]
            np.testing.assert_allclose(one["loglikelihoods"], other["loglikelihoods"], atol=1e-5)


def test_long_questions_lose_their_beginning_and_are_counted(model: Loaded, tmp_path: Path) -> None:
    way = _choices(model, tmp_path, max_seq_len=20)
    long = Row({"id": "9", "text": "The lazy dog. " * 20 + ROWS[0].data["text"], "label": "sport"}, "rows.jsonl", 9)
    found = way.predict([ROWS[0], long])
    assert "cut" not in found[0] and found[1]["cut"] > 0
    assert way.settings(found)["rows_cut"] == 1 and way.settings(found)["context"] == 20
    assert way.remarks(found) == ["1 questions are longer than 20 tokens and lost their beginning"]


def test_a_choice_longer_than_the_context_is_refused(model: Loaded, tmp_path: Path) -> None:
    way = _choices(model, tmp_path, TOPICS.replace("[business, sport, 科技]", "options"), max_seq_len=8)
    fits = Row({"id": "1", "text": "a", "options": ["x", "The quick brown"], "label": 0}, "rows.jsonl", 1)
    long = Row({"id": "2", "text": "a", "options": ["x", "zq" * 30], "label": 0}, "rows.jsonl", 2)
    assert way.problem(fits) is None
    assert "tokens, where the context has 8" in (way.problem(long) or "")


def test_the_likelier_of_two_texts(model: Loaded, tmp_path: Path) -> None:
    text = "kind: preference\ntemplate: '{{prompt}}'\nchosen: '{{chosen}}'\nrejected: '{{rejected}}'\n"
    way = _choices(model, tmp_path, text)
    rows = [
        Row({"id": "1", "prompt": "The quick", "chosen": "brown fox", "rejected": "lazy"}, "rows.jsonl", 1),
        Row({"id": "2", "prompt": "The quick", "chosen": "lazy", "rejected": "brown fox"}, "rows.jsonl", 2),
    ]
    found = way.predict(rows)
    assert found[0]["loglikelihoods"] == pytest.approx(found[1]["loglikelihoods"][::-1])
    (measure,) = measures(way.kind, found, ["preference"])
    assert measure.score() == 0.5 and way.kind == "preferences"
    assert (
        way.problem(Row({"id": "3", "prompt": "a", "chosen": "", "rejected": "b"}, "rows.jsonl", 3))
        == "an empty choice"
    )


def test_only_causal_models_rank(tmp_path: Path) -> None:
    classifier = load(tiny.bert_classifier(tmp_path / "model"))
    with pytest.raises(InputError, match="this one is classifier"):
        _choices(classifier, tmp_path)
    with pytest.raises(InputError, match="this one is classifier"):
        Language(classifier, EvalRecipe())


def test_texts_without_a_task(model: Loaded) -> None:
    way = Language(model, EvalRecipe(max_seq_len=16, stride=8))
    rows = [Row({"id": "1", "text": text}, "rows.jsonl", 1) for text in tiny.TEXTS]
    wanted = score_texts(model, tiny.TEXTS, Windows(16, 8), 1)
    found = way.predict(rows)
    assert [row["nll"] for row in found] == pytest.approx([score.nll for score in wanted])
    assert [(row["tokens"], row["bytes"]) for row in found] == [(score.tokens, score.bytes) for score in wanted]
    assert way.settings(found) == {"context": 16, "stride": 8, "bos": False}
    assert way.problem(Row({"id": "1", "text": " \n"}, "rows.jsonl", 1)) == "an empty text"


def test_texts_of_a_task_and_their_first_token(model: Loaded, tmp_path: Path) -> None:
    (tmp_path / "some.yaml").write_text("kind: likelihood\ntemplate: '{{title}}: {{body}}'\n", encoding="utf-8")
    task = read(tmp_path / "some.yaml")
    row = Row({"id": "1", "title": "A model", "body": "learns"}, "rows.jsonl", 1)
    (plain,), (begun,) = (Language(model, EvalRecipe(prefix=prefix), task).predict([row]) for prefix in ("auto", "yes"))  # type: ignore[arg-type]
    assert plain["input"] == "A model: learns" and begun["bytes"] == len("A model: learns")
    assert begun["tokens"] == plain["tokens"] + 1 and begun["nll"] > plain["nll"]
    lacking = Language(model, EvalRecipe(), task).problem(Row({"id": "1", "title": "x"}, "rows.jsonl", 1))
    assert lacking is not None and "'body' is undefined; the row has 'title'" in lacking


def test_the_default_text_is_the_field_text(tmp_path: Path) -> None:
    (tmp_path / "some.yaml").write_text("kind: likelihood\n", encoding="utf-8")
    task = read(tmp_path / "some.yaml")
    assert task.answer is not None and task.answer.text({"text": "今天"}) == "今天"
