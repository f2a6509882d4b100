"""Whole runs of fine-tuning: what they start from, what they refuse, and the bytes they leave."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace

import pytest
import tiny
import torch
from finetuning import SMALL, inputs, make_folder, rows_file, without_ptft

from ptft.core.errors import InputError, UsageError
from ptft.core.heads import Head, with_head
from ptft.core.progress import Silent
from ptft.stages.finetune.domain import run as domain
from ptft.stages.finetune.instruction import run as instruction
from ptft.stages.finetune.memory import frozen_as
from ptft.stages.finetune.recipe import DomainRecipe, FinetuneRecipe, InstructionRecipe, Lora, Prompt, TaskRecipe
from ptft.stages.finetune.task import run as task


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_folder(tmp_path_factory.mktemp("finetune"))


def test_few_labels_keep_every_label_name(folder, output_of, tmp_path):
    recipe = TaskRecipe(epochs=1, per_label=2, **SMALL)
    result = task.run(recipe, inputs(folder / "causal", folder / "task.jsonl"), output_of(tmp_path), Silent())
    assert result.counts["rows"] == 6 and result.counts["labels"] == 3


def test_scratch_forgets_the_base(folder):
    from transformers import AutoModelForCausalLM

    from ptft.core.heads import with_head

    base = AutoModelForCausalLM.from_pretrained(folder / "causal").get_input_embeddings().weight
    for scratch in (False, True):
        made = with_head(folder / "causal", Head("classifier", ("a", "b")), scratch=scratch)
        assert torch.equal(made.get_input_embeddings().weight, base) != scratch


def test_a_plain_load_of_a_mean_pooled_model_is_refused_not_wrong(folder, output_of, tmp_path):
    """Without trust_remote_code another head must not be guessed in silence."""
    out = output_of(tmp_path)
    task.run(TaskRecipe(epochs=1, **SMALL), inputs(folder / "causal", folder / "task.jsonl"), out, Silent())
    code = f"""
from transformers import AutoModelForSequenceClassification
try:
    AutoModelForSequenceClassification.from_pretrained({str(out.new)!r}, trust_remote_code=False)
    print(json.dumps("loaded"))
except ValueError as error:
    print(json.dumps("trust_remote_code" in str(error)))
"""
    assert without_ptft(code) is True


def test_one_label_is_nothing_to_learn(folder, output_of, tmp_path):
    rows_file(tmp_path / "one.jsonl", [{"text": "a", "label": "x"}] * 3)
    with pytest.raises(InputError, match="nothing to tell apart"):
        task.run(TaskRecipe(), inputs(folder / "causal", tmp_path / "one.jsonl"), output_of(tmp_path), Silent())


def test_a_classifier_is_no_base_for_domain(folder, output_of, tmp_path):
    tiny.mean_pooled(tmp_path / "cls")
    with pytest.raises(InputError, match="classifier"):
        domain.run(DomainRecipe(), inputs(tmp_path / "cls", folder / "text.jsonl"), output_of(tmp_path / "o"), Silent())


def test_adapters_are_not_stacked(folder, output_of, tmp_path):
    out = output_of(tmp_path / "a")
    recipe = InstructionRecipe(method="lora", epochs=1, **SMALL)
    instruction.run(recipe, inputs(folder / "causal", folder / "chat.jsonl"), out, Silent())
    with pytest.raises(InputError, match="itself an adapter"):
        instruction.run(recipe, inputs(out.new, folder / "chat.jsonl"), output_of(tmp_path / "b"), Silent())
    full = instruction.run(
        replace(recipe, method="full"), inputs(out.new, folder / "chat.jsonl"), output_of(tmp_path / "c"), Silent()
    )
    assert full.counts["trainable"] == full.counts["parameters"]


def test_an_adapter_without_its_base_says_so(folder, output_of, tmp_path):
    from ptft.core import models

    out = output_of(tmp_path)
    instruction.run(
        InstructionRecipe(method="lora", epochs=1, **SMALL),
        inputs(folder / "causal", folder / "chat.jsonl"),
        out,
        Silent(),
    )
    config = out.new / "adapter_config.json"
    config.write_text(config.read_text().replace(str(folder / "causal"), "/nowhere"))
    with pytest.raises(InputError, match="base '/nowhere' is not there"):
        models.load(out.new)


@pytest.mark.parametrize("stage", [domain, instruction, task])
def test_plans_write_nothing(folder, tmp_path, stage):
    data = {domain: "text", instruction: "chat", task: "task"}[stage]
    recipe = {domain: DomainRecipe, instruction: InstructionRecipe, task: TaskRecipe}[stage]()
    lines = dict(stage.plan(recipe, inputs(folder / "causal", folder / f"{data}.jsonl"), Silent()).lines)
    assert lines["parameters"] > 0 and not any(tmp_path.iterdir())


def test_a_checkpoint_that_lacks_weights_is_refused_not_filled_with_random_ones(folder, tmp_path):
    import shutil

    from safetensors.torch import load_file, save_file

    from ptft.core import models

    shutil.copytree(folder / "causal", tmp_path / "cut")
    weights = load_file(tmp_path / "cut" / "model.safetensors")
    weights.pop("model.layers.0.mlp.up_proj.weight")
    save_file(weights, tmp_path / "cut" / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match=r"lack 1 of the model's tensors: model\.layers\.0\.mlp\.up_proj"):
        models.load(tmp_path / "cut")
    for pooling in ("mean", "last"):
        with pytest.raises(InputError, match="lack 1"):
            with_head(tmp_path / "cut", Head("classifier", ("a", "b"), pooling=pooling))


def test_a_task_starts_from_an_adapter_merged(folder, output_of, tmp_path):
    adapter = output_of(tmp_path / "a")
    instruction.run(
        InstructionRecipe(method="lora", epochs=1, **SMALL),
        inputs(folder / "causal", folder / "chat.jsonl"),
        adapter,
        Silent(),
    )
    result = task.run(
        TaskRecipe(epochs=1, **SMALL), inputs(adapter.new, folder / "task.jsonl"), output_of(tmp_path / "b"), Silent()
    )
    assert result.counts["trainable"] == result.counts["parameters"]


def test_empty_texts_are_rejected_with_a_reason(folder, output_of, tmp_path):
    rows_file(
        tmp_path / "rows.jsonl", [{"text": "", "label": "x"}, {"text": "a", "label": "x"}, {"text": "b", "label": "y"}]
    )
    out = output_of(tmp_path / "o")
    result = task.run(
        TaskRecipe(epochs=1, max_bad_rows=0.5, **SMALL),
        inputs(folder / "causal", tmp_path / "rows.jsonl"),
        out,
        Silent(),
    )
    assert result.counts["rows_rejected"] == 1 and "an empty text" in (out.new / "rejected.jsonl").read_text()


def test_adapters_are_the_same_bytes_every_time(folder, output_of, tmp_path):
    """In processes with different hash seeds: peft writes sets."""
    found = []
    for seed in ("1", "2"):
        out = tmp_path / seed
        command = [
            sys.executable,
            "-m",
            "ptft",
            "finetune",
            "instruction",
            str(folder / "causal"),
            str(folder / "chat.jsonl"),
            "--method",
            "lora",
            "--epochs",
            "0.4",
            "-q",
            "-o",
            str(out),
        ]
        done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONHASHSEED": seed})
        assert done.returncode == 0 and done.stderr == "", done.stderr
        found.append((out / "adapter_config.json").read_bytes())
    assert found[0] == found[1]


def test_text_that_spells_a_special_token_stays_text(folder):
    """In a text to classify, a source and a target: else a model would learn to stop in the middle."""
    from ptft.core.encoding import encode_texts
    from ptft.core.prompting import encode_targets

    tokenizer = tiny.tokenizer()
    spelt = f"a {tokenizer.eos_token} b"
    assert tokenizer.eos_token_id not in encode_texts(tokenizer, [spelt], None, 100)[0]["input_ids"]
    (target,), _ = encode_targets(tokenizer, [spelt], 100, causal=True)
    assert target.index(tokenizer.eos_token_id) == len(target) - 1


@pytest.mark.parametrize("method", ["adapter", "prompt", "ia3"])
def test_tokens_that_a_method_cannot_learn_are_refused(folder, output_of, tmp_path, method):
    base = tmp_path / "base"
    shutil.copytree(folder / "causal", base)
    tokenizer = json.loads((base / "tokenizer.json").read_text())
    tokenizer["added_tokens"] = [t for t in tokenizer["added_tokens"] if not t["content"].startswith("<|im_")]
    (base / "tokenizer.json").write_text(
        json.dumps(tokenizer).replace("<|im_start|>", "«s»").replace("<|im_end|>", "«e»")
    )
    settings = json.loads((base / "tokenizer_config.json").read_text())
    for name in ("extra_special_tokens", "additional_special_tokens", "added_tokens_decoder"):
        settings.pop(name, None)
    (base / "tokenizer_config.json").write_text(json.dumps(settings))
    recipe = InstructionRecipe(method=method, template="chatml", epochs=1, batch_size=4)
    with pytest.raises(UsageError, match="new to the base"):
        instruction.run(recipe, inputs(base, folder / "chat.jsonl"), output_of(tmp_path / "o"), Silent())


def test_no_rows_left_is_said(folder, output_of, tmp_path):
    with pytest.raises(InputError, match="no rows are left"):
        task.run(TaskRecipe(val=0.99), inputs(folder / "causal", folder / "task.jsonl"), output_of(tmp_path), Silent())


@pytest.mark.parametrize("length", [1, 1000])
def test_a_length_that_the_base_cannot_take_is_refused(folder, output_of, tmp_path, length):
    with pytest.raises(UsageError, match=r"seq-len|no text"):
        task.run(
            TaskRecipe(max_seq_len=length),
            inputs(folder / "causal", folder / "task.jsonl"),
            output_of(tmp_path),
            Silent(),
        )


@pytest.mark.parametrize(
    "changes", [{"prefix": "x: "}, {"stride": 3}, {"lora": Lora(rank=3, init="orthogonal"), "method": "lora"}]
)
def test_knobs_that_cannot_work_are_refused(folder, output_of, tmp_path, changes):
    recipe = TaskRecipe(**changes)
    if "lora" in changes:
        assert any("even" in problem for problem in recipe.problems())
        return
    with pytest.raises(UsageError, match="does nothing"):
        task.run(recipe, inputs(folder / "causal", folder / "task.jsonl"), output_of(tmp_path), Silent())


@pytest.mark.parametrize("stage", [domain, instruction])
def test_every_method_says_the_same_of_the_base_before_it_is_trained(folder, output_of, tmp_path, stage):
    kind, rows = {domain: (DomainRecipe, "text"), instruction: (InstructionRecipe, "chat")}[stage]
    found = set()
    for method in ("full", "lora", "prompt", "prefix"):
        recipe = kind(
            method=method,
            epochs=0.1,
            val=0.2,
            max_seq_len=48,
            prompt=Prompt(tokens=4) if method[:2] == "pr" else Prompt(),
        )
        result = stage.run(
            recipe, inputs(folder / "causal", folder / f"{rows}.jsonl"), output_of(tmp_path / method), Silent()
        )
        found.add(round(result.metrics["eval_loss_before"], 4))
    assert len(found) == 1


def test_lines_that_cannot_be_read_are_not_called_an_empty_file(folder, output_of, tmp_path):
    (tmp_path / "bad.jsonl").write_text("[1, 2]\nnothing\n")
    with pytest.raises(InputError, match="no line can be read") as error:
        task.run(TaskRecipe(), inputs(folder / "causal", tmp_path / "bad.jsonl"), output_of(tmp_path / "o"), Silent())
    assert "bad.jsonl:1" in str(error.value)


def test_qlora_holds_its_layers_in_four_bits_and_the_rest_in_the_precision_of_the_run():
    half = frozen_as(FinetuneRecipe(method="qlora"), low=True)
    full = frozen_as(FinetuneRecipe(method="qlora"), low=False)
    assert half.layers == full.layers < 1 and (half.others, full.others) == (2.0, 4.0)
    assert frozen_as(FinetuneRecipe(method="lora"), low=True).layers == 2.0
    assert frozen_as(FinetuneRecipe(method="partial"), low=True).layers == 4.0


def test_keeping_the_last_weights_is_no_reason_to_warn(folder, output_of, tmp_path):
    said = []
    for changes in ({"keep": "last"}, {"patience": 2}):
        progress = Silent()
        recipe = TaskRecipe(epochs=0.1, batch_size=4, **changes)
        task.run(
            recipe, inputs(folder / "causal", folder / "task.jsonl"), output_of(tmp_path / str(len(said))), progress
        )
        said.append(any("patience does nothing" in text for text in progress.warnings))
    assert said == [False, True]
