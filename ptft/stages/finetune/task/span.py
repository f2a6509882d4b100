"""The part of a text that answers a question (extractive question answering)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ptft.core import models
from ptft.core.errors import InputError
from ptft.core.extracting import ABSTAINS, Answer, Logits, Window, answer_problem, answers_of, best_answers, windows_of
from ptft.core.files import write_json
from ptft.core.heads import Head
from ptft.core.metrics.names import SPANS
from ptft.core.metrics.spans import spans
from ptft.core.models import Loaded
from ptft.core.predicting import span_logits
from ptft.core.rows import Row
from ptft.core.training import Objective, Padding, Rows
from ptft.stages.finetune.purpose import Collate
from ptft.stages.finetune.task.given import Given
from ptft.stages.finetune.task.headed import Headed
from ptft.stages.finetune.task.judging import better
from ptft.stages.finetune.task.texts import BATCH, make_ready

SHAPES = ("question-answer",)


def problem(row: Row) -> str | None:
    """Why a row cannot be learnt from."""
    return answer_problem(row.data)


def prepare(given: Given) -> AnsweredQuestions:
    """Questions with their contexts, long ones in windows; where a window holds no answer, its first token is to be found."""
    judged_by = better(given.recipe.metric, SPANS, "token_f1")
    tokenizer, state = given.base.tokenizer, given.out.state
    make_ready(tokenizer, given.base.kind, pairs=True)
    tokenizer.save_pretrained(state / "tokenizer")
    train = _windows(tokenizer, given.train.rows, given)
    if not any(label for _, label in train):
        what = "no row has an answer: there is nothing to find"
        raise InputError(what, remedy="check the field 'answers', and that the contexts hold them")
    Rows.of((window.encoded for window, _ in train), [label or (0, 0) for _, label in train]).save(state / "train")
    held = given.val.rows
    write_json(state / "val.json", [_asked(row) for row in held])
    unanswerable = sum(not answers_of(row.data) for row in given.train.rows)
    counts = {
        "rows": len(given.train.rows), "windows": len(train), "unanswerable": unanswerable,
        "windows_with_answer": sum(label is not None for _, label in train), "rows_rejected": given.rejected,
    }  # fmt: skip
    return AnsweredQuestions(
        recipe=given.recipe, base=given.base.folder, tokenizer=state / "tokenizer", kind="span", length=given.length,
        rows=len(train), counts=counts, head=Head("span", pad_id=tokenizer.pad_token_id), train=state / "train",
        val=state / "val.json", questions=len(held), abstains=unanswerable > 0, judged_by=judged_by,
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class AnsweredQuestions(Headed):
    """train: a folder of `Rows`, one a window. val: questions to measure on. abstains: some questions had no answer."""

    questions: int
    abstains: bool

    @property
    def objective(self) -> Objective:
        return Objective("span")

    def new_model(self, dtype: str = "float32") -> Any:
        model = super().new_model(dtype)
        setattr(model.config, ABSTAINS, self.abstains)
        return model

    def collate(self) -> Collate:
        return Padding(int(self.head.pad_id or 0), token_labels=False)

    @property
    def held_out(self) -> int:
        return self.questions

    def measure(self, model: Any) -> dict[str, float]:
        """Mean cross entropy of a window's two places, and exact match and F1 of the answers, as `ptft eval` finds them."""
        training, tokenizer = model.training, models.load_tokenizer(self.tokenizer)
        loaded = Loaded(model.eval(), tokenizer, "span", (), self.length, self.base)
        rows = json.loads(self.val.read_text(encoding="utf-8"))
        contexts = [row["context"] for row in rows]
        questions = [row["question"] for row in rows]
        windows, _ = windows_of(tokenizer, questions, contexts, self.length, self.recipe.stride)
        logits = span_logits(loaded, windows, BATCH)
        model.train(training)
        wanted = [answers_of(row) for row in rows]
        made = [found.text for found in best_answers(windows, logits, contexts, self.abstains)]
        scores = spans(made, [[answer.text for answer in row] for row in wanted], SPANS, resamples=0)
        losses = [
            _loss(pair, window.label(_first(wanted[window.row]))) for window, pair in zip(windows, logits, strict=True)
        ]
        return {"val_loss": float(np.mean(losses)), **{name: score["score"] for name, score in scores.items()}}


# ---------------------------------------------------------------- windows, losses


def _windows(tokenizer: Any, rows: Sequence[Row], given: Given) -> list[tuple[Window, tuple[int, int] | None]]:
    """Every window with the places of its answer; None where it holds none."""
    questions, contexts = [row.data["question"] for row in rows], [row.data["context"] for row in rows]
    windows, cut = windows_of(tokenizer, questions, contexts, given.length, given.recipe.stride)
    if cut:
        given.progress.warn(f"{len(cut):,} questions are longer than half of {given.length:,} tokens and were cut")
    answers = [_first(answers_of(row.data)) for row in rows]
    labels = (window.label(answers[window.row]) for window in windows)
    return [(window, label if any(label) else None) for window, label in zip(windows, labels, strict=True)]


def _first(answers: Sequence[Answer]) -> Answer | None:
    return answers[0] if answers else None


def _asked(row: Row) -> dict[str, Any]:
    return {name: row.data[name] for name in ("question", "context", "answers")}


def _loss(logits: tuple[Logits, Logits], label: tuple[int, int]) -> float:
    return sum(_nll(side.astype(np.float64), place) for side, place in zip(logits, label, strict=True)) / 2


def _nll(scores: Any, place: int) -> float:
    return float(np.log(np.exp(scores - scores.max()).sum()) + scores.max() - scores[place])
