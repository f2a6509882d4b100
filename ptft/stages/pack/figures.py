"""What `ptft pack` says of a token folder: how long documents are, and what each way of filling sequences wastes and cuts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ptft.core.best_fit import bins_needed
from ptft.core.packing import Packed, TokensMeta
from ptft.core.progress import Table, table_of

PERCENTILES = (5, 50, 95)
Lengths = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Filled:
    """One way of filling sequences. waste: share that is padding or skipped. cut: share of documents that are cut."""

    sequences: int
    waste: float
    cut: float


def concatenated(lengths: Lengths, seq_len: int) -> Filled:
    """One stream: a document is cut where its first and its last token are in different sequences."""
    total = int(lengths.sum())
    stops = np.cumsum(lengths)
    cut = (stops - lengths) // seq_len != (stops - 1) // seq_len
    return Filled(total // seq_len, total % seq_len / max(total, 1), float(cut.mean()) if len(cut) else 0.0)


def best_fit(lengths: Lengths, seq_len: int) -> Filled:
    """Documents longer than a sequence are cut, and no others."""
    bins = bins_needed(lengths, seq_len)
    waste = 1 - int(lengths.sum()) / max(bins * seq_len, 1) if bins else 0.0
    return Filled(bins, waste, float((lengths > seq_len).mean()) if len(lengths) else 0.0)


WAYS = {"concat": concatenated, "best-fit": best_fit}


@dataclass(frozen=True)
class Figures:
    """Of a finished folder. lengths: of the training documents, eos included. filled: the training split in each way."""

    meta: TokensMeta
    lengths: Lengths
    filled: dict[str, Filled]

    @property
    def sequences(self) -> dict[str, int]:
        return {way: found.sequences for way, found in self.filled.items()}

    def counts(self) -> dict[str, Any]:
        meta = self.meta
        parts = {
            f"{split}_{what}": meta.total(split, what)
            for split in meta.shards
            for what in ("documents", "tokens", "bytes")
        }
        chosen = self.filled[meta.packing]
        return {**parts, "sequences": chosen.sequences, "empty": meta.empty, "vocab_size": meta.vocab_size}

    def metrics(self) -> dict[str, Any]:
        meta = self.meta
        tokens, size = (sum(meta.total(split, what) for split in meta.shards) for what in ("tokens", "bytes"))
        chosen = self.filled[meta.packing]
        percentiles = np.percentile(self.lengths, PERCENTILES)
        return {
            "bytes_per_token": size / max(tokens, 1),
            "waste": chosen.waste,
            **{f"tokens_per_document_p{at}": int(value) for at, value in zip(PERCENTILES, percentiles, strict=True)},
            "tokens_per_document_max": int(self.lengths.max()),
            **{f"{way.replace('-', '_')}_waste": found.waste for way, found in self.filled.items()},
            **{f"{way.replace('-', '_')}_documents_cut": found.cut for way, found in self.filled.items()},
        }

    def table(self) -> Table:
        rows = [
            (way + (" *" if way == self.meta.packing else ""), one.sequences, f"{one.waste:.2%}", f"{one.cut:.1%}")
            for way, one in self.filled.items()
        ]
        title = f"train, in sequences of {self.meta.seq_len} (* as chosen)"
        return table_of(title, ("packing", "sequences", "waste", "documents cut"), rows)


def of(packed: Packed) -> Figures:
    lengths = packed.lengths["train"]
    return Figures(packed.meta, lengths, {way: fill(lengths, packed.meta.seq_len) for way, fill in WAYS.items()})


def estimated(lengths: Lengths, tokens: int, seq_len: int, packing: str) -> tuple[tuple[str, object], ...]:
    """Sequences, waste and cuts of a corpus of so many tokens, whose documents are as long as those of a sample."""
    if not len(lengths):
        return ()
    many = np.tile(lengths, min(1 + tokens // max(int(lengths.sum()), 1), 100))  # a few documents alone pack badly
    lines: list[tuple[str, object]] = [("sequences (estimate)", tokens // seq_len)]
    for way, fill in WAYS.items():
        found = fill(many, seq_len)
        chosen = ", as chosen" if way == packing else ""
        lines.append((f"{way}{chosen}", f"waste {found.waste:.2%}, documents cut {found.cut:.1%}"))
    return tuple(lines)
