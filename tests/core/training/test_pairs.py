from __future__ import annotations

import numpy as np
import pytest
import torch
from families import byte_level
from hypothesis import given, settings
from hypothesis import strategies as st

from ptft.core.encoding import IGNORED
from ptft.core.errors import InputError
from ptft.core.training.data import Batches, collate
from ptft.core.training.masking import masking_of
from ptft.core.training.pairs import SentencePairs

TOKENIZER = byte_level()
NEW_LINE = TOKENIZER.convert_tokens_to_ids("Ċ")
MASKING = masking_of(TOKENIZER, rate=0.15)
PLAIN = np.array([ident for ident in MASKING.ordinary if not (MASKING.sentences.firm | MASKING.sentences.soft)[ident]])


class Stored:
    """Documents whose every token says which document it is from and where it stands."""

    def __init__(self, *lengths: int, sentence: int = 0) -> None:
        self.sentence, self.lengths = sentence, np.array(lengths, dtype=np.int64)

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, index: int) -> np.ndarray:
        rng = np.random.default_rng(index)
        ids = PLAIN[rng.integers(0, len(PLAIN), self.lengths[index])]
        if self.sentence:
            ids[self.sentence - 1 :: self.sentence] = NEW_LINE
        return ids


def parts(example: dict) -> tuple[list[int], list[int], int]:
    """(A, B, label), with the hidden tokens put back."""
    ids = torch.where(example["labels"] == IGNORED, example["input_ids"], example["labels"]).tolist()
    kinds, sep = example["token_type_ids"].tolist(), TOKENIZER.sep_token_id
    assert ids[0] == TOKENIZER.cls_token_id
    first = ids.index(sep)
    second = ids.index(sep, first + 1)
    assert kinds == [0] * (first + 1) + [1] * (second - first) + [0] * (len(ids) - second - 1)
    assert ids[second + 1 :] == [TOKENIZER.pad_token_id] * (len(ids) - second - 1)
    assert example["labels"][second:].unique().tolist() == [IGNORED]
    return ids[1:first], ids[first + 1 : second], int(example["next_sentence_label"])


def within(document: np.ndarray, passage: list[int]) -> list[int]:
    """Where the passage begins in the document."""
    windows = np.lib.stride_tricks.sliding_window_view(document, len(passage)) if len(passage) <= len(document) else []
    return [place for place, window in enumerate(windows) if window.tolist() == passage]


def test_next_and_random_passages_come_half_and_half() -> None:
    stored = Stored(90, 200, 70, 150)
    pairs = SentencePairs(stored, MASKING, 40, "nsp", seed=1, short=0.0)
    labels, places = [], []
    for when in range(400):
        first, second, label = parts(pairs.at(when % len(pairs), when))
        labels.append(label)
        assert len(first) + len(second) == 37
        home = [number for number in range(4) if within(stored[number], first)]
        if label == 0:  # transformers: B is a continuation of A
            assert any(within(stored[number], first + second) for number in home)
        elif len(second) > 3:
            places += [place for number in range(4) if number not in home for place in within(stored[number], second)]
            assert not any(within(stored[number], second) for number in home)
    assert 0.4 < np.mean(labels) < 0.6
    assert len(places) > 120 and len(set(places)) > 50  # from anywhere in another document


def test_sentence_order_swaps_half() -> None:
    stored = Stored(90, 200)
    pairs = SentencePairs(stored, MASKING, 40, "sop", seed=1, short=0.0)
    labels = []
    for when in range(300):
        first, second, label = parts(pairs.at(when % len(pairs), when))
        labels.append(label)
        whole = second + first if label else first + second
        assert any(within(stored[number], whole) for number in range(2))
    assert 0.38 < np.mean(labels) < 0.62


def test_passages_begin_and_end_with_sentences() -> None:
    stored = Stored(300, 280, sentence=7)
    pairs = SentencePairs(stored, MASKING, 40, "nsp", seed=2, short=0.0)
    for when in range(150):
        first, second, _ = parts(pairs.at(when % len(pairs), when))
        assert first[-1] == NEW_LINE
        if len(second) >= 7:
            assert any(place % 7 == 0 for number in range(2) for place in within(stored[number], second))


def test_length_does_not_tell_the_label() -> None:
    pairs = SentencePairs(Stored(*range(60, 200, 3)), MASKING, 40, "nsp", seed=3)
    lengths: dict[int, list[int]] = {0: [], 1: []}
    for when in range(1500):
        example = pairs.at(when % len(pairs), when)
        lengths[int(example["next_sentence_label"])].append(int(example["token_type_ids"].sum()))
    means = [np.mean(found) for found in lengths.values()]
    error = np.sqrt(sum(np.var(found) / len(found) for found in lengths.values()))
    assert abs(means[0] - means[1]) < 4 * error


def test_some_are_short_and_padded() -> None:
    pairs = SentencePairs(Stored(90, 200), MASKING, 40, "nsp", seed=1, short=0.3)
    found = [pairs.at(when % len(pairs), when) for when in range(300)]
    short = [example for example in found if "attention_mask" in example]
    assert 0.2 < len(short) / len(found) < 0.4
    for example in short:
        real = example["attention_mask"]
        assert (example["input_ids"][~real] == TOKENIZER.pad_token_id).all() and real.sum() < 40
        parts(example)
    batch = collate(found[:20])
    assert batch["next_sentence_label"].shape == (20,) and batch["attention_mask"].shape == (20, 40)


def test_the_pieces_of_an_epoch_cover_a_document() -> None:
    stored = Stored(370, 20)
    pairs = SentencePairs(stored, MASKING, 40, "sop", seed=1, short=0.0)
    assert len(pairs) == 11
    seen = np.zeros(370, dtype=bool)
    for index in range(10):
        first, second, label = parts(pairs[index])
        for place in within(stored[0], second + first if label else first + second):
            seen[place : place + 37] = True
    assert seen.all()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 90), min_size=2, max_size=6), st.sampled_from(["nsp", "sop"]), st.integers(0, 5))
def test_any_documents_give_whole_examples(lengths: list[int], kind: str, seed: int) -> None:
    stored = Stored(*lengths)
    if kind == "nsp" and sum(length >= 2 for length in lengths) == 1:
        with pytest.raises(InputError):
            SentencePairs(stored, MASKING, 24, "nsp", seed)
        return
    pairs = SentencePairs(stored, MASKING, 24, kind, seed)
    assert len(pairs) == sum(max(1, round(length / 21)) for length in lengths if length >= 2)
    for index in range(len(pairs)):
        first, second, _ = parts(pairs[index])
        assert first and second and len(pairs[index]["input_ids"]) == 24


def test_an_example_depends_on_the_seed_and_the_place_in_the_run() -> None:
    pairs = SentencePairs(Stored(90, 200, 70), MASKING, 40, "nsp", seed=1)
    one, same, other = Batches(pairs, 30, 1)[25], Batches(pairs, 30, 1)[25], pairs.at(0, 3)
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not torch.equal(other["input_ids"], pairs.at(0, 4)["input_ids"])


def test_what_cannot_be_paired_is_refused() -> None:
    import copy

    with pytest.raises(InputError, match="one document"):
        SentencePairs(Stored(50, 1), MASKING, 24, "nsp", 1)
    assert len(SentencePairs(Stored(50, 1), MASKING, 24, "sop", 1)) == 2
    tokenizer = copy.deepcopy(TOKENIZER)
    tokenizer.cls_token = None
    with pytest.raises(InputError, match=r"\[CLS\]"):
        SentencePairs(Stored(50, 60), masking_of(tokenizer), 24, "nsp", 1)
