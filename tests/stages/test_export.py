"""`ptft export`: what comes out loads without ptft, answers the same, and says truly what it takes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny

from ptft.core.contracts import EXPORT, Inputs, Output, Result
from ptft.core.errors import InputError, RecipeError
from ptft.core.files import expand, hash_file
from ptft.core.models import load
from ptft.core.progress import Silent
from ptft.core.weights import sort_header, tensors
from ptft.stages.export.recipe import ExportRecipe
from ptft.stages.export.run import plan, run

IDS = [[5, 9, 30, 41, 77, 120, 8, 3, 60, 61]]

WITHOUT_PTFT = """
import json, sys
sys.modules["ptft"] = None  # any import of it fails
import numpy, torch, transformers
for folder, auto, trust in json.loads(sys.argv[1]):
    model = getattr(transformers, auto).from_pretrained(folder, **({"trust_remote_code": True} if trust else {})).eval()
    with torch.inference_mode():
        numpy.save(folder + "/logits.npy", model(input_ids=torch.tensor(json.loads(sys.argv[2]))).logits.numpy())
"""


def exported(
    tmp_path: Path, model: Path, name: str = "new", rows: Path | None = None, **knobs: Any
) -> tuple[Result, Path, Silent]:
    new, state, progress = tmp_path / name, tmp_path / f"{name}-state", Silent()
    new.mkdir()
    state.mkdir()
    inputs = Inputs({"verify": expand([str(rows)])} if rows else {}, {"model": model})
    result = run(ExportRecipe(**knobs), inputs, Output(tmp_path, new, state), progress)
    return result, new, progress


def logits_of(folder: Path) -> Any:
    import torch

    with torch.inference_mode():
        return load(folder).model(input_ids=torch.tensor(IDS)).logits.numpy()


def report_of(folder: Path) -> Any:
    return json.loads((folder / "export.json").read_text(encoding="utf-8"))


def test_an_export_loads_where_ptft_cannot_be_imported(tmp_path: Path) -> None:
    made = {
        "int8": (tiny.causal(tmp_path / "causal"), "AutoModelForCausalLM"),
        "int4": (tiny.causal(tmp_path / "causal-untied", tie_word_embeddings=False), "AutoModelForCausalLM"),
        "mean": (tiny.mean_pooled(tmp_path / "mean-model"), "AutoModelForSequenceClassification"),
        "bert": (tiny.bert_classifier(tmp_path / "bert-model"), "AutoModelForSequenceClassification"),
        "masked": (tiny.masked(tmp_path / "masked-model"), "AutoModelForMaskedLM"),
    }
    heads = {
        "int8": "lm_head",
        "int4": "lm_head",
        "mean": "score",
        "bert": "classifier",
        "masked": "cls.predictions.decoder",
    }
    todo = []
    for name, (model, auto) in made.items():
        _, folder, _ = exported(tmp_path, model, name, to="int8" if name == "int8" else "int4")
        assert EXPORT.is_valid(folder) and (folder / "tokenizer.json").is_file()
        assert auto in report_of(folder)["load"] and ("trust_remote_code" in report_of(folder)["load"]) == (
            name == "mean"
        )
        assert heads[name] in report_of(folder)["kept_in_full_precision"]
        assert report_of(folder)["bytes"]["after"]["head"] == report_of(folder)["bytes"]["before"]["head"]
        todo.append((str(folder), auto, name == "mean"))
    subprocess.run([sys.executable, "-c", WITHOUT_PTFT, json.dumps(todo), json.dumps(IDS)], check=True, cwd=tmp_path)
    for name, (model, _) in made.items():
        outside = np.load(tmp_path / name / "logits.npy")
        assert np.array_equal(outside, logits_of(tmp_path / name))
        assert not np.array_equal(outside, logits_of(model)), "nothing was quantised"
    tied = load(tmp_path / "int8").model
    assert tied.lm_head.weight is tied.model.embed_tokens.weight
    assert "lm_head.weight" not in {tensor.name for tensor in tensors(tmp_path / "int8")}


def test_sizes_are_those_of_the_file_and_the_dry_run_foretells_them(tmp_path: Path) -> None:
    model = tiny.causal(tmp_path / "model", hidden_size=64, intermediate_size=128)
    for to, bits in (("int8", 8 + 5 * 8 / 80), ("int4", 8 + 5 * 8 / 32)):
        result, folder, progress = exported(tmp_path, model, to, to=to)
        report = report_of(folder)
        stored = sum(tensor.bytes for tensor in tensors(folder))
        assert result.metrics["bytes_after"] == report["bytes"]["after"]["total"] == stored
        assert result.metrics["bytes_before"] == sum(tensor.bytes for tensor in tensors(model))
        assert report["bytes"]["after"]["embeddings"] == report["bytes"]["before"]["embeddings"]
        assert report["bits_a_quantised_weight"] == pytest.approx(bits, rel=0.05)
        lines = dict(plan(ExportRecipe(to=to), Inputs({}, {"model": model}), Silent()).lines)
        assert lines["bytes after"] == stored and lines["bytes before"] == result.metrics["bytes_before"]
        assert any("a byte a weight" in warning for warning in progress.warnings) == (to == "int4")
        assert bool(report["notes"]) == (to == "int4")


def test_the_same_export_is_the_same_bytes(tmp_path: Path) -> None:
    model = tiny.causal(tmp_path / "model")
    folders = [exported(tmp_path, model, name, to="int4")[1] for name in ("one", "two")]
    hashes = [{path.name: hash_file(path) for path in folder.iterdir()} for folder in folders]
    assert hashes[0] == hashes[1]


def test_a_width_that_the_group_does_not_divide_gets_smaller_groups(tmp_path: Path) -> None:
    model = tiny.causal(tmp_path / "model", intermediate_size=72)  # 72 = 2 * 32 + 8
    _, folder, progress = exported(tmp_path, model, to="int4")
    report = report_of(folder)
    assert set(report["groups_lowered"]) == {f"model.layers.{i}.mlp.down_proj" for i in (0, 1)}
    assert set(report["groups_lowered"].values()) == {8} and report["kept_in_full_precision"] == {
        "lm_head": "tied to the embeddings"
    }
    assert "2 layers are not a multiple" in progress.notes[0]
    odd = tiny.causal(tmp_path / "odd", intermediate_size=68)
    _, folder, _ = exported(tmp_path, odd, "odd-new", to="int4")
    assert "cannot be cut into groups" in report_of(folder)["kept_in_full_precision"]["model.layers.0.mlp.down_proj"]


def test_verify_measures_before_and_after_and_gates(tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    labelled = [{"text": text, "label": label} for text, label in zip(tiny.TEXTS, (*tiny.LABELS, "sport"), strict=True)]
    rows.write_text("".join(json.dumps(row) + "\n" for row in labelled), encoding="utf-8")
    result, _, _ = exported(
        tmp_path, tiny.bert_classifier(tmp_path / "bert"), "a", rows, to="int4", max_loss_increase=1e-9
    )
    assert {"accuracy_before", "accuracy_after", "loss_before", "loss_after"} <= set(result.metrics)
    rose = result.metrics["loss_after"] > result.metrics["loss_before"]
    assert bool(result.gates) == rose
    result, folder, _ = exported(
        tmp_path, tiny.causal(tmp_path / "causal"), "b", rows, verify_rows=2, max_loss_increase=0.5
    )
    assert result.gates == () and result.counts["verify_rows"] == 2 and not report_of(folder)["verify"]["built_in"]
    assert 0 < result.metrics["max_logit_error"] < 1


def test_an_adapter_is_merged_first(tmp_path: Path) -> None:
    import torch
    from peft import LoraConfig, get_peft_model

    base = tiny.causal(tmp_path / "base")
    loaded = load(base)
    loaded.model.name_or_path = str(base)
    tuned = get_peft_model(loaded.model, LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM"))
    torch.manual_seed(3)
    with torch.no_grad():
        for name, parameter in tuned.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.2)
    tuned.save_pretrained(tmp_path / "adapter")
    loaded.tokenizer.save_pretrained(tmp_path / "adapter")
    _, folder, _ = exported(tmp_path, tmp_path / "adapter")
    with_adapter, quantised = logits_of(tmp_path / "adapter"), logits_of(folder)
    assert np.abs(quantised - with_adapter).max() < 0.1 < np.abs(logits_of(base) - with_adapter).max()
    for path in base.iterdir():
        path.unlink()
    with pytest.raises(InputError, match="base"):
        exported(tmp_path, tmp_path / "adapter", "again")


def test_what_cannot_be_exported_is_refused(tmp_path: Path) -> None:
    from transformers import GPT2Config, GPT2LMHeadModel

    gpt2 = GPT2LMHeadModel(GPT2Config(vocab_size=400, n_embd=32, n_layer=1, n_head=2, n_positions=64))
    gpt2.save_pretrained(tmp_path / "gpt2")
    tiny.tokenizer().save_pretrained(tmp_path / "gpt2")
    with pytest.raises(InputError, match=r"nothing to quantise.*gpt2"):
        exported(tmp_path, tmp_path / "gpt2", "a")
    _, folder, _ = exported(tmp_path, tiny.causal(tmp_path / "model"), "b")
    with pytest.raises(InputError, match="quantised already"):
        exported(tmp_path, folder, "c")
    weights = tmp_path / "model" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    with pytest.raises(InputError, match="cannot be loaded"):
        exported(tmp_path, tmp_path / "model", "d")
    with pytest.raises(InputError, match="corrupt or truncated"):
        list(tensors(tmp_path / "model"))
    from ptft.core import recipes

    with pytest.raises(RecipeError, match="name some with --verify"):
        recipes.resolve(ExportRecipe, "export", flags={"max_loss_increase": "2%"})


def test_sorting_a_header_changes_no_tensor(tmp_path: Path) -> None:
    import torch
    from safetensors import safe_open
    from safetensors.torch import save_file

    path = tmp_path / "x.safetensors"
    given = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.tensor([1, 2])}
    notes = {f"key{i}": f'{{"value": "{i} é"}}' for i in range(20)}
    save_file(given, path, notes)
    size = path.stat().st_size
    sort_header(path)
    once = path.read_bytes()
    sort_header(path)
    assert path.read_bytes() == once and len(once) == size
    with safe_open(path, "pt") as file:
        assert file.metadata() == notes
        assert all(torch.equal(file.get_tensor(name), tensor) for name, tensor in given.items())
