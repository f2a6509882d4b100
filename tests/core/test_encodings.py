"""Encodings: each told by its bytes, and nothing guessed."""

from __future__ import annotations

import contextlib
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptft.core.encodings import Undecodable, canonical, decode

TEXTS = {
    "zh": "今天天气很好，我们去公园散步，看到了许多花。\n",
    "traditional": "今天天氣很好，我們去公園散步，看到了許多花。\n",
    "ja": "これは日本語の文章です。漢字とひらがなとカタカナが混ざっています。\n",
    "ko": "오늘은 날씨가 매우 좋아서 친구들과 함께 공원에 가서 산책을 했습니다.\n",
    "ru": "Вчера вечером мы долго гуляли по набережной и разговаривали о новой книге.\n",
    "fr": "Le café était fermé, mais l’hôtel à côté servait un petit déjeuner très agréable.\n",
    "es": "El niño comió una manzana y después salió a jugar al jardín con su compañero.\n",
    "en": "The “new” plan — it costs £5m — was naïve.\n",
}


@pytest.mark.parametrize("times", [1, 10])
@pytest.mark.parametrize(
    ("name", "encoding", "found"),
    [
        ("zh", "gb18030", "gb18030"), ("zh", "gbk", "gb18030"), ("traditional", "big5", "big5hkscs"), ("ja", "shift_jis", "cp932"),
        ("ja", "euc_jp", "euc_jp"), ("ko", "euc_kr", "cp949"), ("ru", "cp1251", "cp1251"), ("ru", "koi8-r", "koi8_r"),
        ("fr", "cp1252", "cp1252"), ("es", "latin-1", "cp1252"), ("en", "cp1252", "cp1252"), ("zh", "utf-8", "utf-8"),
        ("zh", "utf-8-sig", "utf-8"), ("zh", "utf-16", "utf-16"), ("ko", "utf-16-le", "utf-16-le"), ("zh", "utf-16-be", "utf-16-be"),
        ("en", "utf-16-le", "utf-16-le"), ("en", "utf-32-be", "utf-32-be"), ("fr", "utf-32", "utf-32"),
    ],
)  # fmt: skip
def test_detection(name: str, encoding: str, found: str, times: int) -> None:
    text = TEXTS[name] * times
    assert decode(text.encode(encoding)) == (text, found)


def test_mixed_chinese_and_english() -> None:
    text = (
        "The Pod is the smallest unit that can be deployed in Kubernetes.\nPod 是 Kubernetes 中可以部署的最小单元。\n"
        * 5
    )
    assert decode(text.encode("gbk")) == (text, "gb18030")


@pytest.mark.parametrize("charset", ["iso-8859-2", "windows-1253", "gb2312", "TIS-620"])
def test_what_a_page_declares(charset: str) -> None:
    words = {"iso-8859-2": "Żółć", "windows-1253": "Αθήνα", "gb2312": "新闻", "TIS-620": "ไทย"}[charset]
    page = f'<html><head><meta http-equiv="Content-Type" content="text/html; charset={charset}"></head><p>{words}'
    assert decode(page.encode(charset)) == (page, canonical(charset))


def test_a_false_declaration_is_not_believed() -> None:
    page = '<meta charset="utf-8">' + TEXTS["zh"]
    assert decode(page.encode("gbk")) == (page, "gb18030")


@pytest.mark.parametrize(
    "raw", [b"one\ntwo \xff\n", b"\xb0\xa1", "库".encode("gbk"), "Dün".encode("cp1254") * 3 + b"\x81", b"\x80\x81\x82"]
)
def test_too_little_to_tell(raw: bytes) -> None:
    with pytest.raises(Undecodable, match="not UTF-8 at byte"):
        decode(raw)


def test_the_remedy_names_the_guess() -> None:
    with pytest.raises(Undecodable, match=r"it may be \w+ \(ptft clean --set normalise.encoding=\w+ reads it so\)"):
        decode("Včera večer jsme šli na dlouhou procházku.".encode("cp1250"))


def test_random_bytes_are_no_text() -> None:
    source = random.Random(0)
    for number in range(200):
        low = (0x00, 0x20, 0x80, 0xA1)[number % 4]
        with pytest.raises(Undecodable):
            decode(bytes(source.choices(range(low, 0x100), k=200)))


def test_a_named_encoding_is_strict() -> None:
    assert decode("文".encode("gbk"), "GB2312") == ("文", "gb18030")
    assert decode(b"caf\xe9", "latin-1") == ("café", "cp1252")
    with pytest.raises(Undecodable, match="not gb18030 at byte 3"):
        decode(b"abc\xff", "gbk")
    with pytest.raises(Undecodable, match="not utf-8 at byte 3"):
        decode(b"abc\xff", "utf-8")
    for name in ("no-such", "rot13", "hex", "base64", "idna", "punycode", "unicode_escape", "undefined", "", "a\0b"):
        with pytest.raises(LookupError):
            decode(b"abc", name)


@given(st.binary(max_size=200), st.sampled_from(["auto", "utf-8", "utf-16", "gb18030", "cp1252", "utf-32"]))
def test_nothing_else_is_raised(raw: bytes, encoding: str) -> None:
    with contextlib.suppress(Undecodable):
        decode(raw, encoding)


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_utf8_is_always_read_back(text: str) -> None:
    raw = text.encode()
    if b"\0" not in raw and not raw.startswith(b"\xef\xbb\xbf"):
        assert decode(raw) == (text, "utf-8")
