"""A template put on a tokenizer brings its special tokens; a template whose mask would be wrong is an error, never silence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import tiny

from ptft.core.chat import ChatEncoder, stop_ids
from ptft.core.chat_setup import checked, put_on, tried
from ptft.core.chat_templates import FORMATS, ChatFormat, named
from ptft.core.errors import InputError, UsageError

TURN = "{{ message['content'] + '<|im_end|>' }}"
TAGGED = "{% generation %}" + TURN + "{% endgeneration %}"


def loop(user: str, assistant: str) -> str:
    return (
        "{% for message in messages %}{% if message['role'] == 'assistant' %}"
        + assistant + "{% else %}" + user + "{% endif %}{% endfor %}"
    )  # fmt: skip


@pytest.fixture
def tokenizer() -> Any:
    return tiny.tokenizer()


@pytest.mark.parametrize("name", FORMATS)
def test_a_preset_brings_the_tokens_that_are_missing(tokenizer: Any, name: str) -> None:
    size, known = len(tokenizer), set(tokenizer.get_vocab())
    new = put_on(tokenizer, FORMATS[name])
    assert list(new) == list(range(size, len(tokenizer)))
    assert set(tokenizer.convert_ids_to_tokens(new)) == set(FORMATS[name].tokens) - known
    assert all(len(tokenizer(token)["input_ids"]) == 1 for token in FORMATS[name].tokens)
    assert tried(tokenizer, "x") == [] and len(stop_ids(tokenizer)) == (2 if name in ("chatml", "llama3") else 1)
    hostile = ChatEncoder(tokenizer).prompt([{"role": "user", "content": "".join(FORMATS[name].tokens)}])
    usual = ChatEncoder(tokenizer).prompt([{"role": "user", "content": "x"}])
    special = set(tokenizer.added_tokens_decoder)
    assert [i for i in hostile if i in special] == [i for i in usual if i in special]


def test_a_token_that_was_plain_becomes_special(tokenizer: Any) -> None:
    tokenizer.add_tokens(["<|eot_id|>"])
    ident = tokenizer.convert_tokens_to_ids("<|eot_id|>")
    assert not tokenizer.added_tokens_decoder[ident].special
    new = put_on(tokenizer, FORMATS["llama3"])
    assert ident not in new and tokenizer.added_tokens_decoder[ident].special and tried(tokenizer, "x") == []


def test_the_tokens_of_an_own_template_are_found(tokenizer: Any) -> None:
    own = loop("<|who|>{{ message['content'] }}", "{% generation %}{{ message['content'] }}<|over|>{% endgeneration %}")
    new = put_on(tokenizer, ChatFormat(own, ()))
    assert tokenizer.convert_ids_to_tokens(new) == ["<|who|>", "<|over|>"] and tried(tokenizer, "x") == []


def test_a_template_that_ends_with_no_token_is_said(tokenizer: Any) -> None:
    put_on(tokenizer, ChatFormat(loop("Q: {{ message['content'] }}\n", "A: {{ message['content'] }} END\n"), ()))
    assert ["'END', which is no special token" in doubt for doubt in tried(tokenizer, "x")] == [True]


def test_a_template_that_ends_with_a_token_of_the_vocabulary_is_said(tokenizer: Any) -> None:
    tokenizer.add_tokens(["</turn>"])
    tokenizer.chat_template = loop("Q: {{ message['content'] }}</turn>", "A: {{ message['content'] }}</turn>")
    assert ["'</turn>', a token of the vocabulary that is not special" in d for d in tried(tokenizer, "x")] == [True]


def test_an_end_outside_the_tags_is_said(tokenizer: Any) -> None:
    tokenizer.chat_template = loop(TURN, "{% generation %}{{ message['content'] }}{% endgeneration %}<|im_end|>")
    assert ["would not learn to stop" in doubt for doubt in tried(tokenizer, "x")] == [True]


def test_a_turn_that_nothing_ends_is_said(tokenizer: Any) -> None:
    tokenizer.chat_template = loop("<|im_start|>{{ message['content'] }}", "<|im_end|>{{ message['content'] }}")
    assert ["ends the assistant's turn with nothing" in doubt for doubt in tried(tokenizer, "x")] == [True]


def test_a_turn_may_end_with_several_tokens(tokenizer: Any) -> None:
    """As Phi 3's and Command's do."""
    tokenizer.chat_template = loop(TURN, TURN.replace("}}", "}}\n<|im_start|>\n<|endoftext|>"))
    assert tried(tokenizer, "x") == []
    assert stop_ids(tokenizer) == sorted(
        tokenizer.convert_tokens_to_ids(["<|im_end|>", "<|im_start|>", "<|endoftext|>"])
    )


def test_the_date_of_today_is_said(tokenizer: Any) -> None:
    tokenizer.chat_template = "{{ strftime_now('%d %b %Y') }}" + loop(TURN, TAGGED)
    assert ["today's date" in doubt for doubt in tried(tokenizer, "x")] == [True]


@pytest.mark.parametrize(
    "template",
    [
        loop(TURN, "{% generation %}{% endgeneration %}" + TURN),  # a mask of zeros
        loop("{% generation %}" + TURN + "{% endgeneration %}", TAGGED),  # a mask of ones
        loop(TAGGED, TURN),  # of the questions
        "{% generation %}" + loop(TURN, TURN) + "{% endgeneration %}",
    ],
)
def test_tags_around_anything_but_the_answers_are_an_error(tokenizer: Any, template: str) -> None:
    tokenizer.chat_template = template
    with pytest.raises(InputError, match="do not enclose just what the assistant says") as caught:
        tried(tokenizer, "the place")
    assert caught.value.where == "the place" and "generation" in caught.value.remedy


@pytest.mark.parametrize(
    ("template", "what"),
    [
        ("{{ messages | length }}" + loop(TURN, TURN), "differently once it is answered"),
        ("{% for message in messages %}", "not valid Jinja"),
        ("{{ raise_exception('never') }}", "fails on a plain conversation"),
        ("nothing of the messages", "cannot be told from the rest"),
    ],
)
def test_a_wrong_template_without_tags_is_an_error(tokenizer: Any, template: str, what: str) -> None:
    tokenizer.chat_template = template
    with pytest.raises(InputError, match=what):
        tried(tokenizer, "x")


def test_tags_can_be_demanded(tokenizer: Any) -> None:
    tokenizer.chat_template = loop(TURN, TURN)
    assert tried(tokenizer, "x") == []
    with pytest.raises(InputError, match=r"no \{% generation %\} tag"):
        checked(tokenizer, "x")


def test_an_end_of_text_that_is_missing_is_an_error(tokenizer: Any) -> None:
    tokenizer.eos_token = None
    with pytest.raises(InputError, match="and there is none"):
        put_on(tokenizer, FORMATS["zephyr"])


def test_names_and_files(tmp_path: Path) -> None:
    (tmp_path / "own.jinja").write_text("你好", encoding="utf-8")
    assert named("zephyr") is FORMATS["zephyr"] and named(str(tmp_path / "own.jinja")).template == "你好"
    with pytest.raises(UsageError, match="no chat template 'chatlm'") as caught:
        named("chatlm")
    assert "chatml" in caught.value.remedy
