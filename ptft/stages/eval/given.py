"""A file of predictions and references, whoever made them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ptft.core.examples import SHAPES, Shape
from ptft.core.metrics import names
from ptft.core.metrics.classification import classification
from ptft.core.rows import Row, RowWriter
from ptft.stages.eval.answers import compare
from ptft.stages.eval.recipe import EvalRecipe
from ptft.stages.eval.tasks import GIVEN_LABELS, GIVEN_TEXTS, Measured, Score, Task, require_rows

SHAPE: Shape = next(shape for shape in SHAPES if shape.name == "prediction")
LONGEST_LABEL = 64  # characters


def given_problem(row: Row) -> str | None:
    """Why a row cannot be measured. A reference may be a list of texts, of which the best counts."""
    prediction, reference = row.data["prediction"], row.data["reference"]
    if isinstance(prediction, list):
        return "the prediction is a list: eval takes one prediction a row"
    references = reference if isinstance(reference, list) else [reference]
    if not references or not all(isinstance(item, str | int | float) for item in references):
        return "the reference is a list of something else than texts"
    return None if all(str(item).strip() for item in references) else "an empty reference"


def task_of(rows: Sequence[Row], asked: tuple[str, ...]) -> Task:
    """Labels or texts: by the metrics asked for, else labels where references are numbers, or short and often the same."""
    if asked:
        return GIVEN_LABELS if asked[0] in names.LABELS else GIVEN_TEXTS
    references = [row.data["reference"] for row in rows]
    if all(isinstance(item, int | float) for item in references):
        return GIVEN_LABELS
    short = all(isinstance(item, str) and len(item) <= LONGEST_LABEL and "\n" not in item for item in references)
    return GIVEN_LABELS if short and len(set(references)) <= len(references) / 2 else GIVEN_TEXTS


def measure(rows: Sequence[Row], metrics: tuple[str, ...], recipe: EvalRecipe, writer: RowWriter) -> Measured:
    """Score the rows; labels are compared as text, so 1 is "1"."""
    require_rows(len(rows))
    predictions = [str(row.data["prediction"]) for row in rows]
    references = [_texts(row.data["reference"]) for row in rows]
    labelled = tuple(name for name in metrics if name in names.LABELS)
    compared = tuple(name for name in metrics if name in names.TEXTS)
    found: dict[str, Score] = {}
    own: list[dict[str, float]] = [{} for _ in rows]
    if labelled:
        firsts = [_agreed(prediction, wanted) for prediction, wanted in zip(predictions, references, strict=True)]
        found |= classification(firsts, predictions, labelled, resamples=recipe.bootstrap)
    if compared:
        scores, own = compare(predictions, references, compared, recipe.bootstrap)
        found |= scores
    for row, prediction, extra in zip(rows, predictions, own, strict=True):
        writer.write({"input": None, **row.data, "prediction": prediction, **extra})
    return Measured({name: found[name] for name in metrics}, len(rows))


def _texts(reference: Any) -> list[str]:
    return [str(item) for item in reference] if isinstance(reference, list) else [str(reference)]


def _agreed(prediction: str, references: list[str]) -> str:
    """The reference that the prediction equals, else the first."""
    return prediction if prediction in references else references[0]
