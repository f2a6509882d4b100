"""Faults that users of trainers report, none of which ends with an error: training goes on, and the model is worse.

Elsewhere: the loss under gradient accumulation (transformers#34191, #35203) in tests/core/training/test_engine.py, packed
conversations that see one another in test_instruction.py, tokens that are lost when an adapter is merged (peft#1300) in
test_merge.py.
"""

from __future__ import annotations

import contextlib
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from finetuning import SMALL, inputs, rows_file

from ptft.core.chat_templates import FORMATS, PLAIN_TEMPLATE
from ptft.core.encoding import IGNORED
from ptft.core.errors import InputError
from ptft.core.progress import Silent
from ptft.core.training import Rows
from ptft.stages.finetune.instruction import run as instruction
from ptft.stages.finetune.recipe import InstructionRecipe

CHATML = FORMATS["chatml"].template
TURNS = [{"role": "user", "content": "say"}, {"role": "assistant", "content": "你好"}]


def base_with(folder: Path, **changes: Any) -> Path:
    """A tiny causal base whose tokenizer has these attributes."""
    tiny.causal(folder, scale=1.0)
    tokenizer = tiny.tokenizer()
    for name, value in changes.items():
        setattr(tokenizer, name, value)
    tokenizer.save_pretrained(folder)
    return folder


def chats(tmp_path: Path, count: int) -> Path:
    rows = [{"messages": [{**TURNS[0], "content": f"say {n}"}, TURNS[1]]} for n in range(count)]
    return rows_file(tmp_path / "in.jsonl", rows)


# ---------------------------------------------------------------- what is learnt

SAID = "{{ message['content'] + '<|im_end|>' }}"
EACH = (
    "{% for message in messages %}{% if message['role'] == 'assistant' %}ASSISTANT{% else %}USER{% endif %}{% endfor %}"
)


@pytest.mark.parametrize(
    ("user", "assistant"),
    [
        (SAID, "{% generation %}{% endgeneration %}" + SAID),
        ("{% generation %}" + SAID + "{% endgeneration %}", "{% generation %}" + SAID + "{% endgeneration %}"),
    ],
    ids=["zeros", "ones"],
)
def test_a_mask_of_all_zeros_or_all_ones_is_an_error(output_of, tmp_path, user: str, assistant: str) -> None:
    template = EACH.replace("USER", user).replace("ASSISTANT", assistant)
    base = base_with(tmp_path / "base", chat_template=template)
    with pytest.raises(InputError, match="do not enclose just what the assistant says"):
        instruction.prepare(InstructionRecipe(), inputs(base, chats(tmp_path, 2)), output_of(tmp_path / "o"), Silent())


@pytest.mark.parametrize("tags", [True, False])
def test_a_template_without_tags_learns_the_same_as_one_with_them(output_of, tmp_path, tags: bool) -> None:
    template = CHATML if tags else CHATML.replace("{% generation %}", "").replace("{% endgeneration %}", "")
    base = base_with(tmp_path / "base", chat_template=template)
    made = instruction.prepare(
        InstructionRecipe(), inputs(base, chats(tmp_path, 2)), output_of(tmp_path / "o"), Silent()
    )
    tokenizer = tiny.tokenizer()
    row = Rows.load(made.train)[0]
    assert tokenizer.decode(row["labels"][row["labels"] != IGNORED]) == "你好<|im_end|>"
    assert tokenizer.decode(row["input_ids"]).startswith("<|im_start|>user\nsay 0<|im_end|>\n<|im_start|>assistant\n")


@pytest.mark.parametrize("packing", [False, True])
def test_no_row_has_labels_of_minus_100_alone(output_of, tmp_path, packing: bool) -> None:
    rows = [{"prompt": "long " * n, "completion": "never seen"} for n in range(0, 120, 10)]
    base = base_with(tmp_path / "base")
    recipe = InstructionRecipe(max_seq_len=40, packing=packing)
    made = instruction.prepare(
        recipe, inputs(base, rows_file(tmp_path / "in.jsonl", rows)), output_of(tmp_path / "o"), Silent()
    )
    source = made.source()
    assert all(bool((source[n]["labels"][1:] != IGNORED).any()) for n in range(len(source)))
    lost = made.counts["rows_without_response"]
    assert lost and made.counts["rows"] + lost == 12
    with pytest.raises(InputError, match="none of the 1 rows has a response within 40 tokens"):
        given = inputs(base, rows_file(tmp_path / "long.jsonl", rows[-1:]))
        instruction.prepare(recipe, given, output_of(tmp_path / "p"), Silent())


@pytest.mark.parametrize("template", [CHATML, "{{ bos_token }}" + CHATML])
def test_there_are_never_two_bos(output_of, tmp_path, template: str) -> None:
    from tokenizers import processors

    base = base_with(tmp_path / "base")
    tokenizer = tiny.tokenizer()
    tokenizer.bos_token, tokenizer.chat_template = "[MASK]", template
    bos = tokenizer.bos_token_id
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="[MASK] $A", pair="[MASK] $A $B", special_tokens=[("[MASK]", bos)]
    )
    tokenizer.save_pretrained(base)
    made = instruction.prepare(
        InstructionRecipe(), inputs(base, chats(tmp_path, 3)), output_of(tmp_path / "o"), Silent()
    )
    rows = Rows.load(made.train)
    assert [(rows[n]["input_ids"] == bos).nonzero().flatten().tolist() for n in range(3)] == [[0]] * 3


# ---------------------------------------------------------------- the end is learnt


@pytest.mark.parametrize(("pad", "template", "batch"), [("<|endoftext|>", PLAIN_TEMPLATE, 4), (None, CHATML, 3)])
def test_a_model_whose_padding_is_its_end_of_text_stops(output_of, tmp_path, pad, template, batch) -> None:
    """Labels masked by the padding's id would hide the end of text from the loss (trl#1623)."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    base = base_with(tmp_path / "base", pad_token=pad, chat_template=template)
    rows = [{"messages": [{**TURNS[0], "content": "x " * (n % 4)}, TURNS[1]]} for n in range(12)]
    recipe = InstructionRecipe(epochs=12, batch_size=batch, lr=1e-2, schedule="constant")
    out = output_of(tmp_path / "o")
    instruction.run(recipe, inputs(base, rows_file(tmp_path / "in.jsonl", rows)), out, Silent())
    model, tokenizer = AutoModelForCausalLM.from_pretrained(out.new), AutoTokenizer.from_pretrained(out.new)
    asked = tokenizer.apply_chat_template(
        [{"role": "user", "content": "x "}], add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    answer = model.generate(**asked, max_new_tokens=20, do_sample=False)[0, asked["input_ids"].shape[1] :]
    end = "<|im_end|>" if template == CHATML else "<|endoftext|>"
    assert tokenizer.decode(answer) == f"你好{end}"


# ---------------------------------------------------------------- which rows are seen


class Killed(BaseException):
    """What no code catches."""


def apart(ids: torch.Tensor, places: torch.Tensor) -> list[list[int]]:
    """The rows that lie one behind the other: each begins where positions do."""
    starts = [*(places == 0).nonzero().flatten().tolist(), len(ids)]
    return [ids[start:end].tolist() for start, end in pairwise(starts)]


def seen(monkeypatch: Any, recipe: InstructionRecipe, given: Any, out: Any, kill_at: int = 0) -> list[list[list[int]]]:
    """The rows of every forward pass in training, in the order in which the model saw them."""
    found: list[list[list[int]]] = []
    new_model = instruction.Conversations.new_model

    def look(model: Any, args: Any, batch: dict[str, Any]) -> None:
        if not model.training:
            return
        if kill_at and len(found) == kill_at:
            raise Killed
        found.append(
            [
                row
                for ids, places in zip(batch["input_ids"], batch["position_ids"], strict=True)
                for row in apart(ids, places)
            ]
        )

    def watched(self: Any, dtype: str = "float32") -> Any:
        model = new_model(self, dtype)
        model.model.register_forward_pre_hook(lambda _, args, batch: look(model, args, batch), with_kwargs=True)
        return model

    monkeypatch.setattr(instruction.Conversations, "new_model", watched)
    with contextlib.suppress(Killed):
        instruction.run(recipe, given, out, Silent())
    monkeypatch.undo()
    return found


@pytest.mark.parametrize("packing", [False, True])
def test_a_run_that_goes_on_neither_repeats_nor_skips_rows(output_of, tmp_path, monkeypatch, packing: bool) -> None:
    """Killed in its second epoch, after a checkpoint (litgpt#1712, transformers#11284)."""
    base = base_with(tmp_path / "base")
    recipe = InstructionRecipe(epochs=3, packing=packing, max_seq_len=48, **{**SMALL, "save_every": 2})
    given = inputs(base, chats(tmp_path, 8))
    whole = seen(monkeypatch, recipe, given, output_of(tmp_path / "whole"))
    out = output_of(tmp_path / "killed")
    at = len(whole) * 2 // 3
    first = seen(monkeypatch, recipe, given, out, kill_at=at)
    rest = seen(monkeypatch, recipe, given, out)
    assert first == whole[:at] and 0 < len(rest) < len(whole)
    assert rest == whole[-len(rest) :] and len(first) + len(rest) >= len(whole)
    if not packing:
        rows = [tuple(row) for step in whole for row in step]
        assert all(len(set(rows[epoch : epoch + 8])) == 8 for epoch in (0, 8, 16)) and len(rows) == 24
