"""Text to text: the prompt that training and use share, what is learnt, what is cut."""

from __future__ import annotations

import pytest
import tiny
import torch
from finetuning import SMALL, inputs, rows_file
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer

from ptft.core.errors import InputError, UsageError
from ptft.core.models import load, load_tokenizer
from ptft.core.progress import Silent
from ptft.core.prompting import encode_sources, prefix_of
from ptft.stages.finetune.recipe import TaskRecipe
from ptft.stages.finetune.task import run as task
from ptft.stages.finetune.task.text_to_text import TextPairs

PAIRS = [{"source": source, "target": target} for source, target in [("hello", "你好"), ("天气很好", "fine day")]] * 2
TASK = {"task": "text-to-text"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("pairs")
    tiny.causal(made / "causal", scale=1.0)
    tiny.masked(made / "masked")
    tiny.seq2seq(made / "seq2seq")
    rows_file(made / "rows.jsonl", PAIRS)
    return made


def prepared(folder, output_of, tmp_path, rows, base="causal", **knobs):
    data = rows_file(tmp_path / "rows.jsonl", rows)
    progress = Silent()
    recipe = TaskRecipe(**{**SMALL, **TASK, **knobs})
    made = task.prepare(recipe, inputs(folder / base, data, data), output_of(tmp_path / "o"), progress)
    assert isinstance(made, TextPairs)
    return made, progress


@pytest.mark.parametrize(("base", "auto"), [("causal", AutoModelForCausalLM), ("seq2seq", AutoModelForSeq2SeqLM)])
def test_two_pairs_are_learnt_by_heart_and_said_by_plain_transformers(folder, output_of, tmp_path, base, auto):
    out, data = output_of(tmp_path), folder / "rows.jsonl"
    recipe = TaskRecipe(
        **{**SMALL, **TASK, "lr": 1e-2, "save_every": 99}, schedule="constant", epochs=60, prefix="say: ", eval_every=60
    )
    result = task.run(recipe, inputs(folder / base, data, data), out, Silent())
    assert result.metrics["loss_last"] < 0.2 < result.metrics["loss_first"]
    assert result.metrics["eval_chrf"] == pytest.approx(100) and result.metrics["eval_loss"] < 0.2
    assert load(out.new).kind == base
    model, tokenizer = auto.from_pretrained(out.new).eval(), AutoTokenizer.from_pretrained(out.new)
    end = "\n" if base == "causal" else ""
    ids = torch.tensor([tokenizer(f"say: hello{end}")["input_ids"]])
    with torch.no_grad():
        made = model.generate(ids, max_new_tokens=12, do_sample=False)[0]
    assert tokenizer.decode(made, skip_special_tokens=True).endswith("你好") and int(made[-1]) == tokenizer.eos_token_id


def test_the_prefix_is_kept_with_the_tokenizer(folder, output_of, tmp_path):
    made, _ = prepared(folder, output_of, tmp_path, PAIRS, prefix="译: ")
    tokenizer = load_tokenizer(made.tokenizer)
    assert prefix_of(tokenizer) == "译: " and prefix_of(tiny.tokenizer()) is None
    (ids,), _ = encode_sources(tokenizer, ["hello"], [100], causal=True)
    assert tokenizer.decode(ids) == "译: hello\n"


def test_a_causal_base_learns_the_target_and_its_end_only(folder, output_of, tmp_path):
    made, _ = prepared(folder, output_of, tmp_path, PAIRS)
    tokenizer, example = load_tokenizer(made.tokenizer), made.source()[0]
    learnt = example["labels"] >= 0
    assert tokenizer.decode(example["input_ids"]) == "hello\n你好<|endoftext|>"
    assert tokenizer.decode(example["input_ids"][learnt]) == "你好<|endoftext|>"


def test_an_encoder_decoder_reads_the_source_and_writes_the_target(folder, output_of, tmp_path):
    made, _ = prepared(
        folder, output_of, tmp_path, [PAIRS[0], {"source": "a much longer one", "target": "x"}], "seq2seq"
    )
    tokenizer = load_tokenizer(made.tokenizer)
    batch = made.collate()([made.source()[0], made.source()[1]])
    assert tokenizer.decode(batch["input_ids"][0][batch["attention_mask"][0] == 1]).startswith("hello")
    assert tokenizer.decode(batch["labels"][0][batch["labels"][0] >= 0]) == "你好<|endoftext|>"
    assert batch["labels"].shape[1] != batch["input_ids"].shape[1]
    # one label of the second row, its end, and padding that has no loss
    assert (batch["labels"][1] >= 0).sum() == 2


@pytest.mark.parametrize("base", ["causal", "seq2seq"])
def test_what_is_too_long_loses_its_end_and_is_counted(folder, output_of, tmp_path, base):
    rows = [{"source": "start " + "long " * 80, "target": "x"}, {"source": "s", "target": "begin " + "and on " * 80}]
    made, progress = prepared(folder, output_of, tmp_path, rows, base, max_seq_len=32, max_target_len=8)
    assert made.counts["sources_cut"] == made.counts["targets_cut"] == 2  # the same rows are measured on
    assert any("lost their end" in text for text in progress.warnings)
    tokenizer = load_tokenizer(made.tokenizer)
    first, second = made.source()[0], made.source()[1]
    assert len(first["input_ids"]) == 32 and tokenizer.decode(first["input_ids"]).startswith("start long")
    labels = second["labels"][second["labels"] >= 0]
    assert len(labels) == 8 and tokenizer.decode(labels).startswith("begin") and labels[-1] == tokenizer.eos_token_id


def test_a_masked_base_writes_nothing(folder, output_of, tmp_path):
    with pytest.raises(InputError, match="writes no text"):
        prepared(folder, output_of, tmp_path, PAIRS, "masked")


def test_only_its_own_metrics_judge(folder, output_of, tmp_path):
    with pytest.raises(UsageError, match="no metric 'f1'"):
        prepared(folder, output_of, tmp_path, PAIRS, metric="f1")


def test_empty_texts_are_rejected(folder, output_of, tmp_path):
    made, _ = prepared(folder, output_of, tmp_path, [*PAIRS, {"source": " ", "target": "x"}], max_bad_rows=0.5)
    assert made.counts["rows_rejected"] == 2 and made.counts["rows"] == len(PAIRS)
