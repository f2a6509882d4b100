"""Synonyms from WordNet's and cilin's own formats: where a word may be replaced, and where it is left alone."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest
from dictionaries import write_cilin, write_wordnet
from hypothesis import given, settings
from hypothesis import strategies as st

from ptft.core.errors import InputError
from ptft.stages.clean.augment import cilin as cilin_module
from ptft.stages.clean.augment.cilin import Cilin, find_cilin, load_cilin, words
from ptft.stages.clean.augment.synonyms import Slots, chinese_slots, choose, english_slots, replaced
from ptft.stages.clean.augment.wordnet import WordNet, find_wordnet, load_wordnet


@pytest.fixture(scope="session")
def english(tmp_path_factory: pytest.TempPathFactory) -> WordNet:
    return load_wordnet(write_wordnet(tmp_path_factory.mktemp("wordnet")))


@pytest.fixture
def chinese(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cilin:
    """Without jieba, whose dictionary would decide which words are common."""
    monkeypatch.setattr(cilin_module, "segmenter", lambda: None)
    return load_cilin(write_cilin(tmp_path / "cilin_tree.json"))


def found(slots: Slots, text: str) -> dict[str, tuple[str, ...]]:
    return {text[slot.start : slot.end]: slot.choices for slot in slots.found}


# ---------------------------------------------------------------- English


@pytest.mark.parametrize(
    ("word", "synonyms"),
    [
        ("film", ("movie",)), ("films", ("movies",)), ("often", ("frequently",)), ("huge", ("vast", "immense")),
        ("car", ("auto", "automobile")), ("vanished", ("disappeared",)), ("disappeared", ("vanished",)),
        ("purchased", ()),  # of buy, whose past is none with -ed
        ("bank", ()),  # two senses, as usual one as the other
        ("rare", ()),  # a synonym nobody uses
        ("found", ()), ("unknown", ()), ("the", ()),
    ],
)  # fmt: skip
def test_what_may_stand_for_a_word(english: WordNet, word: str, synonyms: tuple[str, ...]) -> None:
    assert english.synonyms(word) == synonyms


def test_case_is_kept_and_names_are_left_alone(english: WordNet) -> None:
    text = "Often we see a film. The Film Club often meets, and Apple is huge. FILM!"
    assert found(english_slots(text, english), text) == {
        "Often": ("Frequently",), "film": ("movie",), "often": ("frequently",), "huge": ("vast", "immense"),
    }  # fmt: skip


def test_a_capital_at_the_start_may_be_a_name(english: WordNet) -> None:
    assert found(english_slots("Film is dead.", english), "Film is dead.") == {}


def test_an_ambiguous_word_needs_its_neighbour(english: WordNet) -> None:
    """ "use" has synonyms as a verb alone."""
    assert found(english_slots("They want to use it.", english), "They want to use it.") == {"use": ("employ",)}
    assert found(english_slots("They saw the use of it.", english), "They saw the use of it.") == {}


def test_articles_agree(english: WordNet) -> None:
    assert found(english_slots("This is a car.", english), "This is a car.") == {}
    assert found(english_slots("This is the car.", english), "This is the car.") == {"car": ("auto", "automobile")}
    assert found(english_slots("It is a huge hall.", english), "It is a huge hall.") == {"huge": ("vast",)}
    assert found(english_slots("It is an immense hall.", english), "It is an immense hall.") == {}


def test_phrases_addresses_and_code_are_left_alone(english: WordNet) -> None:
    for text in (
        "a film-maker", "see film.com now", "at /film/x", "the film_name is", "call film() now", "#film and @film", "x.film",
        "the film2 file", "<film>", "film's end",
    ):  # fmt: skip
        assert found(english_slots(text, english), text) == {}, text
    text = "the minister met the prime minister"
    assert all(slot.start < 15 for slot in english_slots(text, english).found)


def test_the_share_is_of_content_words(english: WordNet) -> None:
    slots = english_slots("the film was huge and the car often vanished", english)
    assert slots.content == 5 and len(slots.found) == 5
    assert [slots.wanted(share) for share in (0.01, 0.1, 0.4, 1.0)] == [1, 1, 2, 5]


def test_a_wordnet_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="no WordNet here") as caught:
        find_wordnet(str(tmp_path))
    assert "wordnet-base" in caught.value.remedy
    for name in ("WNHOME", "WNSEARCHDIR", "NLTK_DATA"):
        monkeypatch.delenv(name, raising=False)
    write_wordnet(tmp_path / "nltk/corpora/wordnet")
    monkeypatch.setenv("NLTK_DATA", f"/nowhere:{tmp_path / 'nltk'}")
    monkeypatch.setenv("WNHOME", str(tmp_path / "wn"))
    assert find_wordnet() == tmp_path / "nltk/corpora/wordnet" or Path("/usr/share/wordnet").exists()
    write_wordnet(tmp_path / "wn/dict")
    assert find_wordnet() == tmp_path / "wn/dict" == find_wordnet(str(tmp_path / "wn"))


# ---------------------------------------------------------------- Chinese


def test_only_groups_of_equal_words_and_words_of_one_group(chinese: Cilin) -> None:
    assert chinese.synonyms("方法") == ("方式", "办法")  # 措施 is looser
    assert chinese.synonyms("具有") == ("拥有", "具备")
    for word in ("杨树", "提高", "我们", "高兴", "没有"):  # "#"; two groups; a pronoun; nothing in common; unknown
        assert chinese.synonyms(word) == ()
    assert chinese.synonyms("加强") == ("增强",)  # 提高 has another meaning


def test_whole_words_outside_titles(chinese: Cilin) -> None:
    text = "《许多方法》具有许多方法，有 3 种。"
    assert found(chinese_slots(text, chinese), text) == {
        "具有": ("拥有", "具备"), "许多": ("众多",), "方法": ("方式", "办法"),
    }  # fmt: skip
    assert min(slot.start for slot in chinese_slots(text, chinese).found) == 6


def test_words_cover_the_text(chinese: Cilin) -> None:
    text = "他们用许多方法，a b，3 种。"
    assert "".join(word for _, word in words(text, chinese)) == text
    assert all(text[start : start + len(word)] == word for start, word in words(text, chinese))


def test_with_jieba(tmp_path: Path) -> None:
    pytest.importorskip("rjieba")
    cilin = load_cilin(write_cilin(tmp_path / "other.json"))
    text = "这种方法具有许多优点。"
    assert found(chinese_slots(text, cilin), text)["方法"] == ("方式", "办法")


def test_a_cilin_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no cilin here") as caught:
        find_cilin(str(tmp_path))
    assert "pip install cilin" in caught.value.remedy
    (tmp_path / "cilin_tree.json").write_text("[]")
    with pytest.raises(InputError, match="not cilin's tree"):
        load_cilin(tmp_path / "cilin_tree.json")


# ---------------------------------------------------------------- both


@settings(max_examples=100)
@given(
    st.lists(st.sampled_from(["film", "huge", "often", "the", "Apple", "3", "(", "car."]), min_size=1, max_size=20),
    st.integers(0, 99),
    st.floats(0.01, 1),
)
def test_only_slots_change(english: WordNet, parts: list[str], seed: int, share: float) -> None:
    text = " ".join(parts)
    slots = english_slots(text, english)
    if not slots.found:
        return
    draw: Callable[[], list] = lambda: choose(slots, share, random.Random(seed))  # noqa: E731
    new = replaced(text, draw())
    assert new == replaced(text, draw())
    changed = [(old, now) for old, now in zip(text.split(" "), new.split(" "), strict=True) if old != now]
    assert len(changed) == slots.wanted(share)
    assert all(old.strip(".") in ("film", "huge", "often", "car") for old, _ in changed)
