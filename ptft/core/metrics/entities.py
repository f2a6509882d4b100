"""Scores of tags: entities as seqeval counts them in strict mode, words, and every tag alike."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from ptft.core.metrics.classification import MOST_SHOWN, average_detail
from ptft.core.metrics.label_sums import numbered, of_pairs
from ptft.core.metrics.measure import RESAMPLES, Floats, Measure, Score, of_sums, scores

Tags = Sequence[Sequence[str]]
Entity = tuple[str, int, int]  # type, first word, word after the last


def tagging(
    references: Tags, predictions: Tags, names: Sequence[str], scheme: str, *, resamples: int = RESAMPLES
) -> dict[str, Score]:
    """The scores `names` with their intervals; see `tag_measures`."""
    return scores(tag_measures(references, predictions, names, scheme), resamples)


def tag_measures(references: Tags, predictions: Tags, names: Sequence[str], scheme: str) -> list[Measure]:
    """The metrics `names` of rows of tags, of equal length a row.

    entity_f1, entity_precision, entity_recall: micro averages over entities, right where type and both ends are (seqeval,
    mode "strict"); scheme: "IOB2" or "IOBES", that of the references. token_accuracy: share of words. f1: macro average over the tags that occur.
    Resamples are of rows. Raises `ValueError` for entities of another scheme and for rows of unequal length.
    """
    found: dict[str, Measure] = {}
    if entities := tuple(name for name in names if name.startswith("entity_")):
        found |= _entity_measures(references, _known(predictions, scheme), entities, scheme)
    if "token_accuracy" in names:
        rows = np.array([_agreement(*pair) for pair in zip(references, predictions, strict=True)], dtype=np.float64)
        rows = rows.reshape(-1, 2)
        found["token_accuracy"] = of_sums("token_accuracy", rows, _ratio, _ratio(rows), tokens=int(rows[:, 1].sum()))
    if "f1" in names:
        found["f1"] = _macro(references, predictions)
    return [found[name] for name in names]


def _known(predictions: Tags, scheme: str) -> Tags:
    """A predicted tag of another scheme is no entity's, and no more wrong than that."""
    prefixes = {"IOB2": "BI", "IOBES": "BIES"}.get(scheme, "")
    return [
        [tag if tag == "O" or (tag[:1] in prefixes and tag[1:2] == "-") else "O" for tag in row] for row in predictions
    ]


def entities_of(rows: Tags, scheme: str) -> list[set[Entity]]:
    """The entities of each row, by seqeval's strict rules: an "I-" without its "B-" is none."""
    import seqeval.scheme

    found = seqeval.scheme.Entities([list(row) for row in rows], scheme=getattr(seqeval.scheme, scheme))
    return [{(entity.tag, entity.start, entity.end) for entity in row} for row in found.entities]


def _entity_measures(references: Tags, predictions: Tags, names: Sequence[str], scheme: str) -> dict[str, Measure]:
    scheme = _checked(scheme, references, predictions)
    wanted, made = entities_of(references, scheme), entities_of(predictions, scheme)
    counts = [[len(w & m), len(m), len(w)] for w, m in zip(wanted, made, strict=True)]
    rows = np.array(counts, dtype=np.float64).reshape(-1, 3)
    details: list[dict[str, Any]] = [{} for _ in names]
    details[0] |= {"scheme": f"strict {scheme}", "entities": int(rows[:, 2].sum())}
    if (types := _per_type(wanted, made)) and len(types) <= MOST_SHOWN:
        details[0]["per_type"] = types
    return {
        name: of_sums(name, rows, _STATISTICS[name], _own(name, rows), **detail)
        for name, detail in zip(names, details, strict=True)
    }


def _checked(scheme: str, references: Tags, predictions: Tags) -> str:
    """The scheme; of tags that are all "O", which show none, IOB2. Raises `ValueError` where the tags are plain names."""
    if scheme in ("IOB2", "IOBES"):
        return scheme
    if plain := next((tag for rows in (references, predictions) for row in rows for tag in row if tag != "O"), ""):
        raise ValueError(f"entities are told by tags of IOB2 or IOBES (B-PER, I-PER, O), and {plain!r} is none of them")
    return "IOB2"


def _own(name: str, rows: Floats) -> Floats:
    """Each row's own score; NaN of a row without entities on either side."""
    return np.where(rows[:, 1] + rows[:, 2] > 0, _STATISTICS[name](rows), np.nan)


def _per_type(wanted: Sequence[set[Entity]], made: Sequence[set[Entity]]) -> dict[str, dict[str, float]]:
    right = Counter(entity[0] for w, m in zip(wanted, made, strict=True) for entity in w & m)
    predicted = Counter(entity[0] for row in made for entity in row)
    actual = Counter(entity[0] for row in wanted for entity in row)
    return {name: _shares(right[name], predicted[name], actual[name]) for name in sorted({*predicted, *actual})}


def _macro(references: Tags, predictions: Tags) -> Measure:
    labels = sorted({tag for rows in (references, predictions) for row in rows for tag in row})
    rows = np.repeat(np.arange(len(references)), [len(row) for row in references])
    wanted, made = (numbered(labels, (tag for row in side for tag in row)) for side in (references, predictions))
    sums = of_pairs(rows, wanted, made, len(references), len(labels))
    detail = average_detail(sums(np.ones((1, len(references)))), "f1", labels)
    return Measure("f1", len(references), lambda draws: sums(draws).macro("f1"), None, detail)


def _shares(right: int, predicted: int, actual: int) -> dict[str, float]:
    return {
        "precision": right / max(predicted, 1), "recall": right / max(actual, 1),
        "f1": 2 * right / max(predicted + actual, 1), "support": actual,
    }  # fmt: skip


# ---------------------------------------------------------------- sums over rows to scores


def _agreement(reference: Sequence[str], prediction: Sequence[str]) -> tuple[int, int]:
    return sum(wanted == made for wanted, made in zip(reference, prediction, strict=True)), len(reference)


def _ratio(sums: Floats) -> Floats:
    return sums[:, 0] / np.maximum(sums[:, 1], 1)


def _recall(sums: Floats) -> Floats:
    return sums[:, 0] / np.maximum(sums[:, 2], 1)


def _f1(sums: Floats) -> Floats:
    return 2 * sums[:, 0] / np.maximum(sums[:, 1] + sums[:, 2], 1)


_STATISTICS = {"entity_precision": _ratio, "entity_recall": _recall, "entity_f1": _f1}
