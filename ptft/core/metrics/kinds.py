"""Kinds of predictions: what their rows hold, the metrics that follow from them, and how those are computed.

A row of predictions.jsonl says all that its scores need, so a file of another tool, a finished run, and a run being made are
scored by the same few lines.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ptft.core.metrics import names
from ptft.core.metrics.measure import Floats, Measure

Rows = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Options:
    """What some metrics ask besides the rows. positive: the label that binary scores are of ("": the rule of `positive_of`).

    words: files of words that generations are searched for. wordnet, bertscore: folders of theirs. workers: processes that
    compare texts (0: one a core).
    """

    positive: str = ""
    wordnet: Path | None = None
    bertscore: Path | None = None
    words: tuple[Path, ...] = ()
    workers: int = 1


@dataclass(frozen=True)
class Kind:
    """fits: metrics that can be had. usual: those computed where none is asked for. fields: what a row has beside its id."""

    name: str
    fields: str
    fits: tuple[str, ...]
    usual: tuple[str, ...]
    measures: Callable[[Rows, Sequence[str], Options], list[Measure]]
    figures: Callable[[Rows], dict[str, Any]] = field(default=lambda rows: {})  # pictures of the page


# ---------------------------------------------------------------- labels


def _labels(rows: Rows, asked: Sequence[str], options: Options) -> list[Measure]:
    from ptft.core.metrics.classification import label_measures
    from ptft.core.metrics.probabilities import probability_measures

    references = _references(rows)
    found: list[Measure] = []
    if labelled := [name for name in asked if name in names.LABELS]:
        predictions = [label_text(row["prediction"]) for row in rows]
        found += label_measures(references, predictions, labelled, positive=options.positive)
    if likely := [name for name in asked if name in names.PROBABILITIES]:
        found += probability_measures(references, *_chances(rows), likely, positive=options.positive)
    return found


def _references(rows: Rows) -> list[str]:
    """Labels as text; of several right ones the predicted, else the first."""
    found = []
    for row in rows:
        several = row["reference"] if isinstance(row["reference"], list) else [row["reference"]]
        right, made = [label_text(label) for label in several], label_text(row.get("prediction"))
        found.append(made if made in right else right[0])
    return found


def label_text(label: Any) -> str:
    """A label as text, so that 1, "1" and 1.0 are one, and true is "true"."""
    if isinstance(label, bool):
        return str(label).lower()
    return str(int(label)) if isinstance(label, float) and label.is_integer() else str(label)


def _choice_figures(rows: Rows) -> dict[str, Any]:
    """Where every question has the same choices, which then have probabilities."""
    return _label_figures(rows) if all("probabilities" in row for row in rows) else {}


def _chances(rows: Rows) -> tuple[list[str], Floats]:
    """The labels that have probabilities, and those: shape (rows, labels). A label that a row does not name has none."""
    labels = sorted({label for row in rows for label in row["probabilities"]})
    return labels, np.array([[float(row["probabilities"].get(label, 0.0)) for label in labels] for row in rows])


def _label_figures(rows: Rows) -> dict[str, Any]:
    from ptft.core.metrics.classification import confusion_figure
    from ptft.core.metrics.probabilities import calibration_figure

    if not all("reference" in row and "prediction" in row for row in rows):
        return {}
    references = _references(rows)
    figures = {"confusion": confusion_figure(references, [label_text(row["prediction"]) for row in rows])}
    if all("probabilities" in row for row in rows):
        figures["calibration"] = calibration_figure(references, *_chances(rows))
    return {name: figure for name, figure in figures.items() if figure}


def _many_labels(rows: Rows, asked: Sequence[str], options: Options) -> list[Measure]:
    from ptft.core.metrics.multi_label import multi_label_measures

    sides = ("reference", "prediction", "probabilities")  # the last may name labels that occur nowhere
    labels = sorted({str(label) for row in rows for side in sides for label in row.get(side, ())})
    wanted, made = (
        np.array([[label in named for label in labels] for named in (set(map(str, row[side])) for row in rows)], bool)
        for side in ("reference", "prediction")
    )
    shape = (len(rows), len(labels))
    return multi_label_measures(wanted.reshape(shape), made.reshape(shape), labels, asked)


# ---------------------------------------------------------------- numbers, tags, short answers


def _numbers(rows: Rows, asked: Sequence[str], options: Options) -> list[Measure]:
    from ptft.core.metrics.numbers import number_measures

    return number_measures([float(row["reference"]) for row in rows], [float(row["prediction"]) for row in rows], asked)


def _tags(rows: Rows, asked: Sequence[str], options: Options) -> list[Measure]:
    from ptft.core.metrics.entities import tag_measures
    from ptft.core.tagging import scheme_of

    references, predictions = ([row[side] for row in rows] for side in ("reference", "prediction"))
    scheme = scheme_of(tag for row in references for tag in row)
    if scheme == "plain":  # nothing but "O", perhaps
        scheme = scheme_of(tag for side in (references, predictions) for row in side for tag in row)
    return tag_measures(references, predictions, asked, scheme)


def _spans(rows: Rows, asked: Sequence[str], options: Options) -> list[Measure]:
    from ptft.core.metrics.spans import span_measures

    return span_measures([row["prediction"] for row in rows], [listed(row["reference"]) for row in rows], asked)


# ---------------------------------------------------------------- texts


def _texts(rows: Rows, asked: Sequence[str], options: Options) -> list[Measure]:
    found: list[Measure] = []
    if compared := [name for name in asked if name in names.TEXTS]:
        from ptft.core.metrics.text import text_measures

        references = [listed(row["reference"]) for row in rows]
        found += text_measures([str(row["prediction"]) for row in rows], references, compared, options)
    if short := [name for name in asked if name in names.SPANS]:
        found += _spans([{**row, "prediction": str(row["prediction"])} for row in rows], short, options)
    if own := [name for name in asked if name in names.VARIETY]:
        from ptft.core.metrics.variety import variety_measures

        found += variety_measures([str(row["prediction"]) for row in rows], own)
    if "flagged" in asked:
        from ptft.core.metrics.safety import flagged_measure

        found.append(flagged_measure([str(row["prediction"]) for row in rows], options.words))
    return found + _likelihoods(rows, [name for name in asked if name in names.LIKELIHOODS], options)


def _likelihoods(rows: Rows, asked: Sequence[str], options: Options) -> list[Measure]:
    from ptft.core.metrics.likelihood import likelihood_measures

    if not asked:
        return []
    nll, tokens, sizes = ([row[key] for row in rows] for key in ("nll", "tokens", "bytes"))
    return likelihood_measures(nll, tokens, sizes, asked)


def _choices(rows: Rows, asked: Sequence[str], options: Options) -> list[Measure]:
    from ptft.core.metrics.choices import choice_measures

    found: list[Measure] = []
    if ranked := [name for name in asked if name in names.CHOICES]:
        found += choice_measures(
            [row["answer"] for row in rows], [row["loglikelihoods"] for row in rows], [row["lengths"] for row in rows],
            ranked,
        )  # fmt: skip
    others = [name for name in asked if name not in names.CHOICES]
    return found + (_labels(rows, others, options) if others else [])


def _preferences(rows: Rows, asked: Sequence[str], options: Options) -> list[Measure]:
    from ptft.core.metrics.choices import preference_measure

    return [preference_measure([row["loglikelihoods"] for row in rows])]


# ---------------------------------------------------------------- rankings, images


def _rankings(rows: Rows, asked: Sequence[str], options: Options) -> list[Measure]:
    from ptft.core.metrics.rankings import ranking_measures

    return ranking_measures(
        [list(map(str, row["prediction"])) for row in rows], [listed(row["reference"]) for row in rows], asked
    )


def _boxes(rows: Rows, asked: Sequence[str], options: Options) -> list[Measure]:
    from ptft.core.metrics.boxes import box_measures

    return box_measures([row["prediction"] for row in rows], [row["reference"] for row in rows], asked)


def listed(reference: Any) -> list[str]:
    """One reference or several, as texts."""
    return [str(item) for item in reference] if isinstance(reference, list) else [str(reference)]


# metrics that nothing but the rows they are of decides: no tokenizer or positive label that follows from all rows
_OF_ROWS_ALONE = (*names.NUMBERS, *names.MANY_LABELS)
_SPOKEN = (*names.TEXTS, *names.SPANS, *names.VARIETY, *names.SAFETY)
KINDS = {
    kind.name: kind
    for kind in (
        Kind(
            "labels", "reference, prediction and, for some metrics, probabilities {label: p}",
            (*names.LABELS, *names.PROBABILITIES), ("accuracy", "f1"), _labels, _label_figures,
        ),
        Kind("many-labels", "reference and prediction, lists of labels", names.MANY_LABELS, ("f1", "f1_micro", "subset_accuracy"), _many_labels),
        Kind("numbers", "reference and prediction, numbers", names.NUMBERS, ("pearson", "spearman", "mse", "mae"), _numbers),
        Kind("tags", "reference and prediction, lists of tags of equal length", (*names.ENTITIES, "f1"), names.ENTITIES, _tags),
        Kind("plain-tags", "reference and prediction, lists of tags of equal length", ("token_accuracy", "f1"), ("token_accuracy", "f1"), _tags),
        Kind("spans", "reference, texts of which one is right (none: no answer), and prediction, a text", names.SPANS, names.SPANS, _spans),
        Kind(
            "texts", "reference, a text or several, and prediction, a text", _SPOKEN,
            ("bleu", "chrf", "rouge1", "rouge2", "rougeL", "rougeLsum"), _texts,
        ),
        Kind(
            "answers", "reference and prediction, texts; nll, tokens and bytes of the reference", (*_SPOKEN, *names.LIKELIHOODS),
            ("bleu", "chrf", "rouge1", "rouge2", "rougeL", "rougeLsum", *names.LIKELIHOODS), _texts,
        ),
        Kind("generations", "prediction, a text", (*names.VARIETY, *names.SAFETY), names.VARIETY, _texts),
        Kind("language", "nll (nats), tokens and bytes", names.LIKELIHOODS, names.LIKELIHOODS, _likelihoods),
        Kind(
            "choices", "answer (which choice is right), loglikelihoods and lengths (characters) of the choices",
            (*names.CHOICES, *names.LABELS, *names.PROBABILITIES), names.CHOICES, _choices, _choice_figures,
        ),
        Kind("preferences", "loglikelihoods of two texts", names.PREFERENCE, names.PREFERENCE, _preferences),
        Kind("rankings", "reference, what is relevant, and prediction, a list with the best first", names.RANKINGS, ("top1", "top5", "map"), _rankings),
        Kind("boxes", "reference and prediction, lists of {label, box: [x, y, width, height], score}", names.BOXES, names.BOXES, _boxes),
    )
}  # fmt: skip


def measures(kind: str, rows: Rows, asked: Sequence[str], options: Options | None = None) -> list[Measure]:
    """The metrics `asked` of predictions of this kind, in that order."""
    options = options or Options()
    found = {measure.name: measure for measure in KINDS[kind].measures(rows, asked, options)}
    return [_with_part(found[name], kind, rows, options) for name in asked]


def _with_part(measure: Measure, kind: str, rows: Rows, options: Options) -> Measure:
    """Able to be made of some rows alone, which is cheaper than counting the others zero times, where that is the same."""
    if measure.part is not None or measure.name not in _OF_ROWS_ALONE:
        return measure

    def part(among: npt.NDArray[np.int64]) -> Measure:
        return measures(kind, [rows[index] for index in among], [measure.name], options)[0]

    return replace(measure, part=part)
