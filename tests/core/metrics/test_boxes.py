"""Mean average precision of boxes is that of COCOeval, in every resample too."""

from __future__ import annotations

import contextlib
import io
import math
import sys
from typing import Any

import numpy as np
import pytest

pytest.importorskip("pycocotools", reason="pip install 'ptft[images]'")

from ptft.core.errors import UsageError
from ptft.core.metrics.boxes import box_measures, boxes
from ptft.core.metrics.measure import draws, resampled
from ptft.core.metrics.names import BOXES

Rows = list[list[dict[str, Any]]]
CAT = {"label": "cat", "box": [10, 10, 40, 30]}


def images(seed: int, count: int) -> tuple[Rows, Rows]:
    """Objects of three labels, found a little beside where they are; some not at all, some twice, some where nothing is."""
    random = np.random.default_rng(seed)
    made, wanted = [], []
    for _ in range(count):
        known = [box_of(random, random.choice(["cat", "狗", "bird"])) for _ in range(random.integers(0, 6))]
        near = [{**item, "box": shifted(random, item["box"])} for item in known for _ in range(random.integers(0, 3))]
        stray = [box_of(random, random.choice(["cat", "狗", "never"])) for _ in range(random.integers(0, 2))]
        wanted.append(known)
        made.append([{**item, "score": float(random.random())} for item in (*near, *stray)])
    return made, wanted


def box_of(random: np.random.Generator, label: str) -> dict[str, Any]:
    return {"label": str(label), "box": [*random.uniform(0, 80, 2).tolist(), *random.uniform(10, 60, 2).tolist()]}


def shifted(random: np.random.Generator, box: list[float]) -> list[float]:
    return (np.array(box) + random.uniform(-5, 5, 4)).tolist()


def cocos(predictions: Rows, references: Rows) -> tuple[float, float]:
    """AP and AP at .50 as COCOeval accumulates and sums them up, from files as its users write them."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    labels = sorted({item["label"] for side in (predictions, references) for row in side for item in row})
    ids = {label: place for place, label in enumerate(labels, 1)}
    flat = [
        [
            {"image_id": image, "category_id": ids[item["label"]], "bbox": item["box"], "score": item.get("score"),
             "area": item["box"][2] * item["box"][3], "iscrowd": item.get("iscrowd", 0)}
            for image, row in enumerate(side) for item in row
        ]
        for side in (references, predictions)
    ]  # fmt: skip
    with contextlib.redirect_stdout(io.StringIO()):
        known = COCO()
        known.dataset = {
            "info": {}, "images": [{"id": image} for image in range(len(references))],
            "categories": [{"id": number, "name": label} for label, number in ids.items()],
            "annotations": [{**item, "id": number} for number, item in enumerate(flat[0], 1)],
        }  # fmt: skip
        known.createIndex()
        run = COCOeval(known, known.loadRes(flat[1]), "bbox")
        run.evaluate()
        run.accumulate()
        run.summarize()
    return float(run.stats[0]), float(run.stats[1])


@pytest.mark.parametrize("seed", range(4))
def test_scores_are_cocos(seed: int) -> None:
    made, wanted = images(seed, 12)
    found = boxes(made, wanted, BOXES, resamples=0)
    assert (found["box_map"]["score"], found["box_map50"]["score"]) == pytest.approx(cocos(made, wanted), abs=1e-12)
    assert 0 < found["box_map"]["score"] < found["box_map50"]["score"] < 1
    assert set(found["box_map"]["per_class"]) == {"cat", "狗", "bird"}  # not what was only predicted


def test_resamples_are_cocos_of_images_drawn_out() -> None:
    made, wanted = images(9, 8)
    values = resampled(box_measures(made, wanted, BOXES), 6)
    for place, counts in enumerate(np.concatenate(list(draws(8, 6))).astype(int)):
        drawn = [[side[image] for image in np.repeat(np.arange(8), counts)] for side in (made, wanted)]
        assert (values["box_map"][place], values["box_map50"][place]) == pytest.approx(cocos(*drawn), abs=1e-12)
    low, high = boxes(made, wanted, BOXES, resamples=100)["box_map"]["ci95"]
    assert low < values["box_map"].mean() < high


def test_crowds_are_neither_missed_nor_found() -> None:
    wanted = [[CAT, {"label": "cat", "box": [60, 60, 30, 30], "iscrowd": 1}], [CAT]]
    made = [[{**CAT, "score": 0.5}, {"label": "cat", "box": [62, 62, 20, 20], "score": 0.9}], []]
    found = boxes(made, wanted, BOXES, resamples=0)
    assert (found["box_map"]["score"], found["box_map50"]["score"]) == pytest.approx(cocos(made, wanted))
    assert found["box_map"]["score"] == pytest.approx(51 / 101)  # one of two found, all that was said is right


def test_by_hand() -> None:
    """Half of what overlaps by .6: found at .50, .55 and .60, of ten."""
    half = {"label": "cat", "box": [10, 10, 40, 18.1], "score": 0.7}
    found = boxes([[half], []], [[CAT], []], BOXES, resamples=20)
    assert found["box_map"]["score"] == pytest.approx(0.3) and found["box_map50"]["score"] == 1
    assert found["box_map"]["per_class"] == {"cat": pytest.approx(0.3)}


def test_nothing_predicted_and_nothing_there() -> None:
    assert boxes([[], []], [[CAT], []], BOXES, resamples=5)["box_map"]["score"] == 0
    for found in (boxes([[{**CAT, "score": 1.0}]], [[]], BOXES, resamples=5), boxes([[]], [[]], BOXES, resamples=5)):
        assert math.isnan(found["box_map"]["score"]) and found["box_map"]["why"] == "no image has a known object"
        assert found["box_map"]["ci95"] is None


@pytest.mark.parametrize(
    ("item", "match"),
    [({"label": "cat", "box": [1, 2, 3, 4]}, "no score"), ({"label": "cat", "box": [1, 2, 3], "score": 1}, "is no box"),
     ({"label": "cat", "box": [1, 2, -3, 4], "score": 1}, "is no box"),
     ({"label": "cat", "box": [1, 2, math.nan, 4], "score": 1}, "is no box")],
)  # fmt: skip
def test_what_is_no_box_is_refused(item: dict[str, Any], match: str) -> None:
    with pytest.raises(ValueError, match=f"row 2: .*{match}"):
        box_measures([[], [item]], [[CAT], [CAT]], BOXES)
    with pytest.raises(ValueError, match="1 images predicted, and of 2"):
        box_measures([[]], [[], []], BOXES)


def test_without_pycocotools_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pycocotools.coco", None)
    with pytest.raises(UsageError, match="pycocotools") as missing:
        box_measures([[{**CAT, "score": 1.0}]], [[CAT]], BOXES)
    assert missing.value.remedy == "`pip install 'ptft[images]'`"


def test_nothing_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    boxes(*images(1, 2), BOXES, resamples=2)
    assert capsys.readouterr().out == ""
