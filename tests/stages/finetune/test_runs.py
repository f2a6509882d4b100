"""Every purpose and method trains, saves, and loads again in a process where ptft cannot be imported, with the same outputs."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace

import pytest
import tiny
import torch
from finetuning import SMALL, inputs, make_folder, rows_file, without_ptft

from ptft.core.chat import encode_chat, ensure_template
from ptft.core.encoding import IGNORED
from ptft.core.errors import InputError
from ptft.core.heads import Head, with_head
from ptft.core.progress import Silent
from ptft.stages.finetune.domain import run as domain
from ptft.stages.finetune.instruction import run as instruction
from ptft.stages.finetune.recipe import DomainRecipe, InstructionRecipe, TaskRecipe
from ptft.stages.finetune.task import run as task


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_folder(tmp_path_factory.mktemp("finetune"))


def falls(result) -> bool:
    return result.metrics["loss_last"] < result.metrics["loss_first"]


TASK_LOAD = {
    "full": "AutoModelForSequenceClassification.from_pretrained({out!r}, trust_remote_code=True)",
    "lora": "PeftModel.from_pretrained(AutoModelForSequenceClassification.from_pretrained({out!r} + '/base', trust_remote_code=True), {out!r})",
}


@pytest.mark.parametrize(
    ("base", "method", "pooling"),
    [
        ("causal", "full", "mean"),
        ("causal", "lora", "mean"),
        ("causal", "full", "last"),
        ("causal", "lora", "last"),
        ("masked", "full", "mean"),
        ("masked", "lora", "mean"),
    ],
)
def test_task(folder, output_of, tmp_path, base, method, pooling):
    from ptft.core import models

    out = output_of(tmp_path)
    recipe = TaskRecipe(method=method, pooling=pooling, epochs=5, **SMALL)
    given = inputs(folder / base, folder / "task.jsonl", folder / "task.jsonl")
    result = task.run(recipe, given, out, Silent())
    assert falls(result) and result.counts["labels"] == 3
    loaded = models.load(out.new)
    assert loaded.labels == ("business", "sport", "科技")
    ids = [[5, 6, 7, 8]]
    with torch.no_grad():
        expected = loaded.model(torch.tensor(ids), attention_mask=torch.ones(1, 4, dtype=torch.long)).logits[0].tolist()
    code = f"""
from transformers import AutoModelForSequenceClassification
from peft import PeftModel
model = {TASK_LOAD[method].format(out=str(out.new))}.eval()
print(json.dumps(model(torch.tensor({ids}), attention_mask=torch.ones(1, 4, dtype=torch.long)).logits[0].tolist()))
"""
    assert without_ptft(code) == pytest.approx(expected, abs=1e-5)


def test_a_task_is_learnt(folder, output_of, tmp_path):
    recipe = TaskRecipe(epochs=20, **{**SMALL, "lr": 1e-2})
    result = task.run(
        recipe, inputs(folder / "causal", folder / "task.jsonl", folder / "task.jsonl"), output_of(tmp_path), Silent()
    )
    assert result.metrics["eval_f1"] == 1.0


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


@pytest.mark.parametrize("method", ["full", "lora"])
def test_instruction(folder, output_of, tmp_path, method):
    out = output_of(tmp_path)
    recipe = InstructionRecipe(method=method, epochs=8, **SMALL)
    progress = Silent()
    result = instruction.run(
        recipe, inputs(folder / "causal", folder / "chat.jsonl", folder / "chat.jsonl"), out, progress
    )
    assert falls(result) and result.metrics["eval_loss_after"] < result.metrics["eval_loss_before"]
    assert "⟦你好<|im_end|>⟧" in "".join(progress.notes) or "⟦" in "".join(progress.notes)
    load = (
        "AutoModelForCausalLM.from_pretrained({0!r})"
        if method == "full"
        else "AutoPeftModelForCausalLM.from_pretrained({0!r})"
    )
    from ptft.core import models

    ids = [[5, 6, 7, 8]]
    with torch.no_grad():
        expected = models.load(out.new).model(torch.tensor(ids)).logits[0, -1, :8].tolist()
    code = f"""
from transformers import AutoModelForCausalLM
from peft import AutoPeftModelForCausalLM
print(json.dumps({load.format(str(out.new))}.eval()(torch.tensor({ids})).logits[0, -1, :8].tolist()))
"""
    assert without_ptft(code) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(
    "row",
    [
        {"instruction": "say", "input": "hi", "output": "你好"},
        {"conversations": [{"from": "human", "value": "say"}, {"from": "gpt", "value": "你好"}]},
        {"prompt": "say", "completion": "你好"},
        {"source": "say", "target": "你好"},
    ],
)
def test_every_shape_of_conversation_trains(folder, output_of, tmp_path, row):
    rows_file(tmp_path / "rows.jsonl", [row] * 4)
    result = instruction.run(
        InstructionRecipe(epochs=1, **SMALL),
        inputs(folder / "causal", tmp_path / "rows.jsonl"),
        output_of(tmp_path),
        Silent(),
    )
    assert result.counts["rows"] == 4 and result.counts["response_tokens"] > 0


def test_rows_without_a_response_in_reach_are_counted_and_all_such_is_an_error(folder, output_of, tmp_path):
    long = {"prompt": "word " * 200, "completion": "never seen"}
    rows_file(tmp_path / "mixed.jsonl", [long, {"prompt": "a", "completion": "b"}])
    progress = Silent()
    result = instruction.run(
        InstructionRecipe(epochs=1, **SMALL),
        inputs(folder / "causal", tmp_path / "mixed.jsonl"),
        output_of(tmp_path / "o"),
        progress,
    )
    assert result.counts["rows_without_response"] == 1 and any("left out" in text for text in progress.warnings)
    rows_file(tmp_path / "long.jsonl", [long])
    with pytest.raises(InputError, match="none of the 1 rows"):
        instruction.run(
            InstructionRecipe(), inputs(folder / "causal", tmp_path / "long.jsonl"), output_of(tmp_path / "p"), Silent()
        )


def test_a_masked_base_cannot_answer(folder, output_of, tmp_path):
    with pytest.raises(InputError, match="causal base"):
        instruction.run(
            InstructionRecipe(), inputs(folder / "masked", folder / "chat.jsonl"), output_of(tmp_path), Silent()
        )


TURNS = [
    {"role": "system", "content": "S"}, {"role": "user", "content": "U1"}, {"role": "assistant", "content": "A1"},
    {"role": "user", "content": "U2"}, {"role": "assistant", "content": "A2"},
]  # fmt: skip
NO_TAGS = "{% for m in messages %}[{{ m['role'] }}]{{ m['content'] }}<|im_end|>{% endfor %}{% if add_generation_prompt %}[assistant]{% endif %}"


@pytest.mark.parametrize("template", ["tags", "no tags", "none"])
def test_every_turn_of_the_assistant_and_nothing_else_is_learnt(template):
    tokenizer = tiny.tokenizer()
    if template != "tags":
        tokenizer.chat_template = NO_TAGS if template == "no tags" else None
    assert ensure_template(tokenizer) == (template == "none")
    chat = encode_chat(tokenizer, TURNS, 1000)
    said = tokenizer.decode([token for token, label in zip(chat.ids, chat.labels, strict=True) if label != IGNORED])
    end = "<|endoftext|>" if template == "none" else "<|im_end|>"
    assert said == f"A1{end}A2{end}"


def test_there_is_one_bos():
    tokenizer = tiny.tokenizer()
    tokenizer.bos_token = "<|im_start|>"
    tokenizer.chat_template = "{{ bos_token }}{{ bos_token }}" + NO_TAGS
    chat = encode_chat(tokenizer, TURNS[1:3], 1000)
    assert chat.ids.count(tokenizer.bos_token_id) == 1


@pytest.mark.parametrize(
    ("base", "method"), [("causal", "full"), ("causal", "lora"), ("masked", "full"), ("masked", "lora")]
)
def test_domain(folder, output_of, tmp_path, base, method):
    from ptft.core import models

    out = output_of(tmp_path)
    recipe = DomainRecipe(method=method, epochs=6, max_seq_len=16, val=0.2, **SMALL)
    result = domain.run(recipe, inputs(folder / base, folder / "text.jsonl"), out, Silent())
    assert falls(result)
    name = "pseudo_perplexity" if base == "masked" else "perplexity"
    assert result.metrics[f"{name}_after"] < result.metrics[f"{name}_before"]
    assert models.load(out.new).kind == base


def test_domain_measures_on_data_that_is_named(folder, output_of, tmp_path):
    given = inputs(folder / "causal", folder / "text.jsonl", folder / "text.jsonl")
    result = domain.run(DomainRecipe(epochs=1, max_seq_len=16, **SMALL), given, output_of(tmp_path), Silent())
    assert result.metrics["bits_per_byte_after"] > 0


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
