"""Token files: a corpus as memory-mapped tokens with document boundaries. One writer, one reader.

tokens.json           dtype, vocabulary, tokenizer's hash, end-of-document token, counts and shards by split
train-00000.bin       token ids, little-endian uint16 (uint32 from 65,536 on), every document ended by eos
train-00000.ends      where each document ends in that file, in tokens, little-endian uint64
tokenizer/            the tokenizer itself, so that training needs nothing else
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson
import xxhash

from ptft.core.contracts import TOKENIZER, TOKENS
from ptft.core.errors import InputError
from ptft.core.files import Source, hash_file, write_json
from ptft.core.formats import read_rows
from ptft.core.progress import Progress
from ptft.core.rows import RejectLog, Row, accepted

if TYPE_CHECKING:
    import numpy.typing as npt

META = "tokens.json"
JOURNAL = "journal.json"


@dataclass(frozen=True)
class Shard:
    """One file of tokens. bytes: UTF-8 bytes of the documents' text."""

    file: str
    tokens: int
    documents: int
    bytes: int


@dataclass(frozen=True)
class TokensMeta:
    """What tokens.json holds."""

    dtype: str
    vocab_size: int
    tokenizer_hash: str
    eos_id: int
    seq_len: int
    shards: dict[str, tuple[Shard, ...]]

    def total(self, split: str, what: str) -> int:
        return sum(getattr(shard, what) for shard in self.shards.get(split, ()))


@dataclass(frozen=True)
class PackOptions:
    """val: share of documents kept for validation. block_rows: documents between two entries of the journal."""

    seq_len: int
    val: float
    seed: int
    shard_tokens: int = 100_000_000
    block_rows: int = 2000
    columns: dict[str, str] = field(default_factory=dict)


# ---------------------------------------------------------------- writing


class _Split:
    """Appends the documents of one split to its shards; can go back to any journalled point."""

    def __init__(self, folder: Path, name: str, dtype: str, shard_tokens: int, shards: Sequence[Shard]) -> None:
        self.folder, self.name, self.dtype, self.shard_tokens = folder, name, np.dtype(dtype), shard_tokens
        self.shards = list(shards)
        for shard in self.shards:  # what a kill left behind the last journal entry is cut off
            _truncate(folder / shard.file, shard.tokens * self.dtype.itemsize)
            _truncate((folder / shard.file).with_suffix(".ends"), shard.documents * 8)
        known = {shard.file for shard in self.shards}
        for stray in folder.glob(f"{name}-*.bin"):
            if stray.name not in known:
                stray.unlink()
                stray.with_suffix(".ends").unlink(missing_ok=True)

    def append(self, documents: Sequence[Sequence[int]], sizes: Sequence[int]) -> None:
        start = 0
        while start < len(documents):
            if not self.shards or self.shards[-1].tokens >= self.shard_tokens:
                self.shards.append(Shard(f"{self.name}-{len(self.shards):05d}.bin", 0, 0, 0))
            start = self._fill(documents, sizes, start)

    def _fill(self, documents: Sequence[Sequence[int]], sizes: Sequence[int], start: int) -> int:
        """Append documents from `start` until the shard is full; return the first that is left."""
        last, stop, tokens = self.shards[-1], start, self.shards[-1].tokens
        ends = []
        while stop < len(documents) and (tokens < self.shard_tokens or stop == start):
            tokens += len(documents[stop])
            ends.append(tokens)
            stop += 1
        path = self.folder / last.file
        with path.open("ab") as file:
            for document in documents[start:stop]:
                file.write(np.asarray(document, dtype=self.dtype).tobytes())
        with path.with_suffix(".ends").open("ab") as file:
            file.write(np.asarray(ends, dtype="<u8").tobytes())
        size = last.bytes + sum(sizes[start:stop])
        self.shards[-1] = Shard(last.file, tokens, last.documents + stop - start, size)
        return stop


def _truncate(path: Path, size: int) -> None:
    with path.open("ab") as file:
        file.truncate(size)


def pack_corpus(
    sources: Sequence[Source], tokenizer: Path, folder: Path, options: PackOptions, log: RejectLog, progress: Progress
) -> TokensMeta:
    """Tokenise a corpus into `folder`; called again after a kill, it goes on at the last journal entry.

    The journal is written after a block's tokens are on disk, so whatever lies behind it is cut off and made again.
    Raises `InputError` where the corpus is empty or the tokenizer has no end-of-document token.
    """
    fast, eos = fast_tokenizer(tokenizer)
    dtype = "<u2" if fast.get_vocab_size(with_added_tokens=True) <= 2**16 else "<u4"
    folder.mkdir(parents=True, exist_ok=True)
    state = _read_journal(folder)
    names = ("train", "val") if options.val else ("train",)
    splits = {
        name: _Split(
            folder, name, dtype, options.shard_tokens, [Shard(**shard) for shard in state["shards"].get(name, ())]
        )
        for name in names
    }
    log.restore(state["rows"], state["bad"], state["reject_bytes"])
    seen = 0
    with progress.step("packing", unit="documents") as step:
        rows = accepted(_skip(read_rows(sources, columns=options.columns), state["rows"]), log, ("text",))
        for block in _blocks(rows, options.block_rows):
            _append(block, splits, fast, eos, options)
            shards = {name: [asdict(shard) for shard in split.shards] for name, split in splits.items()}
            write_json(
                folder / JOURNAL, {"rows": log.rows, "bad": log.bad, "reject_bytes": log.size(), "shards": shards}
            )
            seen += len(block)
            step.advance(len(block))
    return _finish(folder, tokenizer, fast, eos, dtype, splits, options)


def packed_once(
    sources: Sequence[Source],
    tokenizer: Path,
    state: Path,
    name: str,
    options: PackOptions,
    max_bad_rows: float,
    progress: Progress,
) -> tuple[Packed, Path]:
    """Pack a corpus inside another stage's run, once however often that is interrupted.

    Also returned: the file of rejected rows, which is there only if there are any.
    """
    log = RejectLog(state / f"{name}-rejected.jsonl", max_bad_rows)
    if not (state / name / META).exists():
        pack_corpus(sources, tokenizer, state / name, options, log, progress)
    return Packed(state / name), log.path


def _read_journal(folder: Path) -> dict[str, Any]:
    try:
        journal: dict[str, Any] = orjson.loads((folder / JOURNAL).read_bytes())
        return journal
    except FileNotFoundError:
        return {"rows": 0, "bad": 0, "reject_bytes": 0, "shards": {}}


def _skip(rows: Iterator[Any], count: int) -> Iterator[Any]:
    for index, row in enumerate(rows):
        if index >= count:
            yield row


def _blocks(rows: Iterable[Row], size: int) -> Iterator[list[Row]]:
    block: list[Row] = []
    for row in rows:
        block.append(row)
        if len(block) == size:
            yield block
            block = []
    if block:
        yield block


def _append(block: Sequence[Row], splits: dict[str, _Split], fast: Any, eos: int, options: PackOptions) -> None:
    texts = [row.data["text"] for row in block]
    documents = [[*encoded.ids, eos] for encoded in fast.encode_batch_fast(texts, add_special_tokens=False)]
    sizes = [len(text.encode()) for text in texts]
    is_val = [in_validation(row.data["id"], options.val, options.seed) for row in block]
    for name, split in splits.items():
        chosen = [index for index, val in enumerate(is_val) if val == (name == "val")]
        split.append([documents[index] for index in chosen], [sizes[index] for index in chosen])


def in_validation(ident: str, share: float, seed: int) -> bool:
    """Decided by the document's id alone, so that adding documents moves none."""
    return share > 0 and xxhash.xxh3_64_intdigest(f"{seed}:{ident}".encode()) < share * 2**64


def _finish(
    folder: Path, tokenizer: Path, fast: Any, eos: int, dtype: str, splits: dict[str, _Split], options: PackOptions
) -> TokensMeta:
    if not splits["train"].shards:
        raise InputError("no document was left to train on", where=str(folder), remedy="lower --val, or add documents")
    shards = {name: tuple(split.shards) for name, split in splits.items()}
    vocab_size = fast.get_vocab_size(with_added_tokens=True)
    meta = TokensMeta(dtype, vocab_size, hash_file(tokenizer / "tokenizer.json"), eos, options.seq_len, shards)
    copy = folder / "tokenizer"
    copy.mkdir(exist_ok=True)
    for path in sorted(tokenizer.iterdir()):
        if path.is_file() and path.name not in ("run.json", "report.json") and path.suffix != ".safetensors":
            shutil.copyfile(path, copy / path.name)
    (folder / JOURNAL).unlink(missing_ok=True)
    write_json(folder / META, asdict(meta))
    return meta


def fast_tokenizer(folder: Path) -> tuple[Any, int]:
    """The folder's `tokenizers.Tokenizer` and the id that ends a document. Neither torch nor transformers is needed."""
    from tokenizers import Tokenizer

    TOKENIZER.require(folder)
    try:
        fast = Tokenizer.from_file(str(folder / "tokenizer.json"))
        config = orjson.loads((folder / "tokenizer_config.json").read_bytes())
    except Exception as error:  # `tokenizers` raises bare Exception
        remedy = "it needs tokenizer.json and tokenizer_config.json; make one with `ptft tokenizer`"
        raise InputError(f"the tokenizer cannot be loaded: {error}", where=str(folder), remedy=remedy) from error
    named = [config.get("eos_token"), config.get("sep_token")]
    eos = next((token["content"] if isinstance(token, dict) else token for token in named if token), None)
    ident = fast.token_to_id(eos) if eos else None
    if ident is None:
        remedy = "set eos_token in its tokenizer_config.json, or make one with `ptft tokenizer`"
        raise InputError("the tokenizer has no end-of-text token", where=str(folder), remedy=remedy)
    fast.no_truncation()
    fast.no_padding()
    return fast, ident


# ---------------------------------------------------------------- reading


class Packed:
    """A folder of token files, read through memory maps."""

    def __init__(self, folder: Path) -> None:
        TOKENS.require(folder)
        try:
            raw = orjson.loads((folder / META).read_bytes())
            raw["shards"] = {name: tuple(Shard(**shard) for shard in shards) for name, shards in raw["shards"].items()}
            self.folder, self.meta = folder, TokensMeta(**raw)
        except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
            remedy = "make it again: ptft pack ... --force"
            raise InputError("tokens.json is damaged", where=str(folder), remedy=remedy) from error

    @property
    def tokenizer(self) -> Path:
        return self.folder / "tokenizer"

    def blocks(self, split: str, seq_len: int) -> Blocks:
        shards = self.meta.shards.get(split, ())
        return Blocks([_mapped(self.folder / shard.file, shard, self.meta.dtype) for shard in shards], seq_len)


def _mapped(path: Path, shard: Shard, dtype: str) -> npt.NDArray[Any]:
    try:
        tokens: npt.NDArray[Any] = np.memmap(path, dtype=dtype, mode="r", shape=(shard.tokens,))
    except (OSError, ValueError) as error:
        remedy = "make it again: ptft pack ... --force"
        raise InputError(
            "the token file does not have the size tokens.json says", where=str(path), remedy=remedy
        ) from error
    return tokens


class Blocks:
    """A stream of tokens cut into sequences of `seq_len`; each is an int64 array of that length. Fewer left over are skipped."""

    def __init__(self, arrays: Sequence[npt.NDArray[Any]], seq_len: int) -> None:
        self.arrays, self.seq_len = arrays, seq_len
        self.starts = np.cumsum([0, *(len(array) // seq_len for array in arrays)])

    def __len__(self) -> int:
        return int(self.starts[-1])

    def __getitem__(self, index: int) -> npt.NDArray[np.int64]:
        shard = int(np.searchsorted(self.starts, index, side="right")) - 1
        start = (int(index) - int(self.starts[shard])) * self.seq_len
        return np.asarray(self.arrays[shard][start : start + self.seq_len], dtype=np.int64)
