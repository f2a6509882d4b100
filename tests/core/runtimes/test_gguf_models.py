"""GGUF files as models: what gguf's own writer wrote is read back as the model it came from."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import runtime_folders as folders
import tiny
import torch

from ptft.core import models, scoring, weights
from ptft.core.contracts import GGUF, kind_of
from ptft.core.errors import InputError
from ptft.core.runtimes.found import gguf_of


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    return tiny.causal(tmp_path_factory.mktemp("gguf") / "llama", num_attention_heads=4, hidden_size=64)


def likelihoods(loaded, texts=tiny.TEXTS):
    return [score.nll for score in scoring.score_texts(loaded, texts, scoring.windows_for(loaded), 4)]


@pytest.mark.parametrize(("kind", "tolerance"), [("F32", 1e-5), ("F16", 1e-3), ("Q8_0", 2e-2), ("Q4_0", 0.2)])
def test_a_file_is_as_likely_as_its_checkpoint(llama, tmp_path, kind, tolerance):
    original, file = models.load(llama), folders.gguf_file(llama, tmp_path / "model.gguf", kind)
    for path in (file, tmp_path):
        loaded = models.load(path)
        assert (loaded.kind, loaded.seq_len, loaded.folder) == ("causal", 64, path)
    assert loaded.tokenizer(tiny.TEXTS)["input_ids"] == original.tokenizer(tiny.TEXTS)["input_ids"]
    wanted = likelihoods(original)
    np.testing.assert_allclose(likelihoods(loaded), wanted, rtol=tolerance)
    if kind.startswith("Q"):
        assert np.abs(np.array(likelihoods(loaded)) - wanted).max() > 1e-4, "nothing was quantised"


def test_what_it_says_of_its_weights(llama, tmp_path):
    loaded = models.load(folders.gguf_file(llama, tmp_path / "model.gguf", "Q8_0"))
    assert [name for name, _ in loaded.runtime.types] == ["Q8_0", "F32"]
    assert "dequantised from Q8_0" in loaded.runtime.note
    total = models.count_parameters(models.load(llama).model)[0]
    assert sum(count for _, count in loaded.runtime.types) == models.count_parameters(loaded.model)[0] == total
    for path in (tmp_path, tmp_path / "model.gguf"):
        found = {tensor.name: tensor for tensor in weights.tensors(path)}
        assert sum(tensor.count for tensor in found.values()) == total
        assert found["token_embd.weight"].shape == (400, 64) and found["token_embd.weight"].dtype == "Q8_0"
    assert kind_of(tmp_path) is GGUF
    plain = models.load(folders.gguf_file(llama, tmp_path / "plain.gguf", "F16"))
    assert plain.runtime.note == ""


def test_rotary_frequencies_are_divided_as_the_file_says(llama, tmp_path):
    plain = likelihoods(models.load(llama))
    factors = np.array([1.0, 2.0, 4.0, 8.0, 8.0, 8.0, 8.0, 8.0], dtype=np.float32)
    file = folders.gguf_file(llama, tmp_path / "model.gguf", "F32", rotary=factors)
    original = models.load(llama)
    original.model.model.rotary_emb.inv_freq.div_(torch.tensor(factors))
    found = likelihoods(models.load(file))
    np.testing.assert_allclose(found, likelihoods(original), rtol=1e-5)
    assert np.abs(np.array(found) - plain).max() > 1e-2
    assert "rope_freqs.weight" not in {tensor.name for tensor in weights.tensors(file)}
    strange = folders.gguf_file(llama, tmp_path / "strange.gguf", "F32", rotary=factors[:3])
    with pytest.raises(InputError, match=r"rope_freqs\.weight"):
        models.load(strange)


def test_scaled_positions_are_refused(llama, tmp_path):
    file = folders.gguf_file(llama, tmp_path / "model.gguf", llama__rope__scaling__type="yarn")
    with pytest.raises(InputError, match=r"scales its positions \(yarn\)"):
        models.load(file)
    assert (
        models.load(folders.gguf_file(llama, tmp_path / "b.gguf", llama__rope__scaling__type="none")).kind == "causal"
    )


# what the models of these names do, by their own tokenizer.json
@pytest.mark.parametrize(
    ("splitting", "parts"),
    [
        ("gpt-2", ["I", "'", "LL", "Ġgo", "Ġ1234", "Ċ", "Ċ", "x"]),
        ("smollm", ["I", "'", "LL", "Ġgo", "Ġ", "1", "2", "3", "4", "Ċ", "Ċ", "x"]),
        ("qwen2", ["I", "'LL", "Ġgo", "Ġ", "1", "2", "3", "4", "ĊĊ", "x"]),
        ("llama-bpe", ["I", "'LL", "Ġgo", "Ġ", "123", "4", "ĊĊ", "x"]),
    ],
)
def test_text_is_split_as_the_file_says(llama, tmp_path, splitting, parts):
    loaded = models.load(folders.gguf_file(llama, tmp_path / "model.gguf", "F16", pre=splitting))
    found = loaded.tokenizer.backend_tokenizer.pre_tokenizer.pre_tokenize_str("I'LL go 1234\n\nx")
    assert [part for part, _ in found] == parts
    assert loaded.tokenizer.backend_tokenizer.model.ignore_merges == (splitting == "llama-bpe")
    assert loaded.runtime.note == ""
    text = "I'LL go 1234\n\n 今天"
    assert loaded.tokenizer.decode(loaded.tokenizer(text)["input_ids"]) == text


def test_an_unknown_splitting_is_told(llama, tmp_path):
    loaded = models.load(folders.gguf_file(llama, tmp_path / "model.gguf", "F16", pre="another"))
    assert "another" in loaded.runtime.note and "not known" in loaded.runtime.note


def test_a_folders_own_tokenizer_comes_first(llama, tmp_path):
    folders.gguf_file(llama, tmp_path / "model.gguf", "F16", pre="another")
    folders.beside(llama, tmp_path)
    assert models.load(tmp_path).runtime.note == ""
    assert models.load(tmp_path / "model.gguf").runtime.note, "a file named alone, and hashed alone, stands alone"
    assert kind_of(tmp_path) is GGUF
    shutil.copy(llama / "model.safetensors", tmp_path)
    assert gguf_of(tmp_path) is None and models.load(tmp_path).runtime is None


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda path: path.write_bytes(b"no such thing" * 9), "not a GGUF file"),
        (lambda path: path.write_bytes(b""), "not a GGUF file"),
        (lambda path: path.write_bytes(path.read_bytes()[:3000]), "corrupt or truncated"),
        (lambda path: path.write_bytes(path.read_bytes()[:-3000]), "corrupt or truncated"),
        (lambda path: shutil.copy(path, path.with_name("another.gguf")), "2 GGUF files"),
        (lambda path: path.rename(path.with_name("model-00001-of-00002.gguf")), "in parts"),
    ],
    ids=["another", "empty", "header", "tensors", "several", "parts"],
)
def test_broken_files(llama, tmp_path, spoil, message):
    spoil(folders.gguf_file(llama, tmp_path / "model.gguf"))
    with pytest.raises(InputError, match=message) as failed:
        models.load(tmp_path)
    assert failed.value.remedy


def test_an_architecture_that_transformers_does_not_read(llama, tmp_path):
    file = folders.gguf_file(llama, tmp_path / "model.gguf", architecture="plamo")
    with pytest.raises(InputError, match="architecture 'plamo'") as failed:
        models.load(file)
    assert "ptft eval -p" in failed.value.remedy


def test_a_file_with_missing_tensors(llama, tmp_path):
    import gguf

    file = folders.gguf_file(llama, tmp_path / "model.gguf", "F32")
    found = gguf.GGUFReader(file)
    named = {tensor.name for tensor in found.tensors}
    data = file.read_bytes().replace(b"blk.1.ffn_up.weight", b"blk.1.fnf_up.weight")
    assert "blk.1.ffn_up.weight" in named
    file.write_bytes(data)
    with pytest.raises(InputError, match="lack 1 of the model's tensors"):
        models.load(file)
