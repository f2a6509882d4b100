from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptft.core.errors import InputError, UsageError
from ptft.core.tokens import HEADER_BYTES, META, Packed, header


def folder_of(folder, shards, vocab_size=400, **more):
    """A token folder made by hand. shards: lists of documents, each a list of ids."""
    folder.mkdir(parents=True, exist_ok=True)
    listed = []
    for number, documents in enumerate(shards):
        name = f"train-{number:05d}.npy"
        np.save(folder / name, np.array([ident for document in documents for ident in document], "<u2"))
        ends = np.cumsum([len(document) for document in documents])
        np.save(folder / name.replace(".npy", ".ends.npy"), ends.astype("<u8"))
        tokens = sum(map(len, documents))
        listed.append({"file": name, "tokens": tokens, "documents": len(documents), "bytes": tokens})
    meta = {
        "format": 2, "dtype": "<u2", "vocab_size": vocab_size, "tokenizer_hash": "", "eos_id": 0, "pad_id": 1, "seq_len": 8,
        "packing": "concat", "val": 0.0, "seed": 1, "empty": 0, "shards": {"train": listed}, **more,
    }  # fmt: skip
    (folder / META).write_text(json.dumps(meta))
    return folder


@pytest.fixture
def folder(tmp_path):
    return folder_of(tmp_path / "t", [[[5, 6, 0], [7, 0]], [[8, 9, 10, 11, 0]]])


@given(length=st.integers(0, 10**15), dtype=st.sampled_from(["<u2", "<u4", "<u8"]))
def test_the_header_is_numpys_and_of_one_size(length, dtype):
    import io

    found = io.BytesIO(header(dtype, length))
    assert np.lib.format.read_magic(found) == (1, 0)
    assert np.lib.format.read_array_header_1_0(found) == ((length,), False, np.dtype(dtype))
    assert found.tell() == HEADER_BYTES


def test_what_is_read_is_what_is_there(folder):
    packed = Packed(folder)
    assert [shard.tolist() for shard in packed.tokens("train")] == [[5, 6, 0, 7, 0], [8, 9, 10, 11, 0]]
    assert [shard.tolist() for shard in packed.ends("train")] == [[3, 5], [5]]
    assert packed.lengths["train"].tolist() == [3, 2, 5]
    assert packed.tokens("val") == [] and len(packed.sequences("val", 4)) == 0
    assert len(packed.sequences("val", 4, "best-fit")) == 0


def test_the_packing_is_that_of_the_folder_unless_said(tmp_path):
    packed = Packed(folder_of(tmp_path / "t", [[[5, 6, 0], [7, 0], [8, 9, 10, 0]]], packing="best-fit"))
    assert packed.sequences("train", 4)[0].ids.tolist() == [5, 6, 0, 1]
    assert packed.sequences("train", 4, "concat")[0].ids.tolist() == [5, 6, 0, 7]
    with pytest.raises(UsageError, match="no packing 'tight'"):
        packed.sequences("train", 4, "tight")


@pytest.mark.parametrize(
    ("cut", "name"), [(2, "train-00000.npy"), (8, "train-00000.ends.npy"), (200, "train-00001.npy")]
)
def test_a_cut_file_is_noticed(folder, cut, name):
    path = folder / name
    path.write_bytes(path.read_bytes()[:-cut])
    with pytest.raises(InputError, match="damaged, or not of the right size"):
        Packed(folder).sequences("train", 4)


def test_a_missing_file_another_length_and_another_type_are_noticed(folder):
    (folder / "train-00001.ends.npy").unlink()
    with pytest.raises(InputError, match="missing"):
        Packed(folder).sequences("train", 4)
    for wrong in (np.zeros(4, "<u8"), np.zeros(1, "<i8")):
        np.save(folder / "train-00001.ends.npy", wrong)
        with pytest.raises(InputError, match=r"tokens.json says <u8 \(1,\)"):
            Packed(folder).sequences("train", 4)


def test_pickles_are_not_read(folder):
    np.save(folder / "train-00000.npy", np.array([{}], object), allow_pickle=True)
    with pytest.raises(InputError, match="damaged"):
        Packed(folder).sequences("train", 4)


def test_other_formats_and_damage_are_said(folder):
    meta = json.loads((folder / META).read_text())
    for change, said in (({"format": 1}, "format 1"), ({"shards": 3}, "damaged"), ({"more": 1}, "damaged")):
        (folder / META).write_text(json.dumps({**meta, **change}))
        with pytest.raises(InputError, match=said):
            Packed(folder)
    (folder / META).write_text("{")
    with pytest.raises(InputError, match="damaged"):
        Packed(folder)


def test_ends_that_do_not_fit_the_tokens_are_noticed(folder):
    np.save(folder / "train-00000.ends.npy", np.array([3, 9], "<u8"))
    with pytest.raises(InputError, match="end"):
        Packed(folder).sequences("train", 4)
