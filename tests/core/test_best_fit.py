from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptft.core.best_fit import bins_needed, bins_of

LENGTHS = st.lists(st.integers(1, 40), max_size=80)


def item_by_item(sizes, capacity):
    """Best-fit decreasing as the books have it: each item where the least room is left, else in a new bin. Room left by bin."""
    rooms = []
    for size in sorted(sizes, reverse=True):
        fitting = [number for number, room in enumerate(rooms) if room >= size]
        if fitting:
            rooms[min(fitting, key=lambda number: rooms[number])] -= size
        else:
            rooms.append(capacity - size)
    return sorted(rooms)


@given(lengths=LENGTHS, capacity=st.integers(2, 17))
def test_it_fills_bins_as_best_fit_decreasing_does_item_by_item(lengths, capacity):
    bins = bins_of(np.array(lengths, np.int64), capacity)
    pieces = [part for length in lengths for part in [capacity] * (length // capacity) + [length % capacity] if part]
    assert sorted(capacity - int(bins[n][1].sum()) for n in range(len(bins))) == item_by_item(pieces, capacity)
    assert bins_needed(np.array(lengths, np.int64), capacity) == len(bins)


@given(lengths=LENGTHS, capacity=st.integers(2, 17))
def test_every_token_is_in_one_bin_and_no_document_that_fits_is_cut(lengths, capacity):
    bins = bins_of(np.array(lengths, np.int64), capacity)
    seen = sorted(
        place
        for n in range(len(bins))
        for first, size in zip(*bins[n], strict=True)
        for place in range(first, first + size)
    )
    assert seen == list(range(sum(lengths)))
    stops = np.cumsum(lengths).astype(int)
    whole = {
        (stop - length, length) for stop, length in zip(stops.tolist(), lengths, strict=True) if length <= capacity
    }
    pieces = {(int(first), int(size)) for first, size in zip(bins.places, bins.sizes, strict=True)}
    assert whole <= pieces
    cut = sum(-(-length // capacity) for length in lengths if length > capacity)
    assert len(pieces) == len(whole) + cut


@given(lengths=LENGTHS, capacity=st.integers(2, 17))
def test_bins_and_pieces_are_in_the_order_of_the_stream(lengths, capacity):
    bins = bins_of(np.array(lengths, np.int64), capacity)
    firsts = [int(bins[n][0][0]) for n in range(len(bins))]
    assert firsts == sorted(firsts)
    assert all((np.diff(bins[n][0]) > 0).all() for n in range(len(bins)))


@pytest.mark.parametrize("capacity", [512, 4096])
def test_documents_of_all_lengths_waste_next_to_nothing_and_fast(capacity):
    lengths = np.maximum(2, np.random.default_rng(1).lognormal(6.2, 1.2, 200_000)).astype(np.int64)
    clock = time.process_time()
    bins = bins_of(lengths, capacity)
    assert time.process_time() - clock < 2  # a million take a second
    assert 1 - lengths.sum() / (len(bins) * capacity) < 0.001
    again = bins_of(lengths, capacity)
    assert (again.places == bins.places).all() and (again.offsets == bins.offsets).all()
