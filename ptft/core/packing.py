"""A corpus into a token folder: tokenised in parallel, written in order, able to go on after a kill. See `tokens` for what is in it."""

from __future__ import annotations

import shutil
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson
import xxhash

from ptft.core.contracts import TOKENIZER
from ptft.core.errors import InputError
from ptft.core.files import Source, hash_file, write_json
from ptft.core.formats import read_rows
from ptft.core.progress import Progress
from ptft.core.rows import RejectLog, Row, accepted
from ptft.core.shards import Splits, State
from ptft.core.tokenising import Encoder, Special, fast_tokenizer, one_thread, special_of
from ptft.core.tokens import META, Packed, Packing, Shard, TokensMeta
from ptft.core.workers import ordered_map

__all__ = [
    "JOURNAL", "META", "PackOptions", "Packed", "Shard", "TokensMeta", "fast_tokenizer", "in_validation",
    "pack_corpus", "packed_once",
]  # fmt: skip

JOURNAL = "journal.json"
BLOCK_CHARACTERS = 4 * 2**20  # a block ends here too, for every worker holds one
NOT_TOKENIZER = ("run.json", "report.json", "rejected.jsonl")


@dataclass(frozen=True)
class PackOptions:
    """val: share of documents kept for validation. block_rows: documents a unit of work. workers: processes (0: one a core)."""

    seq_len: int
    val: float
    seed: int
    shard_tokens: int = 100_000_000
    block_rows: int = 20_000
    columns: dict[str, str] = field(default_factory=dict)
    packing: Packing = "concat"
    workers: int = 1
    journal_seconds: float = 2.0  # at most so much work is done again after a kill


def pack_corpus(
    sources: Sequence[Source],
    tokenizer: Path,
    folder: Path,
    options: PackOptions,
    log: RejectLog,
    progress: Progress,
    onto: Sequence[Packed] = (),
) -> TokensMeta:
    """Tokenise a corpus into `folder`; called again after a kill, it goes on at the last journal entry.

    onto: token folders whose shards come first, linked, not copied. The journal is written after a block's tokens are on disk, so
    whatever lies behind it is cut off and made again. The result does not depend on workers, blocks or kills. Raises `InputError`
    where there is nothing to train on or the tokenizer has no end-of-document token.
    """
    tokenizer_hash = hash_file(TOKENIZER.require(tokenizer) / "tokenizer.json")
    alone = options.workers == 1
    special = _encoder(tokenizer, tokenizer_hash).special if alone else special_of(tokenizer)
    folder.mkdir(parents=True, exist_ok=True)
    state = _read_journal(folder)
    names = ("train", "val") if options.val else ("train",)
    splits = Splits(folder, names, special.dtype, options.shard_tokens, state, onto)
    log.restore(state.rows, state.bad, state.reject_bytes)
    job = _Job(tokenizer, tokenizer_hash, special.dtype, options.val, options.seed)
    with progress.step("packing", unit="documents") as step, one_thread():
        blocks = _Blocks(sources, options, log, state.rows, optional=bool(onto))
        for block in ordered_map(partial(_pack_block, job), blocks, options.workers):
            splits.append(block.splits, block.empty)
            step.advance(sum(len(part.lengths) for part in block.splits.values()))
            rows, bad, size = blocks.logged.popleft()
            splits.journal(folder / JOURNAL, State(rows, bad, size), options.journal_seconds)
    _encoder.cache_clear()
    return _finish(folder, tokenizer, job, special, splits, options)


def packed_once(
    sources: Sequence[Source],
    tokenizer: Path,
    state: Path,
    name: str,
    options: PackOptions,
    max_bad_rows: float,
    progress: Progress,
    onto: Sequence[Packed] = (),
) -> tuple[Packed, Path]:
    """Pack a corpus inside a stage's run, once however often that is interrupted.

    Also returned: the file of rejected rows, which is there only if there are any.
    """
    log = RejectLog(state / f"{name}-rejected.jsonl", max_bad_rows)
    if not (state / name / META).exists():
        pack_corpus(sources, tokenizer, state / name, options, log, progress, onto)
    return Packed(state / name), log.path


def in_validation(ident: str, share: float, seed: int) -> bool:
    """Decided by the document's id alone, so that adding documents moves none."""
    return share > 0 and xxhash.xxh3_64_intdigest(f"{seed}:{ident}".encode()) < share * 2**64


def _read_journal(folder: Path) -> State:
    try:
        return State.of(orjson.loads((folder / JOURNAL).read_bytes()))
    except FileNotFoundError:
        return State()


def _finish(
    folder: Path, tokenizer: Path, job: _Job, special: Special, splits: Splits, options: PackOptions
) -> TokensMeta:
    shards = splits.close()
    if not shards["train"]:
        raise InputError("no document was left to train on", remedy="lower --val, or add documents")
    copy = folder / "tokenizer"
    copy.mkdir(exist_ok=True)
    for path in sorted(tokenizer.iterdir()):
        if path.is_file() and path.name not in NOT_TOKENIZER and path.suffix != ".safetensors":
            shutil.copyfile(path, copy / path.name)
    meta = TokensMeta(
        job.dtype, special.vocab_size, job.tokenizer_hash, special.eos, special.pad, options.seq_len, options.packing,
        options.val, options.seed, splits.empty, shards,
    )  # fmt: skip
    write_json(folder / META, asdict(meta))
    (folder / JOURNAL).unlink(missing_ok=True)
    return meta


# ---------------------------------------------------------------- blocks of documents


@dataclass(frozen=True)
class _Block:
    """Documents as a process is sent them."""

    ids: tuple[str, ...]
    texts: tuple[str, ...]


class _Blocks:
    """The corpus in blocks, and what the log had seen when each was cut: reading runs ahead of what is written."""

    def __init__(
        self, sources: Sequence[Source], options: PackOptions, log: RejectLog, skip: int, optional: bool
    ) -> None:
        self._sources, self._options, self._log, self._skip, self._optional = sources, options, log, skip, optional
        self.logged: deque[tuple[int, int, int]] = deque()

    def __iter__(self) -> Iterator[_Block]:
        held: list[Row] = []
        size = 0
        for row in self._rows():
            held.append(row)
            size += len(row.data["text"])
            if len(held) == self._options.block_rows or size >= BLOCK_CHARACTERS:
                yield self._cut(held)
                held, size = [], 0
        if held:
            yield self._cut(held)

    def _rows(self) -> Iterator[Row]:
        if not self._sources and self._optional:
            return
        items = read_rows(self._sources, columns=self._options.columns)
        items_left = (item for number, item in enumerate(items) if number >= self._skip)
        yield from accepted(items_left, self._log, ("text",))

    def _cut(self, rows: Sequence[Row]) -> _Block:
        self.logged.append((self._log.rows, self._log.bad, self._log.size()))
        return _Block(tuple(row.data["id"] for row in rows), tuple(row.data["text"] for row in rows))


# ---------------------------------------------------------------- in the worker


@dataclass(frozen=True)
class _Job:
    """What every block is packed with."""

    tokenizer: Path
    tokenizer_hash: str
    dtype: str
    val: float
    seed: int


@dataclass(frozen=True)
class Part:
    """A block's documents of one split. tokens (n,): ended by eos each. lengths, sizes (documents,): tokens; bytes of text in UTF-8."""

    tokens: npt.NDArray[Any]
    lengths: npt.NDArray[np.int64]
    sizes: npt.NDArray[np.int64]


@dataclass(frozen=True)
class _Done:
    """empty: documents without any token, which are left out."""

    splits: dict[str, Part]
    empty: int


@lru_cache(maxsize=1)
def _encoder(tokenizer: Path, tokenizer_hash: str) -> Encoder:
    return Encoder(tokenizer)


def _pack_block(job: _Job, block: _Block) -> _Done:
    with one_thread():
        encoded = _encoder(job.tokenizer, job.tokenizer_hash)(block.texts)
    sizes = np.array([len(text.encode()) for text in block.texts], np.int64)
    is_val = np.array([in_validation(ident, job.val, job.seed) for ident in block.ids])
    there = encoded.lengths > 1
    splits = {}
    for name, chosen in (("train", there & ~is_val), ("val", there & is_val)):
        tokens = encoded.ids if chosen.all() else encoded.ids[np.repeat(chosen, encoded.lengths)]
        splits[name] = Part(tokens.astype(job.dtype), encoded.lengths[chosen], sizes[chosen])
    return _Done(splits, int((~there).sum()))
