"""Normalisation, the repair of wrong encodings, and language by script."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ptft.core.language import LANGUAGES, language
from ptft.core.text import in_script, letters, mended, normalise

FAMILY = "👨\u200d👩\u200d👧"
PERSIAN = "می\u200cخواهم"  # the joiner is spelling: "I want"
SINHALA = "ශ්\u200dරී"

ODD = st.sampled_from(
    [
        *"\x1b[]m;0\x07\x9b\x00\r\n\t \x0c\x85\u200b\u200c\u200d\ufeff\u3000\u00a0\u2028\u2001ا\u0915\u094d👨👩\ufe0f\u0301e\u0344#的",
        "\x1b[33m",
        "\n\n\n\n",
        "  ",
        "\r\n",
        *"ÃÂâäæÐ¤©\xa0\x80\x99\x82€™",
        "â€™",
        "ÃƒÂ©",
        "ä¸­",
    ]
)


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ("cafe\u0301", "café"),
        ("a\x00b\x07c\x9fd\x7f", "abcd"),
        ("a\tb\nc", "a\tb\nc"),
        ("\x1b[1;31mred\x1b[0m \x1b]0;title\x07text \x1b(Bplain", "red text plain"),
        ("\x1b[33m    --\x1b[32m《菜根谭》\x1b[m\x1b[m", "    --《菜根谭》"),
        ("\ufeffhead\u200b tail\u2060 so\u00adft", "head tail soft"),
        ("a\r\nb\rc\u2028d", "a\nb\nc\nd"),
        ("a\u00a0b\u2003c\u3000d", "a b c d"),
        ("one   two", "one two"),
        ("line   \nnext\t\n", "line\nnext"),
        ("\u3000\u3000一段话。\n\u3000\u3000又一段。", "一段话。\n又一段。"),
        ("if x:\n    return  1", "if x:\n    return 1"),
        ("a\n\n\nb", "a\n\n\nb"),
        ("a\n\n\n\nb", "a\n\nb"),
        ("a\n \n \n \nb", "a\n\nb"),
        ("\n\n  \ntext\n\n", "text"),
        ("\ud800lone", "lone"),
        ("", ""),
        (" \n\t\n", ""),
    ],
)
def test_normalise(raw: str, clean: str) -> None:
    assert normalise(raw) == clean


@pytest.mark.parametrize("text", [FAMILY, PERSIAN, SINHALA, "❤\ufe0f\u200d🔥"])
def test_joiners_that_spell_are_kept(text: str) -> None:
    assert normalise(text) == text


@pytest.mark.parametrize("text", ["ab\u200dcd", "ab\u200ccd", "👨\u200d cd", "中\u200d文"])
def test_other_joiners_are_removed(text: str) -> None:
    assert "\u200d" not in normalise(text) and "\u200c" not in normalise(text)


@settings(max_examples=400)
@given(st.one_of(st.text(), st.lists(ODD).map("".join)))
def test_normalise_is_idempotent(text: str) -> None:
    once = normalise(text)
    assert normalise(once) == once
    assert not set(once) & set("\r\x00\x1b\x7f\x85\ufeff\u200b\u3000\u00a0")


@pytest.mark.parametrize(
    ("raw", "right"),
    [
        ("cafÃ©", "café"),
        ("donâ€™t, â€œquotedâ€\x9d", "don’t, “quoted”"),
        ("ä¸\xadæ–‡æ˜¯", "中文是"),
        ("Ð¿Ñ€Ð¸Ð²ÐµÑ‚", "привет"),
        ("ÃƒÂ©", "é"),
        ("price: 5 â‚¬, Â£5", "price: 5 €, £5"),
        ("schÃ¶n, 中文，全角！", "schön, 中文，全角！"),
        ("Ã\u200b©", "é"),
        ("don\x92t \x93quote\x94", "don’t “quote”"),
    ],
)
def test_wrong_encodings_are_repaired(raw: str, right: str) -> None:
    assert normalise(raw) == right
    assert normalise(raw, repair=False) != right


@pytest.mark.parametrize(
    "text",
    [
        "“Ü” – naïve, à quoi bon ? É", "中文，全角！（ＡＢＣ）『』", "ﬁ ligature ‘quotes’ “too”…", "ÀÉÎÕÜ ßþÿ", "Äpfel „Über“", "AMANHÃ É FERIADO", "Ã é un carattere", "O AMANHÃ E A MANHÃ",
        "São Paulo, Â", "5 × 10³ m² ±1°", "ÅÄÖ åäö «ça» Œuvre", "Ελληνικά", "Привет", "łódź ŠŽ", "señor ¿qué?", "|Ã|",
    ],
)  # fmt: skip
def test_right_text_is_left_alone(text: str) -> None:
    assert mended(text) == text


def test_scripts_of_chinese_only_when_asked() -> None:
    simplified, traditional = "头发发展，皇后在后面。", "頭髮發展，皇后在後面。"
    assert normalise(simplified) == simplified and normalise(traditional) == traditional
    assert normalise(traditional, script="simplified") == simplified
    assert normalise(simplified, script="traditional") == traditional == in_script(traditional, "traditional")


def test_normalise_is_linear() -> None:
    """Each of these took a regular expression quadratic time in some cleaner."""
    for text in (" " * 10**6 + "a", "\t" * 10**6 + "a", "\x1b]" * 10**5, "\u3000" * 10**5 + "a", "\n" * 10**6 + "a"):
        normalise(text)


@pytest.mark.parametrize(
    ("text", "lang"),
    [
        ("The cat sat on the mat.", "en"),
        ("Café naïve", "en"),
        ("今天天气很好。", "zh"),
        ("使用 LibreOffice Writer 的水印功能可在文档页面模拟纸张上的水印。", "zh"),
        ("The word 的 is the most frequent in Chinese.", "en"),
        ("これは日本語の文章です。漢字もあります。", "ja"),
        ("喝一杯の茶，看一本书，度过一个安静的下午。", "zh"),
        ("한국어 문장입니다.", "ko"),
        ("Это русский текст.", "ru"),
        ("هذا نص عربي", "ar"),
        ("12345 !!! 🙂", "und"),
        ("", "und"),
    ],
)
def test_language(text: str, lang: str) -> None:
    assert language(text) == lang
    assert lang in LANGUAGES


def test_letters_counts_every_script() -> None:
    assert letters("ab1 中文_é!") == 5
