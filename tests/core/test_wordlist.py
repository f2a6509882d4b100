"""Word lists: what is found where, in two scripts, at offsets of the text as it was given."""

from __future__ import annotations

import pickle
import random
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ptft.core.errors import InputError
from ptft.core.wordlist import BUNDLED, WordMatcher, load_words


def found(words, text):
    return [text[start:end] for start, end, _ in WordMatcher(words).find(text)]


@pytest.mark.parametrize(
    ("words", "text", "expected"),
    [
        (["ass"], "class asset ass Ass, pass_ass 'ass'", ["ass", "Ass", "ass"]),
        (["ass"], "他说ass了，ass。", ["ass", "ass"]),
        (["caf", "na"], "café naïve caf", ["caf"]),
        (["café"], "CAFÉ cafés décafé café", ["CAFÉ", "café"]),
        (["hot line", "hot"], "hot-line hot\nline hot lines", ["hot-line", "hot\nline", "hot"]),
        (["sex shop", "sex"], "sex shopping sex shop", ["sex", "sex shop"]),
        (["don't"], "Don't dont", ["Don't"]),
        (["赌博", "网络赌博", "博彩"], "网络赌博彩票，赌博", ["网络赌博", "赌博"]),
        (["加v信"], "请加V信，加Ｖ信", ["加V信", "加Ｖ信"]),
        (["av女优"], "jav女优 av女优 看AV女优", ["av女优", "AV女优"]),
        (["free"], "ＦＲＥＥ free", ["ＦＲＥＥ", "free"]),
        (["f**k", "$$$"], "f**k f**king $$$", ["f**k", "$$$"]),
        (["istanbul"], "£ İSTANBUL İstanbul", ["İSTANBUL", "İstanbul"]),
        (["straße"], "İİİ STRAßE straße", ["STRAßE", "straße"]),
        (["ΣΑΣ"], "σας ΣΑΣ", ["σας", "ΣΑΣ"]),
        (["водка"], "ВОДКА водкам", ["ВОДКА"]),
        (["😀坏"], "a😀坏b", ["😀坏"]),
        (["ab", "bc"], "ab bc abc", ["ab", "bc"]),
        ([], "nothing", []),
        (["a"], "", []),
    ],
)
def test_find(words, text, expected):
    assert found(words, text) == expected


def test_the_word_as_its_list_spells_it():
    assert WordMatcher(["Bad Word", "bad word"]).find("x BAD-word") == [(2, 10, "Bad Word")]


def test_mask():
    matcher = WordMatcher(["bad", "坏话"])
    assert matcher.mask("Bad，说坏话bad") == ("***，说******", 3)
    assert matcher.mask("badge", "[x]") == ("badge", 0)
    assert matcher.mask("İ bad ß", "[x]") == ("İ [x] ß", 1)


def test_pickles():
    matcher = pickle.loads(pickle.dumps(WordMatcher(["bad", "坏话"])))
    assert matcher.mask("bad坏话") == ("******", 2)


ALPHABET = "abAB éÉ坏话，İßΣς-'ａＢ_1😀\n"


@given(st.lists(st.text(ALPHABET, min_size=1, max_size=4), max_size=6), st.text(ALPHABET, max_size=40))
@settings(max_examples=400, deadline=None)
def test_spans_are_in_the_text_in_order_and_masked(words, text):
    matcher = WordMatcher(words)
    spans = matcher.find(text)
    edges = [place for start, end, _ in spans for place in (start, end)]
    assert edges == sorted(edges) and all(start < end for start, end, _ in spans)
    assert all(end - start == len(word.strip()) and word in words for start, end, word in spans)
    assert matcher.mask(text, "\0") == ("".join(_with_nulls(text, spans)), len(spans))


def _with_nulls(text, spans):
    for place, character in enumerate(text):
        if any(start == place for start, _, _ in spans):
            yield "\0"
        if not any(start <= place < end for start, end, _ in spans):
            yield character


@given(st.text(ALPHABET, min_size=1, max_size=4).filter(str.strip), st.text("，。 \n", max_size=5))
@settings(max_examples=200, deadline=None)
def test_a_word_is_found_in_any_case(word, around):
    for spelt in (word, word.lower(), word.upper()):
        if len(spelt) == len(word) and "ß" not in word:
            assert WordMatcher([word]).find(f"{around} {spelt} {around}"), spelt


def test_lists_are_read(tmp_path):
    mine = tmp_path / "mine.txt"
    mine.write_text("\ufeff# heading\n\nbad\r\n坏话 # why\nc#\nbad\n", encoding="utf-8")
    assert load_words([mine]) == ("bad", "坏话", "c#")
    assert load_words([str(mine), "zh"])[:3] == ("bad", "坏话", "c#")


@pytest.mark.parametrize(
    ("data", "where", "what"),
    [
        (b"good\n\xc4\xe3\n", ":2", "not UTF-8"),
        (b"# only\n\n", "", "no words"),
        (b"a\n" + b"long " * 50, ":2", "250|249"),
    ],
)
def test_bad_lists_name_the_file_and_the_line(tmp_path, data, where, what):
    path = tmp_path / "mine.txt"
    path.write_bytes(data)
    with pytest.raises(InputError, match=what) as error:
        load_words([path])
    assert error.value.where == f"{path}{where}"


def test_a_missing_list_names_the_bundled_ones(tmp_path):
    with pytest.raises(InputError, match="no such word list") as error:
        load_words([tmp_path / "none.txt"])
    assert "en, zh" in error.value.remedy


@pytest.mark.parametrize("name", BUNDLED)
def test_bundled_lists(name):
    words = load_words([name])
    assert len(words) > 120
    assert [word for word in words if word != word.lower()] == []
    innocent = "Chinks in the armour; the cock crowed; Scunthorpe; Essex. 室内射击，门口爆炸，程序执行过程中出现错误。警方打击网络赌博，查获有人出售枪支和大麻。He tried to hire a hitman."
    assert WordMatcher(words).find(innocent) == []


def test_fifty_thousand_words_cost_no_more_than_a_few():
    draw = random.Random(0)
    english = ["".join(draw.choices("abcdefghijklmnopqrstuvwxyz", k=8)) for _ in range(25_000)]
    chinese = ["".join(chr(draw.randint(0x4E00, 0x9FFF)) for _ in range(3)) for _ in range(25_000)]
    matcher = WordMatcher(english + chinese)
    text = "The quick brown fox jumps over the lazy dog. 敏捷的棕色狐狸跳过懒狗。" * 20_000
    start = time.process_time()
    assert matcher.find(text + english[7])[-1][2] == english[7]
    assert len(text.encode()) / (time.process_time() - start) > 10e6  # about 100 MB/s on an idle core
