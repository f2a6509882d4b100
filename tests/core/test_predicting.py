"""Tags, spans and texts of a loaded model do not hang on how rows are batched."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import torch

from ptft.core.extracting import windows_of
from ptft.core.heads import Head, with_head
from ptft.core.knobs import Decoding
from ptft.core.models import Loaded, load
from ptft.core.predicting import answers, span_logits, tag_logits, tags_from, texts
from ptft.core.tagging import Words, encode_words

ROWS = [["The", "quick", "fox"], [*"今天天气很好"], ["dog"]]
BASES = ("causal", "masked", "seq2seq")


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Loaded]:
    folder: Path = tmp_path_factory.mktemp("models")
    tiny.causal(folder / "causal")
    tiny.masked(folder / "masked")
    tiny.seq2seq(folder / "seq2seq", std=0.6)
    made = {name: load(folder / name) for name in ("causal", "seq2seq")}
    for base in BASES:
        for kind, labels in (("tagger", ("B-X", "I-X", "O")), ("span", ())):
            torch.manual_seed(2)
            model = with_head(folder / base, Head(kind, labels)).eval()  # type: ignore[arg-type]
            with torch.no_grad():
                for parameter in model.parameters():
                    parameter.mul_(4)
            made[f"{base} {kind}"] = Loaded(model, tiny.tokenizer(), kind, labels, 64, folder)  # type: ignore[arg-type]
    return made


@pytest.mark.parametrize("base", BASES)
def test_tags_are_the_same_in_any_batch(base: str, models: dict[str, Loaded]) -> None:
    loaded = models[f"{base} tagger"]
    words = encode_words(loaded.tokenizer, ROWS, 64)
    found = [tag_logits(loaded, words, size) for size in (1, 2, 8)]
    for one, two, eight in zip(*found, strict=True):
        np.testing.assert_allclose(one, two, atol=1e-3)
        np.testing.assert_allclose(one, eight, atol=1e-3)
    made = tags_from(loaded, words, found[0])
    assert [len(row) for row in made] == [len(row) for row in ROWS]
    place = words[0].places[1]
    with torch.no_grad():
        logits = loaded.model(torch.tensor([words[0].ids])).logits[0, place]
    assert made[0][1] == loaded.labels[int(logits.argmax())]


def test_a_word_without_a_place_is_not_tagged(models: dict[str, Loaded]) -> None:
    loaded = models["masked tagger"]
    rows = [Words([5, 6], [-1, 1, -1]), Words([], [-1])]
    made = tags_from(loaded, rows, tag_logits(loaded, rows, 4))
    assert made[0][0] == made[0][2] == "O" and made[1] == ["O"]


@pytest.mark.parametrize("base", BASES)
def test_spans_are_the_same_in_any_batch(base: str, models: dict[str, Loaded]) -> None:
    loaded = models[f"{base} span"]
    questions, contexts = ["who?", "谁赢了比赛?", "a"], ["The fox " * 12, "球队在最后一分钟进球", "dog"]
    windows, _ = windows_of(loaded.tokenizer, questions, contexts, 40, 8)
    one, eight = span_logits(loaded, windows, 1), span_logits(loaded, windows, 8)
    for first, second in zip(one, eight, strict=True):
        np.testing.assert_allclose(first, second, atol=1e-3)
    found = answers(loaded, windows, contexts, 8)
    assert len(found) == 3 and all(answer.text in context for answer, context in zip(found, contexts, strict=True))
    loaded.model.config.may_abstain = False
    assert all(answer.text for answer in answers(loaded, windows, contexts, 8))


@pytest.mark.parametrize("base", ["causal", "seq2seq"])
def test_texts_are_greedy_and_the_same_in_any_batch(base: str, models: dict[str, Loaded]) -> None:
    loaded = models[base]
    prompts: list[Any] = [loaded.tokenizer(text)["input_ids"] for text in ("The quick brown fox", "今天", "a")]
    done: list[int] = []
    found = [texts(loaded, prompts, Decoding(max_new_tokens=6), 0, size, done.append) for size in (1, 3)]
    assert found[0] == found[1] and sum(done) == 6 and len(set(found[0])) > 1
    ids = torch.tensor([prompts[1]])
    made = loaded.model.generate(ids, max_new_tokens=6, do_sample=False)[0]
    said = loaded.tokenizer.decode(made if base == "seq2seq" else made[len(prompts[1]) :], skip_special_tokens=True)
    assert found[0][1] == said.strip()


def test_windows_move_on_by_half_at_least(models: dict[str, Loaded]) -> None:
    """A stride as long as the room would make a window a token."""
    loaded = next(iter(models.values()))
    windows, _ = windows_of(loaded.tokenizer, ["who?"], ["the quick brown fox jumps over the lazy dog. " * 20], 40, 128)
    few, _ = windows_of(loaded.tokenizer, ["who?"], ["the quick brown fox jumps over the lazy dog. " * 20], 40, 0)
    assert len(windows) <= 2 * len(few) + 1
