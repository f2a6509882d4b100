"""`ptft eval`: what is measured, that batches do not change it, and what happens with bad rows and models."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import tiny
from hypothesis import given, settings
from hypothesis import strategies as st

from ptft.core import recipes
from ptft.core.contracts import Inputs, Output, Result
from ptft.core.errors import InputError, RecipeError, UsageError
from ptft.core.files import expand
from ptft.core.knobs import Decoding
from ptft.core.models import load
from ptft.core.progress import Silent
from ptft.core.scoring import Windows, score_texts
from ptft.stages.eval.recipe import EvalRecipe
from ptft.stages.eval.run import plan, run

BATCHES = (1, 8, 32)
LABELLED = [{"text": text, "label": tiny.LABELS[i % 3]} for i, text in enumerate(tiny.TEXTS * 3)]
CHATS = [
    {"messages": [{"role": "user", "content": text[:12]}, {"role": "assistant", "content": text[12:]}]}
    for text in tiny.TEXTS
]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    return {
        "causal": tiny.causal(folder / "causal"),
        "bert": tiny.bert_classifier(folder / "bert"),
        "llama": tiny.llama_classifier(folder / "llama"),
        "no-pad": tiny.llama_classifier(folder / "no-pad", pad=None),
        "mean": tiny.mean_pooled(folder / "mean"),
    }


def jsonl(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def evaluated(
    tmp_path: Path, rows: list[dict[str, Any]], model: Path | None = None, **knobs: Any
) -> tuple[Result, Any, Any]:
    """The result, scores.json and the predictions of one evaluation."""
    sources = expand([str(jsonl(tmp_path / "rows.jsonl", rows))])
    inputs = Inputs({"data": sources}, {"model": model}) if model else Inputs({"predictions": sources})
    new = tmp_path / f"new{len(list(tmp_path.iterdir()))}"
    (new / "state").mkdir(parents=True)
    result = run(EvalRecipe(**{"bootstrap": 50, **knobs}), inputs, Output(tmp_path, new, new / "state"), Silent())
    predictions = [json.loads(line) for line in (new / "predictions.jsonl").read_text(encoding="utf-8").splitlines()]
    return result, json.loads((new / "scores.json").read_text(encoding="utf-8")), predictions


# ---------------------------------------------------------------- classifiers


@pytest.mark.parametrize("name", ["bert", "llama", "no-pad", "mean"])
def test_the_batch_does_not_change_a_classifiers_scores(name: str, models: dict[str, Path], tmp_path: Path) -> None:
    found = [evaluated(tmp_path, LABELLED, models[name], batch_size=size) for size in BATCHES]
    for result, scores, predictions in found[1:]:
        assert result.metrics == found[0][0].metrics
        assert [row["prediction"] for row in predictions] == [row["prediction"] for row in found[0][2]]
        assert [row["loss"] for row in predictions] == pytest.approx([row["loss"] for row in found[0][2]], abs=1e-4)
        assert scores["settings"]["loss"] == pytest.approx(found[0][1]["settings"]["loss"], abs=1e-5)


def test_predictions_come_in_the_order_of_the_rows(models: dict[str, Path], tmp_path: Path) -> None:
    result, scores, predictions = evaluated(tmp_path, LABELLED, models["bert"], metrics=("f1", "precision"))
    assert [row["input"] for row in predictions] == [row["text"] for row in LABELLED]
    assert [row["reference"] for row in predictions] == [row["label"] for row in LABELLED]
    assert result.counts == {"rows": 12, "rejected": 0}
    assert list(scores["metrics"]) == ["f1", "precision"] and scores["n"] == 12
    assert set(scores["metrics"]["f1"]["per_class"]) <= set(tiny.LABELS)
    low, high = scores["metrics"]["f1"]["ci95"]
    assert 0 <= low <= high <= 1


def test_an_unknown_label_and_an_empty_text_are_rejected_with_the_reason(
    models: dict[str, Path], tmp_path: Path
) -> None:
    rows = [
        *LABELLED,
        {"text": "a", "label": "politics"},
        {"text": " ", "label": "sport"},
        {"text": "a", "label": ["sport"]},
    ]
    with pytest.raises(
        InputError, match=r"3 of 15 rows cannot be used .*'politics' is not one of the model's: business"
    ):
        evaluated(tmp_path, rows, models["bert"])
    result, scores, _ = evaluated(tmp_path, rows, models["bert"], max_bad_rows=0.5)
    assert result.counts == {"rows": 12, "rejected": 3} and scores["rejected"] == 3


def test_one_class_only(models: dict[str, Path], tmp_path: Path) -> None:
    result, _, _ = evaluated(tmp_path, [{"text": text, "label": "sport"} for text in tiny.TEXTS], models["mean"])
    assert 0 <= result.metrics["f1"] <= 1


def test_long_rows_are_cut_and_counted(models: dict[str, Path], tmp_path: Path) -> None:
    _, scores, _ = evaluated(tmp_path, [{"text": tiny.TEXTS[0] * 20, "label": "sport"}], models["bert"])
    assert scores["settings"]["rows_cut"] == 1


# ---------------------------------------------------------------- perplexity


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 300), st.integers(1, 40), st.integers(1, 40))
def test_windows_score_every_token_but_the_first_once(count: int, context: int, stride: int) -> None:
    windows = list(Windows(context, min(stride, context)).over(count))
    assert [token for _, first, end in windows for token in range(first, end)] == list(range(1, count))
    assert all(0 <= begin < first and end - 1 - begin <= context for begin, first, end in windows)


def test_perplexity_is_the_models_own_loss(models: dict[str, Path], tmp_path: Path) -> None:
    import torch

    result, scores, predictions = evaluated(tmp_path, [{"text": text} for text in tiny.TEXTS], models["causal"])
    loaded = load(models["causal"])
    nll = tokens = size = 0.0
    for text, row in zip(tiny.TEXTS, predictions, strict=True):
        ids = torch.tensor([loaded.tokenizer(text)["input_ids"]])
        own = float(loaded.model(input_ids=ids, labels=ids).loss.detach()) * (ids.shape[1] - 1)
        assert row["nll"] == pytest.approx(own, rel=1e-5) and row["tokens"] == ids.shape[1] - 1
        nll, tokens = nll + own, tokens + ids.shape[1] - 1
        size += len(loaded.tokenizer.decode(ids[0, 1:]).encode())
    assert result.metrics["perplexity"] == pytest.approx(math.exp(nll / tokens), rel=1e-5)
    assert result.metrics["bits_per_byte"] == pytest.approx(nll / math.log(2) / size, rel=1e-5)
    assert scores["settings"] == {
        "dtype": "float32", "batch_size": "auto", "tokens_a_pass": 1024, "context": 64, "stride": 32, "bos": False, "bootstrap": 50, "limit": 0,
    }  # fmt: skip


def test_the_batch_does_not_change_perplexity(models: dict[str, Path], tmp_path: Path) -> None:
    rows = [{"text": text * (1 + i)} for i, text in enumerate(tiny.TEXTS * 2)]  # some longer than the context
    found = [evaluated(tmp_path, rows, models["causal"], batch_size=size)[2] for size in BATCHES]
    for predictions in found[1:]:
        assert [row["nll"] for row in predictions] == pytest.approx([row["nll"] for row in found[0]], rel=1e-5)


def test_a_bos_token_lets_the_first_token_be_scored(models: dict[str, Path]) -> None:
    from tokenizers.processors import TemplateProcessing

    loaded = load(models["causal"])
    without = score_texts(loaded, ["a model"], Windows(64, 32), 1)[0]
    loaded.tokenizer.bos_token = "<|endoftext|>"
    loaded.tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<|endoftext|> $A", special_tokens=[("<|endoftext|>", 0)]
    )
    with_bos = score_texts(loaded, ["a model"], Windows(64, 32), 1)[0]
    assert with_bos.tokens == without.tokens + 1 and with_bos.bytes == len("a model")


# ---------------------------------------------------------------- answers


def test_answers_are_scored_and_do_not_hang_on_the_batch(models: dict[str, Path], tmp_path: Path) -> None:
    found = [
        evaluated(tmp_path, CHATS, models["causal"], batch_size=size, decoding=Decoding(max_new_tokens=8))
        for size in BATCHES
    ]
    result, scores, predictions = found[0]
    assert set(result.metrics) == {
        "bleu",
        "chrf",
        "rouge1",
        "rouge2",
        "rougeL",
        "rougeLsum",
        "perplexity",
        "bits_per_byte",
    }
    assert "tok:" in scores["metrics"]["bleu"]["signature"]
    assert [row["reference"] for row in predictions] == [chat["messages"][1]["content"] for chat in CHATS]
    for other in found[1:]:
        assert [row["prediction"] for row in other[2]] == [row["prediction"] for row in predictions]
        assert [row["nll"] for row in other[2]] == pytest.approx([row["nll"] for row in predictions], rel=1e-5)


def test_the_loss_of_an_answer_is_that_of_training(models: dict[str, Path], tmp_path: Path) -> None:
    import torch

    from ptft.core.chat import encode_chat

    rows = evaluated(tmp_path, CHATS, models["causal"], metrics=("perplexity",))[2]
    loaded = load(models["causal"])
    for row, chat in zip(rows, CHATS, strict=True):
        encoded = encode_chat(loaded.tokenizer, chat["messages"], 1000)
        ids, labels = torch.tensor([encoded.ids]), torch.tensor([encoded.labels])
        own = float(loaded.model(input_ids=ids, labels=labels).loss.detach()) * encoded.learnt
        assert row["nll"] == pytest.approx(own, rel=1e-5) and row["tokens"] == encoded.learnt


def test_an_empty_reference_is_rejected(models: dict[str, Path], tmp_path: Path) -> None:
    rows = [{"source": text[:5], "target": text[5:]} for text in tiny.TEXTS] + [{"source": "a", "target": " "}]
    result, _, _ = evaluated(
        tmp_path, rows, models["causal"], metrics=("rouge1",), decoding=Decoding(max_new_tokens=4), max_bad_rows=0.5
    )
    assert result.counts == {"rows": 4, "rejected": 1}


# ---------------------------------------------------------------- given predictions


def test_given_labels(tmp_path: Path) -> None:
    rows = [{"prediction": p, "reference": r} for p, r in zip("021001", [0, 1, 2, 0, 1, 2], strict=True)]
    result, scores, _ = evaluated(tmp_path, rows)  # "0" and 0 are the same label
    assert result.metrics["f1"] == pytest.approx(0.26667, abs=1e-5) and scores["task"] == "given labels"


def test_given_texts_with_several_references(tmp_path: Path) -> None:
    rows = [{"id": 7, "prediction": "今天天气很好", "reference": ["今天天气很好", "天气不错"]}]
    result, _, predictions = evaluated(tmp_path, rows)
    assert result.metrics["rougeL"] == 1.0 and result.metrics["bleu"] == pytest.approx(100.0)
    assert predictions[0]["id"] == "7"


def test_given_rows_that_cannot_be_scored(tmp_path: Path) -> None:
    rows = [{"prediction": "a b", "reference": "a b"}] * 5 + [
        {"prediction": "a", "reference": ""}, {"prediction": None, "reference": "a"}, {"prediction": ["a"], "reference": "a"},
        {"prediction": "a", "reference": []},
    ]  # fmt: skip
    result, _, _ = evaluated(tmp_path, rows, metrics=("bleu",), max_bad_rows=0.9)
    assert result.counts == {"rows": 5, "rejected": 4}


# ---------------------------------------------------------------- what is refused


def test_metrics_that_do_not_fit_are_named_with_those_that_do(models: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="bleu cannot be had here: the predictions are language") as caught:
        evaluated(tmp_path, [{"text": "a b c"}], models["causal"], metrics=("bleu",))
    assert "perplexity, bits_per_byte" in caught.value.remedy
    with pytest.raises(UsageError, match="a gate on precision, which is not measured"):
        evaluated(tmp_path, LABELLED, models["bert"], fail_under="precision=0.5")


def test_every_problem_of_the_recipe_at_once() -> None:
    with pytest.raises(RecipeError) as caught:
        recipes.resolve(EvalRecipe, "eval", flags={"metrics": "f1,acuracy", "fail_under": "perplexity=3,f1"})
    assert len(caught.value.problems) == 3
    assert "did you mean 'accuracy'?" in str(caught.value)


def test_a_masked_model_and_no_input_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not a masked model itself"):
        evaluated(tmp_path, [{"text": "a b"}], tiny.masked(tmp_path / "masked"))
    with pytest.raises(UsageError, match="name a model and data, or predictions"):
        run(EvalRecipe(), Inputs(), Output(tmp_path, tmp_path, tmp_path), Silent())


def test_a_model_of_nan_is_refused(tmp_path: Path) -> None:
    broken = tiny.causal(tmp_path / "broken", scale=math.nan)
    with pytest.raises(InputError, match="not finite"):
        evaluated(tmp_path, [{"text": "a b c"}], broken)


def test_a_dry_run_says_what_and_writes_nothing(models: dict[str, Path], tmp_path: Path) -> None:
    sources = expand([str(jsonl(tmp_path / "rows.jsonl", CHATS))])
    before = sorted(tmp_path.iterdir())
    lines = dict(plan(EvalRecipe(), Inputs({"data": sources}, {"model": models["causal"]}), Silent()).lines)
    assert lines["shape"] == "messages" and lines["rows"] == 4 and lines["parameters"] == 33440
    assert sorted(tmp_path.iterdir()) == before


# ---------------------------------------------------------------- the real command line


def ptft(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "ptft", *map(str, arguments)], capture_output=True, text=True, check=False
    )


def test_a_gate_that_is_not_met_exits_5_and_keeps_the_output(tmp_path: Path) -> None:
    rows = jsonl(
        tmp_path / "predictions.jsonl", [{"prediction": p, "reference": r} for p, r in ("aa", "bb", "ab", "bb")]
    )
    out = tmp_path / "scores"
    command = ("eval", "-p", rows, "--metrics", "accuracy,f1", "-o", out)
    failed = ptft(*command, "--fail-under", "f1=0.9")
    assert failed.returncode == 5 and "is under 0.9" in failed.stderr and "Traceback" not in failed.stderr
    assert json.loads((out / "scores.json").read_text())["metrics"]["accuracy"]["score"] == 0.75
    assert json.loads((out / "run.json").read_text())["gates"]
    assert ptft(*command, "--fail-under", "f1=0.9").returncode == 5  # up to date, and still not good enough
    assert ptft(*command, "--fail-under", "f1=0.5", "--force").returncode == 0
    assert ptft("eval", "-p", rows, "--metrics", "acuracy", "-o", out).returncode == 2
