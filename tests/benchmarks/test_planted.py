"""The benchmark's own truth: planted pairs have the similarity they say, and corpora are the same every time."""

import importlib
import random
import sys
from pathlib import Path
from types import ModuleType

import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks"
WORDS = [f"word{number}" for number in range(400)]


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch):
    """A module of benchmarks/, which finds its neighbours as when it is run."""
    before = set(sys.modules)
    monkeypatch.syspath_prepend(str(FOLDER))

    def load(name: str) -> ModuleType:
        return importlib.import_module(name)

    yield load
    for name in set(sys.modules) - before:
        if str(FOLDER) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


def test_the_true_jaccard_is_of_five_word_shingles(module):
    planted = module("planted")
    text = " ".join(WORDS[:100])  # 96 shingles
    assert planted.jaccard(text, text.upper() + " !") == 1
    assert planted.jaccard(text, "first " + text) == 96 / 97
    assert planted.jaccard(text, text.replace("word50", "other")) == 91 / 101
    assert planted.jaccard("见天地见众生", "见天地见众生了") == 2 / 3
    assert planted.jaccard("two words", "two words") == 1
    assert planted.jaccard("two words", "words two") == 0


@pytest.mark.parametrize("chinese", [False, True])
def test_every_edit_reaches_the_levels_it_can(module, chinese):
    planted = module("planted")
    draw = random.Random(0)
    letters = [chr(0x4E00 + number) for number in range(2000)]
    originals = [
        "".join(draw.sample(letters, 120)) + "。"
        if chinese
        else ". ".join(" ".join(draw.sample(WORDS, 12)) for _ in range(9))
        for _ in range(270)
    ]
    pairs = planted.planted(originals, chinese, seed=1)
    assert pairs == planted.planted(originals, chinese, seed=1)
    assert {pair.edit for pair in pairs} == set(planted.EDITS)
    assert all(pair.jaccard == planted.jaccard(pair.left, pair.right) for pair in pairs)
    reached = {planted.level(pair.jaccard) for pair in pairs}
    assert reached >= set(planted.LEVELS)
    assert all(pair.jaccard == 1 for pair in pairs if pair.edit == "case, punctuation")


def test_originals_are_apart(module):
    planted = module("planted")
    texts = [" ".join(WORDS[:50]), "one more " + " ".join(WORDS[:50]), " ".join(WORDS[100:150])]
    assert planted.apart(texts) == [texts[0], texts[2]]


def test_a_corpus_is_the_same_every_time_and_as_large_as_it_says(module, tmp_path):
    corpora = module("corpora")
    sentences = [" ".join(random.Random(number).sample(WORDS, 12)) + "." for number in range(300)]
    first, second = (
        corpora.large(tmp_path / name, "made", corpora.Recombiner(sentences, seed=3), size=200_000) for name in "ab"
    )
    assert first.path.read_bytes() == second.path.read_bytes()
    texts = list(corpora.texts(first.path.parent, [first.path.stem]))
    assert len(texts) == first.documents
    assert sum(len(text.encode()) for text in texts) == first.size >= 200_000
    assert 0.1 < first.duplicates / first.documents < 0.3
    assert 1_500 < first.size / first.documents < 2_500
    other = corpora.large(tmp_path / "c", "made", corpora.Recombiner(sentences, seed=4), size=200_000)
    assert other.path.read_bytes() != first.path.read_bytes()
