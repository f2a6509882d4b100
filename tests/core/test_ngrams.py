"""Runs of tokens that texts have in common: the arrays find what a walk over the tokens finds."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from ptft.core import ngrams as under_test
from ptft.core.minhash import ngrams, tokenise
from ptft.core.ngrams import Known, hits, of_sizes, strings, wholes

TEXTS = st.lists(st.lists(st.sampled_from("abc中文"), max_size=30).map(" ".join), min_size=1, max_size=8)


def known_of(texts, size):
    return Known(np.unique(np.concatenate([ngrams(tokenise([text]).hashes, size) for text in texts])))


@given(st.integers(0, 40), st.sets(st.integers(1, 30), min_size=1, max_size=6))
def test_every_size_is_the_plain_hash(count, sizes):
    hashes = tokenise([" ".join(f"w{number}" for number in range(count))]).hashes
    for size, found in of_sizes(hashes, sizes):
        assert found.tolist() == ngrams(hashes, size).tolist()


@settings(max_examples=60, deadline=None)
@given(TEXTS, TEXTS, st.integers(3, 40))
def test_hits_are_those_of_a_walk(wanted, texts, chunk):
    known = {size: known_of(wanted, size) for size in (2, 4)}
    tokens = tokenise(texts)
    before, under_test.CHUNK = under_test.CHUNK, chunk  # runs lie across the chunks
    try:
        found = {
            (run.size, start, int(known[run.size].hashes[number]))
            for run in hits(tokens, known)
            for start, number in zip(run.starts.tolist(), run.numbers.tolist(), strict=True)
        }
    finally:
        under_test.CHUNK = before
    expected = set()
    for size in known:
        for text in range(len(texts)):
            own = ngrams(tokens.of(text)[0], size).tolist()
            for place, value in enumerate(own):
                if value in known[size].hashes:
                    expected.add((size, int(tokens.offsets[text]) + place, value))
    assert found == expected


@given(TEXTS, TEXTS)
def test_wholes_are_texts_of_nothing_else(wanted, texts):
    known = {3: known_of(wanted, 3)}
    tokens = tokenise(texts)
    ((_, found, numbers),) = wholes(tokens, known)
    runs = [tokens.of(text)[0] for text in range(len(texts))]
    expected = [text for text, run in enumerate(runs) if len(run) == 3 and ngrams(run, 3)[0] in known[3].hashes]
    assert found.tolist() == expected
    assert [int(known[3].hashes[number]) for number in numbers] == [int(ngrams(runs[text], 3)[0]) for text in expected]


def test_nothing_known_nothing_found():
    nothing = Known(np.empty(0, np.uint64))
    places, numbers = nothing.find(tokenise(["a b c"]).hashes)
    assert not len(places) and not len(numbers)
    assert not list(hits(tokenise(["a b c"]), {}))


def test_texts_of_a_row():
    row = {
        "id": "x",
        "text": "a",
        "label": "l",
        "messages": [{"role": "user", "content": "b"}],
        "n": 1,
        "more": ["c", {"d": "e"}],
    }
    assert list(strings(row)) == ["a", "b", "c", "e"]
