"""A metric as a statistic of resamples: draws, intervals, slices."""

from __future__ import annotations

import numpy as np
import pytest

from ptft.core.metrics.kinds import measures
from ptft.core.metrics.measure import Measure, draws, of_mean, of_sums, percentiles, ratio, resampled, scores

VALUES = np.array([0.0, 1.0, 1.0, 4.0, np.nan, 9.0])


def test_draws_are_as_many_rows_as_there_are_and_the_same_every_time() -> None:
    found = np.concatenate(list(draws(50, 300)))
    assert found.shape == (300, 50) and (found.sum(axis=1) == 50).all()
    assert (found == np.concatenate(list(draws(50, 300)))).all()
    assert abs(found.mean() - 1) < 1e-9 and abs(found.var() - 0.98) < 0.05  # binomial(50, 1/50)


def test_draws_among_some_rows_leave_the_others_out() -> None:
    among = np.arange(50) % 5 == 0
    found = np.concatenate(list(draws(50, 100, among=among)))
    assert (found[:, ~among] == 0).all() and (found.sum(axis=1) == 10).all()


def test_a_mean_passes_over_rows_without_a_value() -> None:
    measure = of_mean("mean", VALUES)
    assert measure.score() == 3.0
    assert (
        measure.statistic(np.array([[0, 0, 0, 0, 1.0, 0]]))[0] != measure.statistic(np.array([[0, 0, 0, 0, 1.0, 0]]))[0]
    )  # NaN


def test_the_interval_is_the_middle_95_percent_of_the_resamples() -> None:
    values = np.random.default_rng(3).normal(size=200)
    measure = of_mean("mean", values)
    by_hand = [(row @ values) / 200 for row in np.concatenate(list(draws(200, 1000)))]
    assert scores([measure], 1000)["mean"]["ci95"] == pytest.approx(np.percentile(by_hand, [2.5, 97.5]).tolist())


def test_percentiles_need_half_of_the_resamples_to_have_a_value() -> None:
    assert percentiles(np.array([1.0, 2.0, np.nan, np.nan])) == pytest.approx([1.025, 1.975])
    assert percentiles(np.array([1.0, np.nan, np.nan])) is None and percentiles(np.empty(0)) is None


def test_one_row_has_no_interval_and_none_no_score() -> None:
    assert scores([of_mean("mean", np.array([2.0]))])["mean"] == {"score": 2.0, "ci95": None}
    assert np.isnan(scores([of_mean("mean", np.empty(0))])["mean"]["score"])


def test_a_part_is_the_measure_of_those_rows() -> None:
    sums = np.column_stack([np.arange(6.0), np.ones(6)])
    whole = of_sums("ratio", sums, lambda totals: ratio(totals[:, 0], totals[:, 1]), np.arange(6.0))
    assert whole.part is not None
    part = whole.part(np.array([1, 5]))
    assert part.score() == 3.0 and part.rows == 2


@pytest.mark.parametrize(
    ("kind", "metric", "rows"),
    [
        ("numbers", "spearman", [{"reference": i, "prediction": (i * 7) % 11} for i in range(20)]),
        ("many-labels", "f1", [{"reference": ["a"] * (i % 2), "prediction": ["a", "b"][: i % 3]} for i in range(20)]),
    ],
)
def test_a_measure_made_of_some_rows_is_what_it_is_of_all_with_the_others_not_counted(
    kind: str, metric: str, rows: list[dict[str, object]]
) -> None:
    (measure,) = measures(kind, rows, [metric])
    among = np.arange(20) % 3 == 0
    assert measure.part is not None
    part = measure.part(np.flatnonzero(among))
    assert part.score() == pytest.approx(scores([measure], 0, among=among)[metric]["score"])


def test_measures_of_different_rows_share_no_resamples() -> None:
    with pytest.raises(ValueError, match="different rows"):
        resampled([of_mean("a", np.ones(3)), of_mean("b", np.ones(4))])


def test_a_statistic_sees_every_resample_once() -> None:
    seen: list[int] = []

    def counting(drawn: np.ndarray) -> np.ndarray:
        seen.append(len(drawn))
        return drawn[:, 0]

    found = resampled([Measure("first", 2_000_000, counting)], 9)["first"]
    assert len(found) == 9 and sum(seen) == 9 and len(seen) > 1  # in blocks, for memory's sake
