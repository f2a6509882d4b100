"""Scores of predicted labels, one a row, by scikit-learn's definitions; all from how often each label was right, made and there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from ptft.core.errors import UsageError
from ptft.core.metrics.label_sums import AVERAGES, LabelSums, numbered, of_pairs, share
from ptft.core.metrics.measure import RESAMPLES, Floats, Measure, Score, of_mean, ratio, scores

MOST_SHOWN = 200  # labels; more are not listed one by one in scores.json
MOST_DRAWN = 60  # labels of a confusion matrix that can still be read
POSITIVE_OF = {  # what reads as negative, and what then reads as positive
    "0": "1", "-1": "1", "false": "true", "f": "t", "no": "yes", "n": "y", "negative": "positive", "neg": "pos", "-": "+",
    "否": "是", "负": "正", "负面": "正面", "消极": "积极", "反对": "支持", "假": "真", "不是": "是", "错": "对", "错误": "正确",
}  # fmt: skip


def classification(
    references: Sequence[str], predictions: Sequence[str], names: Sequence[str], *, resamples: int = RESAMPLES
) -> dict[str, Score]:
    """The scores `names` with their intervals; see `label_measures`."""
    return scores(label_measures(references, predictions, names), resamples)


def label_measures(
    references: Sequence[str], predictions: Sequence[str], names: Sequence[str], *, positive: str = ""
) -> list[Measure]:
    """The metrics `names` (of names.LABELS) of predicted labels.

    f1, precision and recall are macro averages over the labels that occur in either list; a label that is never predicted
    (or never right) counts 0. The *_binary ones are of one label alone: see `positive_of`, also for the errors. mcc is the
    multi-class one and 0 where everything is one label; Cohen's kappa then has no value.
    """
    labels = _occurring(references, predictions)
    sums = _sums(references, predictions, labels)
    made = [_measure(name, references, predictions, labels, sums, positive) for name in names]
    return [_with_parts(measure, references, predictions, labels, positive) for measure in made]


def positive_of(labels: Sequence[str], asked: str = "") -> str:
    """The label that binary scores are of: the asked one, else of two labels the one that reads as positive ("1", "yes", "是").

    Else the second in sorted order, as scikit-learn takes 1 of 0 and 1. Where all rows have one label, that one is it, or
    the counterpart of one that reads as negative. Raises `UsageError` for a label that does not occur, and where more than
    two occur and none was asked for.
    """
    shown = ", ".join(repr(label) for label in labels[:10]) + (", ..." if len(labels) > 10 else "")
    if asked and asked not in labels:
        raise UsageError(
            f"no row has the label {asked!r}, which binary scores were asked of",
            remedy=f"--positive takes one of {shown}",
        )
    if asked or not labels:
        return asked
    if len(labels) > 2:
        raise UsageError(
            f"binary scores are of one label against the rest, and there are {len(labels)} labels: {shown}",
            remedy="name it with --positive LABEL, or take an average over labels: f1, f1_micro or f1_weighted",
        )
    if len(labels) == 1:
        return _counterpart(labels[0]) or labels[0]
    readable = [label for label in labels if label.lower() in POSITIVE_OF.values()]
    unlike = [label for label in labels if not _counterpart(label)]
    return next((found[0] for found in (readable, unlike) if len(found) == 1), sorted(labels)[1])


def _counterpart(label: str) -> str:
    return POSITIVE_OF.get(label.lower(), "")


# ---------------------------------------------------------------- pictures


def confusion(references: Sequence[str], predictions: Sequence[str]) -> tuple[list[str], npt.NDArray[np.int64]]:
    """The labels that occur, in order, and counts of shape (labels, labels): a row a reference, a column a prediction."""
    labels = _occurring(references, predictions)
    table = np.zeros((len(labels), len(labels)), dtype=np.int64)
    np.add.at(table, (numbered(labels, references), numbered(labels, predictions)), 1)
    return labels, table


def confusion_figure(references: Sequence[str], predictions: Sequence[str]) -> dict[str, Any]:
    """The confusion matrix as JSON; nothing where it has more labels than can be read."""
    if not references or len(_occurring(references, predictions)) > MOST_DRAWN:
        return {}
    labels, table = confusion(references, predictions)
    return {"labels": labels, "rows_are": "references", "counts": table.tolist()}


# ---------------------------------------------------------------- measures


def _occurring(references: Sequence[str], predictions: Sequence[str]) -> list[str]:
    return sorted({*references, *predictions})


def _sums(
    references: Sequence[str], predictions: Sequence[str], labels: Sequence[str]
) -> Callable[[Floats], LabelSums]:
    if len(references) != len(predictions):
        raise ValueError(f"{len(references):,} references, and {len(predictions):,} predictions")
    rows = np.arange(len(references))
    return of_pairs(rows, numbered(labels, references), numbered(labels, predictions), len(rows), len(labels))


def _with_parts(
    measure: Measure, references: Sequence[str], predictions: Sequence[str], labels: Sequence[str], positive: str
) -> Measure:
    """The measure, of which a slice can be had: over the same labels, from its own rows alone."""

    def part(rows: npt.NDArray[np.int64]) -> Measure:
        some = [references[row] for row in rows], [predictions[row] for row in rows]
        return _measure(measure.name, *some, labels, _sums(*some, labels), positive)

    return replace(measure, part=part)


def _measure(
    name: str, references: Sequence[str], predictions: Sequence[str], labels: Sequence[str],
    sums: Callable[[Floats], LabelSums], positive: str,
) -> Measure:  # fmt: skip
    count = len(references)
    if name == "accuracy":
        right = [float(wanted == made) for wanted, made in zip(references, predictions, strict=True)]
        return of_mean(name, np.array(right), n=count)
    figure, _, average = name.partition("_")
    if average == "binary":
        chosen = positive_of(labels, positive)
        return Measure(
            name, count, lambda draws: _of_label(sums(draws), figure, labels, chosen), None, {"positive": chosen}
        )
    if name in _OTHERS:
        return Measure(name, count, lambda draws: _OTHERS[name](sums(draws)), None, _why(name, labels))
    averaged = AVERAGES[average or "macro"]
    detail = {} if average else average_detail(sums(np.ones((1, count))), figure, labels)
    return Measure(name, count, lambda draws: averaged(sums(draws), figure), None, detail)


def average_detail(sums: LabelSums, figure: str, labels: Sequence[str]) -> dict[str, Any]:
    """What stands beside a macro average: the other averages, and every label's own figures where they can be listed."""
    others = {kind: float(AVERAGES[kind](sums, figure)[0]) for kind in ("micro", "weighted")}
    listed = {"per_class": sums.per_class(labels)} if len(labels) <= MOST_SHOWN else {}
    return {"average": "macro", **others, **listed}


def _why(name: str, labels: Sequence[str]) -> dict[str, str]:
    alone = name == "kappa" and len(labels) == 1
    return (
        {"why": f"every reference and every prediction is {labels[0]!r}: agreement by chance is certain"}
        if alone
        else {}
    )


def _of_label(sums: LabelSums, figure: str, labels: Sequence[str], label: str) -> Floats:
    found: Floats = getattr(sums, figure)
    return found[:, labels.index(label)] if label in labels else np.zeros(len(found))


def _balanced_accuracy(sums: LabelSums) -> Floats:
    """The mean recall of the labels that are there (Brodersen et al. 2010)."""
    return share(sums.recall.sum(axis=1), (sums.actual > 0).sum(axis=1).astype(np.float64))


def _mcc(sums: LabelSums) -> Floats:
    """Matthews' correlation of several labels (Gorodkin 2004, R_K); 0 where either side is one label only."""
    total, right = sums.actual.sum(axis=1), sums.right.sum(axis=1)
    together = right * total - (sums.predicted * sums.actual).sum(axis=1)
    made, wanted = (total**2 - (side**2).sum(axis=1) for side in (sums.predicted, sums.actual))
    return share(together, np.sqrt(made) * np.sqrt(wanted))


def _kappa(sums: LabelSums) -> Floats:
    """Cohen 1960: agreement beyond that of chance; NaN where chance alone agrees always."""
    total, right = sums.actual.sum(axis=1), sums.right.sum(axis=1)
    chance = (sums.predicted * sums.actual).sum(axis=1)
    return ratio(right * total - chance, total**2 - chance)


_OTHERS = {"balanced_accuracy": _balanced_accuracy, "mcc": _mcc, "kappa": _kappa}
