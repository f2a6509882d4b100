"""METEOR against the values in nltk's documentation."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from ptft.core.errors import InputError
from ptft.core.metrics.kinds import Options
from ptft.core.metrics.measure import scores
from ptft.core.metrics.meteor import _NO_WORDS, _words_of, meteor
from ptft.core.metrics.text import text_measures

# nltk 3.10, nltk/translate/meteor_score.py
FIRST = [
    "It",
    "is",
    "a",
    "guide",
    "to",
    "action",
    "which",
    "ensures",
    "that",
    "the",
    "military",
    "always",
    "obeys",
    "the",
    "commands",
    "of",
    "the",
    "party",
]
SECOND = [
    "It",
    "is",
    "to",
    "insure",
    "the",
    "troops",
    "forever",
    "hearing",
    "the",
    "activity",
    "guidebook",
    "that",
    "party",
    "direct",
]
REFERENCES = [
    [
        "It",
        "is",
        "a",
        "guide",
        "to",
        "action",
        "that",
        "ensures",
        "that",
        "the",
        "military",
        "will",
        "forever",
        "heed",
        "Party",
        "commands",
    ],
    [
        "It",
        "is",
        "the",
        "guiding",
        "principle",
        "which",
        "guarantees",
        "the",
        "military",
        "forces",
        "always",
        "being",
        "under",
        "the",
        "command",
        "of",
        "the",
        "Party",
    ],
    [
        "It",
        "is",
        "the",
        "practical",
        "guide",
        "for",
        "the",
        "army",
        "always",
        "to",
        "heed",
        "the",
        "directions",
        "of",
        "the",
        "party",
    ],
]
PLACES = (os.environ.get("WNSEARCHDIR", ""), "/usr/share/wordnet", "/usr/local/share/wordnet")


def test_meteor_of_nltks_documentation() -> None:
    assert round(meteor(FIRST, REFERENCES[:1], _NO_WORDS), 4) == 0.6944
    assert round(meteor(FIRST, REFERENCES, _NO_WORDS), 4) == 0.6944
    assert meteor(["non", "matching", "hypothesis"], [["this", "is", "a", "cat"]], _NO_WORDS) == 0.0


def _score(prediction: str, reference: str, wordnet: Path | None = None) -> float:
    return text_measures([prediction], [[reference]], ["meteor"], Options(wordnet=wordnet))[0].score()


def test_words_match_by_form_then_stem() -> None:
    whole = 1 - 0.5 * (1 / 3) ** 3  # one chunk of three words: Lavie and Agarwal 2007, section 2
    assert _score("dogs were barking", "dogs were barking") == pytest.approx(whole)
    assert _score("dog were barked", "dogs were barking") == pytest.approx(whole)
    assert _score("cats may sleep", "dogs were barking") == 0.0


def test_chinese_is_by_character_and_exact() -> None:
    assert _score("今天天气好", "今天天气好") == pytest.approx(1 - 0.5 / 5**3)
    assert 0 < _score("今天下雨", "今天天气好") < 0.5
    found = text_measures(["你好", "dogs"], [["你好"], ["dog"]], ["meteor"], Options())[0]
    assert found.detail["matched_by"] == "form; form, stem"


# two words of one meaning, and an irregular plural, in the format of wndb(5WN)
NOUN = b"00000000 03 n 02 car 0 auto 0 001 @ 00000000 n 0000 | a motor vehicle  \n"
GOOSE = b"%08d 03 n 02 goose 0 gander 0 000 | a bird  \n"


@pytest.fixture
def wordnet(tmp_path: Path) -> Path:
    for part in ("noun", "verb", "adj", "adv"):
        for name in (f"data.{part}", f"index.{part}", f"{part}.exc"):
            (tmp_path / name).write_bytes(b"")
    (tmp_path / "data.noun").write_bytes(NOUN + GOOSE % len(NOUN))
    lines = ["  1 licence", "car n 1 1 @ 1 1 00000000", "auto n 1 1 @ 1 1 00000000", f"goose n 1 0 1 0 {len(NOUN):08}"]
    (tmp_path / "index.noun").write_text("\n".join(lines))
    (tmp_path / "noun.exc").write_text("geese goose\n")
    return tmp_path


def test_synonyms_match_where_wordnet_is_given(wordnet: Path) -> None:
    whole = 1 - 0.5 / 3**3
    assert _score("my car runs", "my auto runs") < 0.7
    assert _score("my car runs", "my auto runs", wordnet) == pytest.approx(whole)
    assert _score("my geese run", "my gander run", wordnet) < whole  # nltk looks synonyms of stems up: "gees"
    words = _words_of(wordnet)
    assert {lemma.name() for synset in words.synsets("geese") for lemma in synset.lemmas()} == {"goose", "gander"}
    assert {lemma.name() for synset in words.synsets("cars") for lemma in synset.lemmas()} == {"car", "auto"}
    assert words.synsets("bus") == []


def test_a_folder_without_wordnet_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no WordNet here") as raised:
        _score("a", "b", tmp_path)
    assert "--set wordnet=DIR" in raised.value.remedy


def test_meteor_with_the_real_wordnet_is_nltks() -> None:
    """0.3035: nltk 3.10's meteor_score of the second hypothesis with WordNet 3.0, run once through nltk's own reader."""
    folder = next((Path(place) for place in PLACES if place and (Path(place) / "data.noun").is_file()), None)
    if folder is None:
        pytest.skip("no WordNet here: apt-get install wordnet-base, or name its folder in WNSEARCHDIR")
    assert round(meteor(SECOND, REFERENCES, _words_of(folder)), 4) == 0.3035


def test_rows_and_intervals() -> None:
    found = scores(text_measures(["a dog", "a cat"] * 10, [["a dog", "x"], ["a cow"]] * 10, ["meteor"], Options()))[
        "meteor"
    ]
    low, high = found["ci95"]
    assert low < found["score"] < high and found["matched_by"] == "form, stem"
    assert np.isfinite(found["score"])
