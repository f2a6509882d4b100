"""What is learnt from: all of it, or an even part under the cap, the same whatever the order of files."""

from __future__ import annotations

import gzip
import random

import pytest
from tokenizer_making import TEXTS, make, write_rows

from ptft.core.contracts import Inputs
from ptft.core.errors import InputError, UsageError
from ptft.core.files import expand
from ptft.core.progress import Silent
from ptft.core.rows import RejectLog
from ptft.stages.tokenizer import sampling
from ptft.stages.tokenizer.recipe import TokenizerRecipe


def rows_of(count):
    """Two thirds English, one third Chinese by rows; every text its own, 60 bytes long."""
    kinds = (
        "the cat number {:05} sat on the mat with a dog and one bird..",
        "机器学习模型从文本中学习语言很好{:05}今天好",
        "another {:05} line of plain English text, as long as that....",
    )
    texts = [kinds[number % 3].format(number) for number in range(count)]
    return [{"id": f"r{number}", "text": text} for number, text in enumerate(texts)]


def chosen(files, **knobs):
    recipe = TokenizerRecipe(**knobs)
    inputs = Inputs({"data": expand(list(map(str, files)))})
    sample = sampling.choose(recipe, inputs, Silent())
    log = RejectLog(files[0].parent / "rejected.jsonl", 0)
    return sample, [text for batch in sampling.batches(recipe, inputs, log, sample) for text in batch]


def test_a_corpus_under_the_cap_is_taken_whole_unread(tmp_path):
    path = write_rows(tmp_path / "in.jsonl", rows_of(600))
    sample, texts = chosen([path])
    assert sample.share == 1.0 and texts == [row["text"] for row in rows_of(600)]
    assert sampling.text_at_most(expand([str(path)])) == path.stat().st_size


def test_the_cap_holds_and_is_nearly_reached(tmp_path):
    rows = rows_of(3000)
    path = write_rows(tmp_path / "in.jsonl", rows)
    total = sum(len(row["text"].encode()) for row in rows)
    for cap in (20_000, 50_000, 100_000):
        sample, texts = chosen([path], max_bytes=cap)
        size = sum(len(text.encode()) for text in texts)
        assert size == sample.bytes and cap - 200 < size <= cap
        assert sample.share == size / total


def test_the_sample_is_even_over_the_corpus_and_its_languages(tmp_path):
    rows = rows_of(6000)
    path = write_rows(tmp_path / "in.jsonl", rows)
    _, texts = chosen([path], max_bytes=100_000)
    places = {row["text"]: number for number, row in enumerate(rows)}
    thirds = [sum(start <= places[text] < start + 2000 for text in texts) / len(texts) for start in (0, 2000, 4000)]
    assert all(0.29 < share < 0.38 for share in thirds)
    chinese = sum(text.startswith("机") for text in texts) / len(texts)
    assert 0.3 < chinese < 0.37


def test_the_choice_hangs_on_the_id_and_the_seed_alone(tmp_path):
    rows = rows_of(2000)
    shuffled = random.Random(1).sample(rows, len(rows))
    one = write_rows(tmp_path / "one.jsonl", rows)
    parts = [
        write_rows(tmp_path / name, part) for name, part in (("z.jsonl", shuffled[:700]), ("a.jsonl", shuffled[700:]))
    ]
    base = set(chosen([one], max_bytes=30_000)[1])
    assert base == set(chosen(parts, max_bytes=30_000)[1])
    assert base != set(chosen([one], max_bytes=30_000, seed=2)[1])


def test_what_is_compressed_is_counted_first(tmp_path):
    path = write_rows(tmp_path / "in.jsonl", rows_of(3000))
    packed = tmp_path / "in.jsonl.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    assert packed.stat().st_size < 50_000 < path.stat().st_size  # its size says nothing about the text in it
    sample, texts = chosen([packed], max_bytes=50_000)
    assert 49_800 < sum(len(text.encode()) for text in texts) <= 50_000 and sample.share < 1


def test_of_a_long_document_the_beginning_is_learnt(tmp_path):
    path = write_rows(tmp_path / "in.jsonl", ["猫" * 50 + "狗" * 50, "short"])
    _, texts = chosen([path], max_characters=60)
    assert texts == ["猫" * 50 + "狗" * 10, "short"]


def test_a_cap_below_one_document_is_an_error(tmp_path):
    path = write_rows(tmp_path / "in.jsonl", ["x" * 5000])
    with pytest.raises(UsageError, match="less than one document"):
        chosen([path], max_bytes=1000)


def test_a_file_without_text_is_an_error(tmp_path):
    path = write_rows(tmp_path / "in.jsonl", [{"body": "x" * 2000}])
    with pytest.raises(InputError, match="no field 'text'"):
        make([path], tmp_path / "out", max_bytes=1000)


def test_a_sample_is_said_and_every_row_is_measured(tmp_path):
    path = write_rows(tmp_path / "in.jsonl", TEXTS)
    result, progress = make([path], tmp_path / "out", max_bytes=3000)
    assert any("even sample" in text for text in progress.warnings)
    assert result.counts["documents"] == result.metrics["documents_measured"] == len(TEXTS)
    assert 0 < result.metrics["bytes_learnt"] <= 3000
    learnt, _ = make([path], tmp_path / "learnt", max_bytes=3000, measure="learnt")
    assert learnt.metrics["documents_measured"] < len(TEXTS)
    assert sum(one["bytes"] for one in learnt.metrics["by_language"].values()) == learnt.metrics["bytes_learnt"]
