"""How a conversation becomes one text: chat templates by name, each with the generation tags that mark what the assistant says.

The tags let `apply_chat_template(..., return_assistant_tokens_mask=True)` find the assistant's turns; the end of a turn is inside
them, so that a model learns to stop.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from ptft.core.errors import InputError, UsageError

GENERATION_TAG = re.compile(r"\{%-?\s*generation\s*-?%\}")


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


# for tokenizers that bring no template: no new tokens, the end of a turn is the end-of-text token
PLAIN_TEMPLATE = (
    "{% for message in messages %}{{ message['role'] | capitalize + ':\n' }}"
    "{% if message['role'] == 'assistant' %}{% generation %}{{ message['content'] + eos_token }}{% endgeneration %}"
    "{% else %}{{ message['content'] }}{% endif %}{{ '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'Assistant:\n' }}{% endif %}"
)
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
    """A template of the user's; which tokens it uses is not known. Raises `InputError`."""
    try:
        return ChatFormat(path.read_text(encoding="utf-8"), ())
    except (OSError, UnicodeDecodeError) as error:
        remedy = "name a file of UTF-8 text with a Jinja chat template"
        raise InputError(f"the chat template cannot be read: {error}", where=str(path), remedy=remedy) from error


def named(name: str) -> ChatFormat:
    """A format of `FORMATS`, or a template file. Raises `UsageError` where it is neither."""
    if name in FORMATS:
        return FORMATS[name]
    if not Path(name).exists():
        remedy = f"name one of {', '.join(FORMATS)}, or a file with a Jinja template"
        raise UsageError(f"there is no chat template {name!r}", remedy=remedy)
    return from_file(Path(name))
