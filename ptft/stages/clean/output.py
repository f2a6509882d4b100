"""The last pass: kept rows to the corpus, dropped ones beside it with their reasons, and the figures of both."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from ptft.core.rows import RowWriter
from ptft.core.text import LANGUAGES
from ptft.stages.clean.survivors import Repeat

DROPPED = "dropped.jsonl"


@dataclass
class Tally:
    """What happened to the good rows. same_ids: kept rows whose id an earlier kept row has."""

    kept: int = 0
    dropped: int = 0
    dropped_by_reason: Counter[str] = field(default_factory=Counter)
    by_language: Counter[str] = field(default_factory=Counter)
    bytes_in: int = 0
    bytes_out: int = 0
    duplicate_clusters: int = 0
    same_ids: int = 0

    def by_reason(self) -> list[tuple[str, int]]:
        return sorted(self.dropped_by_reason.items(), key=lambda item: (-item[1], item[0]))

    def reasons(self) -> str:
        return ", ".join(f"{rule} {count:,}" for rule, count in self.by_reason())

    def counts(self) -> dict[str, Any]:
        return {
            "kept": self.kept, "dropped": self.dropped, "dropped_by_reason": dict(self.by_reason()),
            "by_language": dict(sorted(self.by_language.items())), "bytes_in": self.bytes_in, "bytes_out": self.bytes_out,
            "duplicate_clusters": self.duplicate_clusters,
        }  # fmt: skip


def write_corpus(folders: Sequence[Path], gone: Mapping[int, Repeat], new: Path, output: str, limit: float) -> Tally:
    """Write corpus.* and, where rows were dropped, dropped.jsonl, both in the order of the input.

    gone: the duplicates, by the row's number among those that no rule dropped. limit: the threshold they went by.
    """
    tally = Tally(duplicate_clusters=len({repeat.of for repeat in gone.values()}))
    names = _ids(folders, {repeat.of for repeat in gone.values()})
    ids = array("Q")
    with ExitStack() as files:
        corpus = files.enter_context(RowWriter(new / f"corpus.{output}"))
        dropped = files.enter_context(RowWriter(new / DROPPED))
        for number, line, facts in _rows(folders):
            tally.bytes_in += facts["bytes_in"]
            if number is not None and number not in gone:
                corpus.write_bytes(line)
                tally.bytes_out += facts["bytes_out"]
                tally.by_language[LANGUAGES[facts["language"]]] += 1
                ids.append(facts["id"])
                continue
            if number is not None:
                line = _as_duplicate(line, gone[number], names[gone[number].of], limit)
            dropped.write_bytes(line)
            tally.dropped_by_reason[orjson.loads(line)["reasons"][0]["rule"]] += 1
    tally.kept, tally.dropped = corpus.rows, dropped.rows
    tally.same_ids = len(ids) - len(np.unique(np.frombuffer(ids, np.uint64))) if ids else 0
    if not tally.dropped:
        (new / DROPPED).unlink()
    return tally


def _rows(folders: Sequence[Path]) -> Iterator[tuple[int | None, bytes, dict[str, int]]]:
    """Every good row: its number among those that no rule dropped (None: one did), its line, its facts."""
    number = 0
    for folder in folders:
        facts = np.load(folder / "facts.npy")
        with (folder / "rows.jsonl").open("rb") as lines:
            for line, values in zip(lines, facts.tolist(), strict=True):
                named = dict(zip(facts.dtype.names or (), values, strict=True))
                yield (None if named["dropped"] else number), line, named
                number += not named["dropped"]


def _ids(folders: Sequence[Path], wanted: set[int]) -> dict[int, str]:
    if not wanted:
        return {}
    return {number: orjson.loads(line)["id"] for number, line, _ in _rows(folders) if number in wanted}


def _as_duplicate(line: bytes, repeat: Repeat, kept_id: str, limit: float) -> bytes:
    similarity = round(repeat.similarity, 4)
    rule = "exact_duplicate" if repeat.exact else "near_duplicate"
    why = {
        "reasons": [{"rule": rule, "value": similarity, "limit": limit}],
        "duplicate_of": kept_id, "similarity": similarity, "cluster_size": repeat.cluster_size,
    }  # fmt: skip
    return orjson.dumps({**orjson.loads(line), **why}, option=orjson.OPT_APPEND_NEWLINE)
