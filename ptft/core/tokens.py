"""Token folders: what they hold, and how they are read.

tokens.json           format, dtype, vocabulary, tokenizer's hash, special ids, settings, counts and shards by split
train-00000.npy       token ids (n,), uint16, or uint32 where the vocabulary is larger; every document ends in eos
train-00000.ends.npy  where each document ends in that file (documents,), in tokens, uint64
tokenizer/            the tokenizer itself, so that training needs nothing else

A document never spans two files. `numpy.load(PATH, mmap_mode="r")` reads them without ptft.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import orjson

from ptft.core import sequences
from ptft.core.contracts import TOKENS
from ptft.core.documents import Documents
from ptft.core.errors import InputError, UsageError

META = "tokens.json"
FORMAT = 2  # 1 had files without a header
HEADER_BYTES = 128
Packing = Literal["concat", "best-fit"]
REMEDY = "make it again: ptft pack ... --force"


@dataclass(frozen=True)
class Shard:
    """One file of tokens. tokens: eos included. bytes: UTF-8 bytes of the documents' text."""

    file: str
    tokens: int
    documents: int
    bytes: int

    @property
    def ends(self) -> str:
        return self.file.removesuffix(".npy") + ".ends.npy"


@dataclass(frozen=True)
class TokensMeta:
    """What tokens.json holds. val, seed: how documents were sent to validation. empty: documents without any token, left out."""

    dtype: str
    vocab_size: int
    tokenizer_hash: str
    eos_id: int
    pad_id: int
    seq_len: int
    packing: Packing
    val: float
    seed: int
    empty: int
    shards: dict[str, tuple[Shard, ...]]
    format: int = FORMAT

    def total(self, split: str, what: str) -> int:
        return sum(getattr(shard, what) for shard in self.shards.get(split, ()))


def read_meta(folder: Path) -> TokensMeta:
    """tokens.json; raises `InputError` where it is missing, damaged, or of another format."""
    TOKENS.require(folder)
    try:
        raw = orjson.loads((folder / META).read_bytes())
        if raw.get("format", 1) != FORMAT:
            what = f"these tokens are in format {raw.get('format', 1)}, and this ptft reads format {FORMAT}"
            raise InputError(what, where=str(folder), remedy=REMEDY)
        shards = {name: tuple(Shard(**shard) for shard in shards) for name, shards in raw.pop("shards").items()}
        return TokensMeta(shards=shards, **raw)
    except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
        raise InputError("tokens.json is damaged", where=str(folder), remedy=REMEDY) from error


def header(dtype: str, length: int) -> bytes:
    """The header of a one-dimensional .npy file: of one size however long the array, so that it can be written last."""
    buffer = io.BytesIO()
    described = {"descr": np.dtype(dtype).newbyteorder("<").str, "fortran_order": False, "shape": (length,)}
    np.lib.format.write_array_header_1_0(buffer, described)
    found = buffer.getvalue()
    if len(found) != HEADER_BYTES:
        raise AssertionError(f"numpy wrote a header of {len(found)} bytes")
    return found


class Packed:
    """A folder of token files, read through memory maps."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.meta = folder, read_meta(folder)

    @property
    def tokenizer(self) -> Path:
        return self.folder / "tokenizer"

    def tokens(self, split: str) -> list[npt.NDArray[Any]]:
        """The token ids of each shard, memory-mapped. Raises `InputError` where a file is not what tokens.json says."""
        shards = self.meta.shards.get(split, ())
        return [_mapped(self.folder / shard.file, self.meta.dtype, shard.tokens) for shard in shards]

    def ends(self, split: str) -> list[npt.NDArray[np.uint64]]:
        """Where the documents of each shard end, in tokens of that shard, memory-mapped."""
        return [self._ends(shard) for shard in self.meta.shards.get(split, ())]

    def _ends(self, shard: Shard) -> npt.NDArray[np.uint64]:
        path = self.folder / shard.ends
        found = _mapped(path, "<u8", shard.documents)
        if (int(found[-1]) if len(found) else 0) != shard.tokens:
            what = f"the last document ends at {int(found[-1]) if len(found) else 0:,}, and there are {shard.tokens:,} tokens"
            raise InputError(what, where=str(path), remedy=REMEDY)
        return found

    def sequences(
        self, split: str, seq_len: int, packing: str = "auto", with_rest: bool = False
    ) -> sequences.Sequences:
        """The split in sequences of `seq_len` tokens. packing: "concat", "best-fit", or "auto": as the folder was packed for.

        with_rest: the tokens that are left at the end make a padded sequence more, so that every one is scored.

        A split that is not there has none. Raises `InputError` for damaged files, `UsageError` for another packing.
        """
        chosen = self.meta.packing if packing == "auto" else packing
        if chosen not in sequences.KINDS:
            raise UsageError(f"there is no packing {chosen!r}", remedy=f"choose from {', '.join(sequences.KINDS)}")
        stream = sequences.Stream(self.tokens(split), self.ends(split))
        if chosen == "concat":
            return sequences.Concatenated(stream, seq_len, self.meta.pad_id, with_rest)
        return sequences.KINDS[chosen](stream, seq_len, self.meta.pad_id)

    def documents(self, split: str) -> Documents:
        """The split's documents, each without its end-of-text token."""
        ends = self.ends(split)
        return Documents(sequences.Stream(self.tokens(split), ends), document_lengths(ends))

    @cached_property
    def lengths(self) -> dict[str, npt.NDArray[np.int64]]:
        """Tokens of every document (documents,) by split, eos included."""
        return {name: document_lengths(self.ends(name)) for name in self.meta.shards}


def document_lengths(ends: Sequence[npt.NDArray[np.uint64]]) -> npt.NDArray[np.int64]:
    """Tokens of each document, from the ends of every shard."""
    each = [np.diff(np.asarray(shard, np.int64), prepend=0) for shard in ends]
    return np.concatenate(each) if each else np.zeros(0, np.int64)


def _mapped(path: Path, dtype: str, length: int) -> npt.NDArray[Any]:
    """A .npy file as a memory map. Its header and its size are looked at, not its tokens."""
    if not length:
        return np.zeros(0, dtype)
    try:
        found: npt.NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        gone = isinstance(error, FileNotFoundError)
        what = "a token file is missing" if gone else f"a token file is damaged, or not of the right size: {error}"
        raise InputError(what, where=str(path), remedy=REMEDY) from error
    if found.shape != (length,) or found.dtype != np.dtype(dtype):
        what = f"the token file holds {found.dtype} {found.shape}, and tokens.json says {dtype} ({length},)"
        raise InputError(what, where=str(path), remedy=REMEDY)
    return found
