"""More tokens for a tokenizer: the old ones stay as they are, and what is new stands for what was there."""

from __future__ import annotations

import itertools
import json
import shutil
from collections import Counter
from pathlib import Path

import pytest
import tiny
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from ptft.core.errors import InputError
from ptft.core.vocabulary_extension import LONGEST, Added, added_tokens, extend, lengthen, refuse_unextendable

DOMAIN = ["量子计算机用量子比特计算。", "The qubit decoheres; qubits decohere quickly.", "量子比特会退相干。"] * 4


@pytest.fixture(scope="module")
def old(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("old")
    tiny.tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def new(old, tmp_path_factory) -> Path:
    folder = shutil.copytree(old, tmp_path_factory.mktemp("new") / "tokenizer")
    assert extend(folder, DOMAIN, 30) == 30
    return folder


def load(folder: Path):
    return AutoTokenizer.from_pretrained(folder)


def test_old_tokens_keep_their_ids_and_the_new_ones_follow(old, new, tmp_path):
    before, after = load(old).get_vocab(), load(new).get_vocab()
    assert before.items() <= after.items()
    added = added_tokens(old, new)
    assert added.ids == tuple(range(400, 430)) == tuple(sorted(after[token] for token in set(after) - set(before)))
    load(new).save_pretrained(tmp_path)  # as it is with a model
    assert load(tmp_path).get_vocab() == after


def test_the_domain_takes_fewer_tokens_in_english_and_in_chinese(old, new):
    for text in DOMAIN[:3]:
        assert len(load(new)(text)["input_ids"]) < 0.8 * len(load(old)(text)["input_ids"])


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from([*"量子比特qubit. \n机é😀", "qubits", " decohere", "计算"]), max_size=30).map("".join))
def test_text_comes_back_and_is_never_longer(old, new, text):
    """New merges only go on where the old ones ended."""
    before, after = load_once(old), load_once(new)
    ids = after(text)["input_ids"]
    assert after.decode(ids) == text and len(ids) <= len(before(text)["input_ids"])


def load_once(folder: Path, held: dict = {}):  # noqa: B006 - a cache
    return held.setdefault(folder, load(folder))


def test_each_new_token_is_its_pieces(old, new):
    added, before, after = added_tokens(old, new), load(old), load(new)
    spelled = ["".join(before.convert_ids_to_tokens(list(pieces))) for pieces in added.pieces]
    assert spelled == after.convert_ids_to_tokens(list(added.ids)) and all(len(p) > 1 for p in added.pieces)


def test_the_most_frequent_pairs_are_merged_first(old, tmp_path):
    """The merges of a plain, slow BPE over words as the base cuts them; no two pairs are as frequent as one another."""
    words = Counter({"zqzq": 50, "zqx": 21, "zqzqj": 8, "xj": 3})
    folder = shutil.copytree(old, tmp_path / "tokenizer")
    before = json.loads((folder / "tokenizer.json").read_text())["model"]["merges"]
    extend(folder, [" ".join([word] * times) for word, times in words.items()], 4)
    merges = json.loads((folder / "tokenizer.json").read_text())["model"]["merges"]
    assert merges[: len(before)] == before
    texts = Counter()
    for word, times in words.items():
        texts[tuple(word)] += 1  # the first of a line has no space before it
        texts[("Ġ", *word)] += times - 1
    assert [tuple(pair) for pair in merges[len(before) :]] == slow_merges(texts, 4)


def slow_merges(words: Counter, count: int) -> list[tuple[str, str]]:
    found = []
    for _ in range(count):
        pairs = Counter()
        for word, times in words.items():
            for pair in itertools.pairwise(word):
                pairs[pair] += times
        (best, most), (_, second) = pairs.most_common(2)
        assert most > second, "a tie: the test would hang on its order"
        found.append(best)
        words = Counter({joined(word, best): times for word, times in words.items()})
    return found


def joined(word: tuple[str, ...], pair: tuple[str, str]) -> tuple[str, ...]:
    made, place = [], 0
    while place < len(word):
        here = word[place : place + 2] == pair
        made.append("".join(pair) if here else word[place])
        place += 2 if here else 1
    return tuple(made)


def test_the_same_texts_give_the_same_bytes_whatever_their_order(old, new, tmp_path):
    folder = shutil.copytree(old, tmp_path / "tokenizer")
    extend(folder, reversed(DOMAIN), 30)
    assert (folder / "tokenizer.json").read_bytes() == (new / "tokenizer.json").read_bytes()


def test_text_with_little_in_it_yields_less_and_nothing_too_long(old, tmp_path):
    folder = shutil.copytree(old, tmp_path / "tokenizer")
    count = extend(folder, ["互联网" * 40, "supercalifragilistic" * 5] * 2, 500)
    names = [token for token, ident in load(folder).get_vocab().items() if ident >= 400]
    assert 0 < count < 500 and count == len(names) and max(map(len, names)) <= LONGEST
    assert extend(shutil.copytree(old, tmp_path / "none"), ["x y z"], 5) == 0


def test_added_tokens_beyond_the_models_vocabulary_keep_their_ids(old, tmp_path):
    """As Qwen has them: `tokenizers` counts such ids from the size of the vocabulary, which grows."""
    folder = shutil.copytree(old, tmp_path / "old")
    loaded = load(folder)
    loaded.add_special_tokens({"additional_special_tokens": ["<|tool|>"]})
    loaded.add_tokens(["<think>"])
    loaded.save_pretrained(folder)
    ids = {name: loaded.get_vocab()[name] for name in ("<|tool|>", "<think>")}
    assert sorted(ids.values()) == [400, 401]
    extended = shutil.copytree(folder, tmp_path / "new")
    extend(extended, DOMAIN, 5)
    after = load(extended)
    assert {name: after.get_vocab()[name] for name in ids} == ids
    assert after("a<|tool|>b<think>")["input_ids"] == loaded("a<|tool|>b<think>")["input_ids"]
    assert added_tokens(folder, extended).ids == tuple(range(402, 407))


def test_a_token_that_nothing_merged_into_keeps_its_id(old, tmp_path):
    folder = shutil.copytree(old, tmp_path / "tokenizer")
    described = json.loads((folder / "tokenizer.json").read_text())
    described["model"]["vocab"]["zq"] = 400
    (folder / "tokenizer.json").write_text(json.dumps(described))
    assert extend(folder, ["zqzq"] * 9, 1) == 1
    assert load(folder).convert_tokens_to_ids(["zq", "zqzq"]) == [400, 401]
    assert load(folder)("zqzq zq")["input_ids"][0] == 401


def test_no_merge_makes_a_special_token(old, tmp_path):
    folder = shutil.copytree(old, tmp_path / "tokenizer")
    loaded = load(folder)
    loaded.add_special_tokens({"additional_special_tokens": ["zqzq"]})
    loaded.save_pretrained(folder)
    extend(folder, ["a zqzq", "zqzq b"] * 20, 20)
    after = load(folder)
    assert after.convert_tokens_to_ids("zqzq") == 400 not in after("zqzq", split_special_tokens=True)["input_ids"]


# ---------------------------------------------------------------- WordPiece, and the others


def word_piece(folder: Path) -> Path:
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "qu", "##bit", "##s", "量", "a", "##b"]
    raw = Tokenizer(models.WordPiece({token: n for n, token in enumerate(tokens)}, unk_token="[UNK]"))
    raw.normalizer, raw.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    raw.decoder = decoders.WordPiece()
    made = PreTrainedTokenizerFast(tokenizer_object=raw, unk_token="[UNK]", pad_token="[PAD]", mask_token="[MASK]")
    made.save_pretrained(folder)
    return folder


def test_word_piece_gets_the_words_that_save_most(tmp_path):
    old = word_piece(tmp_path / "old")
    new = shutil.copytree(old, tmp_path / "new")
    text = "Qubits qubits qubits the the the the 量子 ab ab 量子 量子 子 子 the ab ab"
    assert extend(new, [text], 3) == 3  # saved: qubits 3 times 2; 子 cannot be read, 5 times 1; ab 4 times 1
    assert load(new).convert_ids_to_tokens([12, 13, 14]) == ["qubits", "子", "ab"]
    assert load(new)("量子 qubits the")["input_ids"] == [9, 13, 12, 5]
    assert added_tokens(old, new) == Added((12, 13, 14), ((6, 7, 8), (1,), (10, 11)))


def test_other_kinds_are_refused(tmp_path, old):
    from tokenizers import Tokenizer, models, pre_tokenizers

    unigram = Tokenizer(models.Unigram([("<unk>", 0.0), ("a", -1.0)], unk_id=0))
    pieces = Tokenizer(models.BPE({"a": 0, "▁": 1}, []))
    pieces.pre_tokenizer = pre_tokenizers.Metaspace()
    for number, (raw, what) in enumerate([(unigram, "is Unigram"), (pieces, "BPE of another kind")]):
        folder = tmp_path / str(number)
        folder.mkdir()
        raw.save(str(folder / "tokenizer.json"))
        with pytest.raises(InputError, match=what) as error:
            refuse_unextendable(folder)
        assert "--new-tokens" in error.value.remedy
    with pytest.raises(InputError, match="cannot be read"):
        refuse_unextendable(tmp_path)
    refuse_unextendable(old)


# ---------------------------------------------------------------- embeddings


@pytest.mark.parametrize(("kind", "rows"), [("tied", 430), ("untied", 430), ("masked", 430), ("padded", 512)])
def test_rows_begin_as_the_mean_of_their_pieces_and_old_ones_stay(tmp_path, old, new, kind, rows):
    from ptft.core import models

    made = {
        "masked": tiny.masked,
        "padded": lambda folder: tiny.causal(folder, vocab_size=512),
        "untied": lambda folder: tiny.causal(folder, tie_word_embeddings=False),
    }.get(kind, tiny.causal)(tmp_path / "base")
    base, model = (models.load_plain(made, "float32")[0] for _ in range(2))
    if kind == "masked":
        for one in (base, model):  # a new BERT's bias is nothing but zeros
            one.get_output_embeddings().bias.data[:400] = one.get_input_embeddings().weight.data[:400, 0]
    lengthen(model, added_tokens(old, new))
    assert model.config.vocab_size == model.get_input_embeddings().weight.shape[0] == rows
    for table, was in zip(tables(model), tables(base), strict=True):
        assert table[:400].equal(was[:400])
        for ident, pieces in zip(*vars_of(added_tokens(old, new)), strict=True):
            assert table[ident].allclose(was[list(pieces)].mean(dim=0), atol=1e-6)
    model.save_pretrained(tmp_path / "saved")
    again = models.load_plain(tmp_path / "saved", "float32")[0]
    assert all(a.equal(b) for a, b in zip(tables(model), tables(again), strict=True))


def tables(model) -> list:
    output = model.get_output_embeddings()
    return [
        t for t in (model.get_input_embeddings().weight, output.weight, getattr(output, "bias", None)) if t is not None
    ]


def vars_of(added: Added) -> tuple:
    return added.ids, added.pieces
