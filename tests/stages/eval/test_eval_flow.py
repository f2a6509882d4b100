"""`ptft eval` as its users call it: files in, a folder out; comparison, slices, references, tasks, gates, interruption."""

from __future__ import annotations

import json
from functools import partial
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
    way = classify.Classify
    monkeypatch.setattr(classify, "Classify", partial(way, block=4))
    whole, out = tmp_path / "whole", tmp_path / "out"
    assert ptft(["eval", str(classifier), str(data), "-o", str(whole), "-q"]) == 0
    predict, asked = way.predict, []

    def interrupted(self: Any, rows: Any) -> Any:
        asked.append([row.data["id"] for row in rows])
        if len(asked) == 3:
            raise KeyboardInterrupt
        return predict(self, rows)

    monkeypatch.setattr(way, "predict", interrupted)
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
            "the probability of 'a' is 2",
        ),
        ([], 3, "no rows"),
    ],
)
def test_bad_predictions_are_named(rows: list[Any], code: int, said: str, tmp_path: Path, capsys: Any) -> None:
    file = str(jsonl(tmp_path / "p.jsonl", rows))
    assert ptft(["eval", "-p", file, "--metrics", "accuracy", "-o", str(tmp_path / "out")]) == code
    error = capsys.readouterr().err
    assert said in error and "try:" in error


def test_choices_need_no_more_than_they_say(tmp_path: Path) -> None:
    rows = [{"answer": i % 2, "loglikelihoods": [-1.0, -2.0], "lengths": [3, 4]} for i in range(4)]
    assert ptft(["eval", "-p", str(jsonl(tmp_path / "c.jsonl", rows)), "-o", str(tmp_path / "out"), "-q"]) == 0
    assert scores(tmp_path / "out")["metrics"]["acc"]["score"] == 0.5
    several = [{**row, "reference": ["a", "b"], "prediction": "b"} for row in rows]
    command = ["eval", "-p", str(jsonl(tmp_path / "d.jsonl", several)), "--kind", "choices", "--metrics", "accuracy"]
    assert ptft([*command, "-o", str(tmp_path / "several"), "-q"]) == 0
    assert scores(tmp_path / "several")["metrics"]["accuracy"]["score"] == 1.0


def test_equal_labels_of_different_types_are_equal(tmp_path: Path) -> None:
    pairs = [(0, 0.0), (1, "1"), (True, "true"), (0, 1)]
    rows = [{"reference": reference, "prediction": prediction} for reference, prediction in pairs]
    command = [
        "eval",
        "-p",
        str(jsonl(tmp_path / "p.jsonl", rows)),
        "--kind",
        "labels",
        "-o",
        str(tmp_path / "out"),
        "-q",
    ]
    assert ptft(command) == 0
    assert scores(tmp_path / "out")["metrics"]["accuracy"]["score"] == 0.75


def test_a_null_is_a_field_that_is_not_there(tmp_path: Path) -> None:
    rows = [{"reference": "a", "prediction": "a", "probabilities": None if i else {"a": 1.0}} for i in range(3)]
    file = str(jsonl(tmp_path / "p.jsonl", rows))
    assert ptft(["eval", "-p", file, "-o", str(tmp_path / "out"), "-q"]) == 0
    assert "calibration" not in scores(tmp_path / "out")["figures"]


def test_a_score_without_a_value_still_makes_a_page(tmp_path: Path) -> None:
    file = str(jsonl(tmp_path / "p.jsonl", [{"reference": 1.5, "prediction": 2.5}]))
    command = ["eval", "-p", file, "--metrics", "r2,mse", "-o", str(tmp_path / "out"), "-q"]
    assert ptft(command) == 0
    found = scores(tmp_path / "out")["metrics"]
    assert found["r2"]["score"] is None and found["mse"] == {**found["mse"], "score": 1.0, "ci95": None}
    assert (tmp_path / "out" / "report.html").exists()


def test_one_stray_tag_is_one_mistake(tmp_path: Path) -> None:
    rows = [{"reference": ["B-X", "O"], "prediction": ["B-X", "E-X" if i == 0 else "O"]} for i in range(10)]
    file = str(jsonl(tmp_path / "p.jsonl", rows))
    assert ptft(["eval", "-p", file, "-o", str(tmp_path / "out"), "-q"]) == 0
    found = scores(tmp_path / "out")["metrics"]
    assert found["entity_f1"]["score"] == 1.0 and found["token_accuracy"]["score"] == 0.95


def test_a_line_that_cannot_be_read_is_no_reason_to_shift_the_others(tmp_path: Path, capsys: Any) -> None:
    made = jsonl(tmp_path / "p.jsonl", [{"prediction": "a"}] * 3)
    made.write_text(made.read_text() + "broken\n")
    wanted = jsonl(tmp_path / "r.jsonl", [{"reference": "a"}] * 4)
    assert ptft(["eval", "-p", str(made), "-r", str(wanted), "-o", str(tmp_path / "out"), "-q"]) == 3
    assert "p.jsonl:4" in capsys.readouterr().err


def test_all_rows_are_pairs_or_none_is(classifier: Path, tmp_path: Path) -> None:
    rows = [{**row, "text_pair": "" if i == 0 else "another text"} for i, row in enumerate(ROWS)]
    assert ptft(["eval", str(classifier), str(jsonl(tmp_path / "a.jsonl", rows)), "-o", str(tmp_path / "a"), "-q"]) == 0
    alone = str(jsonl(tmp_path / "b.jsonl", rows[1:]))
    assert ptft(["eval", str(classifier), alone, "-o", str(tmp_path / "b"), "-q"]) == 0
    both = [predictions(tmp_path / name)[-1]["loss"] for name in "ab"]
    assert both[0] == pytest.approx(both[1], abs=1e-5)
    mixed = str(jsonl(tmp_path / "c.jsonl", [ROWS[0], *rows[1:]]))
    assert ptft(["eval", str(classifier), mixed, "-o", str(tmp_path / "c"), "-q"]) == 3


def test_rows_of_other_ids_are_not_paired_by_place(tmp_path: Path, capsys: Any) -> None:
    rows = [{"reference": "ab"[i % 2], "prediction": "a"} for i in range(8)]
    files = [
        str(jsonl(tmp_path / f"{start}.jsonl", [{"id": f"r{start + i}", **row} for i, row in enumerate(rows)]))
        for start in (0, 100)
    ]
    assert ptft(["eval", "-p", files[0], "-o", str(tmp_path / "a"), "-q"]) == 0
    assert ptft(["eval", "-p", files[1], "--against", str(tmp_path / "a"), "-o", str(tmp_path / "b"), "-q"]) == 3
    assert "no row in common" in capsys.readouterr().err


def test_a_missed_gate_still_prints_the_record(tmp_path: Path, capsys: Any) -> None:
    file = str(jsonl(tmp_path / "p.jsonl", [{"prediction": "a", "reference": "ab"[i % 2]} for i in range(8)]))
    assert ptft(["eval", "-p", file, "--fail-under", "f1=0.9", "--json", "-q", "-o", str(tmp_path / "out")]) == 5
    assert json.loads(capsys.readouterr().out)["gates"]
