from __future__ import annotations

import json
from dataclasses import replace

import pytest
import tiny

from ptft.core.contracts import Inputs
from ptft.core.errors import InputError, UsageError
from ptft.core.files import expand
from ptft.core.progress import Silent
from ptft.stages.pretrain.recipe import Architecture, PretrainRecipe
from ptft.stages.pretrain.run import plan, run

RECIPE = PretrainRecipe(
    tokens=4096,
    batch_tokens=512,
    seq_len=32,
    lr=5e-3,
    architecture=Architecture(layers=1, width=32),
    save_every=3,
    eval_every=4,
    val=0.1,
)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pretrain")
    tiny.tokenizer().save_pretrained(folder / "tok")
    rows = [{"id": f"d{n}", "text": tiny.TEXTS[n % 4]} for n in range(120)]
    (folder / "in.jsonl").write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    return Inputs({"data": expand([str(folder / "in.jsonl")])}, {"tokenizer": folder / "tok"})


@pytest.mark.parametrize(("objective", "family"), [("causal", "llama"), ("causal", "gpt2"), ("masked", "bert")])
def test_it_learns_and_loads_without_ptft(inputs, output_of, tmp_path, objective, family):
    import transformers

    out = output_of(tmp_path)
    result = run(replace(RECIPE, objective=objective, model=family, tokens=8192 * 2), inputs, out, Silent())
    history = [json.loads(line) for line in (out.new / "metrics.jsonl").read_text().splitlines()]
    losses = [entry["loss"] for entry in history if "loss" in entry]
    assert losses[-1] < losses[0] - 0.5
    assert ("bits_per_byte" in result.metrics) == (objective == "causal")
    auto = transformers.AutoModelForCausalLM if objective == "causal" else transformers.AutoModelForMaskedLM
    model, tokenizer = auto.from_pretrained(out.new), transformers.AutoTokenizer.from_pretrained(out.new)
    assert model.config.model_type == family and len(tokenizer) == model.config.vocab_size
    assert result.counts["parameters"] == sum(p.numel() for p in model.parameters())


def test_a_masked_models_tokenizer_wraps_texts(inputs, output_of, tmp_path):
    corpus_tokenizer = tmp_path / "tok"
    from ptft.stages.tokenizer.recipe import TokenizerRecipe
    from ptft.stages.tokenizer.run import run as make_tokenizer

    made = output_of(corpus_tokenizer)
    make_tokenizer(TokenizerRecipe(vocab_size=400), inputs, made, Silent())
    out = output_of(tmp_path / "m")
    run(replace(RECIPE, objective="masked", tokens=512), Inputs(inputs.rows, {"tokenizer": made.new}), out, Silent())
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(out.new)
    assert tokenizer.decode(tokenizer("a", "b")["input_ids"]) == "[CLS]a[SEP]b[SEP]"


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


@pytest.mark.parametrize("wanted", [300_000, 1_000_000, 25_000_000, 124_000_000])
def test_the_dial_comes_near(inputs, wanted):
    recipe = PretrainRecipe(params=wanted, seq_len=32)
    lines = dict(plan(recipe, inputs, Silent()).lines)
    assert 0.6 < lines["parameters"] / wanted < 1.6


def test_the_plan_counts_what_the_run_makes(inputs, output_of, tmp_path):
    result = run(RECIPE, inputs, output_of(tmp_path), Silent())
    lines = dict(plan(RECIPE, inputs, Silent()).lines)
    assert lines["parameters"] == result.counts["parameters"] and lines["steps"] == result.counts["steps"]
    assert abs(lines["corpus tokens"] / result.counts["train_tokens"] - 1) < 0.2


def test_many_passes_are_warned_about(inputs, output_of, tmp_path):
    progress = Silent()
    run(replace(RECIPE, tokens=40_000, batch_tokens=4096), inputs, output_of(tmp_path), progress)
    assert any("passes over the corpus" in text for text in progress.warnings)


def test_what_cannot_be_is_refused(inputs, output_of, tmp_path):
    with pytest.raises(UsageError, match="no masked family"):
        run(replace(RECIPE, objective="masked", model="llama"), inputs, output_of(tmp_path / "a"), Silent())
    with pytest.raises(UsageError, match="needs a tokenizer"):
        run(RECIPE, Inputs(inputs.rows), output_of(tmp_path / "b"), Silent())
    with pytest.raises(InputError, match="do not fill one sequence"):
        run(replace(RECIPE, seq_len=30_000), inputs, output_of(tmp_path / "c"), Silent())
    with pytest.raises(UsageError, match="heads"):
        run(
            replace(RECIPE, architecture=Architecture(layers=1, width=32, heads=5)),
            inputs,
            output_of(tmp_path / "d"),
            Silent(),
        )


def test_a_config_file_decides_the_model(inputs, output_of, tmp_path):
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"model_type": "qwen3", **tiny.sizes(), "num_key_value_heads": 1, "head_dim": 16}))
    out = output_of(tmp_path / "o")
    run(replace(RECIPE, model=str(config), tokens=512), inputs, out, Silent())
    assert json.loads((out.new / "config.json").read_text())["model_type"] == "qwen3"
    with pytest.raises(InputError, match="configuration"):
        run(replace(RECIPE, model=str(tmp_path / "none.json")), inputs, output_of(tmp_path / "p"), Silent())
