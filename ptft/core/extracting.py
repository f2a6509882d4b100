"""Answers that are a part of a text: where they are, long texts in overlapping windows, and spans of tokens back to text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ptft.core.encoding import Encoded
from ptft.core.errors import InputError

ABSTAINS = "may_abstain"  # in the model's config: whether it learnt that a question can have no answer
CANDIDATES = 20  # likeliest first and last tokens that are paired
LONGEST_ANSWER = 64  # tokens

Logits = npt.NDArray[np.float32]


# ---------------------------------------------------------------- what a row says


@dataclass(frozen=True)
class Answer:
    """A text and the character of the context at which it begins."""

    text: str
    start: int


def answers_of(data: Mapping[str, Any]) -> list[Answer]:
    """The answers of a row that can be found in its context; none where the question has no answer.

    `answers` is SQuAD's {"text": [...], "answer_start": [...]} or a list of texts, of which the first occurrence is taken.
    A start that points elsewhere is moved to the nearest occurrence.
    """
    found = (_located(data["context"], text, start) for text, start in _named(data["answers"]))
    return [answer for answer in found if answer is not None]


def answer_problem(data: Mapping[str, Any]) -> str | None:
    """Why a row cannot be used."""
    given = data["answers"]
    texts = given.get("text") if isinstance(given, Mapping) else given
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        return 'the answers are neither {"text": [...], "answer_start": [...]} nor a list of texts'
    starts = given.get("answer_start") if isinstance(given, Mapping) else None
    if starts is not None and not (isinstance(starts, list) and len(starts) == len(texts)):
        return "the answers have another number of starts than of texts"
    if not data["question"].strip() or not data["context"].strip():
        return "an empty question or context"
    wanted = [text for text in texts if text.strip()]
    return f"the context does not hold the answer {wanted[0][:80]!r}" if wanted and not answers_of(data) else None


def _named(given: Any) -> list[tuple[str, int | None]]:
    if not isinstance(given, Mapping):
        return [(text, None) for text in given]
    texts = given["text"]
    return list(zip(texts, given.get("answer_start") or [None] * len(texts), strict=True))


def _located(context: str, text: str, start: int | None) -> Answer | None:
    text = text.strip()
    if not text:
        return None
    if start is None:
        place = context.find(text)
        return Answer(text, place) if place >= 0 else None
    places = [place for place in (context.find(text, start), context.rfind(text, 0, start + len(text))) if place >= 0]
    return Answer(text, min(places, key=lambda place: abs(place - start))) if places else None


# ---------------------------------------------------------------- windows


@dataclass(frozen=True)
class Window:
    """A part of a context after its question. row: of whose context; encoded: as the model takes it.

    first: the place of the context's first token; spans: the characters (begin, end) of each of its tokens here.
    """

    row: int
    encoded: Encoded
    first: int
    spans: list[tuple[int, int]]

    def label(self, answer: Answer | None) -> tuple[int, int]:
        """The places of the answer's first and last token; (0, 0), the first token, where it is not wholly in here."""
        if answer is None or not self.spans:
            return 0, 0
        begin, end = answer.start, answer.start + len(answer.text)
        inside = [place for place, (b, e) in enumerate(self.spans) if b < end and e > begin]
        if not inside or self.spans[0][0] > begin or self.spans[-1][1] < end:
            return 0, 0
        return self.first + inside[0], self.first + inside[-1]


@dataclass(frozen=True)
class _Frame:
    """The special tokens around a pair, and the token types that go with each part, if the tokenizer makes any."""

    before: list[int]
    between: list[int]
    after: list[int]
    types: tuple[int, int, int, int, int] | None

    def around(self, question: list[int], context: list[int]) -> Encoded:
        parts = (self.before, question, self.between, context, self.after)
        made = {"input_ids": [token for part in parts for token in part]}
        if self.types is not None:
            kinds = zip(self.types, parts, strict=True)
            made["token_type_ids"] = [kind for kind, part in kinds for _ in part]
        return made

    @property
    def size(self) -> int:
        return len(self.before) + len(self.between) + len(self.after)


def windows_of(
    tokenizer: Any, questions: Sequence[str], contexts: Sequence[str], max_len: int, stride: int
) -> tuple[list[Window], list[int]]:
    """Each question with its context, in windows of `max_len` tokens of which neighbours share `stride`; and which were cut.

    A pair that fits is what `tokenizer(question, context)` makes of it. A question is cut to half of the tokens. Raises
    `InputError` where the tokenizer does not tell the characters of its tokens, or leaves no room.
    """
    if not tokenizer.is_fast:
        raise InputError(
            "spans need a tokenizer that tells where its tokens are", remedy="take one with a tokenizer.json"
        )
    if not questions:
        return [], []
    frame = _frame(tokenizer)
    asked = tokenizer(list(questions), add_special_tokens=False)["input_ids"]
    read = tokenizer(list(contexts), add_special_tokens=False, return_offsets_mapping=True)
    found: list[Window] = []
    for row, question in enumerate(asked):
        kept = list(question)[: max(1, max_len // 2)]
        room = max_len - frame.size - len(kept)
        if room < 1:
            raise InputError(f"{max_len} tokens leave no room for a context", remedy="raise --seq-len")
        ids, offsets = read["input_ids"][row], read["offset_mapping"][row]
        for start in _starts(len(ids), room, stride):
            encoded = frame.around(kept, list(ids[start : start + room]))
            first = len(frame.before) + len(kept) + len(frame.between)
            found.append(Window(row, encoded, first, [tuple(pair) for pair in offsets[start : start + room]]))
    return found, [row for row, question in enumerate(asked) if len(question) > max(1, max_len // 2)]


def _starts(count: int, room: int, stride: int) -> range:
    step = max(1, room - min(stride, room // 2))  # half of a window is new, at least: else there would be hundreds
    return range(0, max(1, count - room + step), step)


def _frame(tokenizer: Any) -> _Frame:
    """By what it makes of a pair of letters."""
    made = tokenizer("a", "b")
    sides, ids = made.sequence_ids(0), list(made["input_ids"])
    asked = [place for place, side in enumerate(sides) if side == 0]
    read = [place for place, side in enumerate(sides) if side == 1]
    parts = ids[: asked[0]], ids[asked[-1] + 1 : read[0]], ids[read[-1] + 1 :]
    types = made.get("token_type_ids")
    if types is None:
        return _Frame(*parts, None)
    at = (0, asked[0], read[0] - 1, read[0], len(ids) - 1)
    return _Frame(*parts, tuple(types[place] for place in at))


# ---------------------------------------------------------------- the best span


@dataclass(frozen=True)
class Found:
    """What a model answers: a part of the context, or "". score: of the answer less that of no answer, in logits."""

    text: str
    score: float


def best_answers(
    windows: Sequence[Window], logits: Sequence[tuple[Logits, Logits]], contexts: Sequence[str], abstains: bool
) -> list[Found]:
    """The best span over all windows of each context, of at most `LONGEST_ANSWER` tokens.

    logits: of a window's tokens to be the first and the last of the answer. No answer is scored by the first token, in the
    window where it is least likely; where it beats every span and the model `abstains`, the answer is "".
    """
    best: dict[int, tuple[float, str]] = {}
    none: dict[int, float] = {}
    for window, (starts, ends) in zip(windows, logits, strict=True):
        row = window.row
        none[row] = min(none.get(row, np.inf), float(starts[0] + ends[0]))
        for score, first, last in _spans(window, starts, ends, contexts[row]):
            if row not in best or score > best[row][0]:
                begin, end = window.spans[first][0], window.spans[last][1]
                best[row] = score, contexts[row][begin:end].strip()
    return [_chosen(best.get(row), none[row], abstains) for row in range(len(contexts))]


def _chosen(best: tuple[float, str] | None, none: float, abstains: bool) -> Found:
    if best is None or (abstains and best[0] <= none):
        return Found("", (best[0] if best else -np.inf) - none)
    return Found(best[1], best[0] - none)


def _spans(window: Window, starts: Logits, ends: Logits, context: str) -> list[tuple[float, int, int]]:
    """(score, first, last) of the best span in a window, of the tokens of the context; none where there is none.

    It neither begins nor ends with a token of spaces alone.
    """
    part = slice(window.first, window.first + len(window.spans))
    blank = np.array([not context[begin:end].strip() for begin, end in window.spans], dtype=bool)
    begin, end = np.where(blank, -np.inf, starts[part]), np.where(blank, -np.inf, ends[part])
    firsts, lasts = np.argsort(-begin, kind="stable")[:CANDIDATES], np.argsort(-end, kind="stable")[:CANDIDATES]
    length = lasts[None, :] - firsts[:, None]
    scores = np.where((length >= 0) & (length < LONGEST_ANSWER), begin[firsts][:, None] + end[lasts][None, :], -np.inf)
    if not scores.size or not np.isfinite(scores.max()):
        return []
    row, column = np.unravel_index(int(scores.argmax()), scores.shape)
    return [(float(scores[row, column]), int(firsts[row]), int(lasts[column]))]
