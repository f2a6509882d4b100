"""A tag a word: entities (IOB2 or IOBES), parts of speech, segmentation."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ptft.core import models
from ptft.core.encoding import IGNORED
from ptft.core.errors import InputError
from ptft.core.heads import Head
from ptft.core.metrics.entities import tagging
from ptft.core.metrics.names import ENTITIES
from ptft.core.models import Loaded
from ptft.core.predicting import tag_logits
from ptft.core.rows import Row
from ptft.core.tagging import TAGGED_PIECE, Scheme, Words, encode_words, row_problem, scheme_of, tags_of
from ptft.core.training import Objective, Padding, Rows
from ptft.stages.finetune.purpose import Collate
from ptft.stages.finetune.task.classification import unknown_label
from ptft.stages.finetune.task.given import Given, good
from ptft.stages.finetune.task.headed import Headed
from ptft.stages.finetune.task.judging import better
from ptft.stages.finetune.task.texts import BATCH, make_ready

SHAPES = ("tags",)
PLAIN = ("token_accuracy", "f1")  # of tags that are not entities


def problem(row: Row) -> str | None:
    """Why a row cannot be learnt from."""
    return row_problem(row.data)


def prepare(given: Given) -> TaggedWords:
    """Words as tokens, each word's tag on its first piece; a causal model, which sees no further, has it on the last.

    A lone "I-" is mended (see `tagging.mended`) and counted; so are words without a tag to learn, cut off or without a token.
    """
    rows = given.everything.rows
    scheme = scheme_of(str(tag) for row in rows for tag in row.data["tags"])
    labels = _labels(rows, scheme)
    known = good(given.val.rows, lambda row: unknown_label(labels, tags_of(row.data["tags"], scheme)[0]), given.log)
    metrics = metrics_for(scheme)
    judged_by = better(given.recipe.metric, metrics, metrics[0])
    tokenizer, state = given.base.tokenizer, given.out.state
    make_ready(tokenizer, given.base.kind, pairs=False)
    tokenizer.init_kwargs[TAGGED_PIECE] = "last" if given.base.kind == "causal" else "first"
    tokenizer.save_pretrained(state / "tokenizer")
    counts = Counter({"words": 0, "words_cut": 0, "rows_cut": 0, "tags_mended": 0})
    for name, part in {"train": given.train.rows, "val": known}.items():
        _encoded(tokenizer, part, labels, scheme, given.length, counts).save(state / name)
    _tell(given, counts)
    made = Rows.load(state / "train")
    weights = _balanced(made, len(labels)) if given.recipe.class_weights == "balanced" else ()
    return TaggedWords(
        recipe=given.recipe, base=given.base.folder, tokenizer=state / "tokenizer", kind="tagger", length=given.length,
        rows=len(made), counts={
            "rows": len(made), "labels": len(labels), "scheme": scheme, **counts, "rows_rejected": given.rejected,
        },
        head=Head("tagger", labels, pad_id=tokenizer.pad_token_id), scheme=scheme, train=state / "train",
        val=state / "val", judged_by=judged_by, weights=weights,
    )  # fmt: skip


def metrics_for(scheme: Scheme) -> tuple[str, ...]:
    """The figures of tags, the usual one first."""
    return PLAIN if scheme == "plain" else (*ENTITIES, "f1")


@dataclass(frozen=True, kw_only=True)
class TaggedWords(Headed):
    """train, val: folders of `Rows` with a label a token. weights: by label, mean 1 over the words; empty: all alike."""

    scheme: Scheme
    weights: tuple[float, ...] = ()

    @property
    def objective(self) -> Objective:
        return Objective("tags", self.weights)

    def collate(self) -> Collate:
        return Padding(int(self.head.pad_id or 0))

    def measure(self, model: Any) -> dict[str, float]:
        """Mean cross entropy of a word, and the scores of `ptft eval`, of the words that were not cut off."""
        rows = Rows.load(self.val)
        words = [_words(rows[index]) for index in range(len(rows))]
        training, tokenizer = model.training, models.load_tokenizer(self.tokenizer)
        loaded = Loaded(model.eval(), tokenizer, "tagger", self.head.labels, self.length, self.base)
        logits = tag_logits(loaded, words, BATCH)
        model.train(training)
        truth = [rows[index]["labels"].numpy()[row.places] for index, row in enumerate(words)]
        named = [self._named(labels) for labels in truth], [self._named(scores.argmax(axis=1)) for scores in logits]
        scores = tagging(*named, metrics_for(self.scheme), self.scheme, resamples=0)
        loss = _mean_loss(np.concatenate(logits), np.concatenate(truth))
        return {"val_loss": loss, **{name: float(score["score"]) for name, score in scores.items()}}

    def _named(self, labels: npt.NDArray[Any]) -> list[str]:
        return [self.head.labels[int(label)] for label in labels]


# ---------------------------------------------------------------- labels, rows


def _labels(rows: Sequence[Row], scheme: Scheme) -> tuple[str, ...]:
    found = {tag for row in rows for tag in tags_of(row.data["tags"], scheme)[0]}
    if len(found) < 2:
        only = next(iter(found), None)
        raise InputError(
            f"every word has the tag {only!r}: there is nothing to tell apart", remedy="check the field 'tags'"
        )
    return tuple(sorted(found))


def _encoded(
    tokenizer: Any, rows: Sequence[Row], labels: Sequence[str], scheme: Scheme, length: int, counts: Counter[str]
) -> Rows:
    """Tokens and labels; what is cut off and mended is added to `counts`. Rows without a word to learn are left out."""
    ids = {label: index for index, label in enumerate(labels)}
    made = []
    for row, words in zip(rows, encode_words(tokenizer, [row.data["tokens"] for row in rows], length), strict=True):
        tags, changed = tags_of(row.data["tags"], scheme)
        unseen = len(tags) - len(words.seen)
        cut = unseen and len(words.ids) == length
        counts.update(words=len(words.seen), words_cut=unseen, rows_cut=int(bool(cut)), tags_mended=changed)
        column = [IGNORED] * len(words.ids)
        for word in words.seen:
            column[words.places[word]] = ids[tags[word]]
        if words.seen:
            made.append({"input_ids": words.ids, "labels": column})
    return Rows.of(made)


def _words(row: Any) -> Words:
    places = np.flatnonzero(row["labels"].numpy() != IGNORED)
    return Words(row["input_ids"].tolist(), places.tolist())


def _tell(given: Given, counts: Counter[str]) -> None:
    if counts["words_cut"]:
        rows = f"{counts['rows_cut']:,} rows are longer than {given.length:,} tokens"
        given.progress.warn(
            f"{rows}; {counts['words_cut']:,} words have no token of their own left, nor a tag to learn"
        )
    if counts["tags_mended"]:
        what = "tags began an entity with I- and were read as B-"
        given.progress.warn(f"{counts['tags_mended']:,} {what}")


def _balanced(rows: Rows, labels: int) -> tuple[float, ...]:
    """Words / (labels x words with it), as scikit-learn's "balanced"; 1 for a label that does not occur."""
    column = rows.columns["labels"]
    counts = np.bincount(column[column != IGNORED], minlength=labels)
    occurs = int((counts > 0).sum())
    return tuple(float(counts.sum() / (occurs * count)) if count else 1.0 for count in counts)


def _mean_loss(logits: npt.NDArray[np.float32], labels: npt.NDArray[Any]) -> float:
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    right = shifted[np.arange(len(labels)), labels] - np.log(np.exp(shifted).sum(axis=1))
    return -float(right.mean())
