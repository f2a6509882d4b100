from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from families import CHINESE, ENGLISH, byte_level, word_piece

from ptft.core.training import vocabulary
from ptft.core.training.vocabulary import BEGINS, GLUED, sentences_of, words_of


def ids_of(text: str) -> np.ndarray:
    return np.array(byte_level()(text, add_special_tokens=False)["input_ids"], dtype=np.int64)


def words(text: str, tokenizer: Any = None) -> list[str]:
    """The text, cut where `words_of` says that words begin."""
    tokenizer = tokenizer or byte_level()
    ids = np.array(tokenizer(text, add_special_tokens=False)["input_ids"], dtype=np.int64)
    numbers = words_of(tokenizer).numbers(ids)
    return [tokenizer.decode(ids[numbers == number]) for number in range(numbers[-1] + 1)]


def test_english_words_are_whole() -> None:
    assert words("unbelievable zebras, twice! naïve") == ["unbelievable", " zebras", ",", " twice", "!", " naïve"]
    assert words("(x") == ["(", "x"] and words("a\n\nstop") in (["a", "\n\n", "stop"], ["a", "\n", "\n", "stop"])
    assert words("doesn't") in (["doesn", "'t"], ["doesn", "'", "t"])
    assert len(byte_level().tokenize(" zebras")) > 1  # else nothing was joined


def test_tokens_of_han_characters_are_words() -> None:
    table, vocabulary = words_of(byte_level()), byte_level().get_vocab()
    texts = {ident: byte_level().decode([ident]) for ident in vocabulary.values()}
    han = [ident for ident, text in texts.items() if text and all("\u4e00" <= char <= "\u9fff" for char in text)]
    assert len(han) > 5 and (table.opens[han] == BEGINS).all() and table.closes[han].all()
    assert words("语言模型 datum")[-1] == " datum"


@pytest.mark.parametrize("text", [CHINESE, "龘a龘b", "naïve é́x 🙂 Ω", ENGLISH])
def test_no_character_is_cut(text: str) -> None:
    found = words(text)
    assert "".join(found) == text and not any("\ufffd" in word for word in found)
    assert len(byte_level().tokenize("龘")) == 3 and words("龘") == ["龘"]


def test_an_accent_stays_with_its_letter() -> None:
    assert vocabulary._opening("\u0301x".encode()) == GLUED and not vocabulary._closing("e\u0301".encode())


def test_a_character_in_several_tokens_closes_a_word_as_a_whole_one_does() -> None:
    assert words("龘a龘b") == ["龘", "a", "龘", "b"] and words("—a") == ["—", "a"]
    assert words("Ωx") == ["Ωx"] and len(byte_level().tokenize("Ω")) == 2


def test_word_piece_marks_its_pieces() -> None:
    assert [word.replace(" ", "") for word in words("unbelievable dogs, 语言", word_piece())] == [
        "unbelievable", "dogs", ",", "语", "言",
    ]  # fmt: skip


def test_sentences_end_in_both_languages() -> None:
    def cut(text: str) -> list[str]:
        ids = ids_of(text)
        places = np.flatnonzero(sentences_of(byte_level()).ends(ids)) + 1
        return [byte_level().decode(part) for part in np.split(ids, places)]

    assert cut("Is it? Yes! It is 2.3 or 4.") == ["Is it?", " Yes!", " It is 2.3 or 4."]
    assert cut("今天天气很好！你说什么？学习。") == ["今天天气很好！", "你说什么？", "学习。"]
    assert cut("a\nb") == ["a\n", "b"]
