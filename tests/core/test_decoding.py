"""How texts are written: the same in any batch, drawn from the right shares, ended where they should be."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tiny
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ptft.core import generating, predicting
from ptft.core.decoding import Sampled, StopTexts, cut_at, described, draws, end_ids
from ptft.core.errors import InputError, RunError
from ptft.core.knobs import Decoding
from ptft.core.models import Loaded, load
from ptft.core.predicting import texts

ASKED = [
    "The quick brown fox",
    "今天",
    "a",
    "Shares rose after the company",
    "球队在最后一分钟",
    "dog",
    "",
    "模型 learns",
]
WAYS = {
    "greedy": Decoding(max_new_tokens=8),
    "beams": Decoding(max_new_tokens=6, beams=3),
    "sampled": Decoding(max_new_tokens=8, temperature=1.5, top_k=50, top_p=0.95),
}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Loaded]:
    folder: Path = tmp_path_factory.mktemp("models")
    tiny.causal(folder / "causal")
    tiny.seq2seq(folder / "seq2seq", std=0.6)
    return {name: load(folder / name) for name in ("causal", "seq2seq")}


def asked(loaded: Loaded, count: int = 8) -> list[list[int]]:
    return [list(loaded.tokenizer(text)["input_ids"]) for text in ASKED[:count]]


# ---------------------------------------------------------------- batches


@pytest.mark.parametrize("base", ["causal", "seq2seq"])
@pytest.mark.parametrize("way", WAYS)
def test_the_batch_changes_no_answer(base: str, way: str, models: dict[str, Loaded]) -> None:
    loaded = models[base]
    prompts = asked(loaded)
    found = [texts(loaded, prompts, WAYS[way], 7, size) for size in (1, 3, 32)]  # 32: all at once
    assert all(other == found[0] for other in found[1:]) and len(set(found[0])) > 3


def test_a_sample_hangs_on_its_seed_and_key_alone(models: dict[str, Loaded]) -> None:
    """Not on neighbours, order, or what was done before an interruption."""
    loaded, way = models["causal"], WAYS["sampled"]
    prompts, keys = asked(loaded), [f"row {index}" for index in range(8)]
    whole = texts(loaded, prompts, way, 7, 4, keys=keys)
    rest = texts(loaded, prompts[5:], way, 7, 4, keys=keys[5:])
    turned = texts(loaded, prompts[::-1], way, 7, 4, keys=keys[::-1])
    assert whole[5:] == rest and whole == turned[::-1]
    assert whole != texts(loaded, prompts, way, 8, 4, keys=keys)
    same = texts(loaded, [prompts[0]] * 6, way, 7, 4, keys=keys[:6])
    assert len(set(same)) > 3 and same[0] == whole[0]


@pytest.mark.parametrize("base", ["causal", "seq2seq"])
def test_beams_are_those_of_transformers(base: str, models: dict[str, Loaded]) -> None:
    loaded = models[base]
    prompts = asked(loaded, 4)
    found = texts(loaded, prompts, WAYS["beams"], batch_size=4)
    for prompt, text in zip(prompts, found, strict=True):
        made = loaded.model.generate(torch.tensor([prompt]), num_beams=3, do_sample=False, max_new_tokens=6)[0]
        new = made[1:] if base == "seq2seq" else made[len(prompt) :]
        assert text == loaded.tokenizer.decode(new, skip_special_tokens=True).strip()
    assert found != texts(loaded, prompts, WAYS["greedy"], batch_size=4)


@pytest.mark.parametrize("way", ["greedy", "sampled"])
def test_rows_that_have_ended_are_not_computed(
    way: str, models: dict[str, Loaded], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And those that go on are written as they would be alone."""
    loaded, decoding = models["causal"], replace(WAYS[way], max_new_tokens=24)
    prompts = asked(loaded)
    whole = texts(loaded, prompts, decoding, 7, trim=False)
    decoding = replace(decoding, stop=(whole[0][1:3], whole[3][2:4], whole[4][1:3]))
    found, sizes = [], list[tuple[int, int]]()
    forward = type(loaded.model).forward

    def watched(self: Any, input_ids: Any, **more: Any) -> Any:
        sizes.append(tuple(input_ids.shape))
        return forward(self, input_ids=input_ids, **more)

    monkeypatch.setattr(type(loaded.model), "forward", watched)
    for stride in (4, 5, 24):
        monkeypatch.setattr(generating, "STRIDE", stride)
        sizes.clear()
        found.append((texts(loaded, prompts, decoding, 7, 8, trim=False), sum(rows * new for rows, new in sizes)))
    assert found[0][0] == found[1][0] == found[2][0] == [cut_at(text, decoding.stop) for text in whole]
    assert found[0][1] < found[1][1] < 0.8 * found[2][1]


# ---------------------------------------------------------------- sampling


@pytest.mark.parametrize(("top_k", "top_p"), [(0, 1.0), (3, 1.0), (0, 0.7)])
def test_tokens_are_drawn_by_their_shares(top_k: int, top_p: float) -> None:
    scores = torch.log(torch.tensor([0.4, 0.05, 0.25, 0.2, 0.1]))
    kept = {(0, 1.0): [0, 1, 2, 3, 4], (3, 1.0): [0, 2, 3], (0, 0.7): [0, 2, 3]}[top_k, top_p]
    expected = np.zeros(5)
    expected[kept] = np.array([0.4, 0.05, 0.25, 0.2, 0.1])[kept] ** 0.5  # temperature 2
    if top_p < 1:  # what top_p keeps is chosen at that temperature: 0.30, 0.24, 0.21 reach 0.7
        assert np.round(expected[kept] / np.sqrt([0.4, 0.05, 0.25, 0.2, 0.1]).sum(), 2).tolist() == [0.3, 0.24, 0.21]
    rows = 20_000
    numbers = draws(1, "a", rows)[:, None]
    chooser = Sampled(Decoding(temperature=2.0, top_k=top_k, top_p=top_p), numbers, 4)
    chosen = chooser(torch.zeros(rows, 4, dtype=torch.long), scores.repeat(rows, 1)).argmax(-1).numpy()
    np.testing.assert_allclose(np.bincount(chosen, minlength=5) / rows, expected / expected.sum(), atol=0.012)


def test_the_ends_of_the_scale_choose_what_has_a_share() -> None:
    scores = torch.tensor([[-torch.inf, 0.0, -torch.inf, 0.0, -torch.inf]] * 2)
    numbers = np.array([[0.0], [np.nextafter(1.0, 0) * (1 - 2**-40)]])
    chosen = Sampled(Decoding(temperature=1.0), numbers, 0)(torch.zeros(2, 0, dtype=torch.long), scores).argmax(-1)
    assert chosen.tolist() == [1, 3]


@given(st.integers(0, 2**32), st.text(max_size=8), st.integers(0, 20), st.integers(0, 20))
@settings(max_examples=50, deadline=None)
def test_more_steps_draw_the_same_numbers_first(seed: int, key: str, one: int, other: int) -> None:
    short, long = sorted((draws(seed, key, one), draws(seed, key, other)), key=len)
    assert short.tolist() == long[: len(short)].tolist() and (long < 1).all() and (long >= 0).all()


# ---------------------------------------------------------------- ends


@pytest.mark.parametrize("base", ["causal", "seq2seq"])
@pytest.mark.parametrize("way", WAYS)
def test_a_stop_text_ends_an_answer_and_is_no_part_of_it(base: str, way: str, models: dict[str, Loaded]) -> None:
    loaded, decoding = models[base], WAYS[way]
    whole = texts(loaded, asked(loaded), decoding, 3, 4, trim=False)
    stop = (whole[0][3:6], whole[1][4:6])
    assert all(stop)
    found = texts(loaded, asked(loaded), replace(decoding, stop=stop), 3, 4, trim=False)
    assert not any(text in answer for text in stop for answer in found)
    if way != "beams":  # a beam that ends competes with others
        assert found == [cut_at(answer, stop) for answer in whole] != whole
    assert found == texts(loaded, asked(loaded), replace(decoding, stop=stop), 3, 1, trim=False)


def test_a_row_that_has_stopped_is_not_written_on(models: dict[str, Loaded], monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = models["causal"]
    whole = texts(loaded, asked(loaded, 1), Decoding(max_new_tokens=30), trim=False)[0]
    steps: list[int] = []
    forward = type(loaded.model).forward
    monkeypatch.setattr(
        type(loaded.model), "forward", lambda self, *args, **more: (steps.append(1), forward(self, *args, **more))[1]
    )
    texts(loaded, asked(loaded, 1), Decoding(max_new_tokens=30))
    assert len(steps) == 30
    steps.clear()
    texts(loaded, asked(loaded, 1), Decoding(max_new_tokens=30, stop=(whole[5:8],)))
    assert len(steps) < 15


def test_a_stop_text_is_decoded_from_the_last_tokens_only(monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = tiny.tokenizer()
    seen: list[int] = []
    decode = type(tokenizer).decode
    monkeypatch.setattr(
        type(tokenizer), "decode", lambda self, ids, **more: (seen.append(len(ids)), decode(self, ids, **more))[1]
    )
    ids = tokenizer("模型 learns from text, " * 20)["input_ids"]
    stop = StopTexts(tokenizer, ("气很", "over"), 0)
    for end in range(1, len(ids) + 1):
        assert not stop(torch.tensor([ids[:end]]), None).any()
    assert max(seen) == 6  # bytes of the longer one
    ids += tokenizer("今天天气很好")["input_ids"]
    flags = [bool(stop(torch.tensor([ids[:end]]), None)[0]) for end in range(len(ids) + 1)]
    first = flags.index(True)
    assert "气很" in tokenizer.decode(ids[:first]) and "气很" not in tokenizer.decode(ids[: first - 1])


@given(st.text("ab\n", max_size=12), st.lists(st.text("ab\n", min_size=1, max_size=3), max_size=3))
def test_cut_at_leaves_the_longest_beginning_without_a_stop_text(text: str, stop: list[str]) -> None:
    found = cut_at(text, stop)
    assert text.startswith(found) and not any(each in found for each in stop)
    assert found == text or any(text[len(found) :].startswith(each) for each in stop)


def test_special_tokens_end_an_answer(models: dict[str, Loaded]) -> None:
    loaded = models["causal"]
    names = loaded.tokenizer.convert_ids_to_tokens(end_ids(loaded, ("[MASK]", "no token")))
    assert set(names) == {"<|endoftext|>", "<|im_end|>", "[MASK]"}


def test_what_follows_an_end_does_not_show(models: dict[str, Loaded], monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = models["causal"]
    said = loaded.tokenizer("dog")["input_ids"]
    made = torch.tensor([[5, 5, *said, 3, *loaded.tokenizer(" more")["input_ids"]]])
    monkeypatch.setattr(loaded.model, "generate", lambda **_: SimpleNamespace(sequences=made))
    assert texts(loaded, [[5, 5]], Decoding(max_new_tokens=8)) == ["dog"]


def test_the_models_own_settings_change_nothing(models: dict[str, Loaded], monkeypatch: pytest.MonkeyPatch) -> None:
    """transformers fills in from the model whatever it is not told."""
    loaded = models["causal"]
    before = texts(loaded, asked(loaded), Decoding(max_new_tokens=8))
    for name, value in {"repetition_penalty": 5.0, "no_repeat_ngram_size": 1, "temperature": 9.0, "top_k": 1}.items():
        monkeypatch.setattr(loaded.model.generation_config, name, value)
    monkeypatch.setattr(loaded.model.generation_config, "do_sample", True)
    assert texts(loaded, asked(loaded), Decoding(max_new_tokens=8)) == before


def test_in_words() -> None:
    assert [described(way) for way in WAYS.values()] == [
        "greedy",
        "3 beams",
        "sampling (temperature 1.5, top_k 50, top_p 0.95)",
    ]


# ---------------------------------------------------------------- what goes wrong


def test_outputs_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    broken = load(tiny.causal(tmp_path / "nan", scale=float("nan")))
    for way in WAYS.values():
        with pytest.raises(InputError, match="not finite"):
            texts(broken, [[5, 6]], way)


def test_an_empty_prompt_begins_a_text(models: dict[str, Loaded]) -> None:
    loaded = models["causal"]
    assert texts(loaded, [[]], WAYS["greedy"]) == texts(loaded, [[0]], WAYS["greedy"])
    nothing = replace(loaded, tokenizer=SimpleNamespace(bos_token_id=None, eos_token_id=None))
    with pytest.raises(InputError, match="no token to begin with"):
        texts(nothing, [[]], WAYS["greedy"])


def test_a_full_memory_halves_the_batch(models: dict[str, Loaded], monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = models["causal"]
    before, sizes = texts(loaded, asked(loaded), WAYS["greedy"]), []
    monkeypatch.setattr(predicting, "_ROOMS", {})
    generate = loaded.model.generate

    def full(input_ids: Any, **more: Any) -> Any:
        sizes.append(len(input_ids))
        if len(input_ids) > 3:
            raise torch.OutOfMemoryError("full")
        return generate(input_ids=input_ids, **more)

    monkeypatch.setattr(loaded.model, "generate", full)
    done: list[int] = []
    assert texts(loaded, asked(loaded), WAYS["greedy"], advance=done.append) == before
    assert sizes == [8, 4, 2, 2, 2, 2] and done == [2, 2, 2, 2]
    assert texts(loaded, asked(loaded), WAYS["greedy"]) == before
    assert sizes[6:] == [2, 2, 2, 2]  # not tried again
    with pytest.raises(RunError, match="out of memory with 8 rows"):
        texts(loaded, asked(loaded), WAYS["greedy"], batch_size=8)


def test_the_cache_bounds_an_automatic_batch(models: dict[str, Loaded], monkeypatch: pytest.MonkeyPatch) -> None:
    """A token of this model leaves 2 layers x 32 numbers x keys and values x 4 bytes = 512 bytes."""
    loaded, sizes = models["causal"], []
    monkeypatch.setattr(predicting, "CACHE_BYTES", 512 * (9 + 8) * 3)
    monkeypatch.setattr(predicting, "_ROOMS", {})
    generate = loaded.model.generate

    def watched(input_ids: Any, **more: Any) -> Any:
        sizes.append(tuple(input_ids.shape))
        return generate(input_ids=input_ids, **more)

    monkeypatch.setattr(loaded.model, "generate", watched)
    texts(loaded, [[5] * (9 - index // 4) for index in range(8)], Decoding(max_new_tokens=8))
    assert sizes == [(3, 9), (3, 9), (2, 8)]
    sizes.clear()
    texts(loaded, [[5] * 9] * 3, Decoding(max_new_tokens=8, beams=3))
    assert sizes == [(1, 9)] * 3
    monkeypatch.setattr(predicting, "_ROOMS", {})
    monkeypatch.setattr(predicting, "CACHE_BYTES", 2**30)
    sizes.clear()
    texts(loaded, [[5]] * 40, Decoding(max_new_tokens=1))
    assert sizes == [(32, 1), (8, 1)]
