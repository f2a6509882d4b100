"""Mean average precision of objects found in images, as COCO defines it; boxes are matched by pycocotools.

The precision at 101 recalls is added up here, with each image as often as a resample has it, so matching is done once.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ptft.core.errors import UsageError
from ptft.core.metrics.blocks import Ids, once_a_block
from ptft.core.metrics.measure import RESAMPLES, Floats, Measure, Score, scores

Objects = Sequence[Mapping[str, Any]]  # {"label", "box": [x, y, width, height]} and "score" of what was found
OVERLAPS = np.linspace(0.5, 0.95, 10)  # intersection over union from which a box counts as found
RECALLS = np.linspace(0.0, 1.0, 101)
MOST_FOUND = 100  # boxes a label and image; the surest ones
_SCORES = {"box_map": slice(None), "box_map50": slice(1)}  # of OVERLAPS


def boxes(
    predictions: Sequence[Objects], references: Sequence[Objects], names: Sequence[str], *, resamples: int = RESAMPLES
) -> dict[str, Score]:
    """The scores `names` with their intervals; see `box_measures`."""
    return scores(box_measures(predictions, references, names), resamples)


def box_measures(predictions: Sequence[Objects], references: Sequence[Objects], names: Sequence[str]) -> list[Measure]:
    """box_map: mean average precision over overlaps .50 to .95 and the labels there are; box_map50: at .50 alone. A row is an image.

    A label that is never found counts 0; one that is only predicted does not count, as in COCO. A reference with
    "iscrowd": 1 is neither missed nor found. The detail has each label's own. Raises `ValueError` for what is no box or has
    no score, and `UsageError` where pycocotools is not installed.
    """
    if len(predictions) != len(references):
        raise ValueError(f"boxes of {len(predictions):,} images predicted, and of {len(references):,} known")
    found = _matched(predictions, references)
    shares = once_a_block(lambda draws: _average_precisions(found, draws))
    once = shares(np.ones((1, len(references)))) if references else np.zeros((1, 0, len(OVERLAPS)))
    return [
        Measure(name, len(references), _over_labels(shares, _SCORES[name]), None, _detail(found, once, _SCORES[name]))
        for name in names
    ]


def _over_labels(shares: Callable[[Floats], Floats], overlaps: slice) -> Callable[[Floats], Floats]:
    """The mean over overlaps and the labels that a resample has."""

    def statistic(draws: Floats) -> Floats:
        chosen = shares(draws)[:, :, overlaps].mean(axis=2)
        there = np.isfinite(chosen)
        total = np.where(there, chosen, 0.0).sum(axis=1)
        return np.divide(total, there.sum(axis=1), out=np.full(len(total), np.nan), where=there.any(axis=1))

    return statistic


def _detail(found: Mapping[str, _Found], once: Floats, overlaps: slice) -> dict[str, Any]:
    values = dict(zip(found, once[0, :, overlaps].mean(axis=1), strict=True))
    there = {label: float(value) for label, value in values.items() if np.isfinite(value)}
    if there:
        return {"per_class": there}
    return {"why": "no image has a known object"}


# ---------------------------------------------------------------- precision and recall


@dataclass(frozen=True)
class _Found:
    """A label's boxes over all images, the surest first. right, counts: shape (overlaps, boxes); wanted: objects an image."""

    images: Ids
    right: npt.NDArray[np.bool_]
    counts: npt.NDArray[np.bool_]
    wanted: Floats


def _average_precisions(found: Mapping[str, _Found], draws: Floats) -> Floats:
    """Shape (resamples, labels, overlaps); NaN of a label that a resample does not have."""
    each = [_of_label(label, draws) for label in found.values()]
    return np.stack(each, axis=1) if each else np.zeros((len(draws), 0, len(OVERLAPS)))


def _of_label(found: _Found, draws: Floats) -> Floats:
    wanted = draws @ found.wanted
    drawn = draws[:, found.images]
    each = [_of_overlap(drawn, *flags, wanted) for flags in zip(found.right, found.counts, strict=True)]
    return np.where(wanted[:, None] > 0, np.stack(each, axis=1), np.nan)


def _of_overlap(drawn: Floats, right: npt.NDArray[np.bool_], counts: npt.NDArray[np.bool_], wanted: Floats) -> Floats:
    """The mean over recalls of the best precision at that recall or a higher one, shape (resamples,).

    Only boxes that are right are looked at: recall rises nowhere else, and precision is nowhere higher than there.
    """
    taken = np.cumsum(drawn * counts, axis=1)[:, right]
    hits = np.cumsum(drawn[:, right], axis=1)
    precision = hits / np.maximum(taken, 1)
    best = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    best = np.hstack([best, np.zeros((len(best), 1))])  # beyond the highest recall that was reached
    recalls = hits / np.maximum(wanted, 1)[:, None]
    places = (np.searchsorted(row, RECALLS, side="left") for row in recalls)
    return np.array([row[place].mean() for row, place in zip(best, places, strict=True)])


# ---------------------------------------------------------------- matching


def _matched(predictions: Sequence[Objects], references: Sequence[Objects]) -> dict[str, _Found]:
    """By label, in order."""
    labels = sorted({str(item["label"]) for side in (predictions, references) for row in side for item in row})
    if not labels:
        return {}
    evaluated = _evaluated(predictions, references, labels)
    images = len(references)
    return {label: _gathered(evaluated[place * images : (place + 1) * images]) for place, label in enumerate(labels)}


def _gathered(images: Sequence[Mapping[str, Any] | None]) -> _Found:
    """One label's matches image by image (COCOeval.evalImgs) as one list. Of equal scores the first image comes first."""
    wanted = np.array([0.0 if image is None else float((image["gtIgnore"] == 0).sum()) for image in images])
    some = [(place, image) for place, image in enumerate(images) if image is not None]
    sure = np.concatenate([np.zeros(0), *(image["dtScores"] for _, image in some)])
    order = np.argsort(-sure, kind="stable")
    none = np.zeros((len(OVERLAPS), 0), dtype=bool)
    hit = np.hstack([none, *(image["dtMatches"].astype(bool) for _, image in some)])[:, order]
    ignored = np.hstack([none, *(image["dtIgnore"].astype(bool) for _, image in some)])[:, order]
    whose = np.repeat([place for place, _ in some], [len(image["dtScores"]) for _, image in some]).astype(np.int64)
    return _Found(whose[order], hit & ~ignored, ~ignored, wanted)


def _evaluated(predictions: Sequence[Objects], references: Sequence[Objects], labels: Sequence[str]) -> list[Any]:
    """COCOeval's matches, by label and then by image."""
    with contextlib.redirect_stdout(io.StringIO()):  # it prints
        coco, evaluation = _pycocotools()
        known, made = (
            _as_coco(coco, side, labels, scored) for side, scored in ((references, False), (predictions, True))
        )
        run = evaluation(known, made, iouType="bbox")
        run.params.iouThrs, run.params.maxDets = OVERLAPS, [MOST_FOUND]
        run.params.areaRng, run.params.areaRngLbl = [[0, 1e10]], ["all"]
        run.evaluate()
    return list(run.evalImgs)


def _as_coco(coco: Any, rows: Sequence[Objects], labels: Sequence[str], scored: bool) -> Any:
    places = {label: place for place, label in enumerate(labels, 1)}
    found = coco()
    found.dataset = {
        "images": [{"id": image} for image in range(len(rows))],
        "categories": [{"id": place, "name": label} for label, place in places.items()],
        # ids from 1: COCOeval takes the id of a match for whether there is one
        "annotations": [{**item, "id": place} for place, item in enumerate(_annotations(rows, places, scored), 1)],
    }
    found.createIndex()
    return found


def _annotations(rows: Sequence[Objects], places: Mapping[str, int], scored: bool) -> Iterator[dict[str, Any]]:
    for image, row in enumerate(rows):
        for item in row:
            box = [float(number) for number in item["box"]]
            if len(box) != 4 or not np.isfinite(box).all() or min(box[2:]) < 0:
                raise ValueError(f"row {image + 1:,}: {item['box']!r} is no box; expected [x, y, width, height]")
            if scored and not np.isfinite(float(item.get("score", np.nan))):
                raise ValueError(f"row {image + 1:,}: a predicted box has no score")
            yield {
                "image_id": image, "category_id": places[str(item["label"])], "bbox": box, "area": box[2] * box[3],
                "iscrowd": int(item.get("iscrowd", 0)), **({"score": float(item["score"])} if scored else {}),
            }  # fmt: skip


def _pycocotools() -> tuple[Any, Any]:
    try:
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval
    except ImportError:
        raise UsageError(
            "box_map and box_map50 need pycocotools, which is not installed", remedy="`pip install 'ptft[images]'`"
        ) from None
    return COCO, COCOeval
