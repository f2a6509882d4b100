"""Each preset against cases cut by hand and, for GPT-2 and Qwen2, against the classes of transformers."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ptft.stages.tokenizer.presets import LEARNT_RUN, cut, pattern, untrained
from ptft.stages.tokenizer.recipe import SPECIAL_FORM

PRESETS = ("bilingual", "gpt2", "cl100k", "qwen")
TRICKY = [
    "Hello world's 你好世界 abc中文mix 12345\n\n  x=1, 日本語 don't café\r\n",
    "WE'RE I'LL 'S '\u017f he'd've  \t\n trailing   ",
    "a\u0301 é ½ ٣٤٥ \u3007二 ①② 3.14e-10 0x1F",
    "\n\n\n  def f(x):\n\treturn x**2  # 注释\r\n\r\n",
    "«quoted» — em…dash ¡hola! 👩‍👩‍👧 🇨🇳 \u200b\ufeff",
    "한국어 문장 コンピューター ﾊﾟｿｺﾝ 々",
]


def pieces(preset, text, digits=0, run=0):
    spans = [span for _, span in cut(preset, digits, run).pre_tokenize_str(text)]
    return [text[start:end] for start, end in spans]


@pytest.mark.parametrize(
    ("preset", "text", "expected"),
    [
        # GPT-2: a space goes with what follows, numbers of any length, contractions in small letters only
        ("gpt2", "I've 12345 cats!!  OK", ["I", "'ve", " 12345", " cats", "!!", " ", " OK"]),
        ("gpt2", "I'VE", ["I", "'", "VE"]),
        ("gpt2", "见abc中文", ["见abc中文"]),
        # cl100k: contractions in any letters, one mark goes with the letters, numbers by three, line ends with what is before
        ("cl100k", "I'VE 12345 cats!\n\n", ["I", "'VE", " ", "123", "45", " cats", "!\n\n"]),
        ("cl100k", "(x) a  b", ["(x", ")", " a", " ", " b"]),
        ("cl100k", "。中文 \n x", ["。中文", " \n", " x"]),
        # Qwen2: the same, and numbers digit by digit
        ("qwen", "I'VE 12345 cats!\n\n", ["I", "'VE", " ", "1", "2", "3", "4", "5", " cats", "!\n\n"]),
        # bilingual: Han and kana apart, a hangul word with its space, the rest as cl100k
        ("bilingual", "见abc中文mix 日本語", ["见", "abc", "中文", "mix", " ", "日本語"]),
        ("bilingual", "I'VE 12345 cats!\n\n", ["I", "'VE", " ", "123", "45", " cats", "!\n\n"]),
        ("bilingual", "。中文，English", ["。", "中文", "，English"]),
        ("bilingual", "コンピューター人々〇〆", ["コンピューター人々〇〆"]),
        ("bilingual", "안녕 하세요", ["안녕", " 하세요"]),
    ],
)
def test_cut_by_hand(preset, text, expected):
    assert pieces(preset, text) == expected


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("digits", [0, 1, 2, 3])
def test_no_character_is_lost(preset, digits):
    for text in TRICKY:
        assert "".join(pieces(preset, text, digits)) == text


@pytest.mark.parametrize("preset", PRESETS)
def test_digits_are_grouped(preset):
    for digits in (1, 2, 3):
        groups = [piece.strip() for piece in pieces(preset, "x 1234567", digits)]
        assert [group for group in groups if group.isdigit()] == [
            "1234567"[start : start + digits] for start in range(0, 7, digits)
        ]
    assert pieces("gpt2", "x 1234567") == ["x", " 1234567"]


def test_a_run_of_han_kana_or_hangul_is_one_piece_but_not_to_learn_from():
    for char in "中あカ한":
        assert pieces("bilingual", char * 40) == [char * 40]
        assert [len(piece) for piece in pieces("bilingual", char * 40, run=LEARNT_RUN)] == [16, 16, 8]
    assert pieces("cl100k", "中" * 40, run=LEARNT_RUN) == ["中" * 40]
    learning = untrained("bilingual").pre_tokenizer.pre_tokenize_str("中" * 40)
    assert learning == cut("bilingual", run=LEARNT_RUN).pre_tokenize_str("中" * 40)


@pytest.fixture(scope="module")
def theirs():
    """The pre-tokenizers that transformers' own GPT-2 and Qwen2 classes set up, over an empty vocabulary."""
    from transformers import GPT2TokenizerFast, Qwen2TokenizerFast

    alphabet = {"<|endoftext|>": 0}
    return {
        "gpt2": GPT2TokenizerFast(vocab=alphabet, merges=[]).backend_tokenizer.pre_tokenizer,
        "qwen": Qwen2TokenizerFast(vocab=alphabet, merges=[]).backend_tokenizer.pre_tokenizer,
    }


@settings(max_examples=150, deadline=None)
@given(text=st.text(max_size=60) | st.sampled_from(TRICKY))
@pytest.mark.parametrize("preset", ["gpt2", "qwen"])
def test_transformers_cuts_the_same(theirs, preset, text):
    if preset == "qwen":  # Qwen2 composes characters first, which ours does not
        import unicodedata

        text = unicodedata.normalize("NFC", text)
    ours = cut(preset).pre_tokenize_str(text)
    assert ours == theirs[preset].pre_tokenize_str(text)


def test_the_qwen_pattern_is_the_published_one():
    from transformers.models.qwen2.tokenization_qwen2 import PRETOKENIZE_REGEX

    assert pattern("qwen") == PRETOKENIZE_REGEX


@pytest.mark.parametrize("preset", PRESETS)
def test_no_preset_leaves_a_special_token_in_one_piece(preset):
    for token in ("<|endoftext|>", "[MASK]", "<|reserved_0|>", "<s>", "<|1|>", "[A]", "<a__>"):
        assert SPECIAL_FORM.fullmatch(token) and len(pieces(preset, token)) > 1, token
    assert not any(SPECIAL_FORM.fullmatch(token) for token in ("word", "<__>", "<|a b|>", "[中]", "", " <s>"))
