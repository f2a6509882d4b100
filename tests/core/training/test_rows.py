from __future__ import annotations

import numpy as np
import pytest
import torch
from families import tiny

from ptft.core.encoding import IGNORED
from ptft.core.training.heads import with_loss
from ptft.core.training.isolation import BY_POSITIONS
from ptft.core.training.rows import Flat, Padding, Rows

ROWS = [{"input_ids": [1, 2, 3], "labels": [IGNORED, 2, 3]}, {"input_ids": [4], "labels": [4]}]


def test_rows_are_padded_by_length_and_never_by_id() -> None:
    batch = Padding(4)([Rows.of(ROWS)[index] for index in (0, 1)])
    assert batch["input_ids"].tolist() == [[1, 2, 3], [4, 4, 4]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1], [1, 0, 0]]
    assert batch["labels"].tolist() == [[IGNORED, 2, 3], [4, IGNORED, IGNORED]]


def test_labels_a_row_are_stacked() -> None:
    ids = [{"input_ids": [1, 2]}, {"input_ids": [3]}]
    for labels, dtype in (
        ([2, 0], torch.int64),
        ([0.5, 1.5], torch.float32),
        ([[1.0, 0.0], [0.0, 1.0]], torch.float32),
    ):
        rows = Rows.of(ids, labels)
        batch = Padding(0, token_labels=False)([rows[0], rows[1]])
        assert batch["labels"].tolist() == labels and batch["labels"].dtype == dtype


def test_rows_come_back_from_disk(tmp_path) -> None:
    rows = Rows.of([{"input_ids": row["input_ids"]} for row in ROWS], [1, 0])
    rows.save(tmp_path / "rows")
    again = Rows.load(tmp_path / "rows")
    assert len(again) == 2 and again.lengths.tolist() == [3, 1]
    for index in range(2):
        assert {name: value.tolist() for name, value in again[index].items()} == {
            name: value.tolist() for name, value in rows[index].items()
        }


def test_chosen_rows_keep_their_labels() -> None:
    rows = Rows.of([{"input_ids": [n] * (n + 1)} for n in range(4)], list(range(4)))
    few = rows.chosen([3, 1])
    assert [few[index]["labels"].item() for index in range(2)] == [3, 1]
    assert np.array_equal(few.lengths, [4, 2]) and few[1]["input_ids"].tolist() == [1, 1]
    assert len(rows.chosen([])) == 0


@pytest.mark.parametrize("family", [name for name in BY_POSITIONS if name in ("llama", "gpt2", "qwen3", "mixtral")])
def test_rows_behind_one_another_have_the_loss_and_gradients_of_padded_ones(family: str) -> None:
    model = tiny(family)
    if family == "mixtral":
        model.set_experts_implementation("eager")
    torch.manual_seed(1)
    rows = [torch.randint(3, 60, (length,)) for length in (9, 3, 14)]
    examples = [{"input_ids": ids, "labels": torch.cat([torch.tensor([IGNORED]), ids[1:]])} for ids in rows]
    found = []
    for collate in (Padding(0), Flat()):
        model.zero_grad()
        with with_loss(model, chunked=True, sparse=True):
            loss = model(**collate(examples)).loss
        loss.backward()
        gradients = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
        found.append((loss.item(), gradients))
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-5)
    assert torch.allclose(found[0][1], found[1][1], atol=1e-4)
