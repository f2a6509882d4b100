"""`ptft export` as a whole: what it writes, says, refuses, chooses, and goes on with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import export_runs
import numpy as np
import pytest
import tiny
from export_runs import exported, report_of

from ptft.core.contracts import EXPORT, Inputs, Output, best_of
from ptft.core.errors import InputError, RunError
from ptft.core.files import expand, hash_file
from ptft.core.models import load
from ptft.core.progress import Silent
from ptft.core.weights import tensors
from ptft.stages.export import making, run
from ptft.stages.export.recipe import ExportRecipe

IDS = [[5, 9, 30, 41, 77, 120, 8, 3, 60, 61]]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_runs.causal(tmp_path_factory.mktemp("causal") / "model")


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_runs.rows_file(tmp_path_factory.mktemp("rows") / "rows.jsonl", export_runs.HELD_OUT, tiny.LABELS)


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory, model: Path, rows: Path) -> tuple[Any, Path, Silent]:
    folder = tmp_path_factory.mktemp("several")
    return exported(folder, model, rows, to=("int8", "int4-rtn"), format=("onnx", "gguf"))


def logits_of(folder: Path) -> Any:
    import torch

    with torch.inference_mode():
        return load(folder).model(input_ids=torch.tensor(IDS)).logits.numpy()


def test_one_export_is_the_folder_itself(tmp_path: Path, model: Path) -> None:
    result, folder, progress = exported(tmp_path, model)
    assert EXPORT.is_valid(folder) and best_of(folder) == folder
    report = report_of(folder)
    assert report["verify"]["built_in"] and "built-in sentences: name rows with --verify" in progress.tables[0].title
    assert report["bytes"]["after"]["total"] == sum(tensor.bytes for tensor in tensors(folder))
    assert report["bytes"]["before"]["total"] == sum(tensor.bytes for tensor in tensors(model))
    assert set(report["plan"].values()) == {"int8 per-channel rtn"} and report["bits_a_quantised_weight"] < 8.6
    assert result.metrics["bytes_after"] == report["bytes"]["after"]["total"]
    assert not np.array_equal(logits_of(folder), logits_of(model))


def test_several_have_folders_of_their_own_and_a_best(several: tuple[Any, Path, Silent]) -> None:
    result, folder, progress = several
    listed = report_of(folder)
    assert list(listed["exports"]) == ["int8-onnx", "int8-gguf", "int4-rtn-onnx", "int4-rtn-gguf"]
    assert EXPORT.is_valid(folder) and best_of(folder) == folder / listed["best"]
    for name, summary in listed["exports"].items():
        own = report_of(folder / name)
        assert (
            own["verify"] == {"built_in": False, **summary["verify"]}
            and summary["bytes"] == own["bytes"]["after"]["total"]
        )
        assert result.metrics[name]["bytes_after"] == summary["bytes"]
    assert any(f"{listed['best']} (best)" in row for row in progress.tables[0].rows for row in row)
    assert len(progress.tables) == 2, "speed was not measured"


def test_show_lists_them(several: tuple[Any, Path, Silent]) -> None:
    from ptft.stages.show.run import described

    listed = report_of(several[1])
    shown = next(table for table in described([several[1]])[0] if table.title.startswith("exports of"))
    assert [row[0].removesuffix(" (best)") for row in shown.rows] == list(listed["exports"])
    assert [row[0] for row in shown.rows if row[0].endswith("(best)")] == [f"{listed['best']} (best)"]
    alone = described([several[1] / "int4-rtn-gguf"])[0][-1]
    assert dict(alone.rows)["scheme"] == listed["exports"]["int4-rtn-gguf"]["scheme"]


def test_the_dry_run_foretells_the_sizes(several: tuple[Any, Path, Silent], model: Path) -> None:
    recipe = ExportRecipe(to=("int8", "int4-rtn"), format=("onnx", "gguf"))
    lines = dict(run.plan(recipe, Inputs({}, {"model": model}), Silent()).lines)
    for name, summary in report_of(several[1])["exports"].items():
        assert lines[f"bytes of {name}"] == pytest.approx(summary["bytes"], rel=0.02)


def test_the_same_export_is_the_same_bytes(tmp_path: Path, model: Path, rows: Path) -> None:
    knobs = {"to": ("int4-hqq",), "format": ("torchao",)}
    folders = [exported(tmp_path / name, model, rows, **knobs)[1] for name in ("one", "two")]
    hashes = [{path.name: hash_file(path) for path in folder.iterdir()} for folder in folders]
    assert hashes[0] == hashes[1] and "export.json" in hashes[0]


def test_what_is_made_is_not_made_again(
    tmp_path: Path, model: Path, rows: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that dies while it writes the second export goes on with that one, and ends with the same files."""
    knobs = {"to": ("int8", "int4-rtn"), "format": ("gguf",)}
    written: list[str] = []
    write = making.Maker._write

    def dies(self: Any, cell: making.Cell, job: Any) -> None:
        if written:
            raise KeyboardInterrupt
        written.append(cell.name)
        write(self, cell, job)

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(making.Maker, "_write", dies)
        exported(tmp_path / "cut", model, rows, **knobs)
    stamp = (tmp_path / "cut" / "state" / "made" / "int8-gguf" / "model.gguf").stat().st_mtime_ns
    _, cut, _ = exported(tmp_path / "cut", model, rows, **knobs)
    _, whole, _ = exported(tmp_path / "whole", model, rows, **knobs)
    assert written == ["int8-gguf"] and (cut / "int8-gguf" / "model.gguf").stat().st_mtime_ns == stamp
    names = sorted(path.relative_to(whole) for path in whole.rglob("*") if path.is_file())
    assert all((cut / name).read_bytes() == (whole / name).read_bytes() for name in names)


def test_what_a_kill_left_of_a_graph_is_no_hindrance(tmp_path: Path, model: Path) -> None:
    left = tmp_path / "out" / "state" / "made" / "graph"
    left.mkdir(parents=True)
    (left / "model.onnx").write_bytes(b"half")
    _, folder, _ = exported(tmp_path / "out", model, format=("onnx",))
    assert (folder / "model.onnx").is_file() and not left.exists()


def test_the_dry_run_refuses_what_the_run_does(tmp_path: Path) -> None:
    for folder, name, because in (
        (tiny.seq2seq(tmp_path / "t5"), "onnx", "encoder-decoder"),
        (tiny.bert_classifier(tmp_path / "bert"), "gguf", "GGUF files are written of"),
    ):
        with pytest.raises(InputError, match=because):
            run.plan(ExportRecipe(format=(name,)), Inputs({}, {"model": folder}), Silent())


def test_a_type_that_the_checkpoint_has_stays(tmp_path: Path) -> None:
    import torch

    folder = export_runs.causal(tmp_path / "model")
    loaded = load(folder)
    loaded.model.to(torch.bfloat16).save_pretrained(folder)
    _, new, _ = exported(tmp_path / "out", folder, format=("torchao",))
    before = report_of(new)["bytes"]["before"]["total"]
    assert before == sum(tensor.bytes for tensor in tensors(folder))
    kinds = {tensor.name: tensor.dtype for tensor in tensors(new)}
    assert kinds["model.embed_tokens.weight"] == "BF16" and kinds["model.norm.weight"] == "BF16"


def test_the_gate_fails_and_keeps_what_was_made(
    tmp_path: Path, rows: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from ptft import cli
    from ptft.stages.export.verifying import Quality

    classifier, out = tiny.bert_classifier(tmp_path / "bert"), tmp_path / "out"
    monkeypatch.setattr(Quality, "loss_increase", 0.05)
    command = ["export", str(classifier), "--verify", str(rows), "-o", str(out), "--set", "speed=false"]
    assert cli.run([*command, "--max-loss-increase", "2%"]) == 5
    assert "the loss rose by 5%, over 2%" in capsys.readouterr().err
    assert EXPORT.is_valid(out) and {"accuracy_before", "macro_f1_after"} <= set(report_of(out)["verify"])
    assert cli.run([*command, "--max-loss-increase", "10%", "--force"]) == 0


def test_an_adapter_is_merged_first(tmp_path: Path, model: Path) -> None:
    adapter = export_runs.lora(tmp_path / "adapter", model)
    _, folder, _ = exported(tmp_path / "out", adapter)
    with_adapter, quantised = logits_of(adapter), logits_of(folder)
    assert np.abs(quantised - with_adapter).max() < 0.2 < np.abs(logits_of(model) - with_adapter).max()


def test_calibration_that_is_verified_on_is_refused(tmp_path: Path, model: Path, rows: Path) -> None:
    with pytest.raises(InputError, match="verif"):
        exported(tmp_path / "out", model, rows, rows, to=("int4",))


def test_a_full_disk_is_seen_before_any_work(tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import shutil

    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**6, 10**6, 1000))
    with pytest.raises(RunError, match="no room on the disk"):
        exported(tmp_path / "out", model)
    assert not any((tmp_path / "out" / "new").iterdir())


def test_what_is_quantised_already_is_refused(tmp_path: Path, model: Path) -> None:
    _, folder, _ = exported(tmp_path / "out", model)
    with pytest.raises(InputError, match="quantised already"):
        exported(tmp_path / "again", folder)


def test_layers_may_be_kept(tmp_path: Path, model: Path) -> None:
    _, folder, _ = exported(tmp_path / "out", model, keep=("down_proj",), format=("gguf",), to=("int4-rtn",))
    report = report_of(folder)
    assert "model.layers.0.mlp.down_proj.weight" in report["kept_in_full_precision"]
    assert not any("down_proj" in name for name in report["plan"])
    _, folder, _ = exported(tmp_path / "more", model, embeddings="int4", format=("gguf",), to=("int4-rtn",))
    assert report_of(folder)["plan"]["model.embed_tokens.weight"] == "int4 g32 rtn"


def test_embeddings_may_be_as_llama_cpps_files_have_them(tmp_path: Path) -> None:
    wide = export_runs.causal(tmp_path / "model", hidden_size=256, num_hidden_layers=1, tie_word_embeddings=True)
    _, folder, _ = exported(tmp_path / "out", wide, embeddings="int6", format=("gguf",), to=("int4-rtn",))
    report = report_of(folder)
    assert report["plan"]["model.embed_tokens.weight"] == "Q6_K" and not report["kept_in_full_precision"]
    assert report["bytes"]["after"] == report["bytes"]["expected"]
    assert report["bytes"]["after"]["embeddings"] == 400 * 210
    with pytest.raises(InputError, match="GGUF files alone"):
        exported(tmp_path / "no", wide, embeddings="int6", format=("onnx",))


def test_calibration_takes_rows_from_all_of_a_sorted_file(tmp_path: Path, model: Path) -> None:
    loaded = load(model, dtype="float32")
    rows = tuple(f"English line number {at} of many" for at in range(200)) + tuple(
        f"中文的第{at}行文字" for at in range(200)
    )
    path = export_runs.rows_file(tmp_path / "sorted.jsonl", rows)
    recipe = ExportRecipe(to=("int4",), calibration=str(path), calibration_rows=8, calibration_length=32)
    out = Output(tmp_path, tmp_path, tmp_path)
    _, calibration = run._rows(loaded, recipe, Inputs({"calibration": expand([str(path)])}), out)
    assert calibration is not None
    read = loaded.tokenizer.decode([token for batch in calibration.batches for token in batch["input_ids"].flatten()])
    assert "English line" in read and "中文的第" in read


def test_a_gguf_file_of_odd_rows_keeps_them_in_half_precision(tmp_path: Path) -> None:
    odd = export_runs.causal(tmp_path / "model", hidden_size=48, intermediate_size=128, num_hidden_layers=1)
    _, folder, _ = exported(tmp_path / "out", odd, format=("gguf",), to=("int4-rtn",))
    report = report_of(folder)
    assert set(report["plan"]) == {"model.layers.0.mlp.down_proj.weight"}
    assert report["bytes"]["after"] == report["bytes"]["expected"]


def test_standard_operators_have_their_own_sizes(tmp_path: Path, model: Path) -> None:
    _, folder, _ = exported(tmp_path / "out", model, format=("onnx",), to=("int4-rtn",), operators="standard")
    sizes = report_of(folder)["bytes"]
    assert sizes["after"]["total"] == pytest.approx(sizes["expected"]["total"], rel=0.02)


def test_layers_to_be_kept_must_be_there(tmp_path: Path, model: Path) -> None:
    with pytest.raises(InputError, match=r"no layer's name ends with 'downproj'"):
        exported(tmp_path / "out", model, keep=("downproj",))


def test_a_broken_list_of_exports_is_no_list(tmp_path: Path) -> None:
    for text in ("{", "[1]", json.dumps({"best": 3}), json.dumps({"best": "gone"})):
        (tmp_path / "export.json").write_text(text)
        assert best_of(tmp_path) == tmp_path
