"""The vocabulary: its size, its special and reserved tokens, and that text never becomes one of them."""

from __future__ import annotations

import json
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizer_making import TEXTS, make, write_rows

from ptft.core.contracts import TOKENIZER
from ptft.core.errors import RecipeError
from ptft.core.recipes import resolve
from ptft.stages.tokenizer.presets import LEARNT_RUN, SPECIAL, pattern
from ptft.stages.tokenizer.recipe import TokenizerRecipe

WORDS = [
    "the",
    "of",
    "and",
    "a",
    "to",
    "in",
    "is",
    "you",
    "that",
    "it",
    "he",
    "was",
    "for",
    "on",
    "are",
    "as",
    "with",
    "his",
    "they",
    "at",
    "be",
    "this",
    "have",
    "from",
    "or",
]


def rich_texts(count=400, seed=1):
    """Enough different words for a thousand merges."""
    draw = random.Random(seed)
    stems = ["".join(draw.choices("abcdefghiklmnoprstu", k=draw.randint(2, 5))) for _ in range(600)]
    chinese = [chr(0x4E00 + number) for number in range(0, 6000, 20)]
    sentences = [" ".join(draw.choices(WORDS + stems, k=20)) for _ in range(count)]
    return [text + "。" + "".join(draw.choices(chinese, k=12)) for text in sentences]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return write_rows(tmp_path_factory.mktemp("corpus") / "in.jsonl", rich_texts())


@pytest.fixture(scope="module")
def made(corpus, tmp_path_factory):
    folder = tmp_path_factory.mktemp("tokenizer")
    result, progress = make([corpus], folder, vocab_size=1000, special_tokens=("<|tool|>", "[CITE]"))
    return folder, result, progress


@pytest.fixture(scope="module")
def loaded(made):
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(made[0])


@pytest.fixture(scope="module")
def fast(made):
    """As `ptft pack` loads it: text that spells a special token is text."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(made[0] / "tokenizer.json"))
    tokenizer.encode_special_tokens = True
    return tokenizer


def test_it_is_a_hugging_face_folder(made, loaded):
    assert TOKENIZER.is_valid(made[0])
    assert (loaded.eos_token, loaded.pad_token, loaded.mask_token) == ("<|endoftext|>", "<|pad|>", "[MASK]")
    assert loaded.bos_token == loaded.eos_token and loaded.pad_token_id != loaded.eos_token_id
    assert loaded("a text")["input_ids"] == loaded("a text", add_special_tokens=False)["input_ids"]  # no BOS of its own


def test_the_size_is_rounded_up_to_the_multiple_and_filled_with_merges(made, loaded):
    assert len(loaded) == made[1].counts["vocab_size"] == 1024
    assert any("1,024 tokens: 1,000 rounded up" in text for text in made[2].notes)
    merges = json.loads((made[0] / "tokenizer.json").read_text())["model"]["merges"]
    assert len(merges) == 1024 - 256 - len(SPECIAL) - 2 - 2 - 16  # chat tokens, the user's, reserved


def test_special_and_reserved_tokens_come_first_and_stand_alone(loaded):
    names = [*SPECIAL.values(), "<|im_start|>", "<|im_end|>", "<|tool|>", "[CITE]"]
    names += [f"<|reserved_{number}|>" for number in range(16)]
    assert loaded.convert_tokens_to_ids(names) == list(range(len(names)))
    assert all(loaded(name)["input_ids"] == [ident] for ident, name in enumerate(names))
    assert loaded.decode(loaded("a<|reserved_3|>b<|tool|>")["input_ids"], skip_special_tokens=True) == "ab"


def test_the_mask_takes_the_space_before_it(loaded):
    ids = loaded("the  [MASK] of")["input_ids"]
    assert ids == [*loaded("the")["input_ids"], loaded.mask_token_id, *loaded(" of")["input_ids"]]


@pytest.mark.parametrize(("pad_to", "size"), [(1, None), (128, 128), (64, 64), (1000, 1000)])
def test_too_few_merges_are_said_and_padded_with_reserved_tokens(tmp_path, pad_to, size):
    from transformers import AutoTokenizer

    path = write_rows(tmp_path / "in.jsonl", TEXTS)
    result, progress = make([path], tmp_path / "out", vocab_size=5000, pad_to=pad_to)
    assert any("fewer than --vocab-size 5,000" in text for text in progress.warnings)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    assert len(tokenizer) == result.counts["vocab_size"] < 5000 and len(tokenizer) % (size or 1) == 0
    merges = len(json.loads((tmp_path / "out" / "tokenizer.json").read_text())["model"]["merges"])
    padded = len(tokenizer) - (256 + 7 + 16 + merges)
    assert 0 <= padded < pad_to
    last = f"<|reserved_{16 + padded - 1}|>"
    assert tokenizer.convert_tokens_to_ids(last) == (len(tokenizer) - 1 if padded else 22)  # no gap, no further one


def test_the_same_text_in_any_order_gives_the_same_bytes(corpus, made, tmp_path):
    rows = [json.loads(line) for line in corpus.read_text(encoding="utf-8").splitlines()]
    random.Random(2).shuffle(rows)
    parts = [write_rows(tmp_path / name, part) for name, part in (("b.jsonl", rows[:100]), ("a.jsonl", rows[100:]))]
    make(parts, tmp_path / "out", vocab_size=1000, special_tokens=("<|tool|>", "[CITE]"))
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        assert (tmp_path / "out" / name).read_bytes() == (made[0] / name).read_bytes(), name


def test_the_report_is_the_same_with_more_processes(corpus, tmp_path):
    one, _ = make([corpus], tmp_path / "one", vocab_size=1000)
    two, _ = make([corpus], tmp_path / "two", vocab_size=1000, workers=2)
    assert one.metrics == two.metrics
    assert (tmp_path / "one" / "report.json").read_bytes() == (tmp_path / "two" / "report.json").read_bytes()


def test_no_token_is_a_whole_sentence_and_no_run_is_cut(tmp_path):
    """Learnt from pieces; encoded in one, so that where a sentence begins does not matter."""
    from tokenizers import Tokenizer

    sentence = "今天天气很好我们去公园散步吧然后回家吃饭看书睡觉"
    make([write_rows(tmp_path / "in.jsonl", [sentence, f"好{sentence}"] * 20)], tmp_path / "out", min_frequency=1)
    tokenizer = Tokenizer.from_file(str(tmp_path / "out" / "tokenizer.json"))
    longest = max(len(tokenizer.decode([ident])) for ident in range(tokenizer.get_vocab_size()))
    assert len(sentence) > longest == LEARNT_RUN
    described = json.loads(tokenizer.to_str())["pre_tokenizer"]["pretokenizers"][0]
    assert described["pattern"]["Regex"] == pattern("bilingual")
    spans = [span for _, span in tokenizer.pre_tokenizer.pre_tokenize_str(sentence * 9)]
    assert spans == [(0, 9 * len(sentence))]


# ---------------------------------------------------------------- text is text

SPELT = [*SPECIAL.values(), "<|im_start|>", "<|im_end|>", "<|reserved_0|>", "<|tool|>", "[CITE]", "  [MASK]"]


@settings(max_examples=300, deadline=None)
@given(text=st.text(max_size=80) | st.lists(st.sampled_from(SPELT) | st.text(max_size=5)).map("".join))
def test_any_text_survives_the_round_trip(fast, text):
    ids = fast.encode(text, add_special_tokens=False).ids
    assert fast.decode(ids, skip_special_tokens=False) == text
    assert not set(ids) & fast.get_added_tokens_decoder().keys()
    assert fast.encode_batch_fast([text], add_special_tokens=False)[0].ids == ids


def test_in_transformers_it_is_split_special_tokens(loaded, fast):
    text = "a <|endoftext|> b  [MASK]<|reserved_0|>"
    assert loaded(text, split_special_tokens=True)["input_ids"] == fast.encode(text).ids
    assert loaded.eos_token_id in loaded(text)["input_ids"]  # what happens without


def test_a_corpus_full_of_a_special_token_learns_no_merge_for_it(tmp_path):
    path = write_rows(tmp_path / "in.jsonl", ["<|endoftext|>[MASK] <|im_end|><|tool|> and text"] * 50)
    make([path], tmp_path / "out", special_tokens=("<|tool|>",))
    merges = json.loads((tmp_path / "out" / "tokenizer.json").read_text())["model"]["merges"]
    assert not {"".join(pair) for pair in merges} & {*SPECIAL.values(), "<|im_end|>", "<|tool|>"}
    assert "endoftext" in {"".join(pair) for pair in merges}


# ---------------------------------------------------------------- knobs


def test_what_is_wrong_with_the_recipe_is_said_together():
    with pytest.raises(RecipeError) as raised:
        resolve(
            TokenizerRecipe,
            "tokenizer",
            sets=["special_tokens=word,<|a b|>,<|ok|>", "reserved=100"],
            flags={"vocab_size": "300"},
        )
    assert [text for text in raised.value.problems if "'word'" in text]
    assert [text for text in raised.value.problems if "'<|a b|>'" in text]
    assert [text for text in raised.value.problems if "take 367" in text]
    assert len(raised.value.problems) == 3


@pytest.mark.parametrize("chat", ["chatml", "llama3", "zephyr", "plain"])
def test_the_smallest_vocabulary_that_is_allowed_can_be_made(corpus, tmp_path, chat):
    knobs = {"vocab_size": 300, "reserved": 36, "pad_to": 1, "chat": chat}
    assert not TokenizerRecipe(**knobs).problems() and TokenizerRecipe(**{**knobs, "reserved": 37}).problems()
    result, _ = make([corpus], tmp_path / "out", **knobs)
    assert result.counts["vocab_size"] == 300


def test_digits_reach_the_tokenizer(corpus, tmp_path):
    from tokenizers import Tokenizer

    make([corpus], tmp_path / "out", digits=1)
    tokenizer = Tokenizer.from_file(str(tmp_path / "out" / "tokenizer.json"))
    assert tokenizer.encode("2026").tokens == ["2", "0", "2", "6"]
