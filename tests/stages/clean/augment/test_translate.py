"""Engines of back-translation: apertium where it is installed, Marian models built here; sentences and what joins them."""

from __future__ import annotations

import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from marian import BACK, ENGLISH, FRENCH, marian

from ptft.core.errors import InputError, RunError
from ptft.stages.clean.augment import translate
from ptft.stages.clean.augment.augment import augment_rows, located, ready
from ptft.stages.clean.augment.recipe import Augment, Translators
from ptft.stages.clean.augment.sentences import rewritten, sentences, translatable
from ptft.stages.clean.augment.translate import Apertium, apertium_modes, load_marian, round_trip

BOTH_WAYS = Augment(kind="back-translation")
BBC = [
    "The firm, which is now one of the biggest investors in Google, benefited from sales of high-speed internet connections.",
    "Profits were buoyed by one-off gains which offset a profit dip at Warner Bros.",
    "The company said on Friday that it now owns 8% of the search engine.",
    "There are plans to tear down old buildings and build new ones.",
]


@pytest.fixture(autouse=True)
def fresh_modes() -> Iterator[None]:
    apertium_modes.cache_clear()
    yield
    apertium_modes.cache_clear()


# ---------------------------------------------------------------- sentences


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("One is. Two are! Three?", ["One is.", "Two are!", "Three?"]),
        ("Mr. Smith of the U.S. Army met J. Doe. It was at 3.30 p.m.", ["Mr. Smith of the U.S. Army met J. Doe.", "It was at 3.30 p.m."]),
        ('He said: "Go." Then he went.', ['He said: "Go."', "Then he went."]),
        ("A title\n\nA line.\n  Another", ["A title", "A line.", "Another"]),
        ("天气好。我们走！“真的？”他说；好", ["天气好。", "我们走！", "“真的？”", "他说；", "好"]),
        ("", []), (" \n ", []), ("no end", ["no end"]),
    ],
)  # fmt: skip
def test_sentences(text: str, expected: list[str]) -> None:
    assert [text[start:end] for start, end in sentences(text)] == expected


@settings(max_examples=200)
@given(st.text(alphabet='ab A.!?\n"。！”“ 1', max_size=60))
def test_nothing_is_lost_between_sentences(text: str) -> None:
    spans = sentences(text)
    position = 0
    for start, end in spans:
        assert position <= start < end and not text[position:start].strip()
        position = end
    assert not text[position:].strip()
    assert rewritten(text, {}) == (text, 0)
    assert rewritten(text, {text[a:b]: text[a:b] for a, b in spans}) == (text, len(spans))


def test_what_is_not_translated_stays() -> None:
    text = "Title\n\n  One is.  Two are.\n\nOne is.\n"
    assert rewritten(text, {"One is.": "Uno."}) == ("Title\n\n  Uno.  Two are.\n\nUno.\n", 2)
    assert translatable("The end.") and not translatable("3.14 = 15") and translatable("天气很好。")


# ---------------------------------------------------------------- apertium


def fake_apertium(folder: Path, monkeypatch: pytest.MonkeyPatch, body: str) -> None:
    program = folder / "apertium"
    program.write_text(f"#!/bin/sh\nif [ \"$1\" = -l ]; then echo '  eng-spa'; echo '  spa-eng'; exit; fi\n{body}\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")


def test_as_many_texts_come_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_apertium(tmp_path, monkeypatch, "tr a-z A-Z")
    assert Apertium("eng-spa", 9).translate(["one two", "", "three\nfour"]) == ["ONE TWO", "", "THREE FOUR"]
    monkeypatch.setattr(translate, "PER_PROCESS", 2)
    assert Apertium("eng-spa", 9).translate(list("abcde")) == list("ABCDE")


def test_a_batch_that_comes_back_short_is_halved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """This one swallows every paragraph with an x, and its blank line."""
    fake_apertium(tmp_path, monkeypatch, "sed '/x/{N;d}'")
    assert Apertium("eng-spa", 9).translate(["a", "b", "x", "c"])[:2] == ["a", "b"]
    assert len(Apertium("eng-spa", 9).translate(["a", "x", "b", "x", "c"])) == 5


@pytest.mark.parametrize("mark", ["@casa", "#ser", "*xyz", "conexionesdeinternetrapido"])
def test_failed_words_are_no_translation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mark: str) -> None:
    fake_apertium(tmp_path, monkeypatch, f"sed 's/house/{mark}/'")
    assert Apertium("eng-spa", 9).translate(["my house", "a dog"]) == ["", "a dog"]


def test_apertium_that_hangs_or_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_apertium(tmp_path, monkeypatch, "exec sleep 60")
    with pytest.raises(RunError, match=r"took longer than 0\.2 s") as caught:
        Apertium("eng-spa", 0.2).translate(["a"])
    assert "augment.timeout" in caught.value.remedy
    fake_apertium(tmp_path, monkeypatch, "echo 'no mode' >&2; exit 1")
    with pytest.raises(RunError, match="failed: no mode"):
        Apertium("eng-spa", 9).translate(["a"])


def test_apertium_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RunError, match="not installed") as caught:
        ready(BOTH_WAYS)
    assert "apt-get install apertium" in caught.value.remedy and "augment.english.forward" in caught.value.remedy
    with pytest.raises(RunError, match="not installed"):
        augment_rows([{"id": "1", "text": "A house is here."}], BOTH_WAYS, 1)
    with pytest.raises(RunError, match="no engine"):
        ready(Augment(kind="back-translation", apertium=""))


def test_a_mode_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_apertium(tmp_path, monkeypatch, "cat")
    with pytest.raises(RunError, match="no mode eng-xyz; it has eng-spa, spa-eng") as caught:
        ready(Augment(kind="back-translation", apertium="eng-xyz"))
    assert "apertium-eng-xyz" in caught.value.remedy


@pytest.mark.skipif(
    shutil.which("apertium") is None, reason="apertium is not installed: apt-get install apertium-eng-spa"
)
def test_apertium_for_real() -> None:
    if "eng-spa" not in apertium_modes():
        pytest.skip("apertium has no eng-spa: apt-get install apertium-eng-spa")
    rows = [{"id": f"b{number}", "text": text, "label": "business"} for number, text in enumerate(BBC)]
    assert ready(BOTH_WAYS) == ("apertium:eng-spa, apertium:spa-eng",)
    made = augment_rows(rows, BOTH_WAYS, 1)
    assert made.sentences.total() == 4 and made.sentences["kept"] >= 2
    for row in made.rows:
        source = next(source for source in rows if source["id"] == row["augmented"]["from"])
        assert row["id"] == f"{source['id']}#back-translation-1" and row["label"] == "business"
        assert row["text"] != source["text"] and 0.5 <= row["augmented"]["similarity"] <= 0.99
        assert ("8%" in row["text"]) == ("8%" in source["text"]) and ("Google" in row["text"]) == (
            "Google" in source["text"]
        )
    assert augment_rows(rows, BOTH_WAYS, 1) == made


# ---------------------------------------------------------------- Marian


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Translators:
    pytest.importorskip("sentencepiece", reason="Marian's tokenizer needs sentencepiece")
    folder = tmp_path_factory.mktemp("marian")
    return Translators(
        forward=str(marian(folder / "en-fr", ENGLISH, FRENCH)), back=str(marian(folder / "fr-en", FRENCH, BACK))
    )


def test_marian_translates_in_batches_as_one_by_one(models: Translators) -> None:
    engine = load_marian(models.forward, 3, 30, 1)
    assert engine.translate(ENGLISH) == FRENCH
    assert [engine.translate([text])[0] for text in ENGLISH] == FRENCH
    assert load_marian(models.forward, 8, 30, 4).translate(ENGLISH[::-1]) == FRENCH[::-1]
    assert engine.name == "marian:en-fr" and engine.translate([]) == []


def test_marian_gives_nothing_rather_than_a_part(models: Translators) -> None:
    assert load_marian(models.forward, 3, 3, 1).translate(ENGLISH[:1]) == [""]
    assert load_marian(models.forward, 3, 30, 1).translate(["", "car " * 40]) == ["", ""]


def test_marian_back_translates_rows(models: Translators) -> None:
    recipe = Augment(kind="back-translation", english=models, min_similarity=0.3)
    rows = [{"id": f"r{number}", "text": text, "label": number} for number, text in enumerate(ENGLISH[:6])]
    rows.append({"id": "two", "text": f"{ENGLISH[0]}\n\n{ENGLISH[6]}", "label": 9})
    assert ready(recipe) == ("marian:en-fr, marian:fr-en",)
    made = augment_rows(rows, recipe, 1)
    texts = {row["augmented"]["from"]: row["text"] for row in made.rows}
    assert texts["r0"] == BACK[0] and texts["r4"] == BACK[4]
    assert texts["two"] == f"{BACK[0]}\n\n{BACK[6]}"
    assert all(row["augmented"]["engine"] == "marian:en-fr, marian:fr-en" for row in made.rows)
    assert all(
        row["label"] == next(r["label"] for r in rows if r["id"] == row["augmented"]["from"]) for row in made.rows
    )


def test_marian_for_chinese_leaves_english_to_apertium(
    models: Translators, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = Augment(kind="back-translation", chinese=models)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert ready(recipe) == ("marian:en-fr, marian:fr-en",)
    made = augment_rows([{"id": "1", "text": "A house is here."}], recipe, 1)
    assert made.refused == {"no engine for en": 1}


def test_folders_that_the_runner_found_take_the_place_of_hub_names(models: Translators) -> None:
    recipe = Augment(kind="back-translation", english=Translators("hf:a/b", "hf:b/a"), wordnet="w")
    folders = {"augment.english.forward": Path(models.forward), "augment.english.back": Path(models.back)}
    assert located(recipe, folders).english == models and located(recipe, folders).wordnet == "w"


@pytest.mark.parametrize("model", ["/nowhere", "name", "folder"])
def test_a_marian_model_that_is_not_there(tmp_path: Path, model: str) -> None:
    pytest.importorskip("sentencepiece")
    (tmp_path / "folder").mkdir()
    name = str(tmp_path / "folder") if model == "folder" else model
    with pytest.raises(InputError) as caught:
        round_trip(Augment(english=Translators(name, name)), "en")
    assert caught.value.where == name and "hf:ORG/NAME" in caught.value.remedy


def test_without_sentencepiece(models: Translators, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "sentencepiece", None)
    with pytest.raises(RunError, match="need sentencepiece") as caught:
        translate._load(models.forward)
    assert caught.value.remedy == "pip install sentencepiece"
