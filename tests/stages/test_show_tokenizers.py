"""`ptft show` of tokenizers: one's report, several side by side, from ptft and from elsewhere."""

from __future__ import annotations

import json

import pytest
from tokenizer_making import TEXTS, make, write_rows

from ptft.core.errors import InputError
from ptft.core.progress import Silent
from ptft.runner import Request, execute
from ptft.stages.show import tokenizers
from ptft.stages.show.run import described
from ptft.stages.tokenizer.recipe import STAGE, TokenizerRecipe


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """Of one corpus, two presets: the first made by the whole command, the second with fewer merges and as a plain folder."""
    folder = tmp_path_factory.mktemp("two")
    corpus = write_rows(folder / "in.jsonl", TEXTS)
    recipe = TokenizerRecipe(vocab_size=600, pad_to=1, workers=1)
    execute(Request(STAGE, recipe, {"data": (str(corpus),)}, ("ptft", "tokenizer"), folder / "a"), Silent())
    make([corpus], folder / "b", preset="gpt2", pad_to=1, min_frequency=41)
    return folder / "a", folder / "b"


@pytest.fixture(scope="module")
def wordpiece(tmp_path_factory):
    """A BERT-like tokenizer of five words, as other tools write it."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = ["[UNK]", "[PAD]", "the", "said", "govern", "##ment", "中"]
    tokenizer = Tokenizer(models.WordPiece({word: number for number, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    folder = tmp_path_factory.mktemp("wordpiece")
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="[UNK]", pad_token="[PAD]").save_pretrained(folder)
    return folder


def rows_of(table):
    return {row[0]: row[1:] for row in table.rows}


def test_two_side_by_side(two):
    tables, facts = described(two)
    assert tables[0].columns == ("", str(two[0]), str(two[1]))
    rows = rows_of(tables[0])
    sizes = [json.loads((folder / "tokenizer.json").read_text())["model"]["vocab"] for folder in two]
    assert rows["vocabulary"] == tuple(f"{len(vocab):,}" for vocab in sizes)
    shared = len(set(sizes[0]) & set(sizes[1])) - 7 - 16  # the special and reserved tokens are no text
    assert rows["tokens shared with first"] == ("-", f"{shared:,}")
    assert rows["sample comes back whole"] == ("yes", "yes")
    assert float(rows["bytes per token, Chinese"][0]) > float(rows["bytes per token, Chinese"][1])
    assert [one["tokenizer"]["vocabulary"] for one in facts] == [len(vocab) for vocab in sizes]


def test_the_same_sentence_cut_by_each(two):
    tables, _ = described(two)
    english, chinese = tables[1:]
    assert english.title == tokenizers.SENTENCES[0] and [row[0] for row in english.rows] == list(map(str, two))
    for _, cut in english.rows:
        assert cut.replace("|", "").replace("␣", " ") == tokenizers.SENTENCES[0]
    assert english.rows[0] != english.rows[1] and "⟨" in chinese.rows[0][1]


def test_figures_on_given_texts_by_hand(two):
    _, facts = tokenizers.compared([two[1]], {"en": ["ZQ XJ"], "zh": ["龘龘"]})  # no merge knows these
    assert facts[0]["bytes per token, English"] == 1.0 and facts[0]["tokens per word, English"] == 2.5
    assert facts[0]["tokens per character, Chinese"] == 3.0


def test_a_tokenizer_from_elsewhere(two, wordpiece):
    tables, facts = described([two[0], wordpiece])
    rows = rows_of(tables[0])
    assert rows["model"] == ("BPE", "WordPiece") and rows["normalizer"] == ("-", "BertNormalizer")
    assert rows["cuts text by"][1] == "BertPreTokenizer"
    assert rows["sample comes back whole"] == ("yes", "no") and rows["chat template"] == ("yes", "no")
    assert (
        facts[0]["tokenizer"]["unknown tokens in the sample"]
        == 0
        < facts[1]["tokenizer"]["unknown tokens in the sample"]
    )
    assert tables[1].rows[1][1].startswith("the|govern|ment|said|[UNK]")


def test_one_shows_its_report(two):
    tables, facts = described([two[0]])
    report = json.loads((two[0] / "report.json").read_text())
    assert [table.title for table in tables[-3:]] == ["by language", "tokens", "cut into tokens"]
    assert rows_of(tables[-1]) == {one["language"]: (one["cut"],) for one in report["examples"]}
    assert facts["kind"] == "tokenizer" and facts["metrics"]["bytes_per_token"] == report["bytes_per_token"]


def test_a_report_that_cannot_be_read_is_passed_over(two, tmp_path):
    import shutil

    shutil.copytree(two[0], tmp_path / "copy")
    (tmp_path / "copy" / "report.json").write_text("[]")
    assert rows_of(described([tmp_path / "copy"])[0][-3])["vocabulary"]


def test_one_from_elsewhere_is_looked_at(wordpiece):
    tables, _ = described([wordpiece])
    assert rows_of(tables[1])["vocabulary"] == ("7",)


def test_a_tokenizer_beside_a_model_is_compared_with_the_models(two, tmp_path):
    import shutil

    shutil.copytree(two[1], tmp_path / "model")
    (tmp_path / "model" / "config.json").write_text("{}")
    (tmp_path / "model" / "model.safetensors").write_bytes(b"")
    tables, facts = described([two[0], tmp_path / "model"])
    assert facts[1]["kind"] == "checkpoint" and rows_of(tables[0])["cuts text by"][1]


def test_a_broken_tokenizer_is_an_error_with_its_place(two, tmp_path):
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(InputError, match="cannot be loaded") as raised:
        described([two[0], tmp_path])
    assert raised.value.where == str(tmp_path)


def test_the_sample_is_both_languages_in_like_measure():
    assert set(tokenizers.SAMPLE) == {"en", "zh"}
    sizes = {language: sum(len(text.encode()) for text in texts) for language, texts in tokenizers.SAMPLE.items()}
    assert 0.5 < sizes["zh"] / sizes["en"] < 2
