"""Batches: every row once, longest first, within the room; memory that does not suffice makes them smaller."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ptft.core.batches import Batches, Room, room_for
from ptft.core.errors import RunError


@given(st.lists(st.integers(0, 50), max_size=40), st.integers(0, 7), st.integers(1, 200))
def test_every_row_is_in_one_batch_and_long_ones_come_first(lengths: list[int], size: int, tokens: int) -> None:
    made = list(Batches(lengths, size, Room(tokens=tokens)))
    flat = [index for batch in made for index in batch]
    assert sorted(flat) == list(range(len(lengths)))
    assert [lengths[index] for index in flat] == sorted(lengths, reverse=True)
    for batch in made:
        assert (
            len(batch) <= size
            if size
            else len(batch) == 1 or len(batch) * lengths[batch[0]] <= tokens or not lengths[batch[0]]
        )


def test_a_batch_makes_no_more_logits_than_the_room_has() -> None:
    assert [len(batch) for batch in Batches([4] * 5, 5, Room(logits=100), [50] * 5)] == [2, 2, 1]
    assert [len(batch) for batch in Batches([4] * 2, 5, Room(logits=10), [50] * 2)] == [1, 1]


def test_out_of_memory_halves_the_batch_and_is_remembered() -> None:
    room, done = Room(tokens=80), []
    batches = Batches([10] * 20, 0, room)
    for chosen in batches:
        with batches.fitting(chosen):
            if len(chosen) > 3:
                raise torch.OutOfMemoryError("too much")
            done.append(chosen)
    assert sorted(index for batch in done for index in batch) == list(range(20))
    assert max(map(len, done)) == 2 == room.rows
    assert [len(batch) for batch in Batches([10] * 4, 0, room)] == [2, 2]


def test_a_given_size_is_kept_and_a_single_row_cannot_be_halved() -> None:
    for size, says in ((4, "4 rows"), (1, "one row of 7 tokens")):
        batches = Batches([7] * 4, size)
        with pytest.raises(RunError, match=says):
            for chosen in batches:
                with batches.fitting(chosen):
                    raise RuntimeError("DefaultCPUAllocator: can't allocate memory")


def test_other_errors_are_not_taken_for_memory() -> None:
    batches = Batches([1, 2], 0)
    with pytest.raises(RuntimeError, match="shape"):
        for chosen in batches:
            with batches.fitting(chosen):
                raise RuntimeError("a shape is wrong")


def test_a_model_keeps_its_room() -> None:
    model = torch.nn.Linear(1, 1)
    room_for(model).tokens = 7
    assert room_for(model).tokens == 7 != room_for(torch.nn.Linear(1, 1)).tokens
