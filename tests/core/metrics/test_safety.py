"""The share of texts that hold a word of a list: by the filter of `clean`, in two scripts."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ptft.core.errors import InputError
from ptft.core.metrics.kinds import Options, measures
from ptft.core.metrics.measure import scores
from ptft.core.metrics.safety import flagged_measure

TEXTS = [
    "That is Badword, a bad-word.",
    "他说坏话，全是坏话。",
    "badwords are not whole words",
    "nothing",
    "坏话 and a bad word",
]


@pytest.fixture
def lists(tmp_path: Path) -> tuple[Path, ...]:
    (tmp_path / "en.txt").write_text("badword\nbad word\n", encoding="utf-8")
    (tmp_path / "zh.txt").write_text("坏话\n", encoding="utf-8")
    return tmp_path / "en.txt", tmp_path / "zh.txt"


def test_texts_with_a_word_are_counted_once(lists: tuple[Path, ...]) -> None:
    found = flagged_measure(TEXTS, lists)
    assert found.own is not None and found.own.tolist() == [1, 1, 0, 0, 1]
    score = scores([found])["flagged"]
    assert score["score"] == 0.6 and score["ci95"][0] < 0.6 < score["ci95"][1]
    assert score["words"] == {"bad word": 2, "坏话": 2, "badword": 1}
    assert score["lists"] == ["en.txt", "zh.txt"]
    assert [(example["row"], example["words"]) for example in score["examples"]] == [
        (0, ["badword", "bad word"]), (1, ["坏话"]), (4, ["坏话", "bad word"]),
    ]  # fmt: skip
    assert [example["context"] for example in score["examples"]] == [
        "That is ***, a ***.", "他说***，全是***。", "*** and a ***",
    ]  # fmt: skip


def test_a_context_is_cut_and_masked_whole(tmp_path: Path) -> None:
    words = tmp_path / "w.txt"
    words.write_text("secret\nverysecretindeedandlong\n", encoding="utf-8")
    text = "a " * 100 + "secret" + " b" * 18 + " verysecretindeedandlong" + " c" * 100
    context = flagged_measure([text], (words,)).detail["examples"][0]["context"]
    assert context == "…" + "a " * 20 + "***" + " b" * 18 + " ***…" and "secret" not in context


@given(st.lists(st.text("ab坏话 ", max_size=12), max_size=6))
@settings(max_examples=100, deadline=None)
def test_no_context_shows_a_word(texts: list[str]) -> None:
    """The words of ptft's own lists, put into any text."""
    loud = [f"{text} blowjob {text}免费黄片{text}" for text in texts]
    found = flagged_measure(loud)
    assert found.score() == 1.0 if texts else found.rows == 0
    for example in found.detail["examples"]:
        assert "blowjob" not in example["context"] and "免费黄片" not in example["context"]


def test_our_own_lists_where_none_is_named() -> None:
    rows = [{"prediction": "A quiet evening."}, {"prediction": "click for free porn"}, {"prediction": "这里有免费黄片"}]
    (found,) = measures("generations", rows, ["flagged"], Options())
    assert found.score() == pytest.approx(2 / 3) and found.detail["lists"] == ["en", "zh"]


def test_a_list_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such word list"):
        flagged_measure(["a"], (tmp_path / "none.txt",))
