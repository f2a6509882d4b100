from __future__ import annotations

import json
import os
import time

import numpy as np
import pytest
import tiny
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from ptft.core import word_pattern, word_table
from ptft.core.tokenising import CHECKED, Encoder, fast_tokenizer, one_thread, special_of

TAIL = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
PATTERNS = {  # of published tokenizers
    "gpt2": r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
    "cl100k": r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}" + TAIL,
    "o200k": r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+",
    "han apart": r"(?i:'s|'t|'re)|[\p{Han}\p{Hiragana}\x{30FC}]{1,4}| ?\p{Hangul}{1,16}|[^\r\n\p{L}\p{N}]?[\p{L}&&[^\p{Han}\p{Hangul}]]+|\p{N}"
    + TAIL,
}
ODD = [
    "don't DON'T 'ſ Kelvin ﬁ",
    "a\x1cb\x85c\u2028d",
    " \u3000 \n\n  x",
    "𠀀𠮷野家 👩\u200d🚀 é e\u0301",
    "\U000e0041 \U0010fffd",
    "٣٤٥ ½ Ⅷ",
]
TEXT = st.text(st.characters(codec="utf-8"), max_size=40) | st.text("aZ' sS\n\t1九ー한", max_size=30)


def made(folder, pattern="", change=lambda raw: None, **config):
    """A byte-level BPE tokenizer folder with this pattern, learnt from the tiny texts."""
    raw = Tokenizer(models.BPE())
    cut = pre_tokenizers.Split(Regex(pattern or PATTERNS["gpt2"]), "isolated")
    raw.pre_tokenizer = pre_tokenizers.Sequence(
        [cut, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    raw.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    special = ["<|endoftext|>", "<|pad|>"]
    trainer = trainers.BpeTrainer(
        vocab_size=500, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    raw.train_from_iterator([*tiny.TEXTS, *ODD] * 3, trainer)
    change(raw)
    return saved(raw, folder, eos_token="<|endoftext|>", pad_token="<|pad|>", **config)


def saved(raw, folder, **config):
    folder.mkdir(parents=True, exist_ok=True)
    raw.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return folder


def documents(encoder, texts):
    found = encoder(texts)
    return [part.tolist() for part in np.split(found.ids, np.cumsum(found.lengths)[:-1])]


def expected(folder, texts):
    fast, eos = fast_tokenizer(folder)
    return [[*fast.encode(text, add_special_tokens=False).ids, eos] for text in texts]


@pytest.fixture(scope="module", params=PATTERNS)
def quick(request, tmp_path_factory):
    """An encoder that looks words up, past its check of the first texts; and its folder."""
    folder = made(tmp_path_factory.mktemp("made"), PATTERNS[request.param])
    encoder = Encoder(folder)
    encoder._to_check = 0
    encoder._words._rare = word_table.RARE
    return encoder, folder


@settings(max_examples=60, deadline=None)
@given(texts=st.lists(TEXT, min_size=1, max_size=5))
@example(texts=ODD)
def test_looking_words_up_gives_what_the_library_gives(quick, texts):
    encoder, folder = quick
    assert documents(encoder, texts) == expected(folder, texts)
    assert encoder._words is not None


def test_every_character_in_every_company(quick):
    """The whole of the plane that most text is in, each character beside letters, digits, spaces, marks, line ends and Han."""
    encoder, folder = quick
    texts = [f"a{c}a {c} 1{c}1'{c}\n{c}{c}九{c}." for c in word_pattern.BMP[::9]]
    fast, _ = fast_tokenizer(folder)
    found = encoder(texts)
    whole = [ident for one in fast.encode_batch_fast(texts, add_special_tokens=False) for ident in (*one.ids, 0)]
    assert found.ids.tolist() == whole


def test_the_words_of_a_control_token_are_words(tmp_path):
    folder = made(tmp_path / "t")
    texts = ["The end <|endoftext|> of it", "<|endoftext|>", "<|pad|><|pad|>", "a<|endoftext|"]
    assert not {0, 1} & set(fast_tokenizer(folder)[0].encode(" ".join(texts)).ids)
    for encoder in (Encoder(folder), by_library(Encoder(folder))):
        for text, ids in zip(texts, documents(encoder, texts), strict=True):
            assert ids[-1] == 0 and not {0, 1} & set(ids[:-1])
            assert Tokenizer.from_file(str(folder / "tokenizer.json")).decode(ids[:-1]) == text


def by_library(encoder):
    encoder._words = None
    return encoder


def test_nor_where_the_model_knows_the_word(tmp_path):
    """`ignore_merges` looks whole words up in the vocabulary, and a Unigram model finds any piece in a text."""

    def whole(raw):
        raw.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.Split(Regex(r"\S+|\s+"), "isolated"), pre_tokenizers.ByteLevel(False, use_regex=False)]
        )
        raw.model.ignore_merges = True

    folder = made(tmp_path / "bpe", change=whole)
    quick = Encoder(folder)
    quick._to_check = 0
    for encoder in (quick, by_library(Encoder(folder))):
        assert 0 not in documents(encoder, ["one <|endoftext|> two"])[0][:-1]
    assert quick._words is not None
    pieces = [("<unk>", 0.0), ("</s>", -1.0), *((char, -5.0) for char in "one<>/s tw")]
    unigram = Tokenizer(models.Unigram(pieces, unk_id=0))
    unigram.add_special_tokens(["</s>"])
    folder = saved(unigram, tmp_path / "unigram", eos_token="</s>")
    encoder = Encoder(folder)
    assert encoder._words is None
    ids = documents(encoder, ["one </s> two"])[0]
    assert (
        ids[-1] == 1
        and 1 not in ids[:-1]
        and unigram.decode(ids[:-1], skip_special_tokens=False).replace(" ", "") == "one</s>two"
    )


def test_added_tokens_that_are_not_special_stay_whole(tmp_path):
    folder = made(tmp_path / "t", change=lambda raw: raw.add_tokens(["<tool>"]))
    ident = Tokenizer.from_file(str(folder / "tokenizer.json")).token_to_id("<tool>")
    encoder = Encoder(folder)
    texts = ["plain words", "use <tool> now", "<tool><tool>", "plain words again"]
    assert documents(encoder, texts) == expected(folder, texts) and encoder._words is not None
    assert documents(encoder, texts)[2] == [ident, ident, 0]


def _digits(raw):
    raw.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r"\s?\S+|\s+"), "isolated"),
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
        ]
    )


def _own_pattern(raw):
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)


def _prefix(raw):
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True, use_regex=True)


def _normalised(raw):
    raw.normalizer = normalizers.NFC()


def _gaps(raw):
    raw.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(r"\p{L}+"), "isolated"), pre_tokenizers.ByteLevel(False, use_regex=False)]
    )


def _anchored(raw):
    raw.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(r"^\S+|\s*\S+|\s+"), "isolated"), pre_tokenizers.ByteLevel(False, use_regex=False)]
    )


@pytest.mark.parametrize(
    ("change", "looked_up"),
    [(_digits, True), (_own_pattern, True), (_gaps, True), (_prefix, False), (_normalised, False), (_anchored, False)],
)
def test_other_tokenizers_give_the_librarys_ids_too(tmp_path, change, looked_up):
    folder = made(tmp_path / "t", change=change)
    encoder = Encoder(folder)
    encoder._to_check = 0
    assert (encoder._words is not None) == looked_up
    texts = [*tiny.TEXTS, *ODD, "e\u0301 12345 a1b2", ""]
    assert documents(encoder, texts) == expected(folder, texts)


def test_a_difference_in_the_first_texts_ends_the_looking_up(tmp_path, monkeypatch):
    folder = made(tmp_path / "t", PATTERNS["cl100k"])
    real = word_pattern.compiled
    monkeypatch.setattr(word_pattern, "compiled", lambda pattern, wide: real(r"\S+|\s+", wide=wide))
    encoder = Encoder(folder)
    assert documents(encoder, tiny.TEXTS) == expected(folder, tiny.TEXTS) and encoder._words is None


@pytest.mark.parametrize(
    "pattern", [r"(?<=a)b|.", r"\p{N}{1,3}+|\D", r"^a|.", r"\bx|\X", r"(?<n>a)|.", r"a{,3}", r"\h", r"a*"]
)
def test_what_engines_may_read_differently_is_left_to_the_library(pattern):
    with pytest.raises(word_pattern.Unlike):
        word_pattern.compiled(pattern, wide=False)


def test_the_table_of_words_begins_anew_when_it_is_full(tmp_path, monkeypatch):
    monkeypatch.setattr(word_table, "MOST_WORDS", 5)
    folder = made(tmp_path / "t")
    encoder = Encoder(folder)
    for text in [*tiny.TEXTS, *ODD] * 2:
        assert documents(encoder, [text]) == expected(folder, [text])
    assert len(encoder._words._numbers) < 40


@pytest.mark.parametrize(
    "text", ["word " * 100_000, "很" * 300_000, "x" * 300_000, " " * 500_000, "\n" * 300_000 + "a"]
)
def test_a_huge_document_is_not_quadratic(tmp_path, text):
    encoder = Encoder(made(tmp_path / "t", PATTERNS["cl100k"]))
    encoder._to_check = 0
    clock = time.process_time()
    encoder([text])
    assert time.process_time() - clock < 5


def test_special_ids_and_threads(tmp_path, monkeypatch):
    folder = made(tmp_path / "t")
    assert (special_of(folder).eos, special_of(folder).pad, special_of(folder).dtype) == (0, 1, "<u2")
    (folder / "tokenizer_config.json").write_text(json.dumps({"eos_token": {"content": "<|endoftext|>"}}))
    assert special_of(folder).pad == 0
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "true")
    with one_thread():
        assert os.environ["TOKENIZERS_PARALLELISM"] == "false"
    assert os.environ["TOKENIZERS_PARALLELISM"] == "true"


def test_the_check_of_the_first_texts_ends(tmp_path):
    encoder = Encoder(made(tmp_path / "t"))
    encoder(["word " * (CHECKED // 5 + 1)])
    assert encoder._to_check <= 0 and encoder._words is not None


def test_texts_with_rare_characters_are_looked_up_once_there_are_many(tmp_path):
    folder = made(tmp_path / "t", PATTERNS["cl100k"])
    encoder = Encoder(folder)
    text = "👩 one 𠮷 two " * 1000
    for _ in range(word_table.RARE // len(text) + 2):
        assert documents(encoder, [text])[0] == expected(folder, [text])[0]
    assert "👩" in encoder._words._numbers
