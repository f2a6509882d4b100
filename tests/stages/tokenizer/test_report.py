"""The report: figures against hand counts, every row tried, failures with their place."""

from __future__ import annotations

import json

import pytest
from tokenizer_making import TEXTS, make, write_rows

from ptft.core.contracts import Inputs
from ptft.core.files import expand
from ptft.core.progress import Silent
from ptft.stages.tokenizer import report
from ptft.stages.tokenizer.recipe import TokenizerRecipe
from ptft.stages.tokenizer.run import plan
from ptft.stages.tokenizer.sampling import choose


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made")
    corpus = write_rows(folder / "in.jsonl", TEXTS)
    result, progress = make([corpus], folder / "out", min_frequency=41)  # few merges: tokens can be counted by hand
    return folder / "out", result, progress, corpus


@pytest.fixture(scope="module")
def counted(tmp_path_factory):
    """No merges at all: a token is a byte."""
    folder = tmp_path_factory.mktemp("bytes")
    corpus = write_rows(folder / "in.jsonl", ["ab cd\n", "好的。", "x y z", "1 2"])
    result, _ = make([corpus], folder / "out", min_frequency=1000)
    return json.loads((folder / "out" / "report.json").read_text()), result


def test_figures_counted_by_hand(counted):
    found, result = counted
    english, chinese, none = (found["by_language"][name] for name in ("en", "zh", "und"))
    assert (english["documents"], english["bytes"], english["tokens"]) == (2, 11, 11)
    assert (english["words"], english["characters"]) == (5, 7)
    assert english["tokens_per_word"] == 11 / 5 and english["tokens_per_character"] == 11 / 7
    assert chinese["tokens"] == chinese["bytes"] == 9 and chinese["tokens_per_word"] is None
    assert chinese["tokens_per_character"] == found["tokens_per_character_zh"] == 3.0
    assert found["characters_per_token_zh"] == 1 / 3
    assert none["bytes"] == 3
    assert found["bytes_per_token"] == 1.0 and found["tokens_per_word"] == (11 + 3) / (5 + 2)
    seen = set("ab cd\n好的。x y z1 2".encode())
    assert found["unused_share"] == 1 - len(seen) / 256
    assert found["most_frequent"][0] == ["␣", 4] and found["longest"] == []
    assert found["documents_measured"] == 4 and result.counts == {"vocab_size": 384, "documents": 4, "rows_rejected": 0}


def test_the_record_has_the_figures_and_the_report_the_lists_too(made):
    found = json.loads((made[0] / "report.json").read_text())
    assert {key: found[key] for key in made[1].metrics} == made[1].metrics
    assert made[1].metrics["round_trip_failures"] == 0 and made[1].metrics["documents_measured"] == len(TEXTS)
    assert set(found) - set(made[1].metrics) == {"longest", "most_frequent", "rarest", "round_trip_failed", "examples"}


def test_examples_are_the_text_with_bars(made):
    examples = {one["language"]: one for one in json.loads((made[0] / "report.json").read_text())["examples"]}
    assert examples["en"]["text"] == TEXTS[0] and examples["zh"]["text"] == TEXTS[1]
    assert examples["en"]["cut"].replace("|", "").replace("␣", " ") == TEXTS[0]
    assert "|" in examples["en"]["cut"] and "⟨" not in examples["en"]["cut"]


def test_people_see_tables(made):
    assert [table.title for table in made[2].tables] == ["by language", "tokens", "cut into tokens"]
    assert made[2].tables[0].rows[0][0] in ("en", "zh")


def test_every_row_is_tried_and_a_failure_has_its_place(made, monkeypatch, tmp_path):
    corpus = write_rows(tmp_path / "in.jsonl", ["fine"] * 300 + ["Ａ full-width"] + ["fine"] * 300 + ["ｂ"])
    from tokenizers import Tokenizer, normalizers

    lossy = Tokenizer.from_file(str(made[0] / "tokenizer.json"))
    lossy.normalizer = normalizers.NFKC()
    lossy.save(str(tmp_path / "tokenizer.json"))
    recipe, inputs = TokenizerRecipe(workers=1), Inputs({"data": expand([str(corpus)])})
    first = lossy.encode("fine").tokens[0]
    often = sum(lossy.encode(text).tokens.count(first) for text in ["fine"] * 600 + ["Ａ full-width", "ｂ"])
    found = report.report(recipe, inputs, choose(recipe, inputs, Silent()), tmp_path, Silent())
    assert found["round_trip_failures"] == 2 and found["documents_measured"] == 602
    assert dict(found["most_frequent"])[first] == often >= 600  # over three blocks
    assert found["bytes_learnt"] == 4 * 600 + len("Ａ full-width".encode()) + len("ｂ".encode())
    assert found["round_trip_failed"] == [{"file": "in.jsonl", "line": 301}, {"file": "in.jsonl", "line": 602}]


def test_a_row_that_spells_special_tokens_comes_back(made, tmp_path):
    corpus = write_rows(tmp_path / "in.jsonl", [*TEXTS, "a <|endoftext|> b  [MASK] <|im_start|>user"])
    result, _ = make([corpus], tmp_path / "out")
    assert result.metrics["round_trip_failures"] == 0


def test_bad_rows_are_counted_once(tmp_path):
    corpus = write_rows(tmp_path / "in.jsonl", [*TEXTS, {"id": "x", "text": 5}])
    result, _ = make([corpus], tmp_path / "out", max_bad_rows=0.1)
    assert result.counts["documents"] == len(TEXTS) == result.metrics["documents_measured"]
    assert result.counts["rows_rejected"] == 1
    rejected = [json.loads(line) for line in (tmp_path / "out" / "rejected.jsonl").read_text().splitlines()]
    assert [(row["file"], row["line"]) for row in rejected] == [("in.jsonl", len(TEXTS) + 1)]


def test_the_plan_says_what_it_takes_and_writes_nothing(made):
    inputs = Inputs({"data": expand([str(made[3])])})
    before = sorted(made[3].parent.rglob("*"))
    lines = dict(plan(TokenizerRecipe(vocab_size=1000), inputs, Silent()).lines)
    assert sorted(made[3].parent.rglob("*")) == before
    assert lines["documents (estimate)"] == len(TEXTS) and lines["vocabulary"] == 1024
    size = sum(len(text.encode()) for text in TEXTS)
    assert lines["text bytes (estimate)"] == lines["bytes learnt from (estimate)"] == size
    assert dict(plan(TokenizerRecipe(max_bytes=1000), inputs, Silent()).lines)["bytes learnt from (estimate)"] == 1000
    halved = dict(plan(TokenizerRecipe(max_characters=10), inputs, Silent()).lines)
    assert halved["bytes learnt from (estimate)"] == sum(len(text[:10].encode()) for text in TEXTS)


def test_a_tokenizer_made_again_is_the_one_measured(made, tmp_path):
    small, _ = make([made[3]], tmp_path / "out", min_frequency=1000)
    again, _ = make([made[3]], tmp_path / "out")
    assert small.metrics["bytes_per_token"] == 1.0 < again.metrics["bytes_per_token"]
