"""A chat template on a tokenizer: tried before anything is learnt, and given the special tokens it needs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from ptft.core.chat import Chat, ChatEncoder, Refused
from ptft.core.chat_templates import GENERATION_TAG, ChatFormat
from ptft.core.encoding import IGNORED
from ptft.core.errors import InputError
from ptft.core.examples import Message

_PROBE = [
    {"role": "user", "content": "ask one"}, {"role": "assistant", "content": "say two"},
    {"role": "user", "content": "ask three"}, {"role": "assistant", "content": "say four"},
]  # fmt: skip
_MEND = "mend the template: put {% generation %} and {% endgeneration %} around what the assistant says"
_LIKE_A_TOKEN = re.compile(r"<\|[^\s<>|]{1,40}\|>")


def checked(tokenizer: Any, where: str) -> list[str]:
    """`tried`, of a template that must have generation tags, and of a tokenizer that can still get more tokens."""
    if not GENERATION_TAG.search(tokenizer.chat_template):
        raise InputError("the chat template has no {% generation %} tag", where=where, remedy=_MEND)
    return tried(tokenizer, where, "add it with --set special_tokens={end}")


def tried(
    tokenizer: Any, where: str, advice: str = "a model writes it in pieces; --template takes another"
) -> list[str]:
    """Try a tokenizer's template on a conversation; return what a user should be warned of. Raises `InputError` where it is wrong.

    advice: for a template that ends turns with no token.

    Wrong is: not Jinja, failing, or a mask of other words than the assistant's. Tags around nothing, or around everything,
    would otherwise go unnoticed: nothing is learnt, or the questions too.
    """
    said = [_said(tokenizer, chat) for chat in _probed(tokenizer, where)]
    joined = "".join(said)
    if "say two" not in joined or "say four" not in joined or "ask" in joined:
        what = "the generation tags do not enclose just what the assistant says"
        if not ChatEncoder(tokenizer).renderer.tagged:
            what = "what the assistant says cannot be told from the rest of the chat template's text"
        raise InputError(what, where=where, remedy=_MEND)
    return _doubts(tokenizer, said[-1], advice)


def _probed(tokenizer: Any, where: str) -> list[Chat]:
    import jinja2

    try:
        encoder = ChatEncoder(tokenizer)
        encoder.renderer.conversation(_PROBE)
        found = next(encoder.encode([_PROBE]))
    except jinja2.TemplateSyntaxError as error:
        what = f"the chat template is not valid Jinja: {error.message}"
        raise InputError(what, where=f"{where}:{error.lineno}", remedy="mend this line of the template") from error
    except InputError as error:
        raise InputError(error.message, where=where, remedy=error.remedy) from error
    except Exception as error:  # a template may do anything
        what = f"the chat template fails on a plain conversation: {type(error).__name__}: {error}"
        remedy = "mend the template; it gets `messages` with role and content"
        raise InputError(what, where=where, remedy=remedy) from error
    assert not isinstance(found, Refused)  # it was rendered just now
    return found


def _said(tokenizer: Any, chat: Chat) -> str:
    return str(
        tokenizer.decode([token for token, label in zip(chat.ids, chat.labels, strict=True) if label != IGNORED])
    )


def _doubts(tokenizer: Any, said: str, advice: str) -> list[str]:
    found, renderer = [], ChatEncoder(tokenizer).renderer
    if "strftime_now" in renderer.template:
        found.append("the chat template writes today's date: the same command gives other tokens tomorrow")
    end = said[said.index("say four") + len("say four") :].strip()
    if not end:
        how = "outside the generation tags" if renderer.tagged else "with nothing"
        found.append(f"the chat template ends the assistant's turn {how}: a model would not learn to stop")
    elif end in tokenizer.get_vocab() and not _is_special(tokenizer, tokenizer.get_vocab()[end]):
        what = f"the chat template ends a turn with {end!r}, a token of the vocabulary that is not special"
        found.append(f"{what}: a user who writes it ends a turn, and answers show it")
    elif not renderer.special.match(end):
        what = f"the chat template ends a turn with {end!r}, which is no special token"
        found.append(f"{what}: {advice.format(end=end)}")
    return found


def _is_special(tokenizer: Any, ident: int) -> bool:
    added = tokenizer.added_tokens_decoder.get(ident)
    return ident in tokenizer.all_special_ids or (added is not None and added.special)


# ---------------------------------------------------------------- tokens a template needs


def put_on(tokenizer: Any, chat: ChatFormat) -> tuple[int, ...]:
    """Give a tokenizer this template, and the special tokens that it lacks; returns the ids of those.

    Of a template whose tokens are not known, everything that it writes like `<|this|>` is one. Raises `InputError` where the
    template ends turns with the end-of-text token and there is none.
    """
    from transformers import AddedToken

    tokenizer.chat_template = chat.template
    if "eos_token" in chat.template and not tokenizer.eos_token:
        remedy = "set eos_token in tokenizer_config.json, or take --template chatml"
        raise InputError("the chat template ends turns with the end-of-text token, and there is none", remedy=remedy)
    vocabulary = tokenizer.get_vocab()
    wanted = [token for token in dict.fromkeys([*chat.tokens, *_written(tokenizer)]) if token not in vocabulary]
    tokenizer.add_tokens([AddedToken(token, special=True, normalized=False) for token in wanted], special_tokens=True)
    plain = [token for token in chat.tokens if not _is_special(tokenizer, tokenizer.convert_tokens_to_ids(token))]
    tokenizer.add_tokens([AddedToken(token, special=True, normalized=False) for token in plain], special_tokens=True)
    return tuple(tokenizer.convert_tokens_to_ids(wanted))


def _written(tokenizer: Any) -> list[str]:
    """What the template itself writes that looks like a special token."""
    encoder = ChatEncoder(tokenizer)
    system: Sequence[Message] = [{"role": "system", "content": "rule"}, *_PROBE]
    for probe in (system, _PROBE):
        try:
            return _LIKE_A_TOKEN.findall(encoder.renderer.prompt(probe).text)
        except Exception:  # the next, or `tried`, says what is wrong
            continue
    return []
