"""Scores of tags: entities as seqeval counts them in strict mode, words, and every tag alike."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from ptft.core.metrics.bootstrap import RESAMPLES, Floats, over_rows

Score = dict[str, Any]
Tags = Sequence[Sequence[str]]
Entity = tuple[str, int, int]  # type, first word, word after the last
MOST_SHOWN = 200  # tags or types that are listed one by one


def tagging(
    references: Tags, predictions: Tags, names: Sequence[str], scheme: str, *, resamples: int = RESAMPLES
) -> dict[str, Score]:
    """The scores `names` of rows of tags, of equal length a row.

    entity_f1, entity_precision, entity_recall: micro averages over entities, right where type and both ends are (seqeval,
    mode "strict"); scheme: "IOB2" or "IOBES". token_accuracy: share of words. f1: macro average over the tags that occur.
    Intervals resample rows. Raises `ValueError` for entities of another scheme.
    """
    found: dict[str, Score] = {}
    entities = tuple(name for name in names if name.startswith("entity_"))
    if entities:
        found |= _entity_scores(references, predictions, entities, scheme, resamples)
    if "token_accuracy" in names:
        rows = np.array([_agreement(*pair) for pair in zip(references, predictions, strict=True)], dtype=np.float64)
        found["token_accuracy"] = {**_scored(rows, _ratio, resamples), "tokens": int(rows[:, 1].sum())}
    if "f1" in names:
        found["f1"] = _macro(references, predictions, resamples)
    return {name: found[name] for name in names}


def entities_of(rows: Tags, scheme: str) -> list[set[Entity]]:
    """The entities of each row, by seqeval's strict rules: an "I-" without its "B-" is none."""
    import seqeval.scheme

    found = seqeval.scheme.Entities([list(row) for row in rows], scheme=getattr(seqeval.scheme, scheme))
    return [{(entity.tag, entity.start, entity.end) for entity in row} for row in found.entities]


def _entity_scores(
    references: Tags, predictions: Tags, names: Sequence[str], scheme: str, resamples: int
) -> dict[str, Score]:
    wanted, made = entities_of(references, scheme), entities_of(predictions, scheme)
    rows = np.array([[len(w & m), len(m), len(w)] for w, m in zip(wanted, made, strict=True)], dtype=np.float64)
    found = {name: _scored(rows, _STATISTICS[name], resamples) for name in names}
    first = next(iter(found.values()))
    first |= {"scheme": f"strict {scheme}", "entities": int(rows[:, 2].sum())}
    if (types := _per_type(wanted, made)) and len(types) <= MOST_SHOWN:
        first["per_type"] = types
    return found


def _per_type(wanted: Sequence[set[Entity]], made: Sequence[set[Entity]]) -> dict[str, dict[str, float]]:
    right = Counter(entity[0] for w, m in zip(wanted, made, strict=True) for entity in w & m)
    predicted = Counter(entity[0] for row in made for entity in row)
    actual = Counter(entity[0] for row in wanted for entity in row)
    return {name: _shares(right[name], predicted[name], actual[name]) for name in sorted({*predicted, *actual})}


def _macro(references: Tags, predictions: Tags, resamples: int) -> Score:
    labels = sorted({tag for rows in (references, predictions) for row in rows for tag in row})
    ids = {label: index for index, label in enumerate(labels)}
    rows = np.zeros((len(references), 3, len(labels)))
    for row, (reference, prediction) in enumerate(zip(references, predictions, strict=True)):
        for wanted, made in zip(reference, prediction, strict=True):
            rows[row, 0, ids[wanted]] += wanted == made
            rows[row, 1, ids[made]] += 1
            rows[row, 2, ids[wanted]] += 1
    found = _scored(rows.reshape(len(rows), -1), partial(_macro_f1, labels=len(labels)), resamples)
    if len(labels) <= MOST_SHOWN:
        counts = rows.sum(axis=0).astype(int)
        found["per_class"] = {label: _shares(*counts[:, index].tolist()) for label, index in ids.items()}
    return {**found, "average": "macro"}


def _shares(right: int, predicted: int, actual: int) -> dict[str, float]:
    return {
        "precision": right / max(predicted, 1), "recall": right / max(actual, 1),
        "f1": 2 * right / max(predicted + actual, 1), "support": actual,
    }  # fmt: skip


# ---------------------------------------------------------------- sums over rows to scores


def _scored(rows: Floats, statistic: Any, resamples: int) -> Score:
    return {"score": float(statistic(rows.sum(axis=0)[None])[0]), "ci95": over_rows(rows, statistic, resamples)}


def _agreement(reference: Sequence[str], prediction: Sequence[str]) -> tuple[int, int]:
    return sum(wanted == made for wanted, made in zip(reference, prediction, strict=True)), len(reference)


def _ratio(sums: Floats) -> Floats:
    return sums[:, 0] / np.maximum(sums[:, 1], 1)


def _recall(sums: Floats) -> Floats:
    return sums[:, 0] / np.maximum(sums[:, 2], 1)


def _f1(sums: Floats) -> Floats:
    return 2 * sums[:, 0] / np.maximum(sums[:, 1] + sums[:, 2], 1)


def _macro_f1(sums: Floats, labels: int) -> Floats:
    right, predicted, actual = np.moveaxis(sums.reshape(-1, 3, labels), 1, 0)
    occurs = (predicted + actual) > 0
    return (2 * right / np.maximum(predicted + actual, 1)).sum(axis=1) / np.maximum(occurs.sum(axis=1), 1)


_STATISTICS = {"entity_precision": _ratio, "entity_recall": _recall, "entity_f1": _f1}
