"""`ptft eval` on classifiers of several labels, of numbers and of pairs: the figures are plain transformers' and scikit-learn's."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tiny
import torch

from ptft.core.contracts import Inputs, Output
from ptft.core.errors import InputError, UsageError
from ptft.core.files import expand
from ptft.core.heads import Head, with_head
from ptft.core.models import MANY_LABELS, NUMBER, ONE_LABEL
from ptft.core.progress import Silent
from ptft.stages.eval.recipe import EvalRecipe
from ptft.stages.eval.run import run

TEXTS = [text[:cut] for text in tiny.TEXTS for cut in (10, 20, 40)]
MANY = [{"text": text, "labels": list(tiny.LABELS[: n % 4])} for n, text in enumerate(TEXTS)]
NUMBERS = [{"text": text, "label": n / 3} for n, text in enumerate(TEXTS)]


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A classifier of each kind on a masked base, with outputs that differ."""
    made = tmp_path_factory.mktemp("heads")
    base = tiny.masked(made / "base")
    for problem, labels in ((ONE_LABEL, tiny.LABELS), (MANY_LABELS, tiny.LABELS), (NUMBER, ("value",))):
        torch.manual_seed(2)
        model = with_head(base, Head("classifier", labels, problem))
        with torch.no_grad():
            model.classifier.weight.mul_(30)
        model.save_pretrained(made / problem)
        tiny.tokenizer().save_pretrained(made / problem)
    return made


def evaluated(model, rows, folder, **knobs):
    folder.mkdir(parents=True, exist_ok=True)
    data = folder / "rows.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    new = folder / "new"
    (new / "state").mkdir(parents=True, exist_ok=True)
    inputs = Inputs({"data": expand([str(data)])}, {"model": model})
    run(EvalRecipe(**{"bootstrap": 50, **knobs}), inputs, Output(folder, new, new / "state"), Silent())
    predictions = [json.loads(line) for line in (new / "predictions.jsonl").open()]
    return json.loads((new / "scores.json").read_text()), predictions


def plain(model, labels, texts=TEXTS, pairs=None):
    """Loss and logits of transformers alone, a row at a time."""
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    tokenizer, loaded = AutoTokenizer.from_pretrained(model), AutoModelForSequenceClassification.from_pretrained(model)
    found = []
    with torch.no_grad():
        for n, text in enumerate(texts):
            batch = tokenizer(text, pairs[n] if pairs else None, return_tensors="pt")
            found.append(loaded.eval()(**batch, labels=torch.tensor([labels[n]])))
    return np.mean([out.loss.item() for out in found]), torch.cat([out.logits for out in found]).numpy()


@pytest.mark.parametrize("batch", [1, 5])
def test_several_labels(models, tmp_path, batch):
    from sklearn.metrics import f1_score

    flags = np.array([[label in row["labels"] for label in tiny.LABELS] for row in MANY], dtype=float)
    loss, logits = plain(models / MANY_LABELS, flags.astype(np.float32))
    scores, predictions = evaluated(models / MANY_LABELS, MANY, tmp_path, batch_size=batch)
    assert scores["task"] == "many-labels" and list(scores["metrics"]) == ["f1", "f1_micro", "subset_accuracy"]
    micro = scores["metrics"]["f1_micro"]
    assert micro["score"] == pytest.approx(f1_score(flags, logits > 0, average="micro", zero_division=0.0))
    assert micro["ci95"][0] < micro["score"] < micro["ci95"][1]
    assert scores["settings"]["loss"] == pytest.approx(loss, rel=1e-4)
    for row, line, wanted in zip(predictions, logits, MANY, strict=True):
        assert row["prediction"] == [label for label, logit in zip(tiny.LABELS, line, strict=True) if logit > 0]
        assert row["reference"] == wanted["labels"]
    assert len({tuple(row["prediction"]) for row in predictions}) > 1


@pytest.mark.parametrize("batch", [1, 5])
def test_numbers(models, tmp_path, batch):
    from scipy.stats import spearmanr

    wanted = np.array([row["label"] for row in NUMBERS])
    loss, logits = plain(models / NUMBER, wanted.astype(np.float32))
    scores, predictions = evaluated(models / NUMBER, NUMBERS, tmp_path, batch_size=batch)
    assert scores["task"] == "numbers" and list(scores["metrics"]) == ["pearson", "spearman", "mse", "mae"]
    assert [row["prediction"] for row in predictions] == pytest.approx(logits[:, 0].tolist(), abs=1e-4)
    found = {name: score["score"] for name, score in scores["metrics"].items()}
    assert found["spearman"] == pytest.approx(spearmanr(wanted, logits[:, 0])[0], abs=1e-3)
    assert found["mse"] == pytest.approx(loss, rel=1e-4) == scores["settings"]["loss"]


def test_labels_as_text_are_numbers_to_a_regression(models, tmp_path):
    """A table (CSV) has nothing but text."""
    as_text = [{**row, "label": str(row["label"])} for row in NUMBERS]
    one, other = (evaluated(models / NUMBER, rows, tmp_path)[0] for rows in (NUMBERS, as_text))
    assert {**one, "data": None} == {**other, "data": None}


@pytest.mark.parametrize(
    ("problem", "row", "reason"),
    [
        (MANY_LABELS, {"text": "a", "labels": ["weather"]}, "the label 'weather' is not one of the model's"),
        (NUMBER, {"text": "a", "label": "much"}, "the label 'much' is not a number"),
        (MANY_LABELS, {"text": " ", "labels": []}, "an empty text"),
    ],
)
def test_rows_that_cannot_be_measured_are_refused(models, tmp_path, problem, row, reason):
    rows = [*(MANY if problem == MANY_LABELS else NUMBERS), row]
    scores, _ = evaluated(models / problem, rows, tmp_path, max_bad_rows=0.5)
    assert scores["n"] == len(TEXTS) and scores["rejected"] == 1
    assert reason in (tmp_path / "new" / "rejected.jsonl").read_text()


def test_what_a_head_does_not_answer_is_an_error(models, tmp_path):
    with pytest.raises(InputError, match="none of the shapes"):
        evaluated(models / NUMBER, MANY, tmp_path / "shape")
    with pytest.raises(UsageError, match="accuracy cannot be had here: the predictions are numbers"):
        evaluated(models / NUMBER, NUMBERS, tmp_path / "metric", metrics=("accuracy",))


def test_pairs_are_read_with_token_types(tmp_path):
    from transformers import BertConfig, BertForSequenceClassification, BertTokenizer

    vocab = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "b", "c", "d"]
    torch.manual_seed(1)
    named = {"id2label": {0: "no", 1: "yes"}, "label2id": {"no": 0, "yes": 1}}
    model = BertForSequenceClassification(
        BertConfig(**{**tiny.sizes(), "vocab_size": len(vocab)}, **named, pad_token_id=0)
    )
    with torch.no_grad():
        model.bert.embeddings.token_type_embeddings.weight.mul_(50)
    model.save_pretrained(tmp_path / "bert")
    BertTokenizer(vocab={word: index for index, word in enumerate(vocab)}).save_pretrained(tmp_path / "bert")
    texts, pairs = ["a b", "c", "d d a"], ["b c d", "a", "d"]
    loss, _ = plain(tmp_path / "bert", [0, 1, 1], texts, pairs)
    rows = [
        {"text": a, "text_pair": b, "label": label}
        for a, b, label in zip(texts, pairs, ("no", "yes", "yes"), strict=True)
    ]
    scores, predictions = evaluated(tmp_path / "bert", rows, tmp_path)
    assert scores["settings"]["loss"] == pytest.approx(loss, rel=1e-4)
    assert predictions[0]["input"] == {"text": "a b", "text_pair": "b c d"}
