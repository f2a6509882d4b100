from __future__ import annotations

import json
from itertools import pairwise

import numpy as np
import pytest
import tiny

from ptft.core.errors import InputError
from ptft.core.files import expand
from ptft.core.packing import Packed, PackOptions, in_validation, pack_corpus
from ptft.core.progress import Silent
from ptft.core.rows import RejectLog


@pytest.fixture
def tokenizer(tmp_path):
    tiny.tokenizer().save_pretrained(tmp_path / "tok")
    return tmp_path / "tok"


@pytest.fixture
def corpus(tmp_path):
    path = tmp_path / "in.jsonl"
    rows = [{"id": f"d{n}", "text": tiny.TEXTS[n % 4] * (1 + n % 3)} for n in range(50)]
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    return path


def pack(corpus, tokenizer, folder, *, val=0.2, shard_tokens=10**8, block_rows=7, seq_len=16):
    log = RejectLog(folder.parent / f"{folder.name}-rejected.jsonl", 0.5)
    options = PackOptions(seq_len, val, 1, shard_tokens, block_rows)
    return pack_corpus(expand([str(corpus)]), tokenizer, folder, options, log, Silent())


def documents(folder, split):
    """The documents as the ends say, decoded."""
    packed = Packed(folder)
    loaded = tiny.tokenizer()
    for shard in packed.meta.shards[split]:
        tokens = np.fromfile(folder / shard.file, dtype=packed.meta.dtype)
        ends = np.fromfile((folder / shard.file).with_suffix(".ends"), dtype="<u8")
        for start, end in pairwise([0, *map(int, ends)]):
            assert tokens[end - 1] == packed.meta.eos_id
            yield loaded.decode(tokens[start : end - 1])


def test_every_document_is_there_whole_and_on_one_side(corpus, tokenizer, tmp_path):
    meta = pack(corpus, tokenizer, tmp_path / "t")
    rows = [json.loads(line) for line in corpus.read_text().splitlines()]
    for split in ("train", "val"):
        expected = [row["text"] for row in rows if in_validation(row["id"], 0.2, 1) == (split == "val")]
        assert list(documents(tmp_path / "t", split)) == expected
        assert meta.total(split, "bytes") == sum(len(text.encode()) for text in expected)


def test_shards_and_block_size_change_no_token(corpus, tokenizer, tmp_path):
    pack(corpus, tokenizer, tmp_path / "one")
    meta = pack(corpus, tokenizer, tmp_path / "many", shard_tokens=200, block_rows=3)
    assert len(meta.shards["train"]) > 3
    assert list(documents(tmp_path / "one", "train")) == list(documents(tmp_path / "many", "train"))


def test_blocks_cover_the_stream(corpus, tokenizer, tmp_path):
    pack(corpus, tokenizer, tmp_path / "t", val=0.0)
    packed = Packed(tmp_path / "t")
    blocks = packed.blocks("train", 16)
    stream = np.fromfile(tmp_path / "t" / "train-00000.bin", dtype="<u2")
    joined = np.concatenate([blocks[n] for n in range(len(blocks))])
    assert (joined == stream[: len(joined)]).all() and len(stream) - len(joined) < 16
    assert len(packed.blocks("val", 16)) == 0


@pytest.mark.parametrize("stop_after", [1, 2, 5])
def test_going_on_after_a_kill_gives_the_same_bytes(corpus, tokenizer, tmp_path, monkeypatch, stop_after):
    """Killed between the tokens and the journal, the worst moment: what lies behind the journal is cut off."""
    import ptft.core.packing as packing

    corpus.write_text(corpus.read_text().replace("\n", "\n{broken\n", 3))
    pack(corpus, tokenizer, tmp_path / "whole", shard_tokens=200)
    write, count = packing.write_json, [0]

    def killed(path, value):
        if path.name == packing.JOURNAL:
            count[0] += 1
            if count[0] > stop_after:
                raise KeyboardInterrupt
        write(path, value)

    monkeypatch.setattr(packing, "write_json", killed)
    with pytest.raises(KeyboardInterrupt):
        pack(corpus, tokenizer, tmp_path / "cut", shard_tokens=200)
    monkeypatch.undo()
    pack(corpus, tokenizer, tmp_path / "cut", shard_tokens=200)
    whole, cut = (
        {p.relative_to(f): p.read_bytes() for p in f.rglob("*") if p.is_file()}
        for f in (tmp_path / "whole", tmp_path / "cut")
    )
    assert whole == cut
    assert (tmp_path / "whole-rejected.jsonl").read_bytes() == (tmp_path / "cut-rejected.jsonl").read_bytes()


def test_a_large_vocabulary_takes_four_bytes(corpus, tmp_path):
    big = tiny.tokenizer()
    big.add_tokens([f"<t{n}>" for n in range(70_000)])
    big.save_pretrained(tmp_path / "big")
    assert pack(corpus, tmp_path / "big", tmp_path / "t").dtype == "<u4"
    assert len(list(documents(tmp_path / "t", "train"))) > 0


def test_a_tokenizer_without_an_end_is_refused(corpus, tokenizer, tmp_path):
    config = json.loads((tokenizer / "tokenizer_config.json").read_text())
    config.pop("eos_token")
    (tokenizer / "tokenizer_config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match="end-of-text"):
        pack(corpus, tokenizer, tmp_path / "t")


def test_a_cut_token_file_is_noticed(corpus, tokenizer, tmp_path):
    pack(corpus, tokenizer, tmp_path / "t")
    file = tmp_path / "t" / "train-00000.bin"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(InputError, match="size"):
        Packed(tmp_path / "t").blocks("train", 16)


def test_validation_is_decided_by_the_id_alone():
    ids = [f"doc-{n}" for n in range(4000)]
    share = sum(in_validation(ident, 0.1, 1) for ident in ids) / len(ids)
    assert 0.08 < share < 0.12 and not any(in_validation(ident, 0.0, 1) for ident in ids)
