"""The loss of encoder-decoders: every family's own, summed, however the rows are padded and divided."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import transformers

from ptft.core.encoding import IGNORED
from ptft.core.training.heads import with_loss
from ptft.core.training.rows import Padding, Pairs

_SHAPE = {
    "d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2, "decoder_attention_heads": 2,
    "encoder_ffn_dim": 16, "decoder_ffn_dim": 16, "dropout": 0.0, "pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 1,
    "max_position_embeddings": 32,
}  # fmt: skip
FAMILIES: dict[str, dict[str, Any]] = {
    "t5": {"d_model": 16, "d_kv": 8, "d_ff": 16, "num_layers": 1, "num_heads": 2, "dropout_rate": 0.0, "pad_token_id": 0,
           "eos_token_id": 1, "decoder_start_token_id": 0},
    "bart": {**_SHAPE, "decoder_start_token_id": 1},
    "mbart": _SHAPE,
    "marian": {**_SHAPE, "decoder_start_token_id": 0},
    "m2m_100": {**_SHAPE, "decoder_start_token_id": 1},
}  # fmt: skip


def tiny(family: str) -> Any:
    torch.manual_seed(0)
    config = transformers.AutoConfig.for_model(
        family, vocab_size=40, init_std=0.3, initializer_factor=3.0, **FAMILIES[family]
    )
    return transformers.AutoModelForSeq2SeqLM.from_config(config).double().eval()  # M2M100 drops layers


def pairs() -> Pairs:
    return Pairs.of([[5, 6, 7, 1], [8, 1], [9, 10, 1]], [[11, 1], [12, 13, 14, 15, 1], [16, 1]])


def loss_of(model: Any, rows: list[int]) -> torch.Tensor:
    source = pairs()
    found: torch.Tensor = model(**Padding(0)([source[row] for row in rows])).loss
    return found


@pytest.mark.parametrize("family", FAMILIES)
def test_the_loss_is_the_familys_own_summed(family: str) -> None:
    model = tiny(family)
    batch = Padding(0)([pairs()[row] for row in range(3)])
    theirs = model(**batch).loss * int((batch["labels"] != IGNORED).sum())
    theirs.backward()
    wanted = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    with with_loss(model, chunked=True):
        ours = model(**batch).loss
    ours.backward()
    torch.testing.assert_close(ours, theirs)
    for name, parameter in model.named_parameters():
        if name in wanted:
            torch.testing.assert_close(parameter.grad, wanted[name])


@pytest.mark.parametrize("family", FAMILIES)
def test_rows_alone_add_up_to_the_batch(family: str) -> None:
    """Padding of either side has no part in it."""
    model = tiny(family)
    with with_loss(model, chunked=True), torch.no_grad():
        torch.testing.assert_close(loss_of(model, [0, 1, 2]), sum(loss_of(model, [row]) for row in range(3)))


def test_each_label_is_predicted_from_those_before_it() -> None:
    """A shift too many, or none, would let the decoder read what it is to write."""
    model = tiny("t5")
    batch = Padding(0)([pairs()[1]])
    with torch.no_grad():
        logits = model(input_ids=batch["input_ids"], decoder_input_ids=torch.tensor([[0, 12, 13, 14, 15]])).logits
        wanted = torch.nn.functional.cross_entropy(logits[0], batch["labels"][0], reduction="sum")
        with with_loss(model, chunked=True):
            torch.testing.assert_close(model(**batch).loss, wanted)


def test_without_labels_it_still_generates() -> None:
    model = tiny("t5")
    ids = torch.tensor([[5, 6, 1]])
    before = model.generate(ids, max_new_tokens=4, do_sample=False)
    with with_loss(model, chunked=True):
        assert torch.equal(model.generate(ids, max_new_tokens=4, do_sample=False), before)


def test_pairs_are_read_from_files(tmp_path: Any) -> None:
    pairs().save(tmp_path / "pairs")
    found = Pairs.load(tmp_path / "pairs")
    assert len(found) == 3 and found.lengths.tolist() == [6, 7, 5]
    assert {name: value.tolist() for name, value in found[1].items()} == {
        "input_ids": [8, 1],
        "labels": [12, 13, 14, 15, 1],
    }
