"""The tokenizer in a GGUF file: tokens, types, special ones, the chat template, and llama.cpp's name for how text is cut.

That llama.cpp's tokens are the same under these names was measured on real text (docs/log.md); here where it is installed.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import tiny

from ptft.core.errors import InputError
from ptft.core.models import load
from ptft.core.vocabulary_extension import extend
from ptft.stages.export.formats import gguf as exported
from ptft.stages.export.formats import gguf_tokenizer
from ptft.stages.tokenizer.presets import Preset, cut, untrained

TEXTS = [
    "It's 12345 o'clock, WE'LL see 6 or 78!", "今天天气很好，我们去公园散步吧。ABC中文def", "a  b\n\n c\r\n\td ",
    "안녕하세요 세계", "ひらがなカタカナー漢字", "emoji 😀👍🏽 naïve café", "<|im_start|>user\nhi<|im_end|>", "",
]  # fmt: skip
RUN = (
    "今天天气很好我们去公园散步吧" * 3
)  # not learnt from: llama-cpp-python's detokenize drops tokens of more than 32 bytes
OLD_LIMIT = "llama.cpp cuts runs of more than 16 Han or kana characters into other tokens"
NUMBERS = "llama.cpp cuts numbers of several digits into other tokens"


def wrapped(raw: Any) -> Any:
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast(tokenizer_object=raw, eos_token="<|endoftext|>")


def empty(preset: Preset, digits: int = 0, run: int = 0) -> Any:
    """A tokenizer with no merges, which cuts as `ptft tokenizer` leaves it; run: as it did when it had a limit."""
    raw = untrained(preset, digits)
    raw.pre_tokenizer = cut(preset, digits, run)
    return raw


def learnt(preset: Preset, digits: int = 0) -> Any:
    from tokenizers import pre_tokenizers, trainers

    raw = untrained(preset, digits)
    trainer = trainers.BpeTrainer(
        vocab_size=500, special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"], show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )  # fmt: skip
    raw.train_from_iterator([*tiny.TEXTS * 3, *TEXTS * 3], trainer)
    raw.pre_tokenizer = cut(preset, digits)
    return wrapped(raw)


@pytest.mark.parametrize(
    ("preset", "digits", "name", "note"),
    [
        ("gpt2", 0, "gpt-2", ""), ("gpt2", 1, "gpt-2", ""), ("gpt2", 3, "gpt-2", NUMBERS),
        ("cl100k", 0, "dbrx", ""), ("cl100k", 1, "qwen2", ""), ("cl100k", 2, "dbrx", NUMBERS),
        ("qwen", 0, "qwen2", ""), ("qwen", 3, "dbrx", ""),
        ("bilingual", 0, "dbrx", ""), ("bilingual", 1, "qwen2", ""), ("bilingual", 2, "dbrx", NUMBERS),
        ("bilingual", 3, "dbrx", ""),
    ],
)  # fmt: skip
def test_names_of_our_presets(preset, digits, name, note):
    assert gguf_tokenizer.splitting(wrapped(empty(preset, digits))) == gguf_tokenizer.Splitting(name, note)


@pytest.mark.parametrize(
    ("digits", "name", "note"),
    [(0, "dbrx", OLD_LIMIT), (1, "qwen2", OLD_LIMIT), (2, "dbrx", f"{OLD_LIMIT}; {NUMBERS}"), (3, "dbrx", OLD_LIMIT)],
)
def test_a_tokenizer_made_when_runs_had_a_limit(digits, name, note):
    assert gguf_tokenizer.splitting(wrapped(empty("bilingual", digits, 16))) == gguf_tokenizer.Splitting(name, note)


def test_names_of_published_tokenizers():
    from tokenizers import Regex, normalizers
    from tokenizers.pre_tokenizers import ByteLevel, Digits, Sequence, Split

    raw = empty("cl100k")
    raw.model.ignore_merges = True
    assert gguf_tokenizer.splitting(wrapped(raw)).name == "llama-bpe"
    raw = empty("gpt2")
    raw.pre_tokenizer = ByteLevel(add_prefix_space=False)
    assert gguf_tokenizer.splitting(wrapped(raw)).name == "gpt-2"
    raw.pre_tokenizer = Sequence([Digits(individual_digits=True), ByteLevel(add_prefix_space=False)])
    assert gguf_tokenizer.splitting(wrapped(raw)).name == "smollm"
    raw.pre_tokenizer = Sequence([Split(Regex(r"\w+"), "isolated"), ByteLevel(add_prefix_space=False, use_regex=False)])
    assert "tokens may differ" in gguf_tokenizer.splitting(wrapped(raw)).note
    raw = empty("qwen")
    raw.normalizer = normalizers.NFC()
    assert gguf_tokenizer.splitting(wrapped(raw)) == gguf_tokenizer.Splitting(
        "qwen2", "text is not normalised first (NFC)"
    )


def written(tmp_path: Path, tokenizer: Any = None, **more: Any) -> tuple[dict[str, Any], Any]:
    """A file's metadata, and the model that it was made from."""
    from gguf import GGUFReader

    loaded = load(tiny.causal(tmp_path / "model", **more))
    loaded = replace(loaded, tokenizer=tokenizer or loaded.tokenizer)
    loaded.model.generation_config.eos_token_id = [0, 3]
    path = exported.write(loaded, {}, tmp_path / "gguf")
    return {name: field.contents() for name, field in GGUFReader(path).fields.items()}, loaded


def test_tokens_and_special_ones(tmp_path):
    fields, loaded = written(tmp_path, vocab_size=416)
    tokens, kinds = fields["tokenizer.ggml.tokens"], fields["tokenizer.ggml.token_type"]
    vocabulary = loaded.tokenizer.get_vocab()
    assert len(tokens) == len(kinds) == 416
    assert {token: tokens.index(token) for token in vocabulary} == vocabulary
    assert [tokens[index] for index, kind in enumerate(kinds) if kind == 3] == [
        "<|endoftext|>", "<|pad|>", "<|im_start|>", "<|im_end|>", "[MASK]",
    ]  # fmt: skip
    assert set(kinds[len(vocabulary) :]) == {5}
    ids = {name: fields.get(f"tokenizer.ggml.{name}_token_id") for name in ("bos", "eos", "eot", "padding", "mask")}
    assert ids == {"bos": 0, "eos": 0, "eot": 3, "padding": 1, "mask": 4}
    assert fields["tokenizer.ggml.add_bos_token"] is False and fields["tokenizer.ggml.add_eos_token"] is False


def test_a_row_without_a_token_gets_a_name_that_no_token_has(tmp_path):
    tokenizer = tiny.tokenizer()
    tokenizer.add_tokens(["[unused1]", "词元"])
    fields, _ = written(tmp_path, tokenizer, vocab_size=416)
    tokens, kinds = fields["tokenizer.ggml.tokens"], fields["tokenizer.ggml.token_type"]
    assert len(set(tokens)) == 416 and tokens.index("[unused1]") == tokenizer.convert_tokens_to_ids("[unused1]")
    assert {token for token, kind in zip(tokens, kinds, strict=True) if kind == 4} == {"[unused1]", "词元"}
    assert {"[unused0]", "[unused2]"} <= {token for token, kind in zip(tokens, kinds, strict=True) if kind == 5}


def test_the_chat_template_needs_no_extension(tmp_path):
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    fields, loaded = written(tmp_path)
    messages = [{"role": "user", "content": "你好"}, {"role": "assistant", "content": "hi"}]
    said = ImmutableSandboxedEnvironment().from_string(fields["tokenizer.chat_template"]).render(
        messages=messages, add_generation_prompt=True
    )  # fmt: skip
    assert said == loaded.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)


def test_white_space_control_of_generation_tags_stays():
    template = "{%- generation -%} a {%- endgeneration %} b{% generation %}"
    assert gguf_tokenizer.without_generation_tags(template) == "{%- if true -%} a {%- endif %} b{% if true %}"


def test_transformers_reads_the_same_tokens(tmp_path):
    from transformers import AutoTokenizer

    _, loaded = written(tmp_path)
    again = AutoTokenizer.from_pretrained(tmp_path / "gguf", gguf_file=exported.FILE)
    for text in TEXTS:
        assert again(text)["input_ids"] == loaded.tokenizer(text)["input_ids"]


def test_what_is_no_byte_level_bpe_is_refused(tmp_path):
    from tokenizers import Tokenizer, models

    unigram = wrapped(Tokenizer(models.Unigram([("a", -1.0)], None)))
    with pytest.raises(InputError, match=r"\(Unigram\) is not byte-level BPE"):
        written(tmp_path, unigram)


def test_more_tokens_than_the_model_has_rows(tmp_path):
    with pytest.raises(InputError, match="300"):
        written(tmp_path, vocab_size=300)


@pytest.mark.parametrize(
    ("preset", "digits"), [("gpt2", 0), ("gpt2", 1), ("cl100k", 0), ("qwen", 0), ("bilingual", 0), ("bilingual", 1)]
)
def test_llama_cpp_finds_the_same_tokens(tmp_path, preset, digits):
    llama_cpp = pytest.importorskip("llama_cpp", reason="needs llama-cpp-python, which builds for ten minutes")
    tokenizer = learnt(preset, digits)
    written(tmp_path, tokenizer, vocab_size=len(tokenizer))
    model = llama_cpp.Llama(str(tmp_path / "gguf" / exported.FILE), vocab_only=True, verbose=False)
    for text in (*TEXTS, RUN):
        ids = model.tokenize(text.encode(), add_bos=True, special=True)
        assert ids == tokenizer(text)["input_ids"], text
        assert model.detokenize(ids, special=True).decode() == text


def test_llama_cpp_finds_tokens_that_were_added_later(tmp_path):
    """By `ptft finetune domain --new-tokens`, and by hand, of a tokenizer with special tokens in front and spare rows behind."""
    llama_cpp = pytest.importorskip("llama_cpp", reason="needs llama-cpp-python, which builds for ten minutes")
    from transformers import AutoTokenizer

    learnt("bilingual").save_pretrained(tmp_path / "tokenizer")
    before = len(AutoTokenizer.from_pretrained(tmp_path / "tokenizer"))
    assert extend(tmp_path / "tokenizer", ["量子计算机 quantum qubits " * 20], 12) == 12
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "tokenizer")
    tokenizer.add_tokens(["<tool call>", "自定义"])
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|call|>"]})
    written(tmp_path, tokenizer, vocab_size=len(tokenizer) + 9)
    model = llama_cpp.Llama(str(tmp_path / "gguf" / exported.FILE), vocab_only=True, verbose=False)
    for text in (
        *TEXTS,
        RUN,
        "量子计算机 a quantum",
        "x<tool call>y 自定义的 <|call|>自定义",
        " <|call|> <|im_start|>",
    ):
        ids = model.tokenize(text.encode(), add_bos=True, special=True)
        assert ids == tokenizer(text)["input_ids"], text
        assert model.detokenize(ids, special=True).decode() == text
    assert max(tokenizer("量子计算机 quantum")["input_ids"]) >= before
