"""Rows for calibration and verification: what is taken of each shape, and why a row is not."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import tiny

from ptft.core.errors import InputError
from ptft.core.files import expand
from ptft.core.models import MANY_LABELS, NUMBER, Loaded, load
from ptft.core.rows import RejectLog
from ptft.stages.export.rows import BUILT_IN, QUESTIONS, Texts, texts_of


@pytest.fixture(scope="module")
def causal(tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    return load(tiny.causal(tmp_path_factory.mktemp("causal") / "model"))


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    return load(tiny.bert_classifier(tmp_path_factory.mktemp("classifier") / "model"))


def read(
    loaded: Loaded, folder: Path, rows: Sequence[dict[str, Any]], bad: float = 0.0, limit: int = 64, **columns: str
) -> Texts:
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return texts_of(loaded, expand([str(path)]), columns, limit, RejectLog(folder / "rejected.jsonl", bad))


def rejected(folder: Path) -> list[str]:
    return [json.loads(line)["reason"] for line in (folder / "rejected.jsonl").read_text("utf-8").splitlines()]


def test_without_files_sentences_in_two_languages_are_read(causal: Loaded, tmp_path: Path) -> None:
    found = texts_of(causal, None, {}, 1, RejectLog(tmp_path / "rejected.jsonl", 0))
    assert found.built_in and found.texts == list(BUILT_IN) and found.labels is None
    span = texts_of(replace(causal, kind="span"), None, {}, 1, RejectLog(tmp_path / "rejected.jsonl", 0))
    assert span.texts == list(QUESTIONS) and span.pairs == list(BUILT_IN)


def test_rows_are_drawn_in_their_order_and_their_places_told(causal: Loaded, tmp_path: Path) -> None:
    rows = [{"body": text} for text in tiny.TEXTS]
    assert read(causal, tmp_path, rows, text="body").texts == tiny.TEXTS
    found = read(causal, tmp_path, rows, limit=3, text="body")
    lines = [line for _, line in found.places]
    assert lines == sorted(set(lines)) and len(lines) == 3 and not found.built_in
    assert found.texts == [tiny.TEXTS[line - 1] for line in lines] and {name for name, _ in found.places} == {
        "rows.jsonl"
    }
    many = [{"body": f"row {number}"} for number in range(200)]
    drawn = read(causal, tmp_path, many, limit=20, text="body")
    assert drawn.texts == read(causal, tmp_path, many, limit=20, text="body").texts
    assert max(line for _, line in drawn.places) > 100 and min(line for _, line in drawn.places) < 100


def test_conversations_are_written_with_the_models_template(causal: Loaded, tmp_path: Path) -> None:
    turns = [{"role": "user", "content": "你好"}, {"role": "assistant", "content": "您好！"}]
    found = read(causal, tmp_path, [{"messages": turns}, {"instruction": "Say hi", "output": "hi <|im_end|>"}])
    assert found.texts[0] == causal.tokenizer.apply_chat_template(turns, tokenize=False)
    assert "<|im_start|>user\nSay hi<|im_end|>" in found.texts[1]


def test_a_model_without_a_template_reads_their_text(causal: Loaded, tmp_path: Path) -> None:
    tokenizer = tiny.tokenizer()
    tokenizer.chat_template = None
    found = read(replace(causal, tokenizer=tokenizer), tmp_path, [{"prompt": "one", "completion": "two"}])
    assert found.texts == ["one\ntwo"]


def test_a_conversation_that_no_template_takes_is_rejected(causal: Loaded, tmp_path: Path) -> None:
    rows = [{"messages": [{"role": "wizard", "content": "x"}]}, {"text": "fine"}]
    assert read(causal, tmp_path, rows, bad=0.5).texts == ["fine"]
    assert "wizard" in rejected(tmp_path)[0]


def test_labels_become_class_numbers(classifier: Loaded, tmp_path: Path) -> None:
    rows = [{"text": "a", "text_pair": "b", "label": "科技"}, {"text": "c", "text_pair": "d", "label": "business"}]
    found = read(classifier, tmp_path, rows)
    assert (found.texts, found.pairs, found.labels) == (["a", "c"], ["b", "d"], [2, 0])


@pytest.mark.parametrize(
    ("row", "reason"),
    [({"text": "c", "label": "weather"}, "'weather'"), ({"label": "sport"}, "no text"), ({"text": "c"}, "'None'")],
)
def test_a_row_that_does_not_fit_is_counted(
    classifier: Loaded, tmp_path: Path, row: dict[str, Any], reason: str
) -> None:
    found = read(classifier, tmp_path, [{"text": "a", "label": "sport"}, row], bad=0.5)
    assert found.labels == [1] and reason in rejected(tmp_path)[0]


def test_several_labels_and_numbers(classifier: Loaded, tmp_path: Path) -> None:
    classifier.model.config.problem_type = MANY_LABELS
    try:
        rows = [
            {"text": "a", "labels": ["科技", "sport", "sport"]},
            {"text": "b", "labels": []},
            {"text": "c", "labels": "sport"},
        ]
        assert read(classifier, tmp_path, rows, bad=0.5).labels == [[1, 2], []]
        classifier.model.config.problem_type = NUMBER
        rows = [{"text": "a", "label": "2.5"}, {"text": "b", "label": -1}, {"text": "c", "label": "much"}]
        assert read(classifier, tmp_path, rows, bad=0.5).labels == [2.5, -1.0]
    finally:
        classifier.model.config.problem_type = None
    assert "no list" in rejected(tmp_path)[0] and "no number" in rejected(tmp_path)[1]


def test_taggers_get_words_and_tag_numbers(classifier: Loaded, tmp_path: Path) -> None:
    tagger = replace(classifier, kind="tagger", labels=("O", "B-X"))
    rows = [
        {"tokens": ["我", "在"], "tags": ["O", "B-X"]},
        {"tokens": ["a"], "tags": ["B-Y"]},
        {"tokens": ["a"], "tags": []},
    ]
    found = read(tagger, tmp_path, rows, bad=0.7)
    assert (found.words, found.labels) == ([["我", "在"]], [[0, 1]])
    assert "B-Y" in rejected(tmp_path)[0] and "0 tags" in rejected(tmp_path)[1]


def test_questions_come_with_their_contexts(classifier: Loaded, tmp_path: Path) -> None:
    answers = {"text": ["b"], "answer_start": [0]}
    rows = [{"question": "谁？", "context": "b c", "answers": answers}, {"text": "alone"}]
    found = read(replace(classifier, kind="span"), tmp_path, rows, bad=0.5)
    assert (found.texts, found.pairs) == (["谁？"], ["b c"])


def test_no_usable_row_is_an_error(classifier: Loaded, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no row can be used") as caught:
        read(classifier, tmp_path, [{"text": "a", "label": "nope"}], bad=1.0)
    assert "rejected.jsonl" in caught.value.remedy
