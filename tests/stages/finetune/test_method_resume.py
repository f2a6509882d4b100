"""A run that was cut off at a checkpoint ends with the same weights, bit for bit, whatever the method."""

from __future__ import annotations

import shutil

import pytest
import tiny
import torch
from method_runs import toy

from ptft.core.knobs import Hardware
from ptft.core.progress import Silent
from ptft.stages.finetune.learning import Job, learn
from ptft.stages.finetune.recipe import Lora


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return tiny.causal(tmp_path_factory.mktemp("base") / "causal", scale=1.0)


def weights(job: Job, progress: Silent) -> dict[str, torch.Tensor]:
    model = learn(job, progress).trained.model
    return {name: p.detach().clone() for name, p in model.named_parameters() if p.requires_grad}


@pytest.mark.parametrize(
    ("method", "kind", "lora"),
    [
        ("full", "causal", Lora()),
        ("partial", "classifier", Lora()),
        ("lora", "classifier", Lora(rank=4, dropout=0.2)),
        ("lora", "causal", Lora(rank=4, init="pissa")),
        ("qlora", "classifier", Lora(rank=4)),
        ("adapter", "classifier", Lora()),
        ("prompt", "causal", Lora()),
        ("prefix", "classifier", Lora()),
        ("p-tuning", "causal", Lora()),
        ("ia3", "causal", Lora()),
    ],
)
def test_the_same_weights_bit_for_bit(base, output_of, tmp_path, method, kind, lora):
    prepared = toy(
        base, method, kind=kind, lora=lora, epochs=2.0, save_every=2, hardware=Hardware(micro_batch=2), weight_decay=0.1
    )
    whole, cut = output_of(tmp_path / "whole"), output_of(tmp_path / "cut")
    expected = weights(Job(prepared, whole), Silent())
    assert (whole.final / "checkpoint-4").is_dir()
    shutil.copytree(whole.final / "checkpoint-2", cut.final / "checkpoint-2")
    shutil.copytree(whole.state, cut.state, dirs_exist_ok=True)
    progress = Silent()
    found = weights(Job(prepared, cut), progress)
    assert any("going on from step 2 of 4" in note for note in progress.notes)
    assert expected.keys() == found.keys() and all(torch.equal(found[name], expected[name]) for name in expected)
