"""What cannot be exported ends with a clear error, at the command line, and no folder that looks finished."""

from __future__ import annotations

import json
import shutil
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path

import pytest
import tiny

from ptft import cli

QUICK = ("--set", "speed=false")


@pytest.fixture
def export(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    """`ptft export MODEL ...` to tmp_path/out: the exit code, and what people read on one line."""

    def run(model: Path, *args: str) -> tuple[int, str]:
        code = cli.run(["export", str(model), "-o", str(tmp_path / "out"), *QUICK, *args])
        said = " ".join(capsys.readouterr().err.split())
        assert "Traceback" not in said
        return code, said

    return run


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.causal(tmp_path_factory.mktemp("checkpoint") / "model", num_hidden_layers=1)


@pytest.fixture
def model(checkpoint: Path, tmp_path: Path) -> Path:
    """A copy that may be damaged."""
    return shutil.copytree(checkpoint, tmp_path / "model")


def nothing(out: Path) -> bool:
    """Whether a folder holds nothing that looks like an export; what the next run goes on from may stay in .ptft."""
    return not out.exists() or [path.name for path in out.iterdir()] in ([], [".ptft"])


def changed(model: Path, **settings: object) -> Path:
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps(config | settings))
    return model


def with_weights(model: Path, change: Callable[[dict], None]) -> Path:
    from safetensors.torch import load_file, save_file

    tensors = load_file(model / "model.safetensors")
    change(tensors)
    save_file(tensors, model / "model.safetensors", {"format": "pt"})
    return model


# ---------------------------------------------------------------- what is given


def test_an_unknown_architecture(export, model, tmp_path):
    code, said = export(changed(model, model_type="hyena_of_tomorrow", architectures=["HyenaOfTomorrow"]))
    assert code == 3 and nothing(tmp_path / "out")
    assert "hyena_of_tomorrow" in said and "upgrade transformers" in said


def test_no_model_at_all(export, tmp_path):
    (tmp_path / "empty").mkdir()
    code, said = export(tmp_path / "empty")
    assert code == 3 and "config.json" in said and nothing(tmp_path / "out")


def test_an_adapter_whose_base_is_gone(export, model, tmp_path):
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    lora = LoraConfig(target_modules=["q_proj"], task_type="CAUSAL_LM")
    get_peft_model(AutoModelForCausalLM.from_pretrained(model), lora).save_pretrained(tmp_path / "adapter")
    shutil.rmtree(model)
    code, said = export(tmp_path / "adapter")
    assert code == 3 and nothing(tmp_path / "out")
    assert "the adapter's base" in said and "is not there" in said and "base_model_name_or_path" in said


@pytest.mark.parametrize("kept", [0.7, 0.01], ids=["weights", "header"])
def test_a_truncated_safetensors_file(export, model, tmp_path, kept):
    path = model / "model.safetensors"
    path.write_bytes(path.read_bytes()[: int(kept * path.stat().st_size)])
    code, said = export(model)
    assert code == 3 and nothing(tmp_path / "out")
    assert "corrupt or truncated" in said and "model.safetensors" in said


def test_a_safetensors_file_of_noise(export, model, tmp_path):
    (model / "model.safetensors").write_bytes(bytes(range(256)) * 40)
    code, said = export(model)
    assert code == 3 and "corrupt or truncated" in said and nothing(tmp_path / "out")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("name", ["model.layers.0.mlp.down_proj.weight", "model.norm.weight"], ids=["matrix", "norm"])
def test_weights_that_are_not_numbers(export, model, tmp_path, name, value):
    def spoil(tensors: dict) -> None:
        tensors[name].view(-1)[3] = value

    code, said = export(with_weights(model, spoil))
    assert code == 3 and nothing(tmp_path / "out")
    assert "NaN or infinity" in said and name in said and "earlier checkpoint" in said


def test_a_model_that_is_quantised_already(export, model, tmp_path):
    code, said = export(changed(model, quantization_config={"quant_method": "gptq", "bits": 4}))
    assert code == 3 and nothing(tmp_path / "out")
    assert "quantised already" in said and "the checkpoint that it was made from" in said


# ---------------------------------------------------------------- what a format does not hold


def test_an_encoder_decoder_in_onnx(export, tmp_path):
    code, said = export(tiny.seq2seq(tmp_path / "t5"), "--format", "onnx")
    assert code == 3 and nothing(tmp_path / "out")
    assert "encoder-decoder (t5)" in said and "such as llama, or an encoder" in said


def test_an_encoder_decoder_in_gguf(export, tmp_path):
    code, said = export(tiny.seq2seq(tmp_path / "t5"), "--format", "gguf")
    assert code == 3 and nothing(tmp_path / "out")
    assert "encoder-decoder (t5)" in said and "llama" in said


def test_a_mamba_in_onnx(export, tmp_path):
    import transformers

    config = transformers.MambaConfig(vocab_size=400, hidden_size=32, state_size=4, num_hidden_layers=1)
    code, said = export(tiny._saved(transformers.MambaForCausalLM(config), tmp_path / "m", 1.0), "--format", "onnx")
    assert code == 3 and nothing(tmp_path / "out")
    assert "mamba" in said and "--format torchao" in said


def test_gpt2_in_gguf(export, tmp_path):
    import transformers

    config = transformers.GPT2Config(vocab_size=400, n_embd=32, n_layer=1, n_head=2, n_positions=64)
    code, said = export(tiny._saved(transformers.GPT2LMHeadModel(config), tmp_path / "gpt2", 1.0), "--format", "gguf")
    assert code == 3 and nothing(tmp_path / "out")
    assert "not of gpt2" in said and "--format onnx or torchao" in said


def test_bert_in_gguf(export, tmp_path):
    code, said = export(tiny.bert_classifier(tmp_path / "bert"), "--format", "gguf")
    assert code == 3 and nothing(tmp_path / "out")
    assert "not of bert" in said and "--format onnx or torchao" in said


def test_one_format_of_two_refuses_before_anything_is_made(export, tmp_path):
    """Not after the work for the other is done."""
    code, said = export(tiny.bert_classifier(tmp_path / "bert"), "--format", "torchao,gguf")
    assert code == 3 and nothing(tmp_path / "out") and "not of bert" in said
    assert not list(tmp_path.glob("out/.ptft/**/*.safetensors"))


# ---------------------------------------------------------------- rows


def test_calibration_rows_that_are_verified_on(export, checkpoint, tmp_path):
    rows = [f"row {number} about the river and its bridges in spring" for number in range(8)]
    for name, part in (("calibration", rows[:5]), ("verify", rows[4:])):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps({"text": row}) + "\n" for row in part))
    given = ("--calibration", str(tmp_path / "calibration.jsonl"), "--verify", str(tmp_path / "verify.jsonl"))
    code, said = export(checkpoint, "--to", "int4-gptq", *given)
    assert code == 3 and nothing(tmp_path / "out")
    assert "calibration.jsonl:5" in said and "verify.jsonl:1" in said and "ptft split" in said
    code, said = export(checkpoint, "--to", "int4-gptq", "--calibration", given[1], "--verify", given[1])
    assert code == 3 and "the same file" in said


# ---------------------------------------------------------------- the disk, the user


Usage = namedtuple("Usage", "total used free")


@pytest.mark.parametrize("format_name", ["torchao", "onnx", "gguf", "compressed-tensors"])
def test_no_room_on_the_disk(export, checkpoint, tmp_path, monkeypatch, format_name):
    """Refused before the work, with what is needed and what there is."""
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(1000, 900, 100))
    code, said = export(checkpoint, "--format", format_name)
    assert code == 4 and nothing(tmp_path / "out")
    assert "no room on the disk" in said and "free" in said


def test_a_disk_that_fills_while_a_file_is_written(export, checkpoint, tmp_path, monkeypatch):
    """safetensors' own error, which is no OSError."""
    import safetensors
    from transformers import PreTrainedModel

    def full(self: object, folder: Path, **more: object) -> None:
        (Path(folder) / "model.safetensors").write_bytes(b"half")
        raise safetensors.SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(PreTrainedModel, "save_pretrained", full)
    code, said = export(checkpoint)
    assert code == 4 and nothing(tmp_path / "out")
    assert "the disk is full" in said and "same command again" in said


def test_ctrl_c(export, checkpoint, tmp_path, monkeypatch):
    from ptft.stages.export.formats import torchao

    def interrupted(*given: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(torchao, "write", interrupted)
    code, said = export(checkpoint)
    assert code == 130 and nothing(tmp_path / "out") and "run the same command again" in said
