"""Tokens, shingles, signatures, bands: equal to plain Python and to datasketch's own."""

from __future__ import annotations

import re

import numpy as np
import pytest
from datasketch import MinHash
from hypothesis import given, settings
from hypothesis import strategies as st

from ptft.core import minhash
from ptft.core.minhash import jaccard, ngrams, scheme, shingles, signatures, tokenise

TOKEN = re.compile(f"[{minhash._CJK}]|[^\\W_{minhash._CJK}]+")
WORDS = st.sampled_from(["The", "the", "cat", "sat", "猫", "在睡觉", "naïve", "x1", "_", "...", "カタ", "한국", "ß"])
TEXTS = st.lists(st.lists(WORDS).map(" ".join), min_size=1, max_size=8)


def plain_tokens(text: str) -> list[str]:
    return TOKEN.findall(text.casefold())


@settings(max_examples=200)
@given(st.one_of(TEXTS, st.lists(st.text(), min_size=1, max_size=4)))
def test_tokens_are_those_of_the_plain_definition(texts: list[str]) -> None:
    tokens = tokenise(texts)
    seen: dict[int, str] = {}
    for number, text in enumerate(texts):
        hashes, lengths = tokens.of(number)
        wanted = plain_tokens(text)
        assert lengths.tolist() == [len(token) for token in wanted]
        for value, token in zip(hashes.tolist(), wanted, strict=True):
            assert seen.setdefault(value, token) == token
    assert len(seen) == len(set(seen.values()))


def test_cutting_into_chunks_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = ["one two three 四五六 seven " * 30, "", "short", "不" * 500, "x" * 500]
    whole = tokenise(texts)
    signed = sign(texts)
    monkeypatch.setattr(minhash, "CHUNK_CHARACTERS", 64)
    monkeypatch.setattr(minhash, "CHUNK_SHINGLES", 16)
    cut = tokenise(texts)
    assert np.array_equal(whole.hashes, cut.hashes) and np.array_equal(whole.offsets, cut.offsets)
    assert np.array_equal(whole.lengths, cut.lengths)
    assert np.array_equal(signed, sign(texts))


def sign(texts: list[str], permutations: int = 32) -> np.ndarray:
    return signatures(*shingles(texts, tokenise(texts), 5), scheme(5, permutations, 0.8, 1).permutations)


@settings(max_examples=50)
@given(TEXTS)
def test_signatures_are_datasketchs(texts: list[str]) -> None:
    shingled, bounds = shingles(texts, tokenise(texts), 5)
    signed = signatures(shingled, bounds, scheme(5, 32, 0.8, 7).permutations)
    for number in range(len(texts)):
        reference = MinHash(num_perm=32, seed=7, scheme="affine32", hashfunc=int)
        reference.update_batch(shingled[bounds[number] : bounds[number + 1]].tolist())
        assert np.array_equal(signed[number], reference.hashvalues)


def test_shingles_of_short_texts() -> None:
    texts = ["one two", "One, two!", "two one", "one", "!?", "!!", "", "one two three four five", "one two three four"]
    shingled, bounds = shingles(texts, tokenise(texts), 5)
    assert np.diff(bounds).tolist() == [1] * len(texts)
    first = shingled.tolist()
    assert first[0] == first[1]
    assert len(set(first[1:])) == len(first) - 1


def test_shingles_stay_inside_their_text() -> None:
    alone = [shingles([text], tokenise([text]), 3)[0].tolist() for text in ("a b c d", "b c d e f")]
    together, bounds = shingles(["a b c d", "b c d e f"], tokenise(["a b c d", "b c d e f"]), 3)
    assert [together[: bounds[1]].tolist(), together[bounds[1] :].tolist()] == alone
    assert alone[0][1] == alone[1][0]  # "b c d"


def test_take() -> None:
    tokens = tokenise(["a b", "", "c d e"])
    taken = tokens.take([2, 0])
    assert taken.of(0)[0].tolist() == tokens.of(2)[0].tolist()
    assert taken.of(1)[0].tolist() == tokens.of(0)[0].tolist()
    assert len(tokens.take([])) == 0


@pytest.mark.parametrize("permutations", [16, 64, 128, 256])
@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 1.0])
def test_bands_find_a_pair_at_the_threshold(permutations: int, threshold: float) -> None:
    made = scheme(5, permutations, threshold, 1)
    assert made.bands * made.rows <= permutations
    assert 1 - (1 - threshold**made.rows) ** made.bands >= 0.95


def test_signatures_estimate_jaccard() -> None:
    rng = np.random.default_rng(0)
    words = [f"w{number}" for number in range(3000)]
    left = [words[number] for number in rng.permutation(3000)[:600]]
    right = left[:450] + [words[number] for number in rng.permutation(3000)[:150]]
    texts = [" ".join(left), " ".join(right)]
    shingled, bounds = shingles(texts, tokenise(texts), 1)
    true = len(set(left) & set(right)) / len(set(left) | set(right))
    sets = [np.unique(shingled[bounds[number] : bounds[number + 1]]) for number in (0, 1)]
    assert jaccard(*sets) == pytest.approx(true)
    signed = sign(texts, 256)  # of 5-grams: their own Jaccard
    five, ends = shingles(texts, tokenise(texts), 5)
    exact = jaccard(np.unique(five[: ends[1]]), np.unique(five[ends[1] :]))
    assert np.mean(signed[0] == signed[1]) == pytest.approx(exact, abs=0.1)


def test_ngrams_of_a_short_text() -> None:
    assert len(ngrams(tokenise(["a b"]).hashes, 3)) == 0
    assert len(ngrams(tokenise([""]).hashes, 3)) == 0
