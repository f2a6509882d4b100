"""Laws of training: accumulation equals the big batch, a resumed run equals an unbroken one, the fused loss is the loss."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch

from ptft.core.contracts import Output
from ptft.core.encoding import IGNORED
from ptft.core.errors import RunError
from ptft.core.models import token_bytes
from ptft.core.progress import Silent
from ptft.core.training import (
    Batches,
    LabelledRows,
    MaskedBlocks,
    PlainBlocks,
    Settings,
    pad_batch,
    score_blocks,
    train,
)
from ptft.core.training.data import MaskIds, stack
from ptft.core.training.loop import micro_batch_of
from ptft.core.training.measure import can_fuse, fused_nll, token_nll

SETTINGS = Settings(
    steps=6, batch=8, micro_batch=8, lr=1e-3, schedule="cosine", warmup_steps=1, weight_decay=0.1, clip=1.0, beta2=0.95,
    precision="fp32", save_every=2, eval_every=3, seed=1,
)  # fmt: skip


class Random:
    """Token blocks without files."""

    def __init__(self, count=24, length=16, vocabulary=400):
        self.tokens = np.random.default_rng(0).integers(5, vocabulary, (count, length))

    def __len__(self):
        return len(self.tokens)

    def __getitem__(self, index):
        return self.tokens[index].copy()


def output(folder: Path) -> Output:
    for name in ("new", "state"):
        (folder / ".ptft" / name).mkdir(parents=True, exist_ok=True)
    return Output(folder, folder / ".ptft" / "new", folder / ".ptft" / "state")


def llama(tmp_path: Path):
    from transformers import AutoModelForCausalLM

    if not (tmp_path / "llama").exists():
        tiny.causal(tmp_path / "llama", scale=1.0)
    return AutoModelForCausalLM.from_pretrained(tmp_path / "llama")


def trained(tmp_path: Path, name: str, settings=SETTINGS, **more):
    model = llama(tmp_path)
    result = train(
        model,
        PlainBlocks(Random()),
        settings,
        loss="causal",
        collate=stack,
        out=output(tmp_path / name),
        progress=Silent(),
        **more,
    )
    return model, result


def weights(model) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


def test_eight_small_batches_equal_one_big_one(tmp_path):
    big, _ = trained(tmp_path, "big")
    small, _ = trained(tmp_path, "small", replace(SETTINGS, micro_batch=1))
    assert torch.allclose(weights(big), weights(small), atol=1e-6)


def test_accumulation_counts_tokens_where_rows_differ_in_length(tmp_path):
    """Rows with 1 and with 30 labels: a mean of means would weigh them alike (transformers#34191)."""
    ids = [[5 + n] * (3 + 4 * n) for n in range(8)]
    source = LabelledRows(ids, [[IGNORED] * 2 + row[2:] for row in ids])
    found = []
    for micro in (8, 1):
        model = llama(tmp_path)
        settings = replace(SETTINGS, steps=2, micro_batch=micro, lr=3e-4)
        train(
            model,
            source,
            settings,
            loss="causal",
            collate=lambda e: pad_batch(e, 1),
            out=output(tmp_path / f"m{micro}"),
            progress=Silent(),
        )
        found.append(weights(model))
    assert torch.allclose(*found, atol=1e-6)


@pytest.mark.parametrize("pooling", ["mean", "last"])
def test_accumulation_is_exact_for_classifiers(tmp_path, pooling):
    from ptft.core.models import with_head

    base = tiny.causal(tmp_path / "base", scale=1.0)
    source = LabelledRows([[4 + n, 5, 6 + n] for n in range(8)], [n % 3 for n in range(8)])
    found = []
    for micro in (8, 2):
        torch.manual_seed(0)
        model = with_head(base, tiny.LABELS, pooling=pooling, scratch=False)
        settings = replace(SETTINGS, steps=3, micro_batch=micro)
        train(
            model,
            source,
            settings,
            loss="class",
            collate=lambda e: pad_batch(e, 1),
            out=output(tmp_path / f"{pooling}{micro}"),
            progress=Silent(),
        )
        found.append(weights(model))
    assert torch.allclose(*found, atol=1e-6)


class Killed(Exception):
    pass


def test_a_run_that_is_cut_off_ends_with_the_same_weights_bit_for_bit(tmp_path):
    whole, history = trained(tmp_path, "whole")

    def kill(model):
        raise Killed

    with pytest.raises(Killed):
        trained(tmp_path, "cut", replace(SETTINGS, eval_every=5), validate=kill)
    assert (tmp_path / "cut" / "checkpoint-4").is_dir()
    again, resumed = trained(tmp_path, "cut")
    assert torch.equal(weights(whole), weights(again))
    assert resumed.history == history.history


def test_a_half_written_checkpoint_is_never_seen(tmp_path, monkeypatch):
    """The kill comes while a checkpoint is being written: only whole ones carry the name that is looked for."""
    import transformers

    def half(self, path):
        Path(path).write_text("{")
        raise Killed

    monkeypatch.setattr(transformers.TrainerState, "save_to_json", half)
    with pytest.raises(Killed):
        trained(tmp_path, "cut")
    assert not list((tmp_path / "cut").glob("checkpoint-*"))


def test_every_example_comes_once_an_epoch_in_a_new_order():
    source = [{"input_ids": torch.tensor([n]), "labels": torch.tensor([n])} for n in range(10)]
    stream = Batches(source, 30, seed=3)
    seen = [int(stream[index]["input_ids"]) for index in range(30)]
    assert all(Counter(seen[start : start + 10]) == Counter(range(10)) for start in (0, 10, 20))
    assert seen[:10] != seen[10:20]
    assert [int(Batches(source, 30, seed=3)[index]["input_ids"]) for index in range(12, 30)] == seen[12:]


def test_masking_follows_bert_and_differs_between_epochs():
    ids = MaskIds(mask=3, vocab_size=400, special=(0, 1, 2, 4))
    source = MaskedBlocks(Random(200, 64), ids, 0.15, seed=1)
    chosen = masked = kept = 0
    for index in range(200):
        example, original = source[index], source.blocks[index]
        picked = example["labels"].numpy() != IGNORED
        assert (example["labels"].numpy()[picked] == original[picked]).all()
        assert (example["input_ids"].numpy()[~picked] == original[~picked]).all()
        chosen += picked.sum()
        masked += (example["input_ids"].numpy()[picked] == 3).sum()
        kept += (example["input_ids"].numpy()[picked] == original[picked]).sum()
    assert abs(chosen / (200 * 64) - 0.15) < 0.01
    assert abs(masked / chosen - 0.8) < 0.03 and abs(kept / chosen - 0.1) < 0.03
    first, second = (Batches(source, 400, seed=1)[index] for index in (0, 200))
    assert not torch.equal(first["labels"], second["labels"])


def test_special_tokens_are_never_masked():
    class Special(Random):
        def __getitem__(self, index):
            return np.zeros(16, dtype=np.int64)

    source = MaskedBlocks(Special(), MaskIds(3, 400, (0, 1, 2, 4)), 0.9, seed=1)
    assert (source[0]["labels"] == IGNORED).all()


def test_the_fused_loss_and_its_gradient_are_the_plain_ones(tmp_path):
    batch = stack([PlainBlocks(Random())[n] for n in range(4)])
    model = llama(tmp_path)
    assert can_fuse(model)
    plain = token_nll(model(input_ids=batch["input_ids"]).logits, batch["labels"], causal=True)
    plain.backward()
    gradient = weights_of_gradient(model)
    model.zero_grad()
    fused = fused_nll(model, {"input_ids": batch["input_ids"]}, batch["labels"])
    fused.backward()
    assert torch.allclose(plain, fused, rtol=1e-5)
    assert torch.allclose(gradient, weights_of_gradient(model), atol=1e-5, rtol=1e-4)


def weights_of_gradient(model) -> torch.Tensor:
    return torch.cat([parameter.grad.flatten() for parameter in model.parameters()])


def test_scores_do_not_depend_on_the_batch(tmp_path):
    model, sizes = llama(tmp_path), token_bytes(tiny.tokenizer())
    found = [score_blocks(model, PlainBlocks(Random()), sizes, causal=True, batch=size) for size in (1, 5, 24)]
    assert {score.tokens for score in found} == {24 * 15} and len({score.bytes for score in found}) == 1
    assert np.allclose([score.nll for score in found], found[0].nll, rtol=1e-5)
    assert found[0].bits_per_byte == pytest.approx(found[0].nll / np.log(2) / found[0].bytes)


def test_a_loss_that_is_not_a_number_stops_the_run(tmp_path):
    model = llama(tmp_path)
    with torch.no_grad():
        model.get_input_embeddings().weight[:] = float("nan")
    with pytest.raises(RunError, match="diverged") as error:
        train(
            model,
            PlainBlocks(Random()),
            SETTINGS,
            loss="causal",
            collate=stack,
            out=output(tmp_path / "nan"),
            progress=Silent(),
        )
    assert "--lr" in error.value.remedy


def test_norms_and_biases_are_not_decayed(tmp_path):
    import transformers

    names = transformers.Trainer.get_decay_parameter_names(None, llama(tmp_path))
    assert not any("norm" in name or name.endswith("bias") for name in names) and names


def test_padding_is_told_by_length_not_by_id():
    rows = [
        {"input_ids": torch.tensor([7, 1]), "labels": torch.tensor([7, 1])},
        {"input_ids": torch.tensor([7]), "labels": torch.tensor([7])},
    ]
    batch = pad_batch(rows, pad_id=1)
    assert batch["labels"].tolist() == [[7, 1], [7, IGNORED]] and batch["attention_mask"].tolist() == [[1, 1], [1, 0]]


@pytest.mark.parametrize(
    ("batch", "wanted", "length", "size"),
    [(12, 5, 8, 4), (7, 0, 8, 7), (64, 0, 256, 4), (5, 16, 8, 5), (1, 0, 10**6, 1)],
)
def test_micro_batches_divide_the_batch(batch, wanted, length, size):
    assert micro_batch_of(batch, wanted, length) == size or torch.cuda.is_available()
