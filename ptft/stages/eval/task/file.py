"""Task files: ours, and lm-evaluation-harness's as they are. Imports nothing heavy: a recipe names its inputs by it.

Ours, every key but `kind`, `template` and what the kind needs being optional:

    task: bbc-topics                 # its name (default: the file's)
    kind: choices                    # the likeliest of several answers; or generate, likelihood (of a text), preference (of two texts)
    data: ../data/bbc.jsonl          # files, relative to this one; DATA on the command line goes before them
    description: "Topics of news.\\n\\n"
    template: "{{text}}\\nTopic:"     # the question: a column's name, or Jinja over the row's fields
    choices: [business, tech]        # a list, a column that holds one, or a template that writes one
    answer: "{{label}}"              # of choices: which is right, its text or its number from 0
    distractors: 3                   # instead of choices: so many answers of other rows; answer is then the right text
    distractors_by: lang             # of rows that have the same value here
    target: "{{target}}"             # of generate: the reference, or a list of them
    chosen, rejected: ...            # of preference: the text that should be likelier, and the other
    separator: " "                   # between a question and its answer
    shots: 4                         # solved examples before a question
    shots_from: shots.jsonl          # files, or "data": the rows themselves (never the one that is asked)
    shots_separator: "\\n\\n"
    stop: ["\\n"]                     # of generate, with max_new_tokens
    metrics: [acc, acc_norm]
    chat: true                       # ask in the model's chat template
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ptft.core.convert import convert
from ptft.core.errors import InputError
from ptft.core.metrics import names
from ptft.stages.eval.task.harness import is_harness, merged, task_from
from ptft.stages.eval.task.loading import load
from ptft.stages.eval.task.model import DRAWN, Task
from ptft.stages.eval.task.template import Field, problem_of

PROBES = ("bias", "toxicity")  # kinds whose rows are made of lists in the file, see ptft.stages.eval.probes
NEEDS = {
    "choices": ("template", "answer"), "generate": ("template", "target"), "likelihood": (),
    "preference": ("chosen", "rejected"),
}  # fmt: skip
TYPES: dict[str, Any] = {
    "task": str, "kind": str, "data": tuple[str, ...], "description": str, "template": str, "choices": None, "answer": None,
    "distractors": int, "distractors_by": str, "target": None, "chosen": str, "rejected": str, "separator": str, "shots": int, "shots_from": tuple[str, ...],
    "shots_separator": str, "stop": tuple[str, ...], "max_new_tokens": int, "metrics": tuple[str, ...], "chat": bool,
}  # fmt: skip
DATA = "data"  # shots_from: the rows themselves


def inputs_of(path: str) -> dict[str, tuple[str, ...]]:
    """The files that a task names: "data" and "shots". Raises `InputError` for a file that cannot be read, or is wrong."""
    raw = load(Path(path))
    if raw.get("kind") in PROBES and not is_harness(raw):
        return {}
    task = read(path)
    return {name: files for name, files in (("data", task.data), ("shots", task.shots_files)) if files}


def read(path: str | Path) -> Task:
    """The task of a file. Raises `InputError` with all that is wrong in it at once."""
    file = Path(path)
    raw = load(file)
    problems: list[str] = []
    if is_harness(raw):
        task = task_from(merged(file, raw), file, problems)
    else:
        task = _ours(raw, file, problems)
    if problems or task is None:
        count = "a problem" if len(problems) == 1 else f"{len(problems)} problems"
        what = f"the task has {count}: " + "; ".join(problems)
        raise InputError(what, where=str(file), remedy="mend the file; recipes/tasks/ holds examples of every kind")
    return task


def _ours(raw: Mapping[str, Any], file: Path, problems: list[str]) -> Task | None:
    values = _converted(raw, problems)
    kind = values.get("kind", "")
    if kind not in NEEDS:
        problems.append(f"kind: {kind!r} is not one of {', '.join(NEEDS)}{_close(str(kind), NEEDS)}")
    else:
        lacking = [key for key in NEEDS[kind] if key not in values]
        problems += [f"{key}: a task of {kind} needs it" for key in lacking]
    problems += [f"metrics: {problem}" for problem in names.unknown(values.get("metrics", ()))]
    for key in ("description", "template", "answer", "target", "chosen", "rejected", "choices"):
        if problem := problem_of(values.get(key)):
            problems.append(f"{key}: {problem}")
    problems += [
        f"{key}: must be at least {low}"
        for key, low in (("shots", 0), ("max_new_tokens", 1))
        if values.get(key, low) < low
    ]
    if kind == "choices" and ("choices" in values) == bool(values.get("distractors")):
        problems.append("choices: a task of choices needs choices, or distractors to draw them from other rows")
    if values.get("distractors") and values.get("shots_from", (DATA,)) != (DATA,):
        problems.append(
            "shots_from: distractors are drawn from the data, and so must solved examples be: shots_from: data"
        )
    if values.get("shots") and not values.get("shots_from"):
        problems.append("shots_from: name the file that solved examples come from, or data")
    return None if problems else _task(kind, values, file)


def _task(kind: Any, values: Mapping[str, Any], file: Path) -> Task:
    shots_from = tuple(values.get("shots_from", ()))
    answer = values.get("answer" if kind == "choices" else "target")
    choices = [values["chosen"], values["rejected"]] if kind == "preference" else values.get("choices")
    if values.get("distractors"):
        choices = DRAWN
    if kind == "likelihood":
        answer = values.get("template", "text")
    return Task(
        name=values.get("task") or file.stem, kind=kind,
        question=Field("" if kind == "likelihood" else values.get("template", "")),
        answer=None if answer is None else Field(answer), choices=None if choices is None else Field(choices),
        description=Field(values.get("description", ""), constant=True), separator=values.get("separator", " "),
        shots=values.get("shots", 0), shots_separator=values.get("shots_separator", "\n\n"),
        data=_beside(file, values.get("data", ())), shots_files=() if shots_from == (DATA,) else _beside(file, shots_from),
        shots_are_data=shots_from == (DATA,), distractors=values.get("distractors", 0),
        distractors_by=Field(values["distractors_by"]) if "distractors_by" in values else None, stop=values.get("stop"), max_new_tokens=values.get("max_new_tokens"),
        metrics=names.expand(values.get("metrics", ())), chat=values.get("chat", False),
    )  # fmt: skip


def _converted(raw: Mapping[str, Any], problems: list[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in raw.items():
        if key not in TYPES:
            problems.append(f"unknown key {key!r}{_close(str(key), TYPES)}")
        elif value is not None:
            try:
                found[key] = _as(value, TYPES[key])
            except ValueError as error:
                problems.append(f"{key}: {error}")
    return found


def _as(value: Any, kind: Any) -> Any:
    """A list of texts is a list, or one text: commas may be part of it."""
    if kind is None:
        return value
    if kind == tuple[str, ...] and isinstance(value, str):
        return (value,)
    return convert(value, kind)


def _beside(file: Path, paths: tuple[str, ...]) -> tuple[str, ...]:
    """Relative to the task file. Names on the hub, and absolute paths, are as they are."""
    return tuple(path if path.startswith("hf:") else str(file.parent / path) for path in paths)


def _close(name: str, known: Mapping[str, Any]) -> str:
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    return f"; did you mean {close[0]!r}?" if close else ""
