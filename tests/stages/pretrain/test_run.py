"""Whole runs: every objective and family learns, loads without ptft, and is what the recipe asked for."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import tiny
import torch
from small import RECIPE, history, inputs_in

from ptft.core.contracts import Inputs
from ptft.core.errors import Diverged, InputError, UsageError
from ptft.core.files import expand
from ptft.core.progress import Silent
from ptft.stages.pretrain.recipe import Architecture, Hardware, Masking, PretrainRecipe
from ptft.stages.pretrain.run import plan, run

CASES = [
    ("causal", "llama"), ("causal", "gpt2"), ("causal", "qwen3"), ("causal", "mixtral"), ("causal", "qwen3-moe"),
    ("masked", "bert"), ("masked", "modernbert"), ("masked+nsp", "bert"), ("masked+sop", "bert"),
]  # fmt: skip


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    return inputs_in(tmp_path_factory.mktemp("pretrain"))


@pytest.mark.parametrize(("objective", "family"), CASES)
def test_it_learns_and_loads_without_ptft(inputs, output_of, tmp_path, objective, family):
    import transformers

    out, sizes = output_of(tmp_path), RECIPE.architecture
    if family in ("mixtral", "qwen3-moe"):
        sizes = replace(sizes, experts=4)
    recipe = replace(RECIPE, objective=objective, model=family, architecture=sizes, tokens=16_384)
    result = run(recipe, inputs, out, Silent())
    losses = [entry["loss"] for entry in history(out.new) if "loss" in entry]
    assert sum(losses[-5:]) / 5 < sum(losses[:3]) / 3 - 0.5
    assert ("bits_per_byte" in result.metrics) == (objective == "causal")
    assert ("val_pair_loss" in result.metrics) == ("+" in objective)
    assert ("balance" in result.metrics) == (family in ("mixtral", "qwen3-moe"))
    auto = transformers.AutoModelForCausalLM if objective == "causal" else transformers.AutoModelForMaskedLM
    model, info = auto.from_pretrained(out.new, output_loading_info=True)
    tokenizer = transformers.AutoTokenizer.from_pretrained(out.new)
    assert not info["missing_keys"] and not info["mismatched_keys"]
    assert model.config.model_type == family.replace("-", "_") and len(tokenizer) == model.config.vocab_size
    names = {path.name for path in out.new.iterdir()}
    assert {"metrics.jsonl", "loss.png", "tensorboard"} <= names and ("samples.jsonl" in names) == (
        objective == "causal"
    )


@pytest.mark.parametrize(
    "change",
    [
        {"isolate": True, "packing": "best-fit"},
        {"isolate": True, "packing": "best-fit", "objective": "masked", "model": "modernbert"},
        {"objective": "masked", "masking": Masking(rate=0.4, whole_word=True)},
        {"optimizer": "muon"},
        {"schedule": "wsd", "min_lr": 0.1},
    ],
    ids=str,
)
def test_every_choice_learns(inputs, output_of, tmp_path, change):
    out = output_of(tmp_path)
    run(replace(RECIPE, tokens=12_288, **change), inputs, out, Silent())
    losses = [entry["loss"] for entry in history(out.new) if "loss" in entry]
    assert sum(losses[-5:]) / 5 < sum(losses[:3]) / 3 - 0.3


def test_a_masked_models_tokenizer_wraps_texts(inputs, output_of, tmp_path):
    from transformers import AutoTokenizer

    out = output_of(tmp_path)
    run(replace(RECIPE, objective="masked", tokens=512), inputs, out, Silent())
    tokenizer = AutoTokenizer.from_pretrained(out.new)
    assert tokenizer.decode(tokenizer("a", "b")["input_ids"]) == "[CLS]a[SEP]b[SEP]"
    early = AutoTokenizer.from_pretrained(next(tmp_path.glob("checkpoint-*")))
    assert early("a", "b")["input_ids"] == tokenizer("a", "b")["input_ids"] and early.model_max_length == 32


def test_packed_tokens_need_no_tokenizer(inputs, output_of, tmp_path):
    from ptft.core.packing import PackOptions, pack_corpus
    from ptft.core.rows import RejectLog

    log = RejectLog(tmp_path / "r.jsonl", 0)
    pack_corpus(inputs.data, inputs.folders["tokenizer"], tmp_path / "tokens", PackOptions(32, 0.1, 1), log, Silent())
    packed = Inputs({"data": expand([str(tmp_path / "tokens")])})
    direct, through = output_of(tmp_path / "a"), output_of(tmp_path / "b")
    run(RECIPE, inputs, direct, Silent())
    run(RECIPE, packed, through, Silent())
    assert (direct.new / "model.safetensors").read_bytes() == (through.new / "model.safetensors").read_bytes()


def test_many_passes_are_warned_about(inputs, output_of, tmp_path):
    progress = Silent()
    run(replace(RECIPE, tokens=40_000, batch_tokens=4096), inputs, output_of(tmp_path), progress)
    assert any("passes over the corpus" in text for text in progress.warnings)


def test_what_cannot_be_is_refused(inputs, output_of, tmp_path):
    def refused(change, given=inputs, error=UsageError, match=""):
        with pytest.raises(error, match=match):
            run(replace(RECIPE, **change), given, output_of(tmp_path / match.split()[0]), Silent())

    refused({"objective": "masked", "model": "llama"}, match="llama")
    refused({}, Inputs(inputs.rows), match="needs a tokenizer")
    refused({"seq_len": 30_000}, error=InputError, match="do not fill one sequence")
    refused({"architecture": Architecture(layers=1, width=32, heads=5)}, match="heads")
    refused({"precision": "fp16"}, match="fp16 needs a GPU")
    refused({"nproc": 3, "batch_tokens": 64}, match="cannot be shared by 3 processes")


def test_sizes_that_would_be_ignored_are_refused(inputs, output_of, tmp_path):
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"model_type": "llama", **tiny.sizes()}))
    recipe = replace(RECIPE, model=str(config), architecture=Architecture(layers=3, dropout=0.1))
    with pytest.raises(UsageError, match=r"architecture\.layers, architecture\.dropout"):
        run(recipe, inputs, output_of(tmp_path / "a"), Silent())
    with pytest.raises(UsageError, match=r"mixtral-small has its own .*architecture\.experts"):
        recipe = replace(RECIPE, model="mixtral-small", architecture=replace(RECIPE.architecture, experts=4))
        run(recipe, inputs, output_of(tmp_path / "b"), Silent())
    with pytest.raises(UsageError, match="gpt2-124m has its own params"):
        run(
            replace(RECIPE, model="gpt2-124m", architecture=Architecture(), params=5),
            inputs,
            output_of(tmp_path / "c"),
            Silent(),
        )
    with pytest.raises(UsageError, match=r"llama has no experts: architecture\.experts"):
        run(replace(RECIPE, architecture=Architecture(experts=4)), inputs, output_of(tmp_path / "d"), Silent())
    assert any("architecture" in text for text in replace(RECIPE, from_checkpoint="x").problems())


@pytest.mark.parametrize(
    "idle",
    [
        {"masking": Masking(rate=0.3)},
        {"objective": "masked", "prompts": ("The",)},
        {"objective": "masked+nsp", "isolate": True},
        {"objective": "masked+sop", "packing": "best-fit"},
        {"from_checkpoint": "x", "params": 5_000_000},
    ],
    ids=str,
)
def test_a_knob_that_would_do_nothing_is_refused(idle):
    assert len(PretrainRecipe(**idle).problems()) == 1


@pytest.mark.skipif(torch.cuda.is_available(), reason="says what a CPU does")
def test_what_this_device_cannot_do_is_refused_before_anything_is_packed(inputs, output_of, tmp_path):
    for attention in ("flash_attention_2", "flex_attention"):
        recipe, out = replace(RECIPE, hardware=Hardware(attention=attention)), output_of(tmp_path / attention)
        with pytest.raises(UsageError, match=attention):
            run(recipe, inputs, out, Silent())
        with pytest.raises(UsageError, match=attention):
            plan(recipe, inputs, Silent())
        assert not list(out.state.iterdir())


def test_no_compiler_is_said(monkeypatch, inputs, output_of, tmp_path):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr("ptft.core.training.refusals.shutil.which", lambda name: None)
    with pytest.raises(UsageError, match="needs a C\\+\\+ compiler"):
        run(replace(RECIPE, hardware=Hardware(compile=True)), inputs, output_of(tmp_path), Silent())


def test_sharding_in_one_process_is_said(inputs, output_of, tmp_path):
    progress = Silent()
    run(replace(RECIPE, tokens=512, hardware=Hardware(parallel="fsdp")), inputs, output_of(tmp_path), progress)
    assert any("does nothing in one process" in text for text in progress.warnings)


def test_a_model_is_no_corpus(inputs, output_of, tmp_path):
    tokenizer = Inputs({"data": expand([str(inputs.folders["tokenizer"] / "tokenizer.json")])}, inputs.folders)
    with pytest.raises(UsageError, match="this is a tokenizer, not a corpus"):
        run(RECIPE, tokenizer, output_of(tmp_path), Silent())


def test_no_validation_is_said(inputs, output_of, tmp_path):
    progress = Silent()
    result = run(replace(RECIPE, val=0.0, patience=2, tokens=512), inputs, output_of(tmp_path), progress)
    assert any("no validation loss; patience and keep do nothing" in text for text in progress.warnings)
    assert "val_loss" not in result.metrics


def test_every_held_out_token_is_scored(inputs, output_of, tmp_path):
    """The last of them do not fill a sequence; with a long sequence they are all there is."""
    result = run(
        replace(RECIPE, seq_len=512, batch_tokens=1024, tokens=1024, val=0.03), inputs, output_of(tmp_path), Silent()
    )
    assert result.metrics["val_loss"] > 0


def test_a_config_file_decides_the_model(inputs, output_of, tmp_path):
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"model_type": "qwen3", **tiny.sizes(), "num_key_value_heads": 1, "head_dim": 16}))
    out = output_of(tmp_path / "o")
    run(replace(RECIPE, model=str(config), tokens=512, architecture=Architecture()), inputs, out, Silent())
    assert json.loads((out.new / "config.json").read_text())["model_type"] == "qwen3"
    with pytest.raises(InputError, match="configuration"):
        run(
            replace(RECIPE, model=str(tmp_path / "none.json"), architecture=Architecture()),
            inputs,
            output_of(tmp_path / "p"),
            Silent(),
        )


# ---------------------------------------------------------------- going on from a checkpoint


@pytest.mark.parametrize("objective", ["causal", "masked"])
def test_a_checkpoint_goes_on_learning(inputs, output_of, tmp_path, objective):
    first, second = output_of(tmp_path / "a"), output_of(tmp_path / "b")
    recipe = replace(RECIPE, objective=objective, tokens=16_384)
    run(recipe, inputs, first, Silent())
    given = Inputs(inputs.rows, {"from_checkpoint": first.new})  # its tokenizer too
    run(replace(recipe, from_checkpoint=str(first.new), lr=1e-4, tokens=2048), given, second, Silent())
    before = [entry["val_loss"] for entry in history(first.new) if "val_loss" in entry][-1]
    assert abs(history(second.new)[0]["loss"] - before) < 0.7


def test_what_cannot_go_on_is_refused(inputs, output_of, tmp_path):
    first = output_of(tmp_path / "a")
    run(replace(RECIPE, tokens=512), inputs, first, Silent())
    given = Inputs(inputs.rows, {"from_checkpoint": first.new})
    with pytest.raises(UsageError, match="causal"):
        run(replace(RECIPE, from_checkpoint="a", objective="masked"), given, output_of(tmp_path / "b"), Silent())
    tiny.tokenizer().save_pretrained(tmp_path / "other")
    given = Inputs(inputs.rows, {"from_checkpoint": first.new, "tokenizer": tmp_path / "other"})
    with pytest.raises(UsageError, match="tokenizer"):
        run(replace(RECIPE, from_checkpoint="a"), given, output_of(tmp_path / "c"), Silent())


# ---------------------------------------------------------------- the run


def test_a_run_that_diverges_stops_and_says_what_to_try(inputs, output_of, tmp_path):
    out = output_of(tmp_path)
    recipe = replace(RECIPE, lr=30.0, clip=1e9, warmup=0.0, tokens=65_536, spike=0.5)
    with pytest.raises(Diverged) as error:
        run(recipe, inputs, out, Silent())
    assert "--lr" in error.value.remedy and not (out.new / "model.safetensors").exists()


def test_samples_are_texts_and_change_nothing(inputs, output_of, tmp_path):
    from ptft.core.training import samples

    out, plain = output_of(tmp_path / "a"), output_of(tmp_path / "b")
    run(replace(RECIPE, prompts=("The quick", "今天")), inputs, out, Silent())
    rows = [json.loads(line) for line in (out.new / "samples.jsonl").read_text().splitlines()]
    assert [row["prompt"] for row in rows[:2]] == ["The quick", "今天"] and all(row["text"] for row in rows)
    assert {row["step"] for row in rows} == {4, 8} and samples.NEW_TOKENS > 0
    run(RECIPE, inputs, plain, Silent())
    assert (out.new / "model.safetensors").read_bytes() == (plain.new / "model.safetensors").read_bytes()


def test_the_best_validation_is_kept_and_named(inputs, output_of, tmp_path):
    out = output_of(tmp_path)
    result = run(replace(RECIPE, keep="best", tokens=8192), inputs, out, Silent())
    looks = {entry["step"]: entry["val_loss"] for entry in history(out.new) if "val_loss" in entry}
    assert result.metrics["best_step"] == min(looks, key=lambda step: looks[step])
    assert 0 < result.metrics["mfu"] < 1.5 and result.metrics["peak_memory_bytes"] > 10**7
