"""`ptft eval`, `generate` and `show` take ONNX folders and GGUF files as models, and say what the torch model says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import orjson
import pytest
import runtime_folders as folders
import tiny

from ptft.core import record
from ptft.core.contracts import Inputs, Output
from ptft.core.errors import InputError
from ptft.core.files import expand
from ptft.core.knobs import Decoding
from ptft.core.progress import Silent
from ptft.runner import Request, execute
from ptft.stages.eval.recipe import STAGE, EvalRecipe
from ptft.stages.eval.run import plan, run
from ptft.stages.generate.recipe import GenerateRecipe
from ptft.stages.generate.run import generate
from ptft.stages.show.run import described

LABELLED = [{"text": text, "label": tiny.LABELS[index % 3]} for index, text in enumerate(tiny.TEXTS * 3)]
TEXTS = [{"text": text * 3} for text in tiny.TEXTS]
CHATS = [
    {"messages": [{"role": "user", "content": text[:12]}, {"role": "assistant", "content": text[12:]}]}
    for text in tiny.TEXTS
]


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    checkpoint = folders.bert(tmp_path_factory.mktemp("bert") / "bert")
    exported = folders.onnx_classifier(checkpoint, checkpoint.with_name("onnx"))
    return checkpoint, exported


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    checkpoint = tiny.causal(tmp_path_factory.mktemp("llama") / "llama")
    exported = folders.onnx_with_cache(checkpoint, checkpoint.with_name("onnx"))
    return checkpoint, exported


def inputs(tmp_path: Path, rows: list[dict[str, Any]], model: Path) -> Inputs:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return Inputs({"data": expand([str(path)])}, {"model": model})


def evaluated(tmp_path: Path, rows: list[dict[str, Any]], model: Path, **knobs: Any) -> tuple[Any, Any]:
    """scores.json and the predictions of one evaluation."""
    out = tmp_path / f"out{len(list(tmp_path.iterdir()))}"
    (out / "new").mkdir(parents=True)
    (out / "state").mkdir()
    recipe = EvalRecipe(**{"bootstrap": 50, **knobs})
    run(recipe, inputs(tmp_path, rows, model), Output(out, out / "new", out / "state"), Silent())
    lines = (out / "new" / "predictions.jsonl").read_bytes().splitlines()
    return orjson.loads((out / "new" / "scores.json").read_bytes()), [orjson.loads(line) for line in lines]


def scores(tmp_path: Path, rows: list[dict[str, Any]], model: Path, **knobs: Any) -> dict[str, float]:
    return {name: score["score"] for name, score in evaluated(tmp_path, rows, model, **knobs)[0]["metrics"].items()}


@pytest.mark.parametrize("batch_size", [1, 8])
def test_a_classifier(tmp_path, bert, batch_size):
    checkpoint, exported = bert
    wanted, answers = evaluated(tmp_path, LABELLED, checkpoint)
    found, same = evaluated(tmp_path, LABELLED, exported, batch_size=batch_size)
    assert found["metrics"].keys() == wanted["metrics"].keys() and "accuracy" in found["metrics"]
    for name, score in wanted["metrics"].items():
        assert found["metrics"][name]["score"] == pytest.approx(score["score"], abs=1e-4), name
    assert [row["prediction"] for row in same] == [row["prediction"] for row in answers]
    assert len({row["prediction"] for row in answers}) > 1


def test_an_int8_classifier(tmp_path, bert):
    checkpoint, exported = bert
    wanted, _ = evaluated(tmp_path, LABELLED, checkpoint)
    found, _ = evaluated(tmp_path, LABELLED, folders.int8(exported, tmp_path / "int8"))
    for name in ("accuracy", "f1"):
        assert found["metrics"][name]["score"] == pytest.approx(wanted["metrics"][name]["score"], abs=0.1)
    assert found["settings"]["loss"] == pytest.approx(wanted["settings"]["loss"], rel=0.05)
    assert found["settings"]["loss"] != wanted["settings"]["loss"]


def test_a_language_model_in_onnx_and_gguf(tmp_path, llama):
    checkpoint, exported = llama
    wanted = scores(tmp_path, TEXTS, checkpoint)
    assert wanted["bits_per_byte"] > 0
    for model, tolerance in (
        (exported, 1e-4),
        (folders.gguf_file(checkpoint, tmp_path / "f32.gguf", "F32"), 1e-4),
        (folders.gguf_file(checkpoint, tmp_path / "q8.gguf", "Q8_0"), 5e-2),
    ):
        assert scores(tmp_path, TEXTS, model) == pytest.approx(wanted, rel=tolerance), model


def test_answers_are_written_alike(tmp_path, llama):
    checkpoint, exported = llama
    gguf = folders.gguf_file(checkpoint, tmp_path / "f32.gguf", "F32")
    for decoding in (Decoding(max_new_tokens=6), Decoding(max_new_tokens=6, temperature=2.0)):
        wanted, answers = evaluated(tmp_path, CHATS, checkpoint, decoding=decoding)
        for model in (exported, gguf):
            found, same = evaluated(tmp_path, CHATS, model, decoding=decoding)
            assert [row["prediction"] for row in same] == [row["prediction"] for row in answers]
            for name, score in wanted["metrics"].items():
                assert found["metrics"][name]["score"] == pytest.approx(score["score"], abs=1e-4), name
    assert any(row["prediction"] for row in answers)


def test_a_dry_run_counts_parameters(tmp_path, llama):
    checkpoint, exported = llama
    gguf = folders.gguf_file(checkpoint, tmp_path / "model.gguf")
    counts = [
        dict(plan(EvalRecipe(), inputs(tmp_path, TEXTS, model), Silent()).lines)["parameters"]
        for model in (checkpoint, exported, gguf)
    ]
    assert counts[0] == counts[2] and counts[1] == pytest.approx(counts[0], rel=0.01)  # it keeps one of equal norms


def test_a_gguf_file_as_an_argument_is_hashed_and_traced(tmp_path, llama):
    """Its folder's run record names the run that it comes from."""
    checkpoint, _ = llama
    (tmp_path / "export").mkdir()
    gguf = folders.gguf_file(checkpoint, tmp_path / "export" / "model.gguf")
    made_by = record.RunRecord(
        run="abc", stage="export", status="complete", fingerprint="", command=(), recipe={}, seed=0, inputs=(),
        outputs=(), lineage=(),
    )  # fmt: skip
    (tmp_path / "export" / "run.json").write_bytes(record.to_json(made_by))
    data = str(inputs(tmp_path, TEXTS, gguf).data[0].path)
    request = Request(
        STAGE, EvalRecipe(bootstrap=0), {"model": (str(gguf),), "data": (data,)}, ("ptft", "eval"), out=tmp_path / "out"
    )
    made = execute(request, Silent()).record
    assert made is not None and [entry.path for entry in made.inputs if entry.role == "model"] == [str(gguf)]
    assert [ancestor.run for ancestor in made.lineage] == ["abc"]
    assert execute(request, Silent()).up_to_date
    gguf.write_bytes(folders.gguf_file(checkpoint, tmp_path / "other.gguf", "Q4_0").read_bytes())
    with pytest.raises(Exception, match=r"model\.gguf changed"):
        execute(request, Silent())


def test_generate_and_show(tmp_path, llama):
    checkpoint, exported = llama
    gguf = folders.gguf_file(checkpoint, tmp_path / "model.gguf", "F32")
    for recipe in (GenerateRecipe(temperature=0.0, max_new_tokens=8), GenerateRecipe(max_new_tokens=8, seed=5)):
        wanted = "".join(generate(recipe, str(checkpoint), "The quick"))
        assert wanted
        for model in (exported, gguf, tmp_path):
            assert "".join(generate(recipe, str(model), "The quick")) == wanted
    assert described([exported])[1]["kind"] == "onnx model"
    assert described([tmp_path])[1]["kind"] == "gguf model"


def test_a_folder_that_cannot_be_used_is_bad_input(tmp_path, bert):
    broken = folders.beside(bert[1], tmp_path / "broken")
    (broken / "config.json").unlink()
    with pytest.raises(InputError, match=r"without config\.json") as failed:
        evaluated(tmp_path, LABELLED, broken)
    assert failed.value.exit_code == 3 and "copy config.json" in failed.value.remedy
