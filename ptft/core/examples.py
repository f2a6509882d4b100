"""Examples: the shapes a labelled row can have, how one is recognised, and how each becomes messages or text."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from ptft.core.errors import InputError
from ptft.core.rows import Rejected, Row

Message = dict[str, str]
KNOWN_ROLES = ("system", "user", "assistant", "tool")
SHAREGPT_ROLES = {  # what data sets in the wild call them
    "human": "user", "user": "user", "prompter": "user",
    "gpt": "assistant", "assistant": "assistant", "chatgpt": "assistant", "model": "assistant", "bot": "assistant",
    "bard": "assistant", "bing": "assistant", "function_call": "assistant", "tool_call": "assistant",
    "system": "system", "developer": "system",
    "tool": "tool", "function": "tool", "observation": "tool", "function_response": "tool", "tool_response": "tool",
    "ipython": "tool",
}  # fmt: skip


@dataclass(frozen=True)
class Shape:
    """One shape of row. needs: its fields, with the type each must have."""

    name: str
    needs: Mapping[str, tuple[type, ...]]

    def problem(self, data: Mapping[str, Any]) -> str | None:
        for field, kinds in self.needs.items():
            if field not in data:
                return f"no field {field!r}, which {self.name} rows have"
            if not isinstance(data[field], kinds):
                found = "empty (null)" if data[field] is None else type(data[field]).__name__
                return f"the field {field!r} is {found}, not {kinds[0].__name__}"
        return None


_LABEL = (str, int, float, bool)
SHAPES = (  # the most telling first: {"text", "text_pair", "label"} is also {"text", "label"}
    Shape("messages", {"messages": (list,)}),
    Shape("sharegpt", {"conversations": (list,)}),
    Shape("preference", {"prompt": (str,), "chosen": (str,), "rejected": (str,)}),
    Shape("alpaca", {"instruction": (str,), "output": (str,)}),
    Shape("prompt-completion", {"prompt": (str,), "completion": (str,)}),
    Shape("pair-label", {"text": (str,), "text_pair": (str,), "label": _LABEL}),
    Shape("text-label", {"text": (str,), "label": _LABEL}),
    Shape("labels", {"text": (str,), "labels": (list,)}),
    Shape("tags", {"tokens": (list,), "tags": (list,)}),
    Shape("question-answer", {"question": (str,), "context": (str,), "answers": (dict, list)}),
    Shape("source-target", {"source": (str,), "target": (str,)}),
    Shape("prediction", {"prediction": (str, int, float, list), "reference": (str, int, float, list)}),
    Shape("text", {"text": (str,)}),
)
# rows that ask and hold no answer: found only where a stage wants them by name. A conversation is one if it ends with its user
_ASKING = (
    Shape("messages-asked", {"messages": (list,)}),
    Shape("sharegpt-asked", {"conversations": (list,)}),
    Shape("prompt", {"prompt": (str,)}),
)
UNANSWERED = tuple(shape.name for shape in _ASKING)
CONVERSATIONS = ("messages", "sharegpt", "alpaca", "prompt-completion", "source-target")


def shape_of(data: Mapping[str, Any]) -> Shape | None:
    """The first shape whose fields a row has; types are judged later, row by row."""
    return _shape_with(tuple(data))


@lru_cache(maxsize=1024)
def _shape_with(fields: tuple[str, ...]) -> Shape | None:
    return next((shape for shape in SHAPES if all(field in fields for field in shape.needs)), None)


def detect(rows: Iterable[Row], wanted: Sequence[str] | None = None) -> Shape:
    """The shape of the first row, among `wanted`. Raises `InputError` naming the fields seen and the shapes there are."""
    shapes = [shape for shape in SHAPES if wanted is None or shape.name in wanted]
    shapes = [*(shape for shape in _ASKING if shape.name in (wanted or ())), *shapes]
    for row in rows:
        for shape in shapes:
            if all(field in row.data for field in shape.needs) and _fits(row.data, shape):
                return shape
        known = "; ".join(f"{shape.name} {{{', '.join(shape.needs)}}}" for shape in shapes)
        fields = ", ".join(repr(field) for field in row.data if field != "id")  # a row without one was given its place
        what = f"a row with the fields {fields} is none of the shapes this stage takes"
        raise InputError(
            what, where=f"{row.source}:{row.line}", remedy=f"it takes {known}; map fields with --set columns.text=NAME"
        )
    raise InputError("the input holds no rows", remedy="check that the files are not empty")


def _fits(data: Mapping[str, Any], shape: Shape) -> bool:
    """Whether a row only asks, where its shape is one of those that do."""
    if shape not in _ASKING:
        return True
    if shape.name == "prompt":
        return shape_of(data) is None
    turns = data[next(iter(shape.needs))]
    return isinstance(turns, list) and bool(turns) and _message(turns[-1])["role"] == "user"


def misshapen(row: Row, shape: Shape, *, as_messages: bool = True) -> Rejected | None:
    """What is wrong with a row. as_messages: it is to become plain messages, and what they cannot hold (tool calls) is wrong."""
    problem = shape.problem(row.data)
    if problem is None and shape.name in (*CONVERSATIONS, *UNANSWERED):
        lost = _turns_problem(row.data) if as_messages else None
        problem = lost or _conversation_problem(to_messages(row.data, shape), answered=shape.name in CONVERSATIONS)
    return Rejected(row.source, row.line, problem, str(row.data)[:500]) if problem else None


# ---------------------------------------------------------------- as messages


def to_messages(data: Mapping[str, Any], shape: Shape) -> list[Message]:
    """A conversation as [{"role", "content"}, ...]; roles are system, user, assistant, tool (others are kept for the check to name)."""
    return _TO_MESSAGES[shape.name](data)


def _from_turns(field: str) -> Callable[[Mapping[str, Any]], list[Message]]:
    def messages(data: Mapping[str, Any]) -> list[Message]:
        found = [_message(item) for item in data[field]]
        return found if found and found[0]["role"] == "system" else [*_system(data), *found]

    return messages


def _message(item: Any) -> Message:
    """A turn, whichever of the two ways it names its fields."""
    if not isinstance(item, Mapping):
        return {"role": "", "content": ""}
    role = str(item.get("role", item.get("from", "")))
    return {"role": SHAREGPT_ROLES.get(role, role), "content": _content(item)}


def _content(item: Mapping[str, Any]) -> str:
    content = item.get("content", item.get("value", ""))
    if isinstance(content, list):
        return "".join(str(part.get("text", "")) if isinstance(part, Mapping) else str(part) for part in content)
    return "" if content is None else str(content)


def _from_alpaca(data: Mapping[str, Any]) -> list[Message]:
    extra = data.get("input") or ""
    prompt = f"{data['instruction']}\n\n{extra}" if extra else data["instruction"]
    return [*_system(data), *_earlier(data), *_exchange(prompt, data["output"])]


def _system(data: Mapping[str, Any]) -> list[Message]:
    return [{"role": "system", "content": str(data["system"])}] if data.get("system") else []


def _earlier(data: Mapping[str, Any]) -> list[Message]:
    """Alpaca's "history": pairs of question and answer."""
    return [message for pair in data.get("history") or () for message in _exchange(*map(str, pair))]


def _exchange(asked: str, answered: str) -> list[Message]:
    return [{"role": "user", "content": asked}, {"role": "assistant", "content": answered}]


_TO_MESSAGES: dict[str, Callable[[Mapping[str, Any]], list[Message]]] = {
    "messages": _from_turns("messages"),
    "sharegpt": _from_turns("conversations"),
    "alpaca": _from_alpaca,
    "prompt-completion": lambda data: _exchange(data["prompt"], data["completion"]),
    "source-target": lambda data: _exchange(data["source"], data["target"]),
    "messages-asked": _from_turns("messages"),
    "sharegpt-asked": _from_turns("conversations"),
    "prompt": lambda data: [{"role": "user", "content": str(data["prompt"])}],
}


def _turns_problem(data: Mapping[str, Any]) -> str | None:
    """What would be lost, or go wrong, if a row were taken for plain messages."""
    history = data.get("history") or []
    if "instruction" in data and not (
        isinstance(history, list) and all(isinstance(pair, list) and len(pair) == 2 for pair in history)
    ):
        return "the field 'history' is not a list of pairs of question and answer"
    for number, item in enumerate(data.get("messages", data.get("conversations", ())), 1):
        problem = _turn_problem(item)
        if problem:
            return f"message {number} {problem}"
    return None


def _turn_problem(item: Any) -> str | None:
    if not isinstance(item, Mapping):
        return f"is {type(item).__name__}, not an object"
    if item.get("tool_calls"):
        return "has tool_calls, which would be lost; write them into its content as the model is to write them"
    content = item.get("content", item.get("value"))
    if not isinstance(content, str | list | None):
        return f"has a content that is {type(content).__name__}, not text"
    for part in content if isinstance(content, list) else ():
        if not (isinstance(part, str) or (isinstance(part, Mapping) and isinstance(part.get("text"), str))):
            kind = part.get("type", "?") if isinstance(part, Mapping) else type(part).__name__
            return f"has a part that is no text ({kind})"
    return None


def _conversation_problem(messages: Sequence[Message], *, answered: bool = True) -> str | None:
    for number, message in enumerate(messages, 1):
        if message["role"] not in KNOWN_ROLES:
            return f"message {number} has the role {message['role']!r}; known are {', '.join(KNOWN_ROLES)}"
    if not answered:
        is_asked = any(message["role"] == "user" for message in messages)
        return None if is_asked else "nothing is asked: no message of the user"
    if not any(message["role"] == "assistant" and message["content"].strip() for message in messages):
        return "nothing to learn: no message of the assistant has content"
    return None


# ---------------------------------------------------------------- as text, and few-shot samples


def row_text(data: Mapping[str, Any]) -> str:
    """All text of a row of any shape, for finding near-duplicates: fields in order, a line each."""
    shape = shape_of(data)
    if shape is None:
        return ""
    if shape.name in _TO_MESSAGES:
        return "\n".join(message["content"] for message in to_messages(data, shape))
    if shape.name == "tags":
        return " ".join(map(str, data["tokens"]))
    fields = {
        "pair-label": ("text", "text_pair"), "preference": ("prompt", "chosen"), "prediction": ("reference",),
        "question-answer": ("question", "context"),
    }  # fmt: skip
    return "\n".join(str(data[field]) for field in fields.get(shape.name, ("text",)))


def sample_per_label(rows: Sequence[Row], count: int, seed: int) -> list[Row]:
    """`count` rows of each label, drawn with `seed`, in the order of the input: the same for whoever asks."""
    groups: dict[str, list[int]] = defaultdict(list)
    for index, row in enumerate(rows):
        groups[str(row.data["label"])].append(index)
    chosen: set[int] = set()
    for label in sorted(groups):
        draw = random.Random(f"{seed}:{label}")
        chosen.update(draw.sample(groups[label], min(count, len(groups[label]))))
    return [rows[index] for index in sorted(chosen)]
