from __future__ import annotations

import pytest
import torch
from families import ENGLISH, byte_level, packed

from ptft.core.encoding import IGNORED
from ptft.core.training.data import Batches, CausalSequences, MaskedSequences, collate
from ptft.core.training.masking import masking_of

IDS = byte_level()(ENGLISH, add_special_tokens=False)["input_ids"]


def sequences(count: int = 6) -> list:
    return [packed(IDS[at : at + 5], IDS[at + 5 : at + 14], total=14) for at in range(count)]


def masked(isolate: bool = False, **more: float) -> MaskedSequences:
    return MaskedSequences(sequences(), masking_of(byte_level(), **more), 3, isolate)


def same(one: dict, other: dict) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_a_causal_label_is_there_for_every_token_with_one_before_it() -> None:
    example = CausalSequences([packed([5, 6, 7], [8, 9], total=7)])[0]
    assert example["input_ids"].tolist() == [5, 6, 7, 8, 9, 0, 0]
    assert example["labels"].tolist() == [IGNORED, 6, 7, 8, 9, IGNORED, IGNORED]
    assert set(example) == {"input_ids", "labels"}


def test_isolated_documents_restart_and_their_first_tokens_have_no_label() -> None:
    example = CausalSequences([packed([5, 6, 7], [8, 9], total=7)], isolate=True)[0]
    assert example["labels"].tolist() == [IGNORED, 6, 7, IGNORED, 9, IGNORED, IGNORED]
    assert example["position_ids"].tolist() == [0, 1, 2, 0, 1, 0, 1]


def test_the_tokens_themselves_are_not_changed() -> None:
    source = [packed([5, 6, 7, 8], total=4)]
    for wrapped in (
        CausalSequences(source, True),
        MaskedSequences(source, masking_of(byte_level(), rate=0.9), 1, True),
    ):
        wrapped[0]
        assert source[0].ids.tolist() == [5, 6, 7, 8] and source[0].starts.tolist() == [0]


def test_masked_sequences_are_wrapped_and_padded() -> None:
    tokenizer = byte_level()
    masking = masking_of(tokenizer, rate=0.5)
    example = MaskedSequences([packed([50, 51, 52], [53], total=6)], masking, 1)[0]
    ids, labels = example["input_ids"], example["labels"]
    assert len(ids) == 6 + masking.wraps == 8
    assert (ids[0], ids[5]) == (tokenizer.cls_token_id, tokenizer.sep_token_id)
    assert ids[6:].tolist() == [tokenizer.pad_token_id] * 2
    assert labels[[0, 5, 6, 7]].tolist() == [IGNORED] * 4
    assert torch.where(labels == IGNORED, ids, labels)[1:5].tolist() == [50, 51, 52, 53]
    assert example["attention_mask"].tolist() == [True] * 6 + [False] * 2


def test_masked_documents_have_numbers() -> None:
    example = MaskedSequences([packed([50, 51, 52], [53], total=6)], masking_of(byte_level()), 1, isolate=True)[0]
    assert example["segments"].tolist() == [0, 0, 0, 0, 1, 1, 2, 2]  # [CLS] is the first one's, [SEP] the last one's
    assert example["position_ids"].tolist() == [0, 1, 2, 3, 0, 1, 0, 1]


def test_a_tokenizer_without_cls_does_not_wrap() -> None:
    import copy

    tokenizer = copy.deepcopy(byte_level())
    tokenizer.cls_token = None
    masking = masking_of(tokenizer)
    assert masking.wraps == 0
    assert len(MaskedSequences([packed([50, 51], total=2)], masking, 1)[0]["input_ids"]) == 2


def test_what_is_masked_depends_on_the_seed_and_the_place_in_the_run_alone() -> None:
    source = masked(rate=0.3)
    first = source.at(2, 7)
    source.at(4, 1)
    assert same(first, masked(rate=0.3).at(2, 7))
    assert any(not torch.equal(first["labels"], source.at(2, when)["labels"]) for when in (8, 9, 10))
    other = MaskedSequences(sequences(), masking_of(byte_level(), rate=0.3), 4)
    assert any(not torch.equal(source.at(2, when)["labels"], other.at(2, when)["labels"]) for when in range(3))


def test_the_stream_is_a_function_of_the_seed_and_the_place() -> None:
    stream = Batches(masked(rate=0.3), 20, seed=1)
    whole = [stream[index] for index in range(20)]
    resumed = Batches(masked(rate=0.3), 20, seed=1)
    assert all(same(resumed[index], whole[index]) for index in (13, 2, 19))


@pytest.mark.parametrize("workers", [0, 2])
def test_workers_change_nothing(workers: int) -> None:
    loader = torch.utils.data.DataLoader(
        Batches(masked(rate=0.3), 12, 1), batch_size=3, num_workers=workers, collate_fn=collate
    )
    direct = Batches(masked(rate=0.3), 12, 1)
    for number, batch in enumerate(loader):
        assert same(batch, collate([direct[index] for index in range(3 * number, 3 * number + 3)]))


def test_every_epoch_shows_every_sequence_once_in_another_order() -> None:
    class Numbers:
        def __len__(self) -> int:
            return 50

        def __getitem__(self, index: int) -> dict:
            return {"number": index}

    stream = Batches(Numbers(), 120, seed=3)
    order = [stream[index]["number"] for index in range(120)]
    assert sorted(order[:50]) == sorted(order[50:100]) == list(range(50))
    assert order[:50] != order[50:100] and len(stream) == 120


def test_a_batch_without_padding_has_no_mask() -> None:
    padded, full = packed([5, 6], total=4), packed([5, 6, 7, 8], total=4)
    source = MaskedSequences([full, full, padded], masking_of(byte_level()), 1)
    assert set(collate([source[0], source[1]])) == {"input_ids", "labels"}
    mixed = collate([source[0], source[2]])
    assert mixed["attention_mask"].int().tolist() == [[1, 1, 1, 1, 1, 1], [1, 1, 1, 1, 0, 0]]


def test_a_batch_of_single_documents_needs_no_isolation() -> None:
    one, two = packed([5, 6, 7, 8], total=4), packed([5, 6], [7, 8], total=4)
    masking = masking_of(byte_level())
    for source in (CausalSequences([one, one, two], True), MaskedSequences([one, one, two], masking, 1, True)):
        assert set(collate([source[0], source[1]])) == {"input_ids", "labels"}
        mixed = collate([source[0], source[2]])
        assert "position_ids" in mixed and mixed["input_ids"].shape == mixed["position_ids"].shape
