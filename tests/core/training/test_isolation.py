from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from families import CAUSAL, MASKED, VOCABULARY, packed, tiny
from hypothesis import given
from hypothesis import strategies as st

from ptft.core.encoding import IGNORED
from ptft.core.errors import UsageError
from ptft.core.training.data import CausalSequences, collate
from ptft.core.training.heads import with_loss
from ptft.core.training.isolation import attention_mask, document_numbers, isolated, positions

LENGTH = 24


def documents(seed: int, sizes: tuple[int, ...]) -> list[list[int]]:
    rng = np.random.default_rng(seed)
    return [rng.integers(3, VOCABULARY, size).tolist() for size in sizes]


ROWS = [documents(1, (9, 1, 12)), documents(2, (14, 10)), documents(3, (24,))]


def batch(rows: list[list[list[int]]], *, with_segments: bool) -> dict[str, torch.Tensor]:
    found = [packed(*row, total=LENGTH) for row in rows]
    given = {
        "input_ids": torch.from_numpy(np.stack([row.ids for row in found])),
        "position_ids": torch.from_numpy(np.stack([positions(row.starts, row.length, LENGTH) for row in found])),
    }
    if with_segments:
        given["segments"] = torch.from_numpy(
            np.stack([document_numbers(row.starts, row.length, LENGTH) for row in found])
        )
    return given


def apart(model: Any, rows: list[list[list[int]]]) -> list[torch.Tensor]:
    """Logits of each document by itself, joined as they are packed."""
    return [torch.cat([model(input_ids=torch.tensor([document])).logits[0] for document in row], dim=0) for row in rows]


def largest_difference(together: torch.Tensor, separate: list[torch.Tensor]) -> float:
    return max(float((row[: len(own)] - own).abs().max()) for row, own in zip(together, separate, strict=True))


@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
@pytest.mark.parametrize("family", [*CAUSAL, *MASKED])
@torch.no_grad()
def test_packed_documents_give_the_logits_of_separate_ones(family: str, implementation: str) -> None:
    model = tiny(family, attn_implementation=implementation).eval()
    given = batch(ROWS, with_segments=family in MASKED)
    separate = apart(model, ROWS)
    with with_loss(model, chunked=True):
        together = model(**given, **({"use_cache": False} if family in CAUSAL else {})).logits
    assert largest_difference(together, separate) < 1e-5
    mixed = model(input_ids=given["input_ids"]).logits
    assert largest_difference(mixed, separate) > 1e-2  # else the line above proves nothing


@pytest.mark.parametrize("family", CAUSAL)
@torch.no_grad()
def test_the_loss_of_isolated_documents_is_that_of_each_alone(family: str) -> None:
    model = tiny(family).eval()
    model.config.use_cache = True
    sequences = [packed(*row, total=LENGTH) for row in ROWS]
    alone = [packed(document, total=len(document)) for row in ROWS for document in row if len(document) > 1]
    with with_loss(model, chunked=True):
        together = model(**collate([CausalSequences(sequences, isolate=True)[index] for index in range(3)])).loss
        each = sum(model(**collate([CausalSequences([one])[0]])).loss for one in alone)
        mixed = model(**collate([CausalSequences(sequences)[index] for index in range(3)])).loss
    assert together.item() == pytest.approx(each.item(), rel=1e-5)
    assert abs(mixed.item() - each.item()) > 1e-2


@pytest.mark.parametrize("family", ["llama", "bert", "modernbert"])
def test_gradients_do_not_cross_documents(family: str) -> None:
    model = tiny(family).train()
    given = batch([ROWS[0]], with_segments=family in MASKED)
    given["labels"] = torch.full((1, LENGTH), IGNORED)
    given["labels"][0, 12:22] = given["input_ids"][0, 12:22]  # in the third document
    embedded: list[torch.Tensor] = []
    model.get_input_embeddings().register_forward_hook(lambda _, __, out: (out.retain_grad(), embedded.append(out))[0])
    with with_loss(model, chunked=True):
        model(**given).loss.backward()
    reached = embedded[0].grad[0].abs().sum(-1) > 0
    assert not reached[:10].any() and reached[10:22].any()


@pytest.mark.parametrize("name", ["flash_attention_2", "flex_attention"])
def test_what_takes_no_mask_is_refused(name: str) -> None:
    model = tiny("bert")
    model.config._attn_implementation_internal = name
    with pytest.raises(UsageError) as caught:
        isolated(model.config, {"segments": torch.zeros(1, 4)}, torch.float32)
    assert "sdpa" in caught.value.remedy


@given(st.lists(st.integers(1, 7), min_size=1, max_size=6), st.integers(0, 5))
def test_numbers_and_positions(sizes: list[int], padding: int) -> None:
    starts, length = np.cumsum([0, *sizes[:-1]]), sum(sizes)
    every = [*sizes, *([padding] if padding else [])]
    numbers = [index for index, size in enumerate(every) for _ in range(size)]
    assert document_numbers(starts, length, length + padding).tolist() == numbers
    assert positions(starts, length, length + padding).tolist() == [at for size in every for at in range(size)]


def test_the_window_is_kept() -> None:
    mask = attention_mask(torch.tensor([[0, 0, 0, 0, 1, 1]]), window=1)[0, 0]
    assert mask.int().tolist() == [
        [1, 1, 0, 0, 0, 0],
        [1, 1, 1, 0, 0, 0],
        [0, 1, 1, 1, 0, 0],
        [0, 0, 1, 1, 0, 0],
        [0, 0, 0, 0, 1, 1],
        [0, 0, 0, 0, 1, 1],
    ]
