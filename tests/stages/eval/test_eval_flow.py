"""`ptft eval` as its users call it: files in, a folder out; comparison, slices, references, tasks, gates, interruption."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import tiny

from ptft.cli import run as ptft
from ptft.stages.eval.ways import classify

ROWS = [
    {"id": f"r{i}", "text": text, "label": tiny.LABELS[i % 3], "source": "ab"[i % 2], "lang": "en"}
    for i, text in enumerate(tiny.TEXTS * 4)
]


def jsonl(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def scores(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "scores.json").read_text(encoding="utf-8"))


def predictions(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "predictions.jsonl").read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.bert_classifier(tmp_path_factory.mktemp("models") / "bert")


@pytest.fixture(scope="module")
def causal(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.causal(tmp_path_factory.mktemp("models") / "causal")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return jsonl(tmp_path / "rows.jsonl", ROWS)


def test_a_comparison_with_slices_and_a_page(classifier: Path, data: Path, tmp_path: Path) -> None:
    guesses = [{"id": row["id"], "prediction": "sport"} for row in reversed(ROWS)]
    other, mine = tmp_path / "other", tmp_path / "mine"
    file = str(jsonl(tmp_path / "guesses.jsonl", guesses))
    assert ptft(["eval", "-p", file, "-r", str(data), "-o", str(other), "-q"]) == 0
    assert [row["reference"] for row in predictions(other)] == [row["label"] for row in reversed(ROWS)]
    command = [
        "eval",
        str(classifier),
        str(data),
        "--by",
        "source,length",
        "--against",
        str(other),
        "-o",
        str(mine),
        "-q",
    ]
    assert ptft(command) == 0
    found = scores(mine)
    assert found["comparison"]["n"] == len(ROWS) and found["comparison"]["with"]["name"] == "other"
    difference = found["comparison"]["metrics"]["accuracy"]
    assert difference["difference"] == pytest.approx(difference["score"] - difference["other"])
    assert sum(value["n"] for value in found["slices"]["source"].values()) == len(ROWS)
    right = [row["prediction"] == row["reference"] for row in predictions(mine) if row["by"]["source"] == "a"]
    assert found["slices"]["source"]["a"]["metrics"]["accuracy"]["score"] == pytest.approx(sum(right) / len(right))
    assert (mine / "flips.jsonl").exists() and "<table" in (mine / "report.html").read_text(encoding="utf-8")
    assert found["data"][0]["hash"] and found["settings"]["dtype"] == "float32"


def test_a_comparison_that_cannot_be_made_is_refused_before_anything_is_measured(
    causal: Path, classifier: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    assert ptft(["eval", str(causal), str(data), "-o", str(tmp_path / "text"), "-q"]) == 0
    monkeypatch.setattr(classify.Classify, "predict", lambda *_: pytest.fail("a row was measured"))
    command = ["eval", str(classifier), str(data), "--against", str(tmp_path / "text"), "-o", str(tmp_path / "x")]
    assert ptft(command) == 3
    assert "kind labels cannot be compared with those of the kind language" in capsys.readouterr().err


def test_an_interrupted_run_goes_on_and_ends_the_same(
    classifier: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(classify.Classify, "block", 4)
    monkeypatch.setattr(classify.Classify.__init__, "__defaults__", ("classifying", 4))
    whole, out = tmp_path / "whole", tmp_path / "out"
    assert ptft(["eval", str(classifier), str(data), "-o", str(whole), "-q"]) == 0
    predict, asked = classify.Classify.predict, []

    def interrupted(self: Any, rows: Any) -> Any:
        asked.append([row.data["id"] for row in rows])
        if len(asked) == 3:
            raise KeyboardInterrupt
        return predict(self, rows)

    monkeypatch.setattr(classify.Classify, "predict", interrupted)
    command = ["eval", str(classifier), str(data), "-o", str(out), "-q"]
    assert ptft(command) == 130 and not (out / "scores.json").exists()
    assert ptft(command) == 0
    assert [block[0] for block in asked] == ["r0", "r4", "r8", "r8", "r12"]
    for name in ("scores.json", "predictions.jsonl"):
        assert (out / name).read_bytes() == (whole / name).read_bytes()


def test_a_task_is_run_with_its_own_data_and_metrics(causal: Path, data: Path, tmp_path: Path) -> None:
    task = tmp_path / "topics.yaml"
    task.write_text(
        f"task: topics\nkind: choices\ndata: {data.name}\ntemplate: '{{{{text}}}}\n\n  Topic:'\n"
        f"choices: [{', '.join(tiny.LABELS)}]\nanswer: '{{{{label}}}}'\nmetrics: [acc, acc_norm]\n",
        encoding="utf-8",
    )
    assert ptft(["eval", str(causal), "--task", str(task), "--limit", "6", "-o", str(tmp_path / "out"), "-q"]) == 0
    found = scores(tmp_path / "out")
    assert list(found["metrics"]) == ["acc", "acc_norm"] and found["task"] == "topics" and found["n"] == 6
    assert found["data"][0]["name"] == data.name
    row = predictions(tmp_path / "out")[0]
    assert len(row["loglikelihoods"]) == 3 and row["reference"] == tiny.LABELS[0]


def test_a_gate_that_is_not_met_exits_5_and_keeps_the_result(data: Path, tmp_path: Path) -> None:
    file = str(jsonl(tmp_path / "p.jsonl", [{"prediction": "a", "reference": "ab"[i % 2]} for i in range(8)]))
    out = tmp_path / "out"
    assert ptft(["eval", "-p", file, "--fail-under", "f1=0.9", "-o", str(out), "-q"]) == 5
    assert scores(out)["metrics"]["accuracy"]["score"] == 0.5


@pytest.mark.parametrize(
    ("rows", "code", "said"),
    [
        ([{"id": 1, "prediction": "a", "reference": "a"}] * 2, 3, "the id '1' is already that of"),
        ([{"prediction": "a", "reference": "a"}, {"reference": "b"}], 3, "no field 'prediction'"),
        (
            [{"prediction": "a", "reference": "a", "probabilities": {"a": 2}}],
            3,
            "as labels, the probability of 'a' is 2",
        ),
        ([], 3, "no rows"),
    ],
)
def test_bad_predictions_are_named(rows: list[Any], code: int, said: str, tmp_path: Path, capsys: Any) -> None:
    file = str(jsonl(tmp_path / "p.jsonl", rows))
    assert ptft(["eval", "-p", file, "--metrics", "accuracy", "-o", str(tmp_path / "out")]) == code
    error = capsys.readouterr().err
    assert said in error and "try:" in error
