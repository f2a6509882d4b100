"""Instruction tuning: rows of every shape, what is learnt of them, what is cut and left out, and packing."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import torch
from finetuning import SMALL, inputs, rows_file
from hypothesis import given, settings
from hypothesis import strategies as st

from ptft.core import models
from ptft.core.chat import ChatEncoder
from ptft.core.contracts import Inputs
from ptft.core.encoding import IGNORED
from ptft.core.errors import InputError, UsageError
from ptft.core.examples import CONVERSATIONS, detect, misshapen, to_messages
from ptft.core.files import expand
from ptft.core.progress import Silent, bracketed
from ptft.core.rows import Row
from ptft.core.training import Padding, Rows
from ptft.core.training.heads import with_loss
from ptft.stages.finetune.instruction import run as instruction
from ptft.stages.finetune.instruction.encoding import Fitting, pieces_of
from ptft.stages.finetune.instruction.packing import PackedPadding, PackedRows, refuse_mixing
from ptft.stages.finetune.recipe import InstructionRecipe

ASK, SAY = {"role": "user", "content": "say"}, {"role": "assistant", "content": "你好"}


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    return tiny.causal(tmp_path_factory.mktemp("base") / "causal", scale=1.0)


def prepared(recipe: InstructionRecipe, given: Inputs, output_of: Any, folder: Path) -> tuple[Any, Silent]:
    progress = Silent()
    return instruction.prepare(recipe, given, output_of(folder), progress), progress


# ---------------------------------------------------------------- shapes


@pytest.mark.parametrize(
    ("row", "shape", "expected"),
    [
        ({"instruction": "say", "input": "", "output": "你好"}, "alpaca", [ASK, SAY]),
        ({"instruction": "say", "input": "it", "output": "你好"}, "alpaca", [{**ASK, "content": "say\n\nit"}, SAY]),
        ({"instruction": "say", "output": "你好", "history": [["say", "你好"]]}, "alpaca", [ASK, SAY, ASK, SAY]),
        (
            {"conversations": [{"from": "human", "value": "say"}, {"from": "gpt", "value": "你好"}], "system": "S"},
            "sharegpt", [{"role": "system", "content": "S"}, ASK, SAY],
        ),
        (
            {"conversations": [{"from": "user", "value": "say"}, {"from": "observation", "value": "o"}, {"from": "model", "value": "你好"}]},
            "sharegpt", [ASK, {"role": "tool", "content": "o"}, SAY],
        ),
        ({"conversations": [ASK, SAY]}, "sharegpt", [ASK, SAY]),
        (
            {"messages": [{"role": "developer", "content": "S"}, {"role": "user", "content": [{"type": "text", "text": "sa"}, "y"]}, SAY]},
            "messages", [{"role": "system", "content": "S"}, ASK, SAY],
        ),
        ({"prompt": "say", "completion": "你好"}, "prompt-completion", [ASK, SAY]),
        ({"source": "say", "target": "你好"}, "source-target", [ASK, SAY]),
    ],
)  # fmt: skip
def test_every_shape_becomes_messages(row: dict[str, Any], shape: str, expected: list[dict[str, str]]) -> None:
    found = detect([Row(row, "f", 1)], CONVERSATIONS)
    assert found.name == shape and misshapen(Row(row, "f", 1), found) is None
    assert to_messages(row, found) == expected


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ({"messages": [ASK, {"role": "narrator", "content": "x"}, SAY]}, "role 'narrator'"),
        ({"messages": [ASK, {"role": "assistant", "content": None, "tool_calls": [{}]}, SAY]}, "tool_calls"),
        ({"messages": [{"role": "user", "content": [{"type": "image"}]}, SAY]}, r"no text \(image\)"),
        ({"messages": [{"role": "user", "content": {"a": 1}}, SAY]}, "content that is dict"),
        ({"messages": ["say", "hi"]}, "message 1 is str"),
        ({"messages": [ASK, {**SAY, "content": " "}]}, "nothing to learn"),
        ({"instruction": "say", "output": "x", "history": ["say"]}, "'history' is not a list of pairs"),
    ],
)
def test_what_cannot_be_learnt_from_is_rejected_with_its_reason(row: dict[str, Any], why: str) -> None:
    import re

    found = misshapen(Row(row, "f", 1), detect([Row(row, "f", 1)], CONVERSATIONS))
    assert found is not None and re.search(why, found.reason)


def test_files_of_different_shapes_train_together_and_each_is_shown(base, output_of, tmp_path) -> None:
    rows_file(tmp_path / "1.jsonl", [{"messages": [ASK, SAY]}] * 3)
    rows_file(tmp_path / "2.jsonl", [{"prompt": "p", "completion": "c"}] * 2)
    (tmp_path / "3.jsonl").write_text("")
    given = Inputs({"data": expand([str(tmp_path / f"{n}.jsonl") for n in (1, 2, 3)])}, {"model": base})
    made, progress = prepared(InstructionRecipe(), given, output_of, tmp_path / "o")
    made.show(progress)
    assert made.counts["rows"] == 5 and any("holds no rows" in text for text in progress.warnings)
    shown = [note for note in progress.notes if "⟦" in note]
    assert [note.split(";")[0] for note in shown] == ["3 messages rows", "2 prompt-completion rows"]
    assert "<|im_start|>user\nsay<|im_end|>\n<|im_start|>assistant\n⟦你好<|im_end|>⟧" in shown[0]
    plan = dict(instruction.plan(InstructionRecipe(), given, Silent()).lines)
    assert plan["rows"] == 5 and plan["shape"] == "messages, prompt-completion"


def test_a_row_that_the_template_refuses_is_rejected_not_fatal(base, output_of, tmp_path) -> None:
    template = tmp_path / "own.jinja"
    template.write_text(
        "{% for m in messages %}{% if m['role'] == 'system' %}{{ raise_exception('no system') }}{% endif %}"
        "[{{ m['role'] }}]{{ m['content'] }}<|im_end|>{% endfor %}{% if add_generation_prompt %}[assistant]{% endif %}"
    )
    rows_file(
        tmp_path / "in.jsonl",
        [{"messages": [{"role": "system", "content": "S"}, ASK, SAY]}, *[{"messages": [ASK, SAY]}] * 3],
    )
    recipe = InstructionRecipe(template=str(template), max_bad_rows=0.5)
    made, _ = prepared(recipe, inputs(base, tmp_path / "in.jsonl"), output_of, tmp_path / "o")
    assert made.counts["rows"] == 3 and made.counts["rows_rejected"] == 1
    rejected = json.loads((tmp_path / "o/.ptft/new/rejected.jsonl").read_text())
    assert rejected["reason"] == "the chat template refuses it: no system" and rejected["line"] == 1
    with pytest.raises(InputError, match="1 of 4 rows cannot be used"):
        prepared(replace(recipe, max_bad_rows=0.1), inputs(base, tmp_path / "in.jsonl"), output_of, tmp_path / "p")


def test_what_users_write_ends_no_turn_and_is_said(base, output_of, tmp_path) -> None:
    rows_file(
        tmp_path / "in.jsonl", [{"messages": [{**ASK, "content": "stop<|im_end|>"}, SAY]}, {"messages": [ASK, SAY]}]
    )
    made, progress = prepared(InstructionRecipe(), inputs(base, tmp_path / "in.jsonl"), output_of, tmp_path / "o")
    end = models.load_tokenizer(made.tokenizer).convert_tokens_to_ids("<|im_end|>")
    rows = Rows.load(made.train)
    assert [rows[n]["input_ids"].tolist().count(end) for n in range(2)] == [2, 2]
    assert [text for text in progress.warnings if "1 of 2 rows spell a special token" in text]


def test_rows_to_measure_on_are_as_those_to_learn_from(base, output_of, tmp_path) -> None:
    rows_file(tmp_path / "in.jsonl", [{"messages": [ASK, SAY]}] * 2)
    long = {"prompt": "word " * 200, "completion": "never seen"}
    rows_file(tmp_path / "val.jsonl", [long, {"prompt": "a", "completion": "b"}])
    given = inputs(base, tmp_path / "in.jsonl", tmp_path / "val.jsonl")
    made, progress = prepared(InstructionRecipe(), given, output_of, tmp_path / "o")
    assert made.held_out == 1 and [text for text in progress.warnings if "1 of 2 rows to measure on" in text]
    rows_file(tmp_path / "val.jsonl", [long])
    with pytest.raises(InputError, match="none of the 1 rows to measure on has a response"):
        prepared(InstructionRecipe(), given, output_of, tmp_path / "p")


def test_an_encoder_decoder_is_sent_to_its_task(base, output_of, tmp_path, monkeypatch) -> None:
    rows_file(tmp_path / "in.jsonl", [{"messages": [ASK, SAY]}])
    found = instruction.base_of(InstructionRecipe(), inputs(base, tmp_path / "in.jsonl"), None)
    monkeypatch.setattr(instruction, "base_of", lambda *_: replace(found, kind="seq2seq"))
    with pytest.raises(InputError, match="this is a seq2seq model") as caught:
        prepared(InstructionRecipe(), inputs(base, tmp_path / "in.jsonl"), output_of, tmp_path / "o")
    assert "--task text-to-text" in caught.value.remedy


# ---------------------------------------------------------------- templates


def test_a_preset_adds_its_tokens_and_the_model_knows_them(base, output_of, tmp_path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    rows_file(tmp_path / "in.jsonl", [{"messages": [ASK, SAY]}] * 4)
    recipe = InstructionRecipe(template="llama3", epochs=1, **{**SMALL, "lr": 1e-9})
    out = output_of(tmp_path / "o")
    progress = Silent()
    result = instruction.run(recipe, inputs(base, tmp_path / "in.jsonl"), out, progress)
    assert result.counts["rows"] == 4 and any("<|eot_id|>" in note for note in progress.notes)
    model, tokenizer = AutoModelForCausalLM.from_pretrained(out.new), AutoTokenizer.from_pretrained(out.new)
    assert tokenizer.convert_tokens_to_ids(["<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]) == [
        400,
        401,
        402,
    ]
    table = model.get_input_embeddings().weight
    assert len(table) == 403 and (table[400:] - table[:400].mean(0)).abs().max().item() < 1e-5
    assert model.generation_config.eos_token_id == [0, 402]
    text = tokenizer.apply_chat_template([{"role": "user", "content": "a"}], tokenize=False)
    assert text == "<|start_header_id|>user<|end_header_id|>\n\na<|eot_id|>"


def test_a_preset_whose_tokens_are_there_changes_no_embedding(base, output_of, tmp_path) -> None:
    rows_file(tmp_path / "in.jsonl", [{"messages": [ASK, SAY]}])
    made, _ = prepared(
        InstructionRecipe(template="chatml"), inputs(base, tmp_path / "in.jsonl"), output_of, tmp_path / "o"
    )
    assert made.new_token_ids == () and not made.changes_base


def test_a_plan_tries_the_template(base, tmp_path) -> None:
    rows_file(tmp_path / "in.jsonl", [{"messages": [ASK, SAY]}])
    with pytest.raises(UsageError, match="no chat template 'chatlm'"):
        instruction.plan(InstructionRecipe(template="chatlm"), inputs(base, tmp_path / "in.jsonl"), Silent())


# ---------------------------------------------------------------- too long

SYSTEM = {"role": "system", "content": "S"}
LONG = [SYSTEM, *[{**turn, "content": turn["content"] * 2} for turn in [ASK, SAY] * 4]]


def fitted(rule: str, length: int, messages: list[dict[str, str]]) -> list[str]:
    tokenizer = tiny.tokenizer()
    encoder = ChatEncoder(tokenizer)
    (chats,) = encoder.encode([messages])
    found = Fitting(encoder, length, rule).fitted(messages, chats)  # type: ignore[arg-type]
    assert all(len(chat.ids) <= length for chat in found)
    return [bracketed(pieces_of(tokenizer, chat)) for chat in found]


def test_the_three_rules_for_rows_that_are_too_long() -> None:
    tokenizer = tiny.tokenizer()
    whole = tokenizer.apply_chat_template(LONG, tokenize=False)
    size = len(tokenizer(whole)["input_ids"])
    for rule in ("end", "start", "drop"):
        (same,) = fitted(rule, size, LONG)
        assert same.replace("⟦", "").replace("⟧", "") == whole
    (ended,) = fitted("end", size - 20, LONG)
    assert whole.startswith(ended.replace("⟦", "").replace("⟧", ""))
    assert fitted("drop", size - 1, LONG) == []
    (later,) = fitted("start", size - 1, LONG)
    assert later.replace("⟦", "").replace("⟧", "") == tokenizer.apply_chat_template([SYSTEM, *LONG[3:]], tokenize=False)
    (unsystematic,) = fitted("start", size // 2, LONG[1:])
    assert unsystematic.startswith("<|im_start|>user") and unsystematic.count("⟦你好你好<|im_end|>⟧") >= 1
    assert fitted("start", 5, LONG) == []


@pytest.mark.parametrize(("rule", "rows", "cut", "too_long", "said"), [
    ("end", 2, 1, 0, "lost their end"), ("start", 2, 1, 0, "lost their earliest turns"), ("drop", 1, 0, 1, "left out"),
])  # fmt: skip
def test_what_is_cut_is_said_and_counted(base, output_of, tmp_path, rule, rows, cut, too_long, said) -> None:
    rows_file(tmp_path / "in.jsonl", [{"messages": LONG}, {"messages": [ASK, SAY]}])
    recipe = InstructionRecipe(truncate=rule)
    made, progress = prepared(recipe, inputs(base, tmp_path / "in.jsonl"), output_of, tmp_path / "o")
    found = made.counts["rows"], made.counts["rows_cut"], made.counts["rows_too_long"]
    assert found == (rows, cut, too_long) and [text for text in progress.warnings if said in text]
    assert Rows.load(made.train).lengths.max() <= 64


# ---------------------------------------------------------------- packing


def chats(count: int) -> list[dict[str, Any]]:
    return [
        {"messages": [{**ASK, "content": f"say {n % 3}"}, {**SAY, "content": "你好" * (1 + n % 4)}] * (1 + n % 2)}
        for n in range(count)
    ]


@given(st.lists(st.integers(2, 20), min_size=1, max_size=30))
@settings(max_examples=50, deadline=None)
def test_every_row_is_packed_once_and_whole(sizes: list[int]) -> None:
    rows = Rows.of({"input_ids": [n] * size, "labels": [IGNORED] + [n] * (size - 1)} for n, size in enumerate(sizes))
    packed = PackedRows(rows, 20)
    seen: list[int] = []
    for index in range(len(packed)):
        example = packed[index]
        ids, starts = example["input_ids"].tolist(), np.flatnonzero(example["position_ids"].numpy() == 0)
        assert len(ids) == packed.lengths[index] <= 20
        for start, end in zip(starts, [*starts[1:], len(ids)], strict=True):
            assert len(set(ids[start:end])) == 1 and end - start == sizes[ids[start]]
            assert example["position_ids"][start:end].tolist() == list(range(end - start))
            assert (
                example["labels"][start] == IGNORED
                and example["labels"][start + 1 : end].tolist() == ids[start + 1 : end]
            )
            seen.append(ids[start])
    assert sorted(seen) == list(range(len(sizes)))


def loss_and_gradients(model: Any, batches: list[dict[str, torch.Tensor]]) -> tuple[float, dict[str, torch.Tensor]]:
    model.zero_grad()
    with with_loss(model, chunked=True):
        loss = sum(model(**batch).loss for batch in batches)
    loss.backward()
    return loss.item(), {name: p.grad.clone() for name, p in model.named_parameters()}


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_packed_is_the_same_as_one_by_one(base, output_of, tmp_path, attention) -> None:
    rows_file(tmp_path / "in.jsonl", chats(9))
    recipe = InstructionRecipe(packing=True, batch_size=3)
    made, _ = prepared(recipe, inputs(base, tmp_path / "in.jsonl"), output_of, tmp_path / "o")
    model = made.new_model()
    model.set_attn_implementation(attention)
    source, rows = made.source(), Rows.load(made.train)
    assert 1 < len(source) < len(rows) and made.counts["sequences"] == len(source) == made.rows
    assert made.batch == round(3 * len(source) / 9)
    together = loss_and_gradients(model, [made.collate()([source[n] for n in range(len(source))])])
    alone = loss_and_gradients(model, [Padding(1)([rows[n]]) for n in range(len(rows))])
    assert together[0] == pytest.approx(alone[0], rel=1e-5)
    for name, gradient in alone[1].items():
        torch.testing.assert_close(together[1][name], gradient, rtol=1e-4, atol=1e-5)
    mixed = made.collate()([source[n] for n in range(len(source))])
    del mixed["position_ids"]
    assert abs(loss_and_gradients(model, [mixed])[0] - alone[0]) > 1e-3  # else the lines above prove nothing


def test_packed_padding_is_a_document_without_labels() -> None:
    rows = Rows.of({"input_ids": [n] * size, "labels": [IGNORED, *[n] * (size - 1)]} for n, size in enumerate((2, 4)))
    batch = PackedPadding(7)([PackedRows(rows, 4)[0], PackedRows(rows, 4)[1]])
    assert batch["input_ids"].tolist() == [[0, 0, 7, 7], [1, 1, 1, 1]] and "attention_mask" not in batch
    assert batch["position_ids"].tolist() == [[0, 1, 0, 1], [0, 1, 2, 3]]
    assert batch["labels"].tolist() == [[IGNORED, 0, IGNORED, IGNORED], [IGNORED, 1, 1, 1]]


@pytest.mark.parametrize("method", ["full", "lora"])
def test_packed_conversations_train(base, output_of, tmp_path, method) -> None:
    rows_file(tmp_path / "in.jsonl", chats(12))
    recipe = InstructionRecipe(packing=True, method=method, epochs=6, **SMALL)
    given = inputs(base, tmp_path / "in.jsonl", tmp_path / "in.jsonl")
    result = instruction.run(recipe, given, output_of(tmp_path / "o"), Silent())
    assert result.metrics["eval_loss_after"] < result.metrics["eval_loss_before"]
    assert result.counts["sequences"] < result.counts["rows"] == 12


@pytest.mark.parametrize("method", ["prompt", "prefix", "p-tuning"])
def test_tokens_before_a_sequence_are_no_part_of_packing(base, output_of, tmp_path, method) -> None:
    rows_file(tmp_path / "in.jsonl", chats(2))
    with pytest.raises(UsageError, match="cannot keep packed rows apart"):
        prepared(
            InstructionRecipe(packing=True, method=method), inputs(base, tmp_path / "in.jsonl"), output_of, tmp_path
        )


def test_packing_tries_a_family_that_is_not_known(base, output_of, tmp_path, monkeypatch) -> None:
    rows_file(tmp_path / "in.jsonl", chats(4))
    recipe, given = InstructionRecipe(packing=True), inputs(base, tmp_path / "in.jsonl")
    tried: list[str] = []
    monkeypatch.setattr(instruction, "refuse_mixing", lambda model: tried.append(model.config.model_type))
    prepared(recipe, given, output_of, tmp_path / "a")
    monkeypatch.setattr(instruction, "BY_POSITIONS", ())
    prepared(recipe, given, output_of, tmp_path / "b")
    assert tried == ["llama"]


def test_families_that_mix_packed_conversations_are_refused() -> None:
    from transformers import BloomConfig, BloomForCausalLM, MambaConfig, MambaForCausalLM

    bloom = BloomForCausalLM(BloomConfig(vocab_size=40, hidden_size=16, n_layer=2, n_head=2))
    mamba = MambaForCausalLM(
        MambaConfig(vocab_size=40, hidden_size=16, num_hidden_layers=1, state_size=4, conv_kernel=2)
    )
    for model in (bloom, mamba):
        with pytest.raises(InputError, match="do not keep packed conversations apart"):
            refuse_mixing(model)
    from transformers import GPT2Config, GPT2LMHeadModel

    refuse_mixing(GPT2LMHeadModel(GPT2Config(vocab_size=40, n_embd=16, n_layer=2, n_head=2, n_positions=32)))
