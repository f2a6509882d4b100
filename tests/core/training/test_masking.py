from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from families import CHINESE, ENGLISH, byte_level
from hypothesis import given
from hypothesis import strategies as st

from ptft.core.encoding import IGNORED
from ptft.core.errors import InputError
from ptft.core.training.masking import masking_of


def ids_of(text: str) -> np.ndarray:
    return np.array(byte_level()(text, add_special_tokens=False)["input_ids"], dtype=np.int64)


def test_a_word_is_hidden_whole_or_not_at_all() -> None:
    masking = masking_of(byte_level(), rate=0.5, whole_word=True)
    ids = ids_of(ENGLISH)
    numbers = masking.words.numbers(ids)
    assert numbers[-1] + 1 < len(ids)
    seen = set()
    for seed in range(30):
        chosen = masking.hide(ids, np.random.default_rng(seed))[1] != IGNORED
        for number in range(numbers[-1] + 1):
            assert len(set(chosen[numbers == number])) == 1
        seen.add(chosen.tobytes())
    assert len(seen) > 20


@pytest.mark.parametrize("whole_word", [True, False])
@pytest.mark.parametrize("rate", [0.15, 0.4])
def test_shares_are_those_asked_for(rate: float, whole_word: bool) -> None:
    """Each within five standard errors; a word's tokens count as one draw."""
    masking = masking_of(byte_level(), rate=rate, whole_word=whole_word, replace=0.8, random=0.1)
    ids = np.tile(ids_of(ENGLISH + CHINESE), 400)
    seen, labels = masking.hide(ids, np.random.default_rng(0))
    chosen = labels != IGNORED
    unit = masking.words.numbers(ids) if whole_word else np.arange(len(ids))
    sizes = np.bincount(unit)
    error = np.sqrt(rate * (1 - rate) * (sizes**2).sum()) / len(ids)
    assert abs(chosen.mean() - rate) < 5 * error < 0.03
    assert (labels[chosen] == ids[chosen]).all() and (seen[~chosen] == ids[~chosen]).all()
    fate = {"mask": seen == masking.mask_id, "stay": seen == ids}
    shares = {name: (flags & chosen).sum() / chosen.sum() for name, flags in fate.items()}
    error = np.sqrt(0.8 * 0.2 / chosen.sum())
    assert abs(shares["mask"] - 0.8) < 5 * error
    assert abs(shares["stay"] - (0.1 + 0.1 / len(masking.ordinary))) < 5 * error


def test_special_tokens_are_neither_hidden_nor_put_in() -> None:
    tokenizer = byte_level()
    masking = masking_of(tokenizer, rate=0.9, replace=0.0, random=1.0)
    names = ["<|endoftext|>", "<|pad|>", "[CLS]", "[SEP]", "[MASK]", "<|im_start|>", "<|reserved_0|>"]
    special = tokenizer.convert_tokens_to_ids(names)
    assert masking.special[special].all() and masking.special.sum() == len(special)
    ids = np.tile(np.array([*special, *ids_of(ENGLISH)]), 300)
    seen, labels = masking.hide(ids, np.random.default_rng(1))
    was_special = np.isin(ids, special)
    assert (labels[was_special] == IGNORED).all() and (seen[was_special] == ids[was_special]).all()
    assert not np.isin(seen[~was_special], special).any()
    assert set(np.unique(seen[~was_special])) == set(masking.ordinary)


@given(st.lists(st.integers(0, 399), min_size=1, max_size=12), st.integers(0, 9), st.booleans())
def test_something_is_always_hidden_where_anything_may_be(tokens: list[int], seed: int, whole_word: bool) -> None:
    masking = masking_of(byte_level(), rate=1e-9, whole_word=whole_word)
    ids = np.array([token % len(masking.special) for token in tokens], dtype=np.int64)
    before = ids.copy()
    labels = masking.hide(ids, np.random.default_rng(seed))[1]
    assert (ids == before).all()
    chosen = labels != IGNORED
    assert chosen.any() == (~masking.special[ids]).any()
    assert not (chosen & masking.special[ids]).any()


def test_the_generator_alone_decides() -> None:
    masking, ids = masking_of(byte_level(), whole_word=True), ids_of(ENGLISH)
    one, same, other = (masking.hide(ids, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert (one[0] == same[0]).all() and (one[1] == same[1]).all()
    assert (one[1] != other[1]).any()
    assert replace(masking, rate=0.99).hide(ids, np.random.default_rng(1))[1].min() >= IGNORED


def test_a_tokenizer_without_a_mask_is_refused() -> None:
    import copy

    tokenizer = copy.deepcopy(byte_level())
    tokenizer.mask_token = None
    with pytest.raises(InputError) as caught:
        masking_of(tokenizer)
    assert "ptft tokenizer" in caught.value.remedy
