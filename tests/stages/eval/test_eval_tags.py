"""`ptft eval` of taggers, span models, and models of text to text: what is measured, and in which words it is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from test_eval import evaluated

from ptft.core.errors import InputError, UsageError
from ptft.core.heads import Head, with_head
from ptft.core.knobs import Decoding

PEOPLE = [
    {"tokens": ["Ann", "sleeps"], "tags": ["B-PER", "O"]},
    {"tokens": [*"王明睡了"], "tags": ["I-PER", "I-PER", "O", "O"]},
]
QUESTIONS = [
    {"question": "who?", "context": "The dog barks.", "answers": {"text": ["dog"], "answer_start": [4]}},
    {"question": "谁?", "context": "球队赢得了比赛。", "answers": ["球队"]},
    {"question": "why?", "context": "A fox.", "answers": []},
]
PAIRS = [{"source": "hello", "target": "你好"}, {"source": "今天", "target": "today it is"}]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    base = tiny.masked(folder / "masked")
    heads = {
        "tagger": Head("tagger", ("B-PER", "I-PER", "O")), "parts": Head("tagger", ("NOUN", "VERB")), "span": Head("span"),
    }  # fmt: skip
    for name, head in heads.items():
        torch.manual_seed(3)
        tiny._saved(with_head(base, head), folder / name, 3.0)
    tiny.seq2seq(folder / "seq2seq", std=0.6)
    tiny.causal(folder / "causal")
    for name, source in (("asked", "causal"), ("asked-seq2seq", "seq2seq")):
        (folder / name).mkdir()
        for file in (folder / source).iterdir():
            (folder / name / file.name).write_bytes(file.read_bytes())
        tokenizer = tiny.tokenizer()
        tokenizer.init_kwargs["task_prefix"] = "译: "
        tokenizer.save_pretrained(folder / name)
    return {path.name: path for path in folder.iterdir()}


def test_entities(models: dict[str, Path], tmp_path: Path) -> None:
    result, scores, predictions = evaluated(tmp_path, PEOPLE * 4, models["tagger"])
    assert scores["task"] == "tags" and scores["settings"]["tags_mended"] == 4
    assert list(result.metrics) == ["entity_f1", "entity_precision", "entity_recall", "token_accuracy"]
    assert (
        predictions[1]["reference"] == ["B-PER", "I-PER", "O", "O"] and predictions[1]["input"] == PEOPLE[1]["tokens"]
    )
    right = sum(a == b for row in predictions for a, b in zip(row["reference"], row["prediction"], strict=True))
    assert result.metrics["token_accuracy"] == pytest.approx(right / 24)
    low, high = scores["metrics"]["token_accuracy"]["ci95"]
    assert low <= result.metrics["token_accuracy"] <= high


def test_a_word_behind_the_end_counts_as_not_tagged(models: dict[str, Path], tmp_path: Path) -> None:
    row = {"tokens": ["word"] * 80, "tags": ["O"] * 79 + ["B-PER"]}
    result, scores, predictions = evaluated(tmp_path, [row], models["tagger"], max_seq_len=16)
    assert scores["settings"]["words_cut"] >= 64 and predictions[0]["prediction"][-1] == "O"
    assert result.metrics["entity_recall"] == 0


def test_plain_tags_and_tags_of_another_kind(models: dict[str, Path], tmp_path: Path) -> None:
    rows = [{"tokens": ["dogs", "bark"], "tags": ["NOUN", "VERB"]}] * 3
    result, scores, _ = evaluated(tmp_path, rows, models["parts"])
    assert scores["task"] == "plain-tags" and list(result.metrics) == ["token_accuracy", "f1"]
    with pytest.raises(UsageError, match="entity_f1 cannot be had here"):
        evaluated(tmp_path, rows, models["parts"], metrics=("entity_f1",))
    with pytest.raises(InputError, match="'NOUN' is not of the model's kind, whose tags are B-PER"):
        evaluated(tmp_path, rows, models["tagger"])
    unknown = [*PEOPLE, {"tokens": ["Acme"], "tags": ["B-ORG"]}]
    assert evaluated(tmp_path, unknown, models["tagger"])[0].counts["rows"] == 3


def test_spans(models: dict[str, Path], tmp_path: Path) -> None:
    result, scores, predictions = evaluated(tmp_path, QUESTIONS * 2, models["span"])
    assert list(result.metrics) == ["exact_match", "token_f1"] and scores["settings"]["unanswerable"] == 2
    for row in predictions:
        assert row["prediction"] in row["input"]["context"] and 0 <= row["token_f1"] <= 1
    mean = sum(row["token_f1"] for row in predictions) / 6
    assert result.metrics["token_f1"] == pytest.approx(mean)
    other = evaluated(tmp_path, QUESTIONS * 2, models["span"], batch_size=1)[2]
    assert [row["prediction"] for row in other] == [row["prediction"] for row in predictions]


def test_an_answer_that_is_not_there_is_rejected(models: dict[str, Path], tmp_path: Path) -> None:
    rows = [*QUESTIONS, {**QUESTIONS[0], "answers": ["cat"]}]
    result, _, _ = evaluated(tmp_path, rows, models["span"], max_bad_rows=0.5)
    assert result.counts == {"rows": 3, "rejected": 1}


@pytest.mark.parametrize("name", ["seq2seq", "asked-seq2seq"])
def test_an_encoder_decoder_is_asked_with_its_prefix(name: str, models: dict[str, Path], tmp_path: Path) -> None:
    result, scores, predictions = evaluated(tmp_path, PAIRS, models[name], decoding=Decoding(max_new_tokens=5))
    assert scores["task"] == "texts" and {"bleu", "chrf", "rougeL"} <= set(result.metrics)
    assert (
        predictions[0]["input"] == "hello" and predictions[0]["prediction"] == _said(models[name], "hello", name) != ""
    )
    other = evaluated(
        tmp_path, PAIRS, models["seq2seq" if "asked" in name else "asked-seq2seq"], decoding=Decoding(max_new_tokens=5)
    )[2]
    assert other[0]["prediction"] != predictions[0]["prediction"]
    with pytest.raises(UsageError, match="perplexity cannot be had here"):
        evaluated(tmp_path, PAIRS, models[name], metrics=("perplexity",))


def test_a_causal_model_is_asked_as_it_was_trained(models: dict[str, Path], tmp_path: Path) -> None:
    """With the prefix that its tokenizer keeps; a model that keeps none is asked in its chat template."""
    _, scores, predictions = evaluated(tmp_path, PAIRS, models["asked"], decoding=Decoding(max_new_tokens=5))
    assert predictions[0]["prediction"] == _said(models["asked"], "hello", "asked")
    assert scores["settings"]["likelihood_of"].startswith("targets")
    nll = _nll(models["asked"], "译: hello\n", "你好<|endoftext|>")
    assert predictions[0]["nll"] == pytest.approx(nll, rel=1e-4)
    _, chat, _ = evaluated(tmp_path, PAIRS, models["causal"], decoding=Decoding(max_new_tokens=5))
    assert chat["settings"]["likelihood_of"].startswith("responses")


def _said(folder: Path, source: str, name: str) -> str:
    from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    prompt = tokenizer.init_kwargs.get("task_prefix", "") + source + ("\n" if name == "asked" else "")
    auto = AutoModelForCausalLM if name == "asked" else AutoModelForSeq2SeqLM
    ids = torch.tensor([tokenizer(prompt)["input_ids"]])
    model = auto.from_pretrained(folder)
    stops = [tokenizer.eos_token_id, tokenizer.convert_tokens_to_ids("<|im_end|>")]
    made = model.generate(ids, max_new_tokens=5, do_sample=False, eos_token_id=stops, pad_token_id=1)[0]
    return str(tokenizer.decode(made[ids.shape[1] if name == "asked" else 0 :], skip_special_tokens=True)).strip()


def _nll(folder: Path, prompt: str, target: str) -> float:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    asked, answer = tokenizer(prompt)["input_ids"], tokenizer(target)["input_ids"]
    with torch.no_grad():
        logits = AutoModelForCausalLM.from_pretrained(folder)(torch.tensor([asked + answer])).logits[0]
    scored = logits[len(asked) - 1 : -1].float()
    return float(torch.nn.functional.cross_entropy(scored, torch.tensor(answer), reduction="sum"))


@pytest.mark.parametrize(("name", "rows"), [("tagger", QUESTIONS), ("span", PEOPLE), ("seq2seq", PEOPLE)])
def test_rows_that_do_not_fit_are_refused_with_those_that_do(
    name: str, rows: list[dict[str, Any]], models: dict[str, Path], tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="none of the shapes this stage takes") as caught:
        evaluated(tmp_path, rows, models[name])
    assert {"tagger": "tags", "span": "question-answer", "seq2seq": "source-target"}[name] in str(caught.value.remedy)
