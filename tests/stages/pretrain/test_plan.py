from __future__ import annotations

import json
from dataclasses import replace

import pytest
import tiny

from ptft.core import hardware
from ptft.core.contracts import Inputs
from ptft.core.errors import UsageError
from ptft.core.files import expand
from ptft.core.hardware import shown_seconds
from ptft.core.progress import Silent
from ptft.core.training.cost import Load, flops_per_token, memory_of, sizes_from
from ptft.stages.pretrain import measured
from ptft.stages.pretrain import plan as planning
from ptft.stages.pretrain.budget import budget_of
from ptft.stages.pretrain.measured import seconds_to_train
from ptft.stages.pretrain.plan import plan
from ptft.stages.pretrain.recipe import Architecture, Hardware, Masking, PretrainRecipe

SMALL = Architecture(layers=2, width=64)
RECIPE = PretrainRecipe(architecture=SMALL, seq_len=32, batch_tokens=512, tokens=8192)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("plan")
    tiny.tokenizer().save_pretrained(folder / "tok")
    rows = [{"id": f"d{n}", "text": tiny.TEXTS[n % 4]} for n in range(120)]
    (folder / "in.jsonl").write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    return Inputs({"data": expand([str(folder / "in.jsonl")])}, {"tokenizer": folder / "tok"})


def lines_of(recipe, inputs, progress=None):
    return dict(plan(recipe, inputs, progress or Silent()).lines)


# ---------------------------------------------------------------- the budget


def test_auto_is_twenty_tokens_a_parameter():
    budget = budget_of(PretrainRecipe(batch_tokens=1000), 50_000, 250_000, 100)
    assert (budget.batch, budget.steps, budget.tokens, budget.passes) == (10, 1000, 1_000_000, 4.0)
    assert not budget.is_wasteful
    assert budget_of(PretrainRecipe(batch_tokens=1000), 50_000, 249_000, 100).is_wasteful


def test_tokens_come_in_whole_steps():
    budget = budget_of(PretrainRecipe(batch_tokens=100, tokens=1), 10, 0, 512)  # fewer than one sequence a step
    assert (budget.batch, budget.steps, budget.tokens) == (1, 1, 512)


# ---------------------------------------------------------------- what is said


def test_the_plan_says_what_it_costs(inputs):
    made = plan(RECIPE, inputs, Silent())
    lines = dict(made.lines)
    assert lines["model"] == "llama, 2 layers, 64 wide, 2 heads"
    assert lines["tokens to train on"] == 8192 and lines["steps"] == 16 and lines["tokens a step"] == 512
    assert lines["corpus tokens are"] == "estimated from a sample"
    memory = [name for name in lines if name.startswith("  ")]
    assert [name.split()[0] for name in memory] == ["weights", "gradients", "optimizer", "activations", "logits"]
    assert made.tables[0].columns[0] == "GPU" and len(made.tables[0].rows) == len(hardware.GPUS)
    assert "active parameters" not in lines


def test_the_corpus_is_counted_as_packing_counts_it(inputs):
    lines = lines_of(replace(RECIPE, val=0.25), inputs)
    tokenizer = tiny.tokenizer()
    exact = sum(len(tokenizer(tiny.TEXTS[n % 4])["input_ids"]) + 1 for n in range(120))
    assert lines["corpus tokens"] == pytest.approx(0.75 * exact, rel=0.02)


def test_packed_tokens_are_counted_exactly(inputs, tmp_path):
    from ptft.core.packing import PackOptions, packed_once

    packed, _ = packed_once(
        inputs.data, inputs.folders["tokenizer"], tmp_path, "t", PackOptions(32, 0.0, 1), 0, Silent()
    )
    lines = lines_of(replace(RECIPE, seq_len=0), Inputs({"data": expand([str(packed.folder)])}))
    assert lines["corpus tokens"] == packed.meta.total("train", "tokens")
    assert lines["corpus tokens are"] == "as packed" and lines["tokens a step"] == 512
    tiny.tokenizer(390).save_pretrained(tmp_path / "other")
    other = Inputs({"data": expand([str(packed.folder)])}, {"tokenizer": tmp_path / "other"})
    with pytest.raises(UsageError, match="another tokenizer"):
        plan(RECIPE, other, Silent())


def test_a_mixture_names_its_active_parameters_and_trains_by_them(inputs):
    lines = lines_of(replace(RECIPE, model="mixtral", tokens="auto"), inputs)
    assert lines["active parameters"] < lines["parameters"]
    assert lines["tokens to train on"] == pytest.approx(20 * lines["active parameters"], rel=0.01)


def test_many_passes_are_warned_about(inputs):
    progress = Silent()
    lines = lines_of(replace(RECIPE, tokens=60_000), inputs, progress)
    assert lines["passes over the corpus"] > 4
    assert any("passes over the corpus" in text and "--tokens" in text for text in progress.warnings)
    progress = Silent()
    lines_of(replace(RECIPE, tokens=2000), inputs, progress)
    assert not progress.warnings


def test_too_little_memory_is_warned_about(inputs, monkeypatch):
    monkeypatch.setattr(hardware, "memory_available", lambda: 2**20)
    progress = Silent()
    lines_of(RECIPE, inputs, progress)
    assert any("will not fit" in text for text in progress.warnings)


def test_a_masked_plan_makes_logits_of_hidden_tokens_only(inputs):
    recipe = replace(RECIPE, objective="masked", masking=Masking(rate=0.3))
    config = planning._work(recipe, inputs).config
    expected = flops_per_token(config, 32, labelled=0.3) * 8192
    assert float(lines_of(recipe, inputs)["FLOPs"]) == pytest.approx(expected, rel=0.01)
    plain = replace(recipe, hardware=Hardware(loss="plain"))
    assert float(lines_of(plain, inputs)["FLOPs"]) > 1.01 * expected


def test_a_checkpoint_brings_its_sizes_and_its_tokenizer(inputs, tmp_path):
    folder = tiny.causal(tmp_path / "base", tie_word_embeddings=False)
    recipe = replace(RECIPE, from_checkpoint=str(folder), architecture=Architecture())
    lines = lines_of(recipe, Inputs(inputs.rows, {"from_checkpoint": folder}))
    assert lines["model"] == "llama, 2 layers, 32 wide, 2 heads"
    with pytest.raises(UsageError, match="objective is masked"):
        plan(replace(recipe, objective="masked"), Inputs(inputs.rows, {"from_checkpoint": folder}), Silent())


def test_a_corpus_needs_a_tokenizer(inputs):
    with pytest.raises(UsageError, match="needs a tokenizer"):
        plan(RECIPE, Inputs(inputs.rows), Silent())


# ---------------------------------------------------------------- named GPUs


def rows_by_gpu(recipe, inputs):
    return {row[0]: row for row in plan(recipe, inputs, Silent()).tables[0].rows}


def test_what_does_not_fit_is_said(inputs):
    rows = rows_by_gpu(PretrainRecipe(model="llama-7b", seq_len=2048, tokens=10**12), inputs)
    assert rows["RTX 4090"][3] == "does not fit" and rows["B200"][3] != "does not fit"
    assert rows["H200"][5].endswith("days")


def test_a_smaller_micro_batch_is_found_before_giving_up(inputs):
    recipe = PretrainRecipe(model="llama-1b", seq_len=2048, tokens=10**9, batch_tokens=2**18)
    rows = rows_by_gpu(recipe, inputs)
    assert int(rows["RTX 4090"][3]) < int(rows["A100 40GB"][3]) < int(rows["H100"][3])


def test_the_time_on_a_gpu_is_flops_over_two_fifths_of_its_peak(inputs):
    recipe = PretrainRecipe(model="gpt2-124m", seq_len=1024, tokens=10**9, precision="fp32")
    work = planning._work(recipe, inputs)
    seconds = work.flops / (67e12 * 0.4)
    assert rows_by_gpu(recipe, inputs)["H100"][2::3] == ("fp32", shown_seconds(seconds))


def test_an_old_gpu_takes_fp16(inputs):
    rows = rows_by_gpu(RECIPE, inputs)
    assert rows["V100 32GB"][2] == "fp16" and rows["A100 80GB"][2] == "bf16"


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.01, "0.1 s"), (12.34, "12 s"), (89, "89 s"), (90, "1.5 min"), (5400, "1.5 h"), (129_600, "1.5 days"), (1e9, "11,574 days")],
)  # fmt: skip
def test_durations(seconds, said):
    assert shown_seconds(seconds) == said


# ---------------------------------------------------------------- the time here


def test_the_measured_time_is_that_of_the_run(inputs):
    """Twice the steps, twice the time; and about what the passes take when they are run."""
    recipe = replace(RECIPE, tokens=64 * 512)
    work = planning._work(recipe, inputs)
    load = planning.load_of(recipe, work.budget, 32, Silent())
    times = [
        seconds_to_train(recipe, work.config, work.sizes, replace(work.budget, steps=steps), load, estimate=1e-3)
        for steps in (64, 640)
    ]
    assert 4 < times[1] / times[0] < 25  # ten, on an idle machine
    one_pass, one_step = measured._timed(recipe, work.config, load)
    assert times[0] == pytest.approx(64 * one_pass + 64 * one_step, rel=0.8)


@pytest.mark.parametrize(
    "changed", [{"optimizer": "muon"}, {"objective": "masked"}, {"objective": "masked+nsp"}, {"model": "mixtral"}]
)
def test_every_kind_of_run_can_be_timed(inputs, changed):
    recipe = replace(RECIPE, **changed, hardware=Hardware(checkpointing=True))
    assert "from timed steps" in lines_of(recipe, inputs)["time on this device"]


def test_what_is_too_much_for_a_dry_run_is_estimated(inputs):
    recipe = PretrainRecipe(model="bert-large", objective="masked", seq_len=512, tokens=10**9)
    assert "of its measured peak" in lines_of(recipe, inputs)["time on this device"]


def test_processes_share_the_work(inputs):
    work = planning._work(RECIPE, inputs)
    one, two = (replace(RECIPE, nproc=n) for n in (1, 2))
    loads = [planning.load_of(recipe, work.budget, 32, Silent()) for recipe in (one, two)]
    assert loads[1].micro_batch <= work.budget.batch // 2
    memory = [memory_of(work.config, work.sizes, load) for load in loads]
    assert memory[1].gradients == 2 * memory[0].gradients  # DDP's buckets
    assert isinstance(loads[0], Load) and sizes_from(work.config) == work.sizes
