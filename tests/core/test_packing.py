from __future__ import annotations

import json
from itertools import pairwise

import numpy as np
import pytest
import tiny
from hypothesis import given, settings
from hypothesis import strategies as st

from ptft.core import packing
from ptft.core.errors import InputError
from ptft.core.files import expand
from ptft.core.packing import META, Packed, PackOptions, in_validation, pack_corpus, packed_once
from ptft.core.progress import Silent
from ptft.core.rows import RejectLog


@pytest.fixture
def corpus(tmp_path):
    return write(tmp_path / "in.jsonl", [tiny.TEXTS[n % 4] * (1 + n % 3) for n in range(50)])


def write(path, texts, first=0):
    rows = [{"id": f"d{n}", "text": text} for n, text in enumerate(texts, first)]
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
    return path


def pack(corpus, tokenizer, folder, onto=(), **more):
    log = RejectLog(folder.parent / f"{folder.name}-rejected.jsonl", 0.5)
    settings = {"seq_len": 16, "val": 0.2, "seed": 1, "block_rows": 7, "journal_seconds": 0.0, **more}
    sources = expand([str(corpus)]) if corpus else []
    return pack_corpus(sources, tokenizer, folder, PackOptions(**settings), log, Silent(), onto)


def documents(folder, split):
    """The documents as the ends say, decoded; read by numpy alone."""
    meta = json.loads((folder / META).read_text())
    loaded = tiny.tokenizer()
    for shard in meta["shards"][split]:
        tokens = np.load(folder / shard["file"], mmap_mode="r")
        ends = np.load(folder / shard["file"].replace(".npy", ".ends.npy"), mmap_mode="r")
        assert tokens.dtype == np.uint16 and ends.dtype == np.uint64 and ends[-1] == len(tokens) == shard["tokens"]
        for start, end in pairwise([0, *map(int, ends)]):
            assert tokens[end - 1] == meta["eos_id"]
            yield loaded.decode(tokens[start : end - 1])


def files(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_every_document_is_there_whole_and_on_one_side(corpus, tokenizer, tmp_path):
    meta = pack(corpus, tokenizer, tmp_path / "t")
    rows = [json.loads(line) for line in corpus.read_text().splitlines()]
    for split in ("train", "val"):
        expected = [row["text"] for row in rows if in_validation(row["id"], 0.2, 1) == (split == "val")]
        assert expected and list(documents(tmp_path / "t", split)) == expected
        assert meta.total(split, "bytes") == sum(len(text.encode()) for text in expected)


@settings(max_examples=25, deadline=None)
@given(texts=st.lists(st.text(st.characters(codec="utf-8"), max_size=60), min_size=1, max_size=20))
def test_documents_in_are_documents_out(texts, tokenizer, tmp_path_factory):
    folder = tmp_path_factory.mktemp("laws")
    there = [text for text in texts if text]
    corpus = write(folder / "in.jsonl", texts)
    if not there:
        with pytest.raises(InputError, match="no document was left"):
            pack(corpus, tokenizer, folder / "t", val=0.0)
        return
    meta = pack(corpus, tokenizer, folder / "t", val=0.0)
    assert list(documents(folder / "t", "train")) == there and meta.empty == len(texts) - len(there)


def test_shards_blocks_and_processes_change_no_token(corpus, tokenizer, tmp_path):
    pack(corpus, tokenizer, tmp_path / "one")
    meta = pack(corpus, tokenizer, tmp_path / "many", shard_tokens=200, block_rows=3)
    assert len(meta.shards["train"]) > 3 and all(shard.tokens >= 200 for shard in meta.shards["train"][:-1])
    assert list(documents(tmp_path / "one", "train")) == list(documents(tmp_path / "many", "train"))
    pack(corpus, tokenizer, tmp_path / "parallel", shard_tokens=200, block_rows=9, workers=2)
    assert files(tmp_path / "many") == files(tmp_path / "parallel")


@pytest.mark.parametrize("stop_after", [0, 1, 2, 5])
def test_going_on_after_a_kill_gives_the_same_bytes(corpus, tokenizer, tmp_path, monkeypatch, stop_after):
    """Killed between the tokens and the journal, the worst moment: what lies behind the journal is cut off."""
    from ptft.core import shards

    corpus.write_text(corpus.read_text().replace("\n", "\n{broken\n", 3))
    pack(corpus, tokenizer, tmp_path / "whole", shard_tokens=200)
    write_json, count = shards.write_json, [0]

    def killed(path, value):
        count[0] += 1
        if count[0] > stop_after:
            raise KeyboardInterrupt
        write_json(path, value)

    monkeypatch.setattr(shards, "write_json", killed)
    with pytest.raises(KeyboardInterrupt):
        pack(corpus, tokenizer, tmp_path / "cut", shard_tokens=200)
    assert not (tmp_path / "cut" / META).exists()
    monkeypatch.undo()
    pack(corpus, tokenizer, tmp_path / "cut", shard_tokens=200)
    assert files(tmp_path / "whole") == files(tmp_path / "cut")
    assert (tmp_path / "whole-rejected.jsonl").read_bytes() == (tmp_path / "cut-rejected.jsonl").read_bytes()


def test_a_resumed_run_does_not_tokenise_again(corpus, tokenizer, tmp_path, monkeypatch):
    done = []
    inner = packing._pack_block

    def counted(job, block):
        if len(done) == 4:
            raise KeyboardInterrupt
        done.append(block.ids)
        return inner(job, block)

    monkeypatch.setattr(packing, "_pack_block", counted)
    with pytest.raises(KeyboardInterrupt):
        pack(corpus, tokenizer, tmp_path / "t")
    monkeypatch.setattr(packing, "_pack_block", lambda job, block: done.append(block.ids) or inner(job, block))
    pack(corpus, tokenizer, tmp_path / "t")
    assert [ident for ids in done for ident in ids] == [f"d{n}" for n in range(50)]


def test_packing_once_is_packing_once(corpus, tokenizer, tmp_path, monkeypatch):
    options = PackOptions(16, 0.2, 1)
    first, _ = packed_once(expand([str(corpus)]), tokenizer, tmp_path, "t", options, 0.01, Silent())
    monkeypatch.setattr(packing, "pack_corpus", None)
    again, rejected = packed_once(expand([str(corpus)]), tokenizer, tmp_path, "t", options, 0.01, Silent())
    assert again.meta == first.meta and not rejected.exists()


def test_a_large_vocabulary_takes_four_bytes(corpus, tmp_path):
    big = tiny.tokenizer()
    big.add_tokens([f"<t{n}>" for n in range(70_000)])
    big.save_pretrained(tmp_path / "big")
    write(corpus, ["one <t69999> two", "three"])
    assert pack(corpus, tmp_path / "big", tmp_path / "t", val=0.0).dtype == "<u4"
    tokens = np.load(tmp_path / "t" / "train-00000.npy")
    assert tokens.dtype == np.uint32 and big.convert_tokens_to_ids("<t69999>") in tokens.tolist()


def test_a_tokenizer_without_an_end_is_refused(corpus, tokenizer, tmp_path):
    import shutil

    shutil.copytree(tokenizer, tmp_path / "endless")
    config = json.loads((tokenizer / "tokenizer_config.json").read_text())
    config.pop("eos_token")
    (tmp_path / "endless" / "tokenizer_config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match="end-of-text"):
        pack(corpus, tmp_path / "endless", tmp_path / "t")


def test_validation_is_decided_by_the_id_alone():
    ids = [f"doc-{n}" for n in range(4000)]
    share = sum(in_validation(ident, 0.1, 1) for ident in ids) / len(ids)
    assert 0.08 < share < 0.12 and not any(in_validation(ident, 0.0, 1) for ident in ids)


# ---------------------------------------------------------------- adding to a folder


@settings(max_examples=10, deadline=None)
@given(count=st.integers(1, 49), shard_tokens=st.sampled_from([150, 10**8]))
def test_adding_later_is_packing_together(count, shard_tokens, tokenizer, tmp_path_factory):
    folder = tmp_path_factory.mktemp("append")
    texts = [tiny.TEXTS[n % 4] + str(n) for n in range(50)]
    pack(write(folder / "all.jsonl", texts), tokenizer, folder / "all")
    pack(write(folder / "a.jsonl", texts[:count]), tokenizer, folder / "a", shard_tokens=shard_tokens)
    before = files(folder / "a")
    old = Packed(folder / "a")
    meta = pack(write(folder / "b.jsonl", texts[count:], count), tokenizer, folder / "b", [old], shard_tokens=300)
    for split in ("train", "val"):
        assert list(documents(folder / "b", split)) == list(documents(folder / "all", split))
        assert meta.total(split, "bytes") == Packed(folder / "all").meta.total(split, "bytes")
    first = old.meta.shards["train"][0].file
    assert (folder / "a" / first).samefile(folder / "b" / "train-00000.npy")
    assert files(folder / "a") == before


def test_adding_goes_on_after_a_kill_and_never_touches_the_old_shards(corpus, tokenizer, tmp_path, monkeypatch):
    from ptft.core import shards

    monkeypatch.setattr(shards.os, "link", lambda *_: (_ for _ in ()).throw(OSError("no links here")))
    pack(corpus, tokenizer, tmp_path / "a", shard_tokens=200)
    more = write(tmp_path / "more.jsonl", [f"new {n}" for n in range(40)], 50)
    old = Packed(tmp_path / "a")
    before = files(tmp_path / "a")
    pack(more, tokenizer, tmp_path / "whole", [old])
    inner = packing._pack_block

    def cut(job, block):
        if "d71" in block.ids:
            raise KeyboardInterrupt
        return inner(job, block)

    monkeypatch.setattr(packing, "_pack_block", cut)
    with pytest.raises(KeyboardInterrupt):
        pack(more, tokenizer, tmp_path / "cut", [old])
    monkeypatch.setattr(packing, "_pack_block", inner)
    pack(more, tokenizer, tmp_path / "cut", [old])
    assert files(tmp_path / "cut") == files(tmp_path / "whole") and files(tmp_path / "a") == before
