from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ptft.core.contracts import TOKENIZER, Inputs
from ptft.core.files import expand
from ptft.core.progress import Silent
from ptft.stages.tokenizer.presets import CHAT_TOKENS, PATTERNS, SPECIAL, untrained
from ptft.stages.tokenizer.recipe import TokenizerRecipe
from ptft.stages.tokenizer.run import plan, run

TEXTS = [
    "The cat sat on the mat, and the dog barked 12345 times.",
    "机器学习模型从文本中学习语言，今天天气很好。",
    "中文 and English 混在一起 don't",
] * 40


@pytest.fixture(scope="module")
def made(tmp_path_factory, output_of):
    folder = tmp_path_factory.mktemp("tokenizer")
    corpus = folder / "in.jsonl"
    corpus.write_text("".join(json.dumps({"text": text}) + "\n" for text in TEXTS))
    out, progress = output_of(folder / "out"), Silent()
    result = run(TokenizerRecipe(vocab_size=600), Inputs({"data": expand([str(corpus)])}), out, progress)
    return out.new, result, progress, corpus


@pytest.fixture(scope="module")
def loaded(made):
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(made[0])


def test_it_is_a_hugging_face_folder(made, loaded):
    assert TOKENIZER.is_valid(made[0])
    assert (loaded.eos_token, loaded.pad_token, loaded.mask_token) == ("<|endoftext|>", "<|pad|>", "[MASK]")
    assert loaded.pad_token_id != loaded.eos_token_id
    assert all(len(loaded(token)["input_ids"]) == 1 for token in (*SPECIAL.values(), *CHAT_TOKENS))


@settings(max_examples=200, deadline=None)
@given(text=st.text())
def test_any_text_survives_the_round_trip(loaded, text):
    ids = loaded(text, add_special_tokens=False)["input_ids"]
    special = {*SPECIAL.values(), *CHAT_TOKENS}
    if not any(token in text for token in special):
        assert loaded.decode(ids) == text


def test_the_report_measures_both_languages(made):
    metrics = made[1].metrics
    assert metrics["round_trip_failures"] == 0
    assert 1 < metrics["characters_per_token_zh"] < 20
    assert 0 < metrics["tokens_per_word"] < 5
    assert 1 < metrics["bytes_per_token"] < 20
    assert json.loads((made[0] / "report.json").read_text()) == metrics


def test_too_little_text_for_the_vocabulary_is_said(made):
    assert made[1].counts["vocab_size"] < 600 and any("fewer than --vocab-size" in text for text in made[2].warnings)


def test_the_template_marks_what_the_assistant_says(loaded):
    from ptft.core.encoding import IGNORED, encode_chat, stop_ids

    messages = [
        {"role": "user", "content": "Hi"}, {"role": "assistant", "content": "你好"},
        {"role": "user", "content": "Bye"}, {"role": "assistant", "content": "See you"},
    ]  # fmt: skip
    chat = encode_chat(loaded, messages, 1000)
    said = loaded.decode([token for token, label in zip(chat.ids, chat.labels, strict=True) if label != IGNORED])
    assert said == "你好<|im_end|>See you<|im_end|>"
    assert stop_ids(loaded) == sorted([loaded.eos_token_id, loaded.convert_tokens_to_ids("<|im_end|>")])


@pytest.mark.parametrize("preset", PATTERNS)
def test_presets_cut_without_losing_a_character(preset):
    text = "Hello world's 你好世界 abc中文mix 12345\n\n  x=1, 日本語 don't café\r\n"
    tokenizer = untrained(preset)
    spans = [span for _, span in tokenizer.pre_tokenizer.pre_tokenize_str(text)]
    assert "".join(text[start:end] for start, end in spans) == text


def test_bilingual_keeps_chinese_apart_from_latin():
    from tokenizers import Regex, pre_tokenizers

    cut = pre_tokenizers.Split(Regex(PATTERNS["bilingual"]), behavior="isolated")
    pieces = [piece for piece, _ in cut.pre_tokenize_str("见abc中文mix 日本語")]
    assert pieces == ["见", "abc", "中文", "mix", " ", "日本語"]
    long_run = [len(piece) for piece, _ in cut.pre_tokenize_str("中" * 40)]
    assert max(long_run) == 16


def test_a_byte_cap_samples_evenly_and_says_so(made, output_of, tmp_path):
    progress = Silent()
    recipe = TokenizerRecipe(vocab_size=600, max_bytes=3000)
    result = run(recipe, Inputs({"data": expand([str(made[3])])}), output_of(tmp_path), progress)
    assert any("even sample" in text for text in progress.warnings)
    assert result.counts["documents"] == len(TEXTS)  # counted, though not all were learnt from


def test_the_plan_writes_nothing(made, tmp_path):
    lines = dict(plan(TokenizerRecipe(), Inputs({"data": expand([str(made[3])])}), Silent()).lines)
    assert lines["documents (estimate)"] == len(TEXTS)
