"""How a conversation becomes one text: chat templates, each with the generation tags that mark what the assistant says.

The tags let `apply_chat_template(..., return_assistant_tokens_mask=True)` find the assistant's turns; the end of a turn is inside
them, so that a model learns to stop.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ptft.core.encoding import GENERATION_TAG, PLAIN_TEMPLATE
from ptft.core.errors import InputError

Chat = Literal["chatml", "llama3", "zephyr", "plain"]


@dataclass(frozen=True)
class ChatFormat:
    """template: Jinja. tokens: the special tokens it uses beside the end of text."""

    template: str
    tokens: tuple[str, ...]


def _format(head: str, end: str, prompt: str, after: str, *tokens: str) -> ChatFormat:
    """Jinja expressions: what stands before a message, what ends it, what invites the assistant, what follows a message."""
    said = "{{ message['content'] + " + end + " }}"
    template = (
        "{% for message in messages %}{{ " + head + " }}"
        "{% if message['role'] == 'assistant' %}{% generation %}" + said + "{% endgeneration %}"
        "{% else %}" + said + "{% endif %}" + ("{{ " + after + " }}" if after else "") + "{% endfor %}"
        "{% if add_generation_prompt %}{{ " + prompt + " }}{% endif %}"
    )
    return ChatFormat(template, tokens)


_NEWLINE = r"'\n'"
CHATML = _format(
    r"'<|im_start|>' + message['role'] + '\n'", "'<|im_end|>'", r"'<|im_start|>assistant\n'", _NEWLINE,
    "<|im_start|>", "<|im_end|>",
)  # fmt: skip
FORMATS: dict[str, ChatFormat] = {
    "chatml": CHATML,
    "llama3": _format(
        r"'<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n'", "'<|eot_id|>'",
        r"'<|start_header_id|>assistant<|end_header_id|>\n\n'", "",
        "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>",
    ),
    "zephyr": _format(
        r"'<|' + message['role'] + '|>\n'", "eos_token", r"'<|assistant|>\n'", _NEWLINE,
        "<|system|>", "<|user|>", "<|assistant|>",
    ),
    "plain": ChatFormat(PLAIN_TEMPLATE, ()),
}  # fmt: skip


def from_file(path: Path) -> ChatFormat:
    """A template of the user's; the tokens it uses are named by the knob `special_tokens`. Raises `InputError`."""
    try:
        return ChatFormat(path.read_text(encoding="utf-8"), ())
    except (OSError, UnicodeDecodeError) as error:
        remedy = "name a file of UTF-8 text with a Jinja chat template"
        raise InputError(f"the chat template cannot be read: {error}", where=str(path), remedy=remedy) from error


_PROBE = [
    {"role": "user", "content": "ask one"}, {"role": "assistant", "content": "say two"},
    {"role": "user", "content": "ask three"}, {"role": "assistant", "content": "say four"},
]  # fmt: skip


def checked(tokenizer: Any, where: str) -> list[str]:
    """Try a tokenizer's template on a conversation; return what a user should be warned of. Raises `InputError` where it is wrong.

    Wrong is: not Jinja, failing, without generation tags, or with tags around other words than the assistant's.
    """
    import jinja2

    remedy = "mend the template: put {% generation %} and {% endgeneration %} around what the assistant says"
    if not GENERATION_TAG.search(tokenizer.chat_template):
        raise InputError("the chat template has no {% generation %} tag", where=where, remedy=remedy)
    try:
        made = tokenizer.apply_chat_template(_PROBE, tokenize=True, return_dict=True, return_assistant_tokens_mask=True)
    except jinja2.TemplateSyntaxError as error:
        what = f"the chat template is not valid Jinja: {error.message}"
        raise InputError(what, where=f"{where}:{error.lineno}", remedy="mend this line of the template") from error
    except Exception as error:  # a template may do anything
        what = f"the chat template fails on a plain conversation: {type(error).__name__}: {error}"
        raise InputError(
            what, where=where, remedy="mend the template; it gets `messages` with role and content"
        ) from error
    ids, mask = made["input_ids"], made["assistant_masks"]
    said = tokenizer.decode([token for token, flag in zip(ids, mask, strict=True) if flag])
    if "say two" not in said or "say four" not in said or "ask" in said:
        raise InputError("the generation tags do not enclose just what the assistant says", where=where, remedy=remedy)
    return _doubts(tokenizer, said)


def _doubts(tokenizer: Any, said: str) -> list[str]:
    if said.rstrip().endswith("say four"):
        return [
            "the chat template ends the assistant's turn outside the generation tags: a model would not learn to stop"
        ]
    end = said[said.index("say four") + len("say four") :].strip()
    if tokenizer.convert_tokens_to_ids(end) is None:
        return [
            f"the chat template ends a turn with {end!r}, which is no special token: add it with --set special_tokens={end}"
        ]
    return []
