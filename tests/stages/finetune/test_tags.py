"""Tags of words: what is learnt, what is cut, what is refused."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tiny
import torch
from finetuning import SMALL, inputs, rows_file
from transformers import AutoModelForTokenClassification

from ptft.core.errors import InputError
from ptft.core.models import load, load_tokenizer
from ptft.core.progress import Silent
from ptft.core.tagging import encode_words
from ptft.stages.finetune.recipe import TaskRecipe
from ptft.stages.finetune.task import run as task
from ptft.stages.finetune.task.tags import TaggedWords

PEOPLE = [
    {"tokens": ["Ann", "lives", "in", "New", "York"], "tags": ["B-PER", "O", "O", "B-LOC", "I-LOC"]},
    {"tokens": [*"王明住在北京"], "tags": ["B-PER", "I-PER", "O", "O", "B-LOC", "I-LOC"]},
    {"tokens": ["Paris", "called"], "tags": ["B-LOC", "O"]},
    {"tokens": ["nothing"], "tags": ["O"]},
] * 3
FEW = {"epochs": 4, "lr": 1e-2, "save_every": 99, "eval_every": 6}
PARTS = [{"tokens": ["dogs", "bark", "."], "tags": ["NOUN", "VERB", "PUNCT"]}] * 6


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("tags")
    tiny.causal(made / "causal", scale=1.0)
    tiny.masked(made / "masked")
    tiny.seq2seq(made / "seq2seq")
    rows_file(made / "people.jsonl", PEOPLE)
    rows_file(made / "parts.jsonl", PARTS)
    return made


def trained(folder, output_of, tmp_path, base="masked", rows="people", **knobs):
    out = output_of(tmp_path)
    data = folder / f"{rows}.jsonl"
    progress = Silent()
    result = task.run(TaskRecipe(**{**SMALL, **FEW, **knobs}), inputs(folder / base, data, data), out, progress)
    return out, result, progress


def prepared(folder, output_of, tmp_path, rows, base="masked", **knobs):
    data = rows_file(tmp_path / "rows.jsonl", rows)
    progress = Silent()
    out = output_of(tmp_path / "o")
    made = task.prepare(TaskRecipe(**{**SMALL, **knobs}), inputs(folder / base, data, data), out, progress)
    assert isinstance(made, TaggedWords)
    return made, progress


@pytest.mark.parametrize("base", ["masked", "causal", "seq2seq"])
def test_entities_are_learnt_and_load_with_plain_transformers(folder, output_of, tmp_path, base):
    out, result, _ = trained(folder, output_of, tmp_path, base)
    assert result.metrics["loss_last"] < result.metrics["loss_first"]
    assert {"eval_entity_f1", "eval_token_accuracy", "eval_loss"} <= set(result.metrics)
    loaded = load(out.new)
    assert loaded.kind == "tagger" and loaded.labels == ("B-LOC", "B-PER", "I-LOC", "I-PER", "O")
    plain = AutoModelForTokenClassification.from_pretrained(out.new).eval()
    with torch.no_grad():
        found, expected = (model(torch.tensor([[5, 6, 7]])).logits[0] for model in (plain, loaded.model))
    assert torch.equal(found, expected) and plain.config.id2label[0] == "B-LOC"


def test_plain_tags_are_judged_by_their_accuracy(folder, output_of, tmp_path):
    _, result, _ = trained(folder, output_of, tmp_path, rows="parts", epochs=3)
    assert result.counts["scheme"] == "plain" and "eval_entity_f1" not in result.metrics
    assert 0 <= result.metrics["eval_token_accuracy"] <= 1


@pytest.mark.parametrize(("base", "piece"), [("masked", 0), ("causal", -1)])
def test_one_piece_of_each_word_has_its_tag(folder, output_of, tmp_path, base, piece):
    """The first; of a causal model, which has not read the rest of the word there, the last."""
    made, _ = prepared(folder, output_of, tmp_path, PEOPLE[:2], base)
    tokenizer = load_tokenizer(made.tokenizer)
    for number, row in enumerate(PEOPLE[:2]):
        example = made.source()[number]
        ids, labels = example["input_ids"].tolist(), example["labels"].tolist()
        assert tokenizer.decode(ids) == (" " if number == 0 else "").join(row["tokens"])
        pieces = [tokenizer(w, add_special_tokens=False)["input_ids"] for w in _with_spaces(row["tokens"], number == 0)]
        assert ids == [token for part in pieces for token in part]
        wanted = [[-100] * len(part) for part in pieces]
        for part, tag in zip(wanted, row["tags"], strict=True):
            part[piece] = made.head.labels.index(tag)
        assert labels == [label for part in wanted for label in part]


def _with_spaces(words, english):
    return [f" {word}" if english and place else word for place, word in enumerate(words)]


def test_a_chinese_character_is_never_part_of_its_neighbours_token():
    """Joined, byte-level BPE makes one token of 机器: the second character would have no place for its tag."""
    tokenizer = tiny.tokenizer()
    assert len(tokenizer("机器学习")["input_ids"]) < 4
    (row,) = encode_words(tokenizer, [[*"机器学习"]], 100)
    assert len(set(row.places)) == 4 and tokenizer.decode(row.ids) == "机器学习"


def _word_pieces():
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    pieces = ["[UNK]", "[CLS]", "[SEP]", "[PAD]", "new", "york", "##ers", "and", "don", "'", "t", "北", "京"]
    made = Tokenizer(models.WordPiece({piece: place for place, piece in enumerate(pieces)}, unk_token="[UNK]"))
    made.normalizer, made.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    made.post_processor = processors.BertProcessing(("[SEP]", 2), ("[CLS]", 1))
    return made


def _sentence_pieces():
    from tokenizers import Tokenizer, models, pre_tokenizers

    pieces = ["<unk>", "▁", "▁New", "▁York", "ers", "▁and", "▁don", "'", "t", "北", "京", "▁t"]
    made = Tokenizer(models.Unigram([(piece, -float(place)) for place, piece in enumerate(pieces)], unk_id=0))
    made.pre_tokenizer = pre_tokenizers.Metaspace()
    return made


@pytest.mark.parametrize("kind", ["bytes", "bytes with a space first", "word pieces", "sentence pieces"])
def test_english_words_are_encoded_as_running_text_is(kind):
    from tokenizers import pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    if "pieces" in kind:
        raw = _word_pieces() if kind == "word pieces" else _sentence_pieces()
        tokenizer = PreTrainedTokenizerFast(tokenizer_object=raw)
    else:
        tokenizer = tiny.tokenizer()
        first = kind == "bytes with a space first"
        tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=first)
    words = ["New", "Yorkers", "and", "don't"]
    (row,) = encode_words(tokenizer, [words], 100)
    assert row.ids == tokenizer(" ".join(words))["input_ids"]
    assert row.places == sorted(set(row.places)) and len(row.seen) == 4
    (row,) = encode_words(tokenizer, [[*"北京"]], 100)
    assert len(set(row.places)) == 2 and "[UNK]" not in tokenizer.decode(row.ids)


def test_what_is_cut_is_counted_and_the_rest_learnt(folder, output_of, tmp_path):
    long = {"tokens": ["word"] * 100, "tags": ["O"] * 99 + ["B-X"]}
    made, progress = prepared(folder, output_of, tmp_path, [long, PEOPLE[2]], max_seq_len=16)
    assert len(made.source()[0]["input_ids"]) == 16
    seen = sum(int((made.source()[n]["labels"] >= 0).sum()) for n in range(2))
    assert made.counts["words"] == 2 * seen and made.counts["words_cut"] == 2 * (102 - seen)
    assert made.counts["rows_cut"] == 2
    assert any("longer than 16 tokens" in text for text in progress.warnings)


def test_a_lone_inside_tag_begins_its_entity(folder, output_of, tmp_path):
    rows = [{"tokens": ["a", "b", "c", "d"], "tags": ["I-X", "I-X", "I-Y", "O"]}] * 2
    made, progress = prepared(folder, output_of, tmp_path, rows)
    labels = [made.head.labels[i] for i in made.source()[0]["labels"].tolist() if i >= 0]
    assert labels == ["B-X", "I-X", "B-Y", "O"]
    assert made.counts["tags_mended"] == 8 and any("read as B-" in text for text in progress.warnings)


def test_balanced_weights_have_the_mean_one_over_the_words(folder, output_of, tmp_path):
    made, _ = prepared(folder, output_of, tmp_path, PEOPLE, class_weights="balanced")
    labels = np.concatenate([made.source()[n]["labels"].numpy() for n in range(len(PEOPLE))])
    weights = np.array(made.weights)[labels[labels >= 0]]
    assert weights.mean() == pytest.approx(1) and made.weights[-1] == min(made.weights)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"tokens": ["a", "b"], "tags": ["O"]}, "2 tokens, and 1 tags"),
        ({"tokens": ["a", " "], "tags": ["O", "O"]}, "token 2 is no word"),
        ({"tokens": ["a"], "tags": [None]}, "a tag is no name"),
        ({"tokens": [], "tags": []}, "no tokens"),
    ],
)
def test_bad_rows_are_rejected_with_a_reason(folder, output_of, tmp_path, row, reason):
    made, _ = prepared(folder, output_of, tmp_path, [*PEOPLE, row], max_bad_rows=0.5)
    assert made.counts["rows_rejected"] == 2 and made.counts["rows"] == len(PEOPLE)
    log = [json.loads(line) for line in (tmp_path / "o").rglob("rejected.jsonl").__next__().read_text().splitlines()]
    assert reason in log[0]["reason"]


def test_one_tag_is_nothing_to_learn(folder, output_of, tmp_path):
    with pytest.raises(InputError, match="nothing to tell apart"):
        prepared(folder, output_of, tmp_path, [{"tokens": ["a"], "tags": ["O"]}] * 2)


def test_a_family_without_such_a_head_is_refused(folder, output_of, tmp_path):
    from transformers import BartConfig, BartForConditionalGeneration

    sizes = {"d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2}
    config = BartConfig(vocab_size=400, decoder_attention_heads=2, encoder_ffn_dim=16, decoder_ffn_dim=16, **sizes)
    BartForConditionalGeneration(config).save_pretrained(tmp_path / "bart")
    tiny.tokenizer().save_pretrained(tmp_path / "bart")
    with pytest.raises(InputError, match="bart has no head of a tagger"):
        task.run(
            TaskRecipe(**SMALL), inputs(tmp_path / "bart", folder / "people.jsonl"), output_of(tmp_path / "o"), Silent()
        )


def test_a_tag_that_training_never_saw_is_no_part_of_the_head(folder, output_of, tmp_path):
    """As with labels: such a row could never be right, and what is measured on must not shape the model."""
    held = rows_file(tmp_path / "held.jsonl", [{"tokens": ["Mars"], "tags": ["B-PLANET"]}, *PEOPLE])
    out = output_of(tmp_path / "o")
    recipe = TaskRecipe(max_bad_rows=0.5, **SMALL)
    made = task.prepare(recipe, inputs(folder / "masked", folder / "people.jsonl", held), out, Silent())
    assert isinstance(made, TaggedWords) and "B-PLANET" not in made.head.labels and made.held_out == len(PEOPLE)
    assert "'B-PLANET' is not among those learnt" in (out.new / "rejected.jsonl").read_text()
