"""Labels, several labels and numbers are learnt on every kind of base, and plain transformers finds what `ptft eval` finds."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import tiny
import torch
from finetuning import SMALL, WORDS, inputs, make_folder, rows_file

from ptft.core import models
from ptft.core.errors import InputError, UsageError
from ptft.core.knobs import Hardware
from ptft.core.progress import Silent
from ptft.core.scoring import classify, encode_cut
from ptft.core.training import Rows
from ptft.stages.finetune.recipe import TaskRecipe
from ptft.stages.finetune.task import run as task
from ptft.stages.finetune.task.classification import balanced
from ptft.stages.finetune.task.multi_label import balanced as positive_weights

# no checkpoints and one validation, where nothing is asked of them
QUICK = {**SMALL, "batch_size": 8, "hardware": Hardware(micro_batch=8), "save_every": 1000, "eval_every": 1000}
LABELS = ("business", "sport", "科技")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = make_folder(tmp_path_factory.mktemp("classification"))
    tiny.seq2seq(made / "seq2seq")
    bert_with_pairs(made / "bert")
    many = [[], ["sport"], ["business", "sport"], ["科技"]]
    texts = [" ".join(WORDS[label] for label in labels) or "nothing of note" for labels in many]
    rows_file(made / "many.jsonl", [{"text": t, "labels": ls} for t, ls in zip(texts, many, strict=True)] * 6)
    numbers = [{"text": "good " * n + "bad " * (5 - n), "label": 20.5 * n} for n in range(6)]
    rows_file(made / "numbers.jsonl", numbers * 4)
    return made


def bert_with_pairs(folder):
    """A BERT whose tokenizer, unlike the other bases', makes token types."""
    from transformers import BertConfig, BertForMaskedLM, BertTokenizer

    vocab = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "b", "c", "d"]
    torch.manual_seed(1)
    config = BertConfig(**{**tiny.sizes(), "vocab_size": len(vocab)}, pad_token_id=0)
    BertForMaskedLM(config).save_pretrained(folder)
    BertTokenizer(vocab={word: index for index, word in enumerate(vocab)}).save_pretrained(folder)


def prepared(folder, base, rows, out, val=None, **settings):
    recipe = TaskRecipe(**{**QUICK, **settings})
    return task.prepare(recipe, inputs(folder / base, rows, val), out, Silent())


def trained(folder, base, rows, out, val=None, **settings):
    recipe = TaskRecipe(**{**QUICK, **settings})
    result = task.run(recipe, inputs(folder / base, rows, val or rows), out, Silent())
    return result, models.load(out.new)


def plain_outputs(folder, *texts):
    """What transformers alone makes of texts, all in one batch."""
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    model = AutoModelForSequenceClassification.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    batch = tokenizer(*map(list, texts), padding=True, return_tensors="pt", split_special_tokens=True)
    with torch.no_grad():
        return model.eval()(**batch).logits.numpy()


def outputs(loaded, texts, pairs=None, batch=16):
    return classify(loaded, encode_cut(loaded.tokenizer, texts, pairs, loaded.seq_len)[0], batch)


# ---------------------------------------------------------------- what is learnt

BASES = [("causal", "mean"), ("causal", "last"), ("masked", "auto"), ("masked", "mean"), ("seq2seq", "auto")]


@pytest.mark.parametrize(("base", "pooling"), BASES)
def test_several_labels_are_learnt(folder, output_of, tmp_path, base, pooling):
    out = output_of(tmp_path)
    result, loaded = trained(folder, base, folder / "many.jsonl", out, pooling=pooling, epochs=12, lr=1e-2)
    assert result.metrics["eval_f1_micro"] == 1.0 and result.metrics["eval_subset_accuracy"] == 1.0
    assert loaded.problem == models.MANY_LABELS and loaded.labels == LABELS
    assert json.loads((out.new / "config.json").read_text())["problem_type"] == "multi_label_classification"


@pytest.mark.parametrize(("base", "pooling"), BASES)
def test_numbers_are_learnt_and_answered_in_their_own_units(folder, output_of, tmp_path, base, pooling):
    out = output_of(tmp_path)
    epochs = 20 if base == "masked" else 15
    result, loaded = trained(folder, base, folder / "numbers.jsonl", out, pooling=pooling, epochs=epochs, lr=2e-2)
    assert loaded.problem == models.NUMBER and result.metrics["eval_pearson"] > 0.95
    rows = [json.loads(line) for line in (folder / "numbers.jsonl").open()][:6]
    found = outputs(loaded, [row["text"] for row in rows])[:, 0]
    error = np.abs(found - [row["label"] for row in rows]).mean()
    assert error == pytest.approx(result.metrics["eval_mae"], rel=1e-3) and error < 12  # of 0 to 102.5


def test_numbers_are_folded_into_the_head_that_peft_trains(folder, output_of, tmp_path):
    result, loaded = trained(
        folder, "masked", folder / "numbers.jsonl", output_of(tmp_path), method="lora", epochs=10, lr=1e-2
    )
    texts = [json.loads(line) for line in (folder / "numbers.jsonl").open()][:6]
    found = outputs(loaded, [row["text"] for row in texts])[:, 0]
    assert np.abs(found - [row["label"] for row in texts]).mean() == pytest.approx(result.metrics["eval_mae"], rel=1e-3)


def test_a_number_far_from_zero_is_as_easy(folder, output_of, tmp_path):
    rows = [{"text": "good " * n + "bad " * (5 - n), "label": 1e6 + n / 1000} for n in range(6)] * 4
    result, _ = trained(
        folder, "masked", rows_file(tmp_path / "far.jsonl", rows), output_of(tmp_path), epochs=10, lr=1e-2
    )
    assert result.metrics["eval_mae"] < 1e-3


@pytest.mark.parametrize("init", ["base", "scratch"])
def test_an_encoder_decoder_classifies(folder, output_of, tmp_path, init):
    out = output_of(tmp_path)
    result, loaded = trained(folder, "seq2seq", folder / "task.jsonl", out, epochs=10, lr=1e-2, init=init)
    assert result.metrics["eval_f1"] == 1.0
    texts = ["shares rose", "ball"]
    assert np.allclose(plain_outputs(out.new, texts), outputs(loaded, texts), atol=1e-5)


def test_a_family_without_a_head_is_named(folder, output_of, tmp_path):
    from transformers import MarianConfig, MarianMTModel

    sizes = {"d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "encoder_ffn_dim": 16, "decoder_ffn_dim": 16}
    config = MarianConfig(vocab_size=400, **sizes, decoder_start_token_id=1, pad_token_id=1, eos_token_id=0)
    MarianMTModel(config).save_pretrained(tmp_path / "marian")
    tiny.tokenizer().save_pretrained(tmp_path / "marian")
    with pytest.raises(InputError, match="marian has no head of a classifier"):
        trained(tmp_path, "marian", folder / "task.jsonl", output_of(tmp_path))


# ---------------------------------------------------------------- as plain transformers does


def pair_rows(path):
    rows = [("a b", "a b", "same"), ("c d", "c d", "same"), ("a", "d", "other"), ("b c c", "d d", "other")]
    return rows_file(path, [{"text": a, "text_pair": b, "label": label} for a, b, label in rows] * 3)


def test_pairs_are_learnt_with_the_token_types_they_are_used_with(folder, output_of, tmp_path):
    from transformers import AutoTokenizer

    out, data = output_of(tmp_path), pair_rows(tmp_path / "pairs.jsonl")
    made = prepared(folder, "bert", data, out)
    plain = AutoTokenizer.from_pretrained(folder / "bert")("a b", "a b")
    row = made.source()[0]
    assert row["token_type_ids"].tolist() == plain["token_type_ids"] == [0, 0, 0, 0, 1, 1, 1]
    assert row["input_ids"].tolist() == plain["input_ids"]
    batch = made.collate()([made.source()[0], made.source()[3]])
    assert batch["token_type_ids"].tolist()[1] == [0, 0, 0, 0, 0, 1, 1, 1]
    _, loaded = trained(folder, "bert", data, out, epochs=1)
    texts, pairs = ["a b", "b c c", "d"], ["a b", "d d", "a a a a"]
    assert np.allclose(plain_outputs(out.new, texts, pairs), outputs(loaded, texts, pairs), atol=1e-5)
    untyped = classify(loaded, [{"input_ids": row["input_ids"].tolist()}], 1)
    assert not np.allclose(untyped[0], outputs(loaded, ["a b"], ["a b"])[0], atol=1e-5)


def test_a_bert_that_knows_token_types_gets_them_from_any_tokenizer(folder, output_of, tmp_path):
    """ptft's own tokenizers make none by themselves; next-sentence pretraining had them."""
    out = output_of(tmp_path)
    _, loaded = trained(folder, "masked", pair_rows(tmp_path / "pairs.jsonl"), out, epochs=1)
    assert loaded.tokenizer("a", "b")["token_type_ids"][-1] == 1
    assert np.allclose(plain_outputs(out.new, ["a b"], ["d"]), outputs(loaded, ["a b"], ["d"]), atol=1e-5)


def test_the_longer_text_of_a_pair_is_cut_first(folder, output_of, tmp_path):
    row = {"text": "a a a a a a a a a a", "text_pair": "b b", "label": "x"}
    data = rows_file(tmp_path / "long.jsonl", [row, {**row, "label": "y"}] * 4)
    made = prepared(folder, "bert", data, output_of(tmp_path), max_seq_len=9)
    ids = made.source()[0]["input_ids"].tolist()
    assert ids == [2, 5, 5, 5, 5, 3, 6, 6, 3] and made.counts["rows_cut"] == 8


def test_the_saved_tokenizer_sets_the_texts_of_a_pair_apart(folder, output_of, tmp_path):
    """Causal bases' tokenizers add no token between them: "a b" + "c" would be "a" + "b c"."""
    from transformers import AutoTokenizer

    out = output_of(tmp_path)
    _, loaded = trained(folder, "causal", pair_rows(tmp_path / "pairs.jsonl"), out, epochs=1, pooling="last")
    saved = AutoTokenizer.from_pretrained(out.new)
    assert saved("a", "b")["input_ids"] == [saved("a")["input_ids"][0], saved.eos_token_id, saved("b")["input_ids"][0]]
    assert np.allclose(plain_outputs(out.new, ["ab c"], ["d"]), outputs(loaded, ["ab c"], ["d"]), atol=1e-5)


@pytest.mark.parametrize("pooling", ["mean", "last"])
def test_a_base_without_a_padding_token_gets_one_and_batches_change_nothing(folder, output_of, tmp_path, pooling):
    from transformers import AutoTokenizer

    base = tiny.causal(tmp_path / "unpadded", scale=1.0, pad_token_id=None)
    tokenizer = AutoTokenizer.from_pretrained(base)
    tokenizer.pad_token = None
    tokenizer.padding_side = tokenizer.init_kwargs["padding_side"] = "left"  # what is saved
    tokenizer.save_pretrained(base)
    out = output_of(tmp_path)
    _, loaded = trained(tmp_path, "unpadded", folder / "task.jsonl", out, epochs=1, pooling=pooling)
    assert loaded.tokenizer.pad_token is not None and loaded.tokenizer.padding_side == "right"
    assert loaded.model.config.pad_token_id == loaded.tokenizer.pad_token_id
    texts = ["shares", "shares profits company rose", f"ball{loaded.tokenizer.eos_token}"]
    assert np.allclose(outputs(loaded, texts, batch=1), outputs(loaded, texts, batch=3), atol=1e-5)
    if pooling == "last":
        assert np.allclose(plain_outputs(out.new, texts), outputs(loaded, texts, batch=1), atol=1e-5)


# ---------------------------------------------------------------- weights, metrics


def test_balanced_weights_are_those_of_scikit_learn():
    from sklearn.utils.class_weight import compute_class_weight

    ids = [0] * 6 + [1] * 3 + [2]
    found = balanced(ids, 3)
    assert found == pytest.approx(compute_class_weight("balanced", classes=np.arange(3), y=ids))
    assert np.mean([found[index] for index in ids]) == pytest.approx(1.0)
    assert balanced([0, 0, 2], 3)[1] == 1.0  # a label that few-shot sampling lost
    assert positive_weights([[1, 0], [0, 0], [0, 0], [1, 1]]) == (1.0, 3.0)


def test_class_weights_reach_the_loss(folder, output_of, tmp_path):
    rare = [{"text": "ball", "label": "sport"}] * 9 + [{"text": "shares", "label": "business"}] * 3
    data = rows_file(tmp_path / "rare.jsonl", rare)
    assert prepared(folder, "masked", data, output_of(tmp_path)).objective.weights == ()
    weighed = prepared(folder, "masked", data, output_of(tmp_path), class_weights="balanced")
    assert weighed.objective.weights == pytest.approx((2.0, 2 / 3))
    many = prepared(folder, "masked", folder / "many.jsonl", output_of(tmp_path), class_weights="balanced")
    assert many.objective.weights == pytest.approx((3.0, 1.0, 3.0))


USUAL = {"task": ("f1", True), "many": ("f1_micro", True), "numbers": ("pearson", True)}


@pytest.mark.parametrize("rows", USUAL)
def test_the_usual_metric_judges_and_another_can_be_asked_for(folder, output_of, tmp_path, rows):
    made = prepared(folder, "masked", folder / f"{rows}.jsonl", output_of(tmp_path))
    assert (made.better.name, made.better.higher) == USUAL[rows]
    other = {"task": "accuracy", "many": "subset_accuracy", "numbers": "mae"}[rows]
    asked = prepared(folder, "masked", folder / f"{rows}.jsonl", output_of(tmp_path), metric=other).better
    assert (asked.name, asked.higher) == (other, rows != "numbers")
    by_loss = prepared(folder, "masked", folder / f"{rows}.jsonl", output_of(tmp_path), metric="loss").better
    assert (by_loss.name, by_loss.higher) == ("val_loss", False)
    with pytest.raises(UsageError, match="no metric 'bleu'") as error:
        prepared(folder, "masked", folder / f"{rows}.jsonl", output_of(tmp_path), metric="bleu")
    assert USUAL[rows][0] in str(error.value.remedy) and other in str(error.value.remedy)


@pytest.mark.parametrize("rows", USUAL)
def test_the_metric_decides_which_weights_are_kept(folder, output_of, tmp_path, rows):
    """The saved weights have the figures of the best validation, which is not the last."""
    out = output_of(tmp_path)
    settings = {"epochs": 3, "eval_every": 1, "lr": 3e-2, "schedule": "constant"}
    result, _ = trained(folder, "masked", folder / f"{rows}.jsonl", out, **settings)
    looks = [json.loads(line) for line in (out.new / "metrics.jsonl").open()]
    name = USUAL[rows][0]
    scores = {look["step"]: (look[name], -look["val_loss"]) for look in looks if "val_loss" in look}
    best = max(scores.values())  # of equal scores the one with the lowest loss
    assert result.metrics[f"eval_{name}"] == best[0] and scores[result.metrics["best_step"]] == best
    assert len({score for score, _ in scores.values()}) > 1


def test_it_stops_where_the_metric_no_longer_rises(folder, output_of, tmp_path):
    settings = {"epochs": 40, "patience": 2, "lr": 1e-2, "eval_every": 3}
    result, _ = trained(folder, "masked", folder / "task.jsonl", output_of(tmp_path), **settings)
    assert result.metrics["eval_f1"] == 1.0 and result.counts["steps"] < 120


# ---------------------------------------------------------------- rows


def test_the_task_follows_from_the_rows(folder):
    def found(rows, asked="auto"):
        from ptft.core.examples import shape_of
        from ptft.core.rows import Row

        made = [Row(row, "f", 1) for row in rows]
        return task.task_of(TaskRecipe(task=asked), shape_of(rows[0]), made)

    assert found([{"text": "a", "label": 1}, {"text": "b", "label": 2}]) == "classification"
    assert found([{"text": "a", "label": 1.0}, {"text": "b", "label": 2.0}]) == "classification"
    assert found([{"text": "a", "label": "1.5"}]) == found([{"text": "a", "label": True}]) == "classification"
    assert found([{"text": "a", "label": 1}, {"text": "b", "label": 2.5}]) == "regression"
    assert found([{"text": "a", "label": 1}], asked="regression") == "regression"
    assert found([{"text": "a", "text_pair": "b", "label": 0.5}]) == "regression"
    assert found([{"text": "a", "labels": ["x"]}]) == "multi-label"


def test_rows_that_cannot_be_learnt_from_are_refused_with_their_reason(folder, output_of, tmp_path):
    out = output_of(tmp_path)
    bad = [{"text": "a", "label": "much"}, {"text": "b", "label": True}, {"text": "c", "label": "1e999"}]
    rows = rows_file(tmp_path / "bad.jsonl", [{"text": "x", "label": 1.5}, {"text": "y", "label": "2.5"}, *bad])
    made = prepared(folder, "masked", rows, out, task="regression", max_bad_rows=0.9)
    reasons = [json.loads(line)["reason"] for line in (out.new / "rejected.jsonl").open()]
    assert made.rows == 2 and made.counts["rows_rejected"] == 3
    assert reasons[0] == "the label 'much' is not a number" and len(reasons) == 3
    with pytest.raises(InputError, match="not a number"):
        prepared(folder, "masked", rows, output_of(tmp_path / "strict"), task="regression")


@pytest.mark.parametrize(("rows", "new"), [("task", {"label": "weather"}), ("many", {"labels": ["sport", "weather"]})])
def test_a_label_that_training_never_saw_is_no_row_to_measure_on(folder, output_of, tmp_path, rows, new):
    val = rows_file(tmp_path / "val.jsonl", [{"text": "ball", **new}])
    with pytest.raises(InputError, match=r"the label 'weather' is not among those learnt: business, sport"):
        prepared(folder, "masked", folder / f"{rows}.jsonl", output_of(tmp_path), val=val)
    some = prepared(folder, "masked", folder / f"{rows}.jsonl", output_of(tmp_path), val=val, max_bad_rows=0.5)
    assert some.held_out == 0 and some.counts["rows_rejected"] == 1


def test_one_text_and_two_do_not_mix(folder, output_of, tmp_path):
    pairs = pair_rows(tmp_path / "pairs.jsonl")
    with pytest.raises(InputError, match="only one of them has 'text_pair'"):
        prepared(folder, "masked", folder / "task.jsonl", output_of(tmp_path), val=pairs)
    mixed = [{"text": "a", "text_pair": "b", "labels": ["x"]}] * 3 + [{"text": "a", "labels": ["y"]}]
    data = rows_file(tmp_path / "mixed.jsonl", mixed)
    made = prepared(folder, "masked", data, output_of(tmp_path), max_bad_rows=0.5)
    assert made.rows == 3 and made.counts["rows_rejected"] == 1


@pytest.mark.parametrize(
    ("rows", "settings"),
    [
        ("numbers", {"class_weights": "balanced"}),
        ("numbers", {"per_label": 2}),
        ("many", {"per_label": 2}),
    ],
)
def test_a_knob_that_would_do_nothing_is_refused(folder, output_of, tmp_path, rows, settings):
    with pytest.raises(UsageError, match="does nothing here"):
        prepared(folder, "masked", folder / f"{rows}.jsonl", output_of(tmp_path), **settings)
    with pytest.raises(UsageError, match="does nothing here"):
        task.plan(TaskRecipe(**settings), inputs(folder / "masked", folder / f"{rows}.jsonl"), Silent())


def test_every_process_makes_the_same_of_what_is_prepared(folder, output_of, tmp_path):
    import pickle

    made = prepared(folder, "masked", folder / "many.jsonl", output_of(tmp_path), val=folder / "many.jsonl")
    again = pickle.loads(pickle.dumps(made))
    one, other = made.new_model(), again.new_model()
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))
    assert isinstance(again.source(), Rows) and made.measure(one) == again.measure(other)


def test_an_encoder_of_sentences_is_read_by_its_mean_and_says_so_on_disk(folder, output_of, tmp_path):
    """sentence-transformers' layout names its pooling; `auto` follows it, and token types reach the base."""
    base = tmp_path / "sentences"
    shutil.copytree(folder / "masked", base)
    (base / "1_Pooling").mkdir()
    (base / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode_mean_tokens": True}))
    out = output_of(tmp_path / "o")
    result = task.run(TaskRecipe(epochs=1, batch_size=4), inputs(base, folder / "task.jsonl"), out, Silent())
    loaded = models.load(out.new)
    assert loaded.model.config.model_type == "mean_pooled" and result.counts["labels"] == 3
    ids = torch.tensor([[5, 6, 7, 8]])
    with torch.no_grad():
        plain, other = (loaded.model(ids, token_type_ids=torch.full_like(ids, kind)).logits for kind in (0, 1))
    assert not torch.allclose(plain, other)
