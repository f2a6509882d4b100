"""A task: how rows become questions, and what is measured of the answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal

from ptft.core.files import hash_value
from ptft.core.knobs import Decoding
from ptft.core.recipes import as_dict
from ptft.stages.eval.task.template import Field, Unfit

TaskKind = Literal["choices", "generate", "likelihood", "preference", "target"]
Drawn = Literal["fixed", "first", "sequence"]


@dataclass(frozen=True)
class Task:
    """kind: what is done with a question. choices: the likeliest of several continuations; generate: an answer is written;
    likelihood: a text's, token by token; preference: which of two texts is likelier; target: one continuation's likelihood.

    question: the text before the answer. answer: which choice is right, the reference, or the text itself. choices: of a
    preference, the two texts. data, shots_files: files, where the task names them. shots_are_data: solved examples are rows of
    the data. distractors: so many answers of other rows are the wrong choices, of rows with the same distractors_by. drawn: "fixed" draws them once, "first" takes the first, "sequence" draws anew for each row, as the harness does;
    excluded: never the row itself. stop, max_new_tokens, temperature: of generated answers; None where the task does not say.
    trims: white space around a written answer is no part of it. harness: an lm-evaluation-harness file, whose conventions hold. notes: what a reader of its scores must know.
    """

    name: str
    kind: TaskKind
    question: Field
    answer: Field | None = None
    choices: Field | None = None
    description: Field = Field("", constant=True)
    separator: str = " "
    shots: int = 0
    shots_separator: str = "\n\n"
    drawn: Drawn = "fixed"
    excluded: bool = True
    data: tuple[str, ...] = ()
    shots_files: tuple[str, ...] = ()
    shots_given: tuple[Mapping[str, Any], ...] = ()
    shots_are_data: bool = False
    distractors: int = 0
    distractors_by: Field | None = None
    stop: tuple[str, ...] | None = None
    max_new_tokens: int | None = None
    temperature: float | None = None
    metrics: tuple[str, ...] = ()
    chat: bool = False
    trims: bool = True
    harness: bool = False
    notes: tuple[str, ...] = field(default=(), compare=False)

    @property
    def predictions(self) -> str:
        """The kind of prediction rows that it makes, a name of `ptft.core.metrics.kinds.KINDS`."""
        if self.kind == "target":
            return "choices" if "acc" in self.metrics else "language"
        return {"generate": "answers", "likelihood": "language", "preference": "preferences"}.get(self.kind, self.kind)

    @property
    def needs_data(self) -> bool:
        """Whether its questions are made of other rows of the data, too."""
        return self.shots_are_data or self.distractors > 0

    @property
    def hash(self) -> str:
        """Of all that decides a prompt but the rows."""
        plain = {item.name: getattr(self, item.name) for item in fields(self) if item.name not in _PLACES}
        return hash_value({name: value.source if isinstance(value, Field) else value for name, value in plain.items()})

    def decoding(self, given: Decoding) -> Decoding:
        """How answers are written: as the command says, and where it is silent, as the task does."""
        own: dict[str, Any] = {
            "stop": self.stop,
            "max_new_tokens": self.max_new_tokens,
            "temperature": self.temperature,
        }
        silent = as_dict(Decoding())
        wanted = as_dict(given)
        return replace(given, **{k: v for k, v in own.items() if v is not None and wanted[k] == silent[k]})


DRAWN = "drawn_choices"  # the field that a row's drawn choices are under
_PLACES = ("data", "shots_files", "notes", "metrics", "name")


@dataclass(frozen=True)
class Example:
    """A row as the task asks it. contexts: the question, or one for each choice. continuations: what may follow.

    answers: which are right; none of a text. references: what a generated answer is compared with. solution: the right answer
    as a solved example shows it; question: as it shows that.
    """

    question: str
    contexts: tuple[str, ...]
    continuations: tuple[str, ...]
    choices: tuple[str, ...]
    answers: tuple[int, ...]
    references: tuple[str, ...]
    solution: str


def example_of(task: Task, row: Mapping[str, Any]) -> Example:
    """Raises `Unfit` with the reason where a row cannot be asked."""
    if task.kind == "choices":
        return _choices(task, row)
    if task.kind == "preference":
        question, texts = task.question.text(row), _texts(task, row)
        continuations = tuple(_joined(task, question, text) for text in texts)
        return Example(question, (question,), continuations, texts, (0,), (texts[0],), texts[0])
    return _one_answer(task, row)


def _one_answer(task: Task, row: Mapping[str, Any]) -> Example:
    assert task.answer is not None
    question = task.question.text(row)
    value = _evaluated(task, task.answer.value(row), is_choice=task.choices is not None)
    if task.choices is not None:  # the harness's: the reference is one of several, by its number
        choices = _texts(task, row)
        value = [choices[answer] for answer in _right(task, value, choices)]
    references = tuple(str(item) for item in value) if isinstance(value, list) else (str(value),)
    if not references or value is None:
        raise Unfit("no reference to compare with")
    if task.kind == "target" and not references[0]:
        raise Unfit("an empty target")
    return Example(question, (question,), (references[0],), references[:1], (0,), references, references[0])


def _choices(task: Task, row: Mapping[str, Any]) -> Example:
    assert task.choices is not None and task.answer is not None
    choices, given = _texts(task, row), task.question.value(row)
    number = _evaluated(task, given, is_choice=True)
    if task.harness and isinstance(number, int) and not isinstance(number, bool):
        return _several_questions(task, row, choices, number)
    question = task.question.text(row)
    answers = _right(task, task.answer.value(row), choices)
    continuations = tuple(_joined(task, question, choice) for choice in choices)
    references = tuple(choices[answer] for answer in answers)
    return Example(question, (question,), continuations, choices, answers, references, references[0])


def _several_questions(task: Task, row: Mapping[str, Any], choices: tuple[str, ...], number: int) -> Example:
    """The harness's way for blanks (Winogrande): each choice makes a question of its own, with one ending for all."""
    if not 0 <= number < len(choices):
        raise Unfit(f"the answer {number} is none of {len(choices)} choices")
    ending = task.answer.text(row) if task.answer else ""
    endings = tuple(_joined(task, choice, ending) for choice in choices)
    return Example(choices[number], choices, endings, choices, (number,), (choices[number],), ending)


def _texts(task: Task, row: Mapping[str, Any]) -> tuple[str, ...]:
    assert task.choices is not None
    if task.kind == "preference":  # two templates; the items of any other list are texts
        choices = tuple(Field(source).text(row) for source in task.choices.source)
    else:
        choices = tuple(str(choice) for choice in task.choices.listed(row))
    if len(choices) < 2:
        raise Unfit(f"{len(choices)} choice{'s' * (not choices)}, where a ranking needs two")
    if any(not choice for choice in choices):
        raise Unfit("an empty choice")
    if len(set(choices)) < len(choices) and not task.harness:
        raise Unfit("two choices are equal")
    return choices


def separator_after(task: Task, question: str) -> str:
    """None in a chat, where the template separates; none after nothing, but the harness's."""
    return "" if task.chat or (not question and not task.harness) else task.separator


def _joined(task: Task, question: str, choice: str) -> str:
    return separator_after(task, question) + choice


def _evaluated(task: Task, value: Any, *, is_choice: bool) -> Any:
    """The harness reads a template's digits as a number where there are choices, and its brackets as a list."""
    import ast

    if not task.harness or not isinstance(value, str):
        return value
    if is_choice and value.isdecimal():
        return int(value)
    if len(value) >= 2 and value[0] == "[" and value[-1] == "]":
        try:
            return ast.literal_eval(value)
        except (SyntaxError, ValueError):
            return value
    return value


def _right(task: Task, value: Any, choices: tuple[str, ...]) -> tuple[int, ...]:
    """Which choices are right: texts, or numbers from 0. A text goes before a number that is written like it."""
    column = task.harness and isinstance(task.answer, Field) and isinstance(value, str) and value in choices
    value = value if column else _evaluated(task, value, is_choice=True)
    found = []
    for item in value if isinstance(value, list) else [value]:
        text = str(item)
        if isinstance(item, str) and text in choices:
            found.append(choices.index(text))
        elif not isinstance(item, bool) and text.lstrip("-").isdecimal() and 0 <= int(text) < len(choices):
            found.append(int(text))
        else:
            raise Unfit(f"the answer {text!r} is none of the choices {', '.join(map(repr, choices))[:200]}")
    if not found:
        raise Unfit("no right answer")
    return tuple(found)
