"""Chat templates: every one marks what the assistant says, its end of turn included; a wrong one of the user's is a clear error."""

from __future__ import annotations

import pytest
from tokenizer_making import TEXTS, make, write_rows

from ptft.core.chat import encode_chat, stop_ids
from ptft.core.chat_templates import FORMATS
from ptft.core.encoding import IGNORED
from ptft.core.errors import InputError

CONVERSATION = [
    {"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi <there>"},
    {"role": "assistant", "content": "你好 |x|"}, {"role": "user", "content": "Bye"},
    {"role": "assistant", "content": "See you"},
]  # fmt: skip
RENDERED = {
    "chatml": "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi <there><|im_end|>\n<|im_start|>assistant\n你好 |x|"
    "<|im_end|>\n<|im_start|>user\nBye<|im_end|>\n<|im_start|>assistant\nSee you<|im_end|>\n",
    "llama3": "<|start_header_id|>system<|end_header_id|>\n\nBe brief.<|eot_id|><|start_header_id|>user<|end_header_id|>\n\n"
    "Hi <there><|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n你好 |x|<|eot_id|><|start_header_id|>user"
    "<|end_header_id|>\n\nBye<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\nSee you<|eot_id|>",
    "zephyr": "<|system|>\nBe brief.<|endoftext|>\n<|user|>\nHi <there><|endoftext|>\n<|assistant|>\n你好 |x|<|endoftext|>\n"
    "<|user|>\nBye<|endoftext|>\n<|assistant|>\nSee you<|endoftext|>\n",
    "plain": "System:\nBe brief.\nUser:\nHi <there>\nAssistant:\n你好 |x|<|endoftext|>\nUser:\nBye\nAssistant:\nSee you<|endoftext|>\n",
}
PROMPT = {
    "chatml": "<|im_start|>assistant\n", "llama3": "<|start_header_id|>assistant<|end_header_id|>\n\n",
    "zephyr": "<|assistant|>\n", "plain": "Assistant:\n",
}  # fmt: skip
END = {"chatml": "<|im_end|>", "llama3": "<|eot_id|>", "zephyr": "<|endoftext|>", "plain": "<|endoftext|>"}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return write_rows(tmp_path_factory.mktemp("corpus") / "in.jsonl", TEXTS)


@pytest.fixture(scope="module", params=FORMATS)
def chat(request, corpus, tmp_path_factory):
    """The name of a format and its tokenizer, loaded as users load it."""
    from transformers import AutoTokenizer

    folder = tmp_path_factory.mktemp(request.param)
    _, progress = make([corpus], folder, chat=request.param)
    assert not [text for text in progress.warnings if "template" in text]
    return request.param, AutoTokenizer.from_pretrained(folder)


def test_a_conversation_reads_as_it_should(chat):
    name, tokenizer = chat
    assert tokenizer.apply_chat_template(CONVERSATION, tokenize=False) == RENDERED[name]
    prompted = tokenizer.apply_chat_template(CONVERSATION, tokenize=False, add_generation_prompt=True)
    assert prompted == RENDERED[name] + PROMPT[name]


def test_the_mask_is_what_the_assistant_says_and_its_end(chat):
    name, tokenizer = chat
    made = tokenizer.apply_chat_template(
        CONVERSATION, tokenize=True, return_dict=True, return_assistant_tokens_mask=True
    )
    said = [token for token, flag in zip(made["input_ids"], made["assistant_masks"], strict=True) if flag]
    assert tokenizer.decode(said) == f"你好 |x|{END[name]}See you{END[name]}"
    learnt = encode_chat(tokenizer, CONVERSATION, 1000)
    assert [label for label in learnt.labels if label != IGNORED] == said


def test_a_model_knows_where_to_stop(chat):
    name, tokenizer = chat
    assert stop_ids(tokenizer) == sorted({tokenizer.eos_token_id, tokenizer.convert_tokens_to_ids(END[name])})


def test_each_token_of_a_format_is_one_token(chat):
    name, tokenizer = chat
    assert all(len(tokenizer(token)["input_ids"]) == 1 for token in FORMATS[name].tokens)
    others = {token for other in FORMATS.values() for token in other.tokens} - set(FORMATS[name].tokens)
    assert not others & set(tokenizer.get_vocab())


# ---------------------------------------------------------------- a template of the user's

OWN = (
    "{% for message in messages %}[{{ message['role'] }}] {% if message['role'] == 'assistant' %}"
    "{% generation %}{{ message['content'] + '<|turn|>' }}{% endgeneration %}{% else %}{{ message['content'] }}{% endif %}\n{% endfor %}"
)


def with_template(corpus, tmp_path, template, **knobs):
    path = tmp_path / "own.jinja"
    path.write_text(template, encoding="utf-8")
    return make([corpus], tmp_path / "out", path, **knobs)


def test_an_own_template_with_its_token(corpus, tmp_path):
    from transformers import AutoTokenizer

    _, progress = with_template(corpus, tmp_path, OWN, special_tokens=("<|turn|>",))
    assert not [text for text in progress.warnings if "template" in text]
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    assert tokenizer.chat_template == OWN
    assert tokenizer.convert_tokens_to_ids("<|turn|>") in stop_ids(tokenizer)


def test_an_end_of_turn_that_is_no_token_is_said(corpus, tmp_path):
    _, progress = with_template(corpus, tmp_path, OWN)
    assert any("'<|turn|>', which is no special token" in text for text in progress.warnings)


def test_an_end_of_turn_outside_the_tags_is_said(corpus, tmp_path):
    moved = OWN.replace(" + '<|turn|>' }}{% endgeneration %}", " }}{% endgeneration %}<|turn|>")
    _, progress = with_template(corpus, tmp_path, moved, special_tokens=("<|turn|>",))
    assert any("would not learn to stop" in text for text in progress.warnings)


@pytest.mark.parametrize(
    ("template", "where", "what"),
    [
        ("{% for m in messages %}\n{{ m['content'] \n{% endfor %}{% generation %}", ":3", "not valid Jinja"),
        (OWN.replace("{% generation %}", "").replace("{% endgeneration %}", ""), "", "no {% generation %} tag"),
        (OWN.replace("'<|turn|>'", "message['no such'].x"), "", "fails on a plain conversation"),
        ("{% for m in messages %}{% generation %}{{ m['content'] }}{% endgeneration %}{% endfor %}", "", "just what"),
    ],
)
def test_a_wrong_template_is_an_error_with_its_place(corpus, tmp_path, template, where, what):
    with pytest.raises(InputError) as raised:
        with_template(corpus, tmp_path, template)
    assert what in str(raised.value) and raised.value.where == str(tmp_path / "own.jinja") + where


def test_a_template_that_is_no_text_is_an_error(corpus, tmp_path):
    path = tmp_path / "own.jinja"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="cannot be read"):
        make([corpus], tmp_path / "out", path)
