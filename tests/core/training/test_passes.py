from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptft.core.training.passes import even_passes, even_sums


def held(lengths: list[int], groups: list[list[int]]) -> int:
    return max(len(group) * max(lengths[row] for row in group) for group in groups)


@given(st.lists(st.integers(1, 500), min_size=1, max_size=40), st.data())
def test_every_row_is_in_one_pass_and_none_is_larger_than_rows_in_order_would_make(lengths, data) -> None:
    count = data.draw(st.integers(1, len(lengths)))
    groups = even_passes(lengths, count)
    assert sorted(row for group in groups for row in group) == list(range(len(lengths)))
    assert len(groups) == count and all(groups)
    size = -(-len(lengths) // count)
    naive = [list(range(start, min(start + size, len(lengths)))) for start in range(0, len(lengths), size)]
    if len(naive) == count:
        assert held(lengths, groups) <= held(lengths, naive)


def test_a_long_row_goes_alone() -> None:
    assert even_passes([10, 1000, 10, 10, 10], 2) == [[1], [0, 2, 3, 4]]


def test_rows_of_one_length_are_divided_evenly() -> None:
    assert [len(group) for group in even_passes([8] * 12, 3)] == [4, 4, 4]


def test_fewer_rows_than_passes_are_an_error() -> None:
    with pytest.raises(ValueError, match="2 rows cannot make 3"):
        even_passes([1, 2], 3)


@given(st.lists(st.integers(1, 500), min_size=1, max_size=40), st.data())
def test_sums_differ_by_no_more_than_a_row(lengths, data) -> None:
    count = data.draw(st.integers(1, len(lengths)))
    groups = even_sums(lengths, count)
    assert sorted(row for group in groups for row in group) == list(range(len(lengths)))
    sums = [sum(lengths[row] for row in group) for group in groups]
    assert len(groups) == count and all(groups) and max(sums) - min(sums) <= max(lengths)
