"""`ptft generate`: pieces that join to whole characters, the same for the same seed."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import tiny

from ptft.core.errors import InputError, UsageError
from ptft.core.models import load
from ptft.stages.generate.recipe import GenerateRecipe
from ptft.stages.generate.run import _Pieces, generate


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.causal(tmp_path_factory.mktemp("models") / "causal")


def test_greedy_text_is_that_of_transformers(model: Path) -> None:
    import torch

    recipe = GenerateRecipe(temperature=0, repetition_penalty=1.0, max_new_tokens=20)
    loaded = load(model)
    ids = torch.tensor([loaded.tokenizer("今天")["input_ids"]])
    made = loaded.model.generate(ids, do_sample=False, max_new_tokens=20)[0, ids.shape[1] :]
    expected = loaded.tokenizer.decode(made, skip_special_tokens=True).replace("\ufffd", "")
    assert "".join(generate(recipe, str(model), "今天")) == expected


def test_the_seed_decides_and_chat_works(model: Path) -> None:
    texts = [
        "".join(generate(GenerateRecipe(seed=seed, chat=True, max_new_tokens=30), str(model), "你好"))
        for seed in (1, 1, 2)
    ]
    assert texts[0] == texts[1] != texts[2]
    assert "\ufffd" not in "".join(texts) and "<|im_" not in "".join(texts)


def test_a_folder_of_several_exports_stands_for_its_best(model: Path, tmp_path: Path) -> None:
    shutil.copytree(model, tmp_path / "exports" / "int8-torchao")
    (tmp_path / "exports" / "export.json").write_text('{"best": "int8-torchao"}')
    recipe = GenerateRecipe(temperature=0, max_new_tokens=8)
    assert list(generate(recipe, str(tmp_path / "exports"), "今天")) == list(generate(recipe, str(model), "今天"))


def test_pieces_are_whole_characters() -> None:
    tokenizer = tiny.tokenizer()
    text = "模型 a 龘 model 🦊 机器。"
    ids = tokenizer(text)["input_ids"]
    assert len(ids) > len(text)  # rare characters are several tokens
    pieces = _Pieces(tokenizer)
    given = [pieces.push(token) for token in ids]
    assert "".join(given) + pieces.rest() == text
    assert all("\ufffd" not in piece for piece in given) and "" in given
    cut = _Pieces(tokenizer)
    assert "".join(cut.push(token) for token in tokenizer("龘")["input_ids"][:-1]) + cut.rest() == ""


def test_it_ends_at_the_end_of_text_and_at_the_end_of_the_context(model: Path) -> None:
    long = "a b c d " * 6
    loaded = load(model)
    room = loaded.seq_len - len(loaded.tokenizer(long)["input_ids"])
    recipe = GenerateRecipe(temperature=0, repetition_penalty=1.0, max_new_tokens=500)
    text = "".join(generate(recipe, str(model), long))
    assert len(loaded.tokenizer(text)["input_ids"]) <= room + 8
    with pytest.raises(InputError, match="tokens long and the model takes 64"):
        list(generate(recipe, str(model), long * 10))


def test_what_cannot_generate_is_refused(model: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="needs a model that writes, and this is a classifier"):
        next(generate(GenerateRecipe(), str(tiny.bert_classifier(tmp_path / "bert")), "a"))
    with pytest.raises(InputError, match="no such folder"):
        next(generate(GenerateRecipe(), str(tmp_path / "none"), "a"))
    with pytest.raises(UsageError, match="an empty message"):
        next(generate(GenerateRecipe(chat=True), str(model), " "))


def test_a_damaged_model_is_named_not_sampled_from(tmp_path: Path) -> None:
    broken = tiny.causal(tmp_path / "nan", scale=float("nan"))
    with pytest.raises(InputError, match="not finite"):
        "".join(generate(GenerateRecipe(max_new_tokens=3), str(broken), "a"))


# ---------------------------------------------------------------- text to text


def test_an_encoder_decoder_says_what_plain_transformers_does(tmp_path: Path) -> None:
    import torch
    from transformers import AutoModelForSeq2SeqLM

    folder = tiny.seq2seq(tmp_path / "seq2seq", std=0.6)
    tokenizer = tiny.tokenizer()
    tokenizer.init_kwargs["task_prefix"] = "say: "
    tokenizer.save_pretrained(folder)
    model = AutoModelForSeq2SeqLM.from_pretrained(folder)
    ids = torch.tensor([tokenizer("say: hello")["input_ids"]])
    made = model.generate(ids, max_new_tokens=8, do_sample=False)[0]
    recipe = GenerateRecipe(max_new_tokens=8, temperature=0.0, repetition_penalty=1.0)
    wanted = tokenizer.decode(made, skip_special_tokens=True).replace("\ufffd", "")
    assert wanted and "".join(generate(recipe, str(folder), "hello")) == wanted
    with pytest.raises(UsageError, match="no chat template"):
        "".join(generate(GenerateRecipe(chat=True), str(folder), "hello"))


def test_a_causal_model_of_text_to_text_is_asked_as_it_was_trained(tmp_path: Path) -> None:
    folder = tiny.causal(tmp_path / "causal")
    recipe = GenerateRecipe(max_new_tokens=8, temperature=0.0, repetition_penalty=1.0)
    wanted = "".join(generate(recipe, str(folder), "say: hello\n"))
    tokenizer = tiny.tokenizer()
    tokenizer.init_kwargs["task_prefix"] = "say: "
    tokenizer.save_pretrained(folder)
    assert "".join(generate(recipe, str(folder), "hello")) == wanted
