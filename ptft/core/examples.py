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
SHAREGPT_ROLES = {
    "human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant", "chatgpt": "assistant", "system": "system",
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
                return f"the field {field!r} is {type(data[field]).__name__}, not {kinds[0].__name__}"
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
    for row in rows:
        for shape in shapes:
            if all(field in row.data for field in shape.needs):
                return shape
        known = "; ".join(f"{shape.name} {{{', '.join(shape.needs)}}}" for shape in shapes)
        what = f"a row with the fields {', '.join(map(repr, row.data))} is none of the shapes this stage takes"
        raise InputError(
            what, where=f"{row.source}:{row.line}", remedy=f"it takes {known}; map fields with --set columns.text=NAME"
        )
    raise InputError("the input holds no rows", remedy="check that the files are not empty")


def misshapen(row: Row, shape: Shape) -> Rejected | None:
    problem = shape.problem(row.data)
    if problem is None and shape.name in CONVERSATIONS:
        problem = _conversation_problem(to_messages(row.data, shape))
    return Rejected(row.source, row.line, problem, str(row.data)[:500]) if problem else None


# ---------------------------------------------------------------- as messages


def to_messages(data: Mapping[str, Any], shape: Shape) -> list[Message]:
    """A conversation as [{"role", "content"}, ...]; roles are system, user, assistant (others are kept for the check to name)."""
    return _TO_MESSAGES[shape.name](data)


def _from_messages(data: Mapping[str, Any]) -> list[Message]:
    return [_message(item, "role", "content") for item in data["messages"]]


def _from_sharegpt(data: Mapping[str, Any]) -> list[Message]:
    messages = [_message(item, "from", "value") for item in data["conversations"]]
    return [{"role": SHAREGPT_ROLES.get(item["role"], item["role"]), "content": item["content"]} for item in messages]


def _message(item: Any, role: str, content: str) -> Message:
    if not isinstance(item, Mapping):
        return {"role": "", "content": ""}
    return {"role": str(item.get(role, "")), "content": str(item.get(content, ""))}


def _from_alpaca(data: Mapping[str, Any]) -> list[Message]:
    extra = data.get("input") or ""
    prompt = f"{data['instruction']}\n\n{extra}" if extra else data["instruction"]
    system = [{"role": "system", "content": str(data["system"])}] if data.get("system") else []
    return [*system, {"role": "user", "content": prompt}, {"role": "assistant", "content": data["output"]}]


def _from_prompt(data: Mapping[str, Any]) -> list[Message]:
    return [{"role": "user", "content": data["prompt"]}, {"role": "assistant", "content": data["completion"]}]


def _from_source(data: Mapping[str, Any]) -> list[Message]:
    return [{"role": "user", "content": data["source"]}, {"role": "assistant", "content": data["target"]}]


_TO_MESSAGES: dict[str, Callable[[Mapping[str, Any]], list[Message]]] = {
    "messages": _from_messages, "sharegpt": _from_sharegpt, "alpaca": _from_alpaca, "prompt-completion": _from_prompt,
    "source-target": _from_source,
}  # fmt: skip


def _conversation_problem(messages: Sequence[Message]) -> str | None:
    for number, message in enumerate(messages, 1):
        if message["role"] not in ("system", "user", "assistant"):
            return f"message {number} has the role {message['role']!r}; known are system, user, assistant"
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
    fields = {"pair-label": ("text", "text_pair"), "preference": ("prompt", "chosen"), "prediction": ("reference",)}
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
