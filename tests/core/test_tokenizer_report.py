from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from ptft.core.tokenizer_report import (
    Tally,
    cut,
    figures,
    is_byte_level,
    language_table,
    raw_token,
    shown_token,
    tally,
)


def byte_level():
    """Every byte a token."""
    vocabulary = {char: number for number, char in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


@given(text=st.text())
def test_the_byte_alphabet_is_that_of_tokenizers(text):
    tokens = byte_level().encode(text).tokens
    assert b"".join(raw_token(token, True) for token in tokens) == text.encode()


def test_tokens_of_other_kinds():
    assert raw_token("▁the", False) == b" the" and raw_token("##ing", False) == b"ing"
    assert raw_token("Ġthe", False) == "Ġthe".encode() and raw_token("Ġthe", True) == b" the"


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        (b" the", "␣the"),
        ("中文".encode(), "中文"),
        (b"\xe4\xb8", "⟨e4 b8⟩"),
        (b"\n\t", "⏎⇥"),
        (b"\x00a", "⟨U+0000⟩a"),
        (b"|", "¦"),
    ],
)
def test_tokens_shown(raw, shown):
    assert shown_token(raw) == shown


def test_a_text_cut_into_tokens():
    assert cut(byte_level(), "a 中") == "a|␣|⟨e4⟩|⟨b8⟩|⟨ad⟩"


def test_byte_level_is_told_from_the_decoder():
    assert is_byte_level(byte_level())
    tokenizer = byte_level()
    tokenizer.decoder = decoders.Sequence([decoders.Fuse(), decoders.ByteLevel()])
    assert is_byte_level(tokenizer)
    tokenizer.decoder = decoders.WordPiece()
    assert not is_byte_level(tokenizer)
    assert not is_byte_level(Tokenizer(models.WordLevel({"a": 0}, unk_token="a")))


def test_figures_by_hand():
    sums = tally("ab cd\n", 3) + tally("中 文", 4)
    assert sums == Tally(documents=2, bytes=6 + 7, tokens=7, words=4, characters=6)
    assert figures(sums, "en")["tokens_per_word"] == 7 / 4 and figures(sums, "zh")["tokens_per_word"] is None
    assert figures(sums, "en")["tokens_per_character"] == 7 / 6 and figures(sums, "en")["bytes_per_token"] == 13 / 7
    assert figures(Tally(), "en")["tokens_per_character"] is None


def test_shares_by_language_add_up():
    one = {**figures(Tally(1, 30, 10, 5, 20), "en"), "bytes_learnt": 10}
    other = {**figures(Tally(1, 10, 10, 1, 5), "zh"), "bytes_learnt": 0}
    table = language_table({"en": one, "zh": other})
    assert [row[3:5] for row in table.rows] == [("75.0%", "100.0%"), ("25.0%", "0.0%")]
