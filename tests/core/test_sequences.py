from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptft.core.sequences import BestFit, Concatenated, Stream

EOS, PAD = 0, 1
SHARDS = st.lists(
    st.lists(st.integers(1, 30), max_size=12), min_size=1, max_size=4
)  # lengths of documents, eos included


def stream_of(shards):
    """Documents whose tokens are all different, so that each can be known by any of its tokens. Also as lists."""
    documents, number, tokens, ends = [], 2, [], []
    for lengths in shards:
        found = []
        for length in lengths:
            found.append([*range(number, number + length - 1), EOS])
            number += length
        documents += found
        tokens.append(np.array([ident for one in found for ident in one], "<u4"))
        ends.append(np.cumsum([len(one) for one in found], dtype="<u8"))
    return Stream(tokens, ends), documents


@given(shards=SHARDS, seq_len=st.integers(1, 20))
def test_one_stream_over_all_shards_of_which_only_the_end_is_skipped(shards, seq_len):
    stream, documents = stream_of(shards)
    flat = [ident for document in documents for ident in document]
    found = Concatenated(stream, seq_len)
    assert len(found) == len(flat) // seq_len
    assert [ident for one in found for ident in one.ids.tolist()] == flat[: len(found) * seq_len]
    assert found.tokens == len(found) * seq_len and found.waste == pytest.approx(
        len(flat) % seq_len / max(len(flat), 1)
    )


@given(shards=SHARDS, seq_len=st.integers(1, 20))
def test_documents_begin_where_it_says(shards, seq_len):
    stream, documents = stream_of(shards)
    flat = [ident for document in documents for ident in document]
    for number, one in enumerate(Concatenated(stream, seq_len)):
        window = range(number * seq_len, (number + 1) * seq_len)
        expected = [place - window.start for place in window if place == window.start or flat[place - 1] == EOS]
        assert one.starts.tolist() == expected and one.starts.dtype == np.int64 and one.length == seq_len


@given(shards=SHARDS, seq_len=st.integers(2, 20))
def test_best_fit_has_every_token_once_and_cuts_no_document_that_fits(shards, seq_len):
    stream, documents = stream_of(shards)
    found = BestFit(stream, seq_len, PAD)
    pieces = []
    for one in found:
        assert one.ids.shape == (seq_len,) and one.ids.dtype == np.int64 and one.starts[0] == 0
        assert (one.ids[one.length :] == PAD).all()
        stops = [*one.starts[1:].tolist(), one.length]
        pieces += [tuple(one.ids[start:stop]) for start, stop in zip(one.starts.tolist(), stops, strict=True)]
    expected = [
        tuple(document[start : start + seq_len]) for document in documents for start in range(0, len(document), seq_len)
    ]
    assert sorted(pieces) == sorted(expected)
    total = sum(map(len, documents))
    assert found.tokens == total and found.waste == pytest.approx(1 - total / (len(found) * seq_len) if total else 0)


def test_numbers_from_the_end_and_beyond():
    stream, _ = stream_of([[3, 4], [5]])
    found = Concatenated(stream, 4)
    assert found[-1].ids.tolist() == found[2].ids.tolist() and found[np.int64(1)].length == 4
    for index in (3, -4):
        with pytest.raises(IndexError):
            found[index]


def test_a_sequence_costs_no_scan(tmp_path):
    """Of a memory-mapped corpus only the pages of one sequence, and of a search in the ends, are read."""
    import time

    np.save(tmp_path / "t.npy", np.zeros(4_000_000, "<u2"))
    np.save(tmp_path / "e.npy", np.arange(4, 4_000_001, 4).astype("<u8"))
    stream = Stream([np.load(tmp_path / "t.npy", mmap_mode="r")], [np.load(tmp_path / "e.npy", mmap_mode="r")])
    found = Concatenated(stream, 64)
    clock = time.process_time()
    for index in range(0, 60_000, 60):
        assert len(found[index].starts) == 16
    assert time.process_time() - clock < 0.5  # copying the ends once a sequence would take seconds
