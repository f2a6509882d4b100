"""Real text to tokens by ptft's own stages, and the same tokens as plain files for everybody else."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import corpora
import numpy as np
from tools import note

from pretraining import processes

EVERYTHING = (*corpora.ENGLISH, *corpora.CHINESE)
SMALL = ("bbc", "brown", "help-en", "help-zh", "fortunes-zh")


@dataclass(frozen=True)
class Tokens:
    """pack: made by `ptft pack`. plain: train.bin and val.bin, uint16, one stream each; the same tokens.

    train, val: tokens in each. rows: held-out sequences that are scored; bytes: of text that their predicted tokens stand for.
    """

    pack: Path
    tokenizer: Path
    plain: Path
    length: int
    vocab: int
    train: int
    val: int
    rows: int
    bytes: int

    def describe(self) -> str:
        return (
            f"{self.train:,} tokens of real English and Chinese text to train on (vocabulary {self.vocab:,}, made by "
            f"`ptft tokenizer`), sequences of {self.length}; scored: {self.rows * (self.length - 1):,} tokens of held-out "
            f"documents, {self.bytes:,} bytes"
        )


def ptft(*arguments: object, threads: int = 1) -> None:
    """A ptft command; a folder with another result in it is made again."""
    command = [sys.executable, "-P", "-m", "ptft", *map(str, arguments)]
    try:
        processes.run(command, threads)
    except RuntimeError as error:
        if "--force" not in str(error):
            raise
        processes.run([*command, "--force"], threads)


def tokens_of(data: Path, folder: Path, names: Sequence[str], vocab: int, length: int, rows: int) -> Tokens:
    """The named real sets as tokens. rows: most held-out sequences to score."""
    sources = [path for path in (data / f"{name}.jsonl" for name in names) if path.exists()]
    note(f"tokens of {', '.join(path.stem for path in sources)}")
    ptft("clean", *sources, "--rules", "off", "-o", folder / "clean")
    text = folder / "clean" / "corpus.jsonl"
    ptft("tokenizer", text, "--vocab-size", vocab, "-o", folder / "tokenizer")
    ptft("pack", text, "-t", folder / "tokenizer", "--seq-len", length, "--val", 0.03, "-o", folder / "pack")
    return _plain(folder, length, rows)


def _plain(folder: Path, length: int, rows: int) -> Tokens:
    """Copy the packed tokens out of their shards, as one stream a split."""
    from ptft.core.models import load_tokenizer, token_bytes
    from ptft.core.packing import Packed

    packed, plain = Packed(folder / "pack"), folder / "plain"
    plain.mkdir(exist_ok=True)
    streams = {}
    for split in ("train", "val"):
        found = packed.sequences(split, length, "concat")
        streams[split] = np.concatenate([sequence.ids for sequence in found]).astype(np.uint16)
        streams[split].tofile(plain / f"{split}.bin")
    train, val = streams["train"], streams["val"]
    rows = min(rows, len(val) // length)
    scored = val[: rows * length].reshape(rows, length)[:, 1:]
    size = int(token_bytes(load_tokenizer(packed.tokenizer))[scored].sum())
    vocab = packed.meta.vocab_size
    return Tokens(packed.folder, folder / "tokenizer", plain, length, vocab, len(train), len(val), rows, size)


def mask(tokens: Tokens, rate: float, seed: int) -> Path:
    """The held-out text as [CLS] text [SEP] with tokens hidden once, BERT's way (80 % [MASK], 10 % any, 10 % as they are).

    For everybody: ids.npy and labels.npy (rows, length), int64, in the folder returned.
    """
    from ptft.core.models import load_tokenizer

    tokenizer, draw = load_tokenizer(tokens.tokenizer), np.random.default_rng(seed)
    inner = tokens.length - 2
    text = np.fromfile(tokens.plain / "val.bin", np.uint16)[: tokens.rows * inner].astype(np.int64)
    ids = np.pad(text.reshape(tokens.rows, inner), ((0, 0), (1, 1)))
    ids[:, 0], ids[:, -1] = tokenizer.cls_token_id, tokenizer.sep_token_id
    chosen = (draw.random(ids.shape) < rate) & ~np.isin(ids, tokenizer.all_special_ids)
    labels, fate = np.where(chosen, ids, -100), draw.random(ids.shape)
    ids[chosen & (fate < 0.8)] = tokenizer.mask_token_id
    swapped = chosen & (fate >= 0.8) & (fate < 0.9)
    ids[swapped] = draw.integers(0, tokens.vocab, int(swapped.sum()))
    folder = tokens.plain / "masked"
    folder.mkdir(exist_ok=True)
    np.save(folder / "ids.npy", ids)
    np.save(folder / "labels.npy", labels)
    return folder
