"""Rows that an export is made with (--calibration) and judged on (--verify), as texts and what they should get."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from itertools import islice
from typing import Any

from ptft.core.errors import InputError
from ptft.core.examples import CONVERSATIONS, misshapen, row_text, shape_of, to_messages
from ptft.core.files import Source
from ptft.core.formats import read_rows
from ptft.core.metrics.numbers import number_of
from ptft.core.models import MANY_LABELS, NUMBER, Loaded
from ptft.core.rows import Rejected, RejectLog, Row, accepted
from ptft.core.tagging import row_problem

BUILT_IN = (
    "The committee said on Tuesday that the new rules would take effect next year, after a long public debate.",
    "Water boils at a lower temperature on a mountain, because the air presses less on its surface.",
    "昨天下午，市政府宣布将在三年内新建四条地铁线路，以缓解交通拥堵。",
    "学习一门语言需要时间和耐心，每天读一点、写一点，就会慢慢进步。",
)
QUESTIONS = (  # of each of these, for models that find an answer
    "When would the new rules take effect?", "Where does water boil at a lower temperature?",
    "市政府将新建几条地铁线路？", "学习一门语言需要什么？",
)  # fmt: skip
MOST_READ = 20_000  # rows of a file
SPOKEN = {"en": 0, "zh": 2}  # which of them stands for a language in an export's claims
CHATS = tuple(name for name in CONVERSATIONS if name != "source-target")


@dataclass(frozen=True)
class Texts:
    """What is read. pairs: second texts, of a classifier of pairs and of questions. places: (file, line) of each.

    labels: of a classifier, a class number, a list of them, or a number each, as its problem is; of a tagger, a list of tag
    numbers a row, one for each of its `words`. None where the rows have none.
    """

    texts: list[str]
    pairs: list[str] | None = None
    labels: list[Any] | None = None
    places: list[tuple[str, int]] = field(default_factory=list)
    built_in: bool = False
    words: list[list[str]] | None = None


def texts_of(
    loaded: Loaded,
    sources: Sequence[Source] | None,
    columns: Mapping[str, str],
    limit: int,
    log: RejectLog,
    seed: int = 1,
) -> Texts:
    """`limit` usable rows, drawn at random of the first `MOST_READ` and in their order; None: a few sentences in English and Chinese.

    Of a causal model with a chat template, conversations are written with it. Rows that cannot be used go to `log`. Raises
    `InputError` where none can be used, or more cannot than the log allows.
    """
    if sources is None:
        return built_in(loaded)
    rules = _Rules(loaded)
    rows = _drawn(accepted(rules.usable(read_rows(sources, columns=columns)), log), limit, seed)
    log.check()
    if not rows:
        where = ", ".join(source.name for source in sources[:3])
        raise InputError("no row can be used", where=where, remedy="see rejected.jsonl for the reasons")
    return rules.texts(rows)


def _drawn(rows: Iterator[Row], count: int, seed: int) -> list[Row]:
    """So that a file that begins with one language or topic is not judged by that alone."""
    draw = random.Random(seed)
    kept: list[tuple[int, Row]] = []
    for at, row in enumerate(islice(rows, MOST_READ)):
        if len(kept) < count:
            kept.append((at, row))
        elif (place := draw.randrange(at + 1)) < count:
            kept[place] = (at, row)
    return [row for _, row in sorted(kept, key=lambda pair: pair[0])]


def shuffled(texts: Texts, seed: int) -> Texts:
    """The same rows in another order: calibration takes them until it has enough tokens, and a file may be sorted."""
    order = list(range(len(texts.texts)))
    random.Random(seed).shuffle(order)
    lists = {item.name: getattr(texts, item.name) for item in fields(texts)}
    moved: dict[str, Any] = {
        name: [value[at] for at in order] for name, value in lists.items() if isinstance(value, list)
    }
    return replace(texts, **moved)


def built_in(loaded: Loaded) -> Texts:
    """`BUILT_IN`; of a model that finds answers, with a question each."""
    if loaded.kind == "span":
        return Texts(list(QUESTIONS), list(BUILT_IN), built_in=True, places=[("", 0)] * len(BUILT_IN))
    return Texts(list(BUILT_IN), built_in=True, places=[("", 0)] * len(BUILT_IN))


class _Rules:
    """Which rows a model can be judged on, and what is taken of them. The first row says which fields all have."""

    def __init__(self, loaded: Loaded) -> None:
        self.loaded = loaded
        self.fields: frozenset[str] = frozenset()
        self._renderer: Any = None

    def usable(self, items: Iterator[Row | Rejected]) -> Iterator[Row | Rejected]:
        for item in items:
            if isinstance(item, Row):
                self.fields = self.fields or frozenset(item.data)
                reason = self._problem(item)
                yield Rejected(item.source, item.line, reason, str(item.data)[:500]) if reason else item
            else:
                yield item

    def _problem(self, row: Row) -> str | None:
        shape = shape_of(row.data)
        bad = misshapen(row, shape) if shape is not None and shape.name in CONVERSATIONS else None
        if bad is not None:
            return bad.reason
        if self.loaded.kind == "tagger":
            return self._problem_of_words(row)
        if self.loaded.kind == "span":
            found = all(isinstance(row.data.get(name), str) for name in ("question", "context"))
            return None if found else "no fields 'question' and 'context'"
        if not row_text(row.data).strip():
            return "no text: a row has text, text and label, or one of the shapes of examples"
        if self.loaded.kind == "classifier":
            return self._problem_of_class(row)
        return self._problem_of_chat(row)

    def _problem_of_class(self, row: Row) -> str | None:
        pair = "text_pair" in self.fields
        if not isinstance(row.data.get("text"), str) or (pair and not isinstance(row.data.get("text_pair"), str)):
            return "no field 'text' (and 'text_pair', as the first row has)"
        if not self._labelled:
            return None
        value = row.data.get(self._label)
        if self.loaded.problem == NUMBER:
            return None if number_of(value) is not None else f"the label {value!r} is no number"
        if self.loaded.problem == MANY_LABELS and not isinstance(value, list):
            return "no list 'labels', as the first row has"
        many = value if self.loaded.problem == MANY_LABELS else [value]
        unknown = [str(label) for label in many or () if str(label) not in self.loaded.labels]
        if unknown:
            return f"the label {unknown[0]!r} is not one of the model's: {', '.join(self.loaded.labels[:20])}"
        return None

    def _problem_of_words(self, row: Row) -> str | None:
        if "tokens" not in self.fields:
            return None if row_text(row.data).strip() else "no text, and no tokens"
        words = row.data.get("tokens")
        if not isinstance(words, list) or ("tags" in self.fields and not isinstance(row.data.get("tags"), list)):
            return "no list 'tokens' (and 'tags', as the first row has)"
        if "tags" not in self.fields:
            return row_problem({"tokens": words, "tags": ["O"] * len(words)})
        unknown = [str(tag) for tag in row.data["tags"] if str(tag) not in self.loaded.labels]
        if unknown:
            return f"the tag {unknown[0]!r} is not one of the model's: {', '.join(self.loaded.labels[:20])}"
        return row_problem(row.data)

    def _problem_of_chat(self, row: Row) -> str | None:
        from jinja2 import TemplateError

        try:
            return None if self._text(row).strip() else "no text"
        except (TemplateError, InputError) as error:
            return str(error).split("\n")[0]

    # ------------------------------------------------------------ what is taken

    @property
    def _label(self) -> str:
        return "labels" if self.loaded.problem == MANY_LABELS else "label"

    @property
    def _labelled(self) -> bool:
        return self.loaded.kind == "classifier" and self._label in self.fields

    def texts(self, rows: Sequence[Row]) -> Texts:
        places = [(row.source, row.line) for row in rows]
        kind, fields = self.loaded.kind, self.fields
        if kind == "tagger" and "tokens" in fields:
            numbers = {name: number for number, name in enumerate(self.loaded.labels)}
            tags = [[numbers[str(tag)] for tag in row.data["tags"]] for row in rows] if "tags" in fields else None
            words = [list(row.data["tokens"]) for row in rows]
            return Texts([" ".join(row) for row in words], None, tags, places, words=words)
        if kind == "span":
            questions = [str(row.data["question"]) for row in rows]
            return Texts(questions, [str(row.data["context"]) for row in rows], None, places)
        if kind == "classifier":
            pairs = [row.data["text_pair"] for row in rows] if "text_pair" in fields else None
            labels = [self._class(row.data[self._label]) for row in rows] if self._labelled else None
            return Texts([row.data["text"] for row in rows], pairs, labels, places)
        return Texts([self._text(row) for row in rows], None, None, places)

    def _class(self, value: Any) -> Any:
        if self.loaded.problem == NUMBER:
            return number_of(value)
        if self.loaded.problem == MANY_LABELS:
            return sorted({self.loaded.labels.index(str(label)) for label in value})
        return self.loaded.labels.index(str(value))

    def _text(self, row: Row) -> str:
        """All text of a row; a conversation as its template writes it, which is how the model will see it."""
        shape = shape_of(row.data)
        template = self.loaded.kind == "causal" and self.loaded.tokenizer.chat_template
        if shape is None or shape.name not in CHATS or not template:
            return row_text(row.data)
        if self._renderer is None:
            from ptft.core.chat_rendering import Renderer

            self._renderer = Renderer.of(self.loaded.tokenizer)
        written = self._renderer.conversation(to_messages(row.data, shape))[-1]
        return str(written.text.replace(written.guard, "") if written.guard else written.text)
