"""The last pass: kept rows to the corpus, dropped ones beside it with their reasons, and what was measured of both."""

from __future__ import annotations

import dataclasses
from array import array
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from ptft.core.examples import row_text
from ptft.core.files import json_line
from ptft.core.language import LANGUAGES
from ptft.core.minhash import I64
from ptft.core.progress import Step
from ptft.core.rows import RowWriter
from ptft.stages.clean.block import Facts
from ptft.stages.clean.funnel import SHOWN_CHARACTERS, Funnel, Sample
from ptft.stages.clean.rules import Reason
from ptft.stages.clean.signals.measure import F32
from ptft.stages.clean.signals.table import SignalWriter

DROPPED = "dropped.jsonl"


@dataclass(frozen=True)
class Duplicate:
    """Why a row that no rule dropped goes all the same. of: the row that stays for it, by its number, or an earlier one's id."""

    rule: str
    similarity: float
    limit: float
    of: int | str
    place: str = ""
    cluster_size: int = 0


@dataclass(frozen=True)
class Written:
    """same_ids: kept rows whose id an earlier kept row has. candidates: the kept rows' numbers among those that no rule dropped."""

    kept: int
    same_ids: int
    candidates: I64


@dataclass(frozen=True)
class _Block:
    """A block's rows as JSON lines, and what is known of each. first: how many rows of earlier blocks no rule dropped."""

    lines: list[bytes]
    reasons: dict[int, list[dict[str, Any]]]
    facts: Facts
    measures: F32
    notes: dict[str, Any]
    first: int


def write_corpus(
    folders: Sequence[Path],
    gone: Mapping[int, Duplicate],
    new: Path,
    output: str,
    measuring: Mapping[str, Any],
    funnel: Funnel,
    step: Step,
) -> Written:
    """Write corpus.*, signals.parquet and, where rows were dropped, dropped.jsonl, all in the order of the input.

    gone: the duplicates, by the row's number among those that no rule dropped.
    """
    names = _ids(folders, {repeat.of for repeat in gone.values() if isinstance(repeat.of, int)})
    sizes = {repeat.of: repeat.cluster_size for repeat in gone.values() if isinstance(repeat.of, int)}
    ids, candidates = array("Q"), array("q")
    with ExitStack() as files:
        corpus = files.enter_context(RowWriter(new / f"corpus.{output}"))
        dropped = files.enter_context(RowWriter(new / DROPPED))
        signals = files.enter_context(SignalWriter(new, measuring))
        for block in _blocks(folders):
            numbers = _numbers(block)
            first = [_first_reason(block, row, number, gone) for row, number in enumerate(numbers)]
            for row, (line, number, why) in enumerate(zip(block.lines, numbers, first, strict=True)):
                if not why:
                    corpus.write_bytes(_with_size(line, sizes[number]) if number in sizes else line)
                    candidates.append(number)
                    continue
                line = (
                    _with_reasons(line, block.reasons[row]) if number < 0 else _as_duplicate(line, gone[number], names)
                )
                dropped.write_bytes(line)
                _show(funnel, why, line, block.facts[row])
            funnel.add(first, block.facts)
            funnel.edits.update(block.notes["edits"])
            kept = np.array([not why for why in first], bool)
            ids.extend(block.facts["id"][kept].tolist())
            signals.write(block.lines, kept, first, block.facts, block.measures, block.notes["protected"])
            step.advance()
    if not dropped.rows:
        (new / DROPPED).unlink()
    same = len(ids) - len(np.unique(np.frombuffer(ids, np.uint64))) if ids else 0
    return Written(corpus.rows, same, np.frombuffer(candidates, np.int64) if candidates else np.empty(0, np.int64))


def _blocks(folders: Sequence[Path]) -> Iterator[_Block]:
    first = 0
    for folder in folders:
        lines = (folder / "rows.jsonl").read_bytes().splitlines(keepends=True)
        noted = map(orjson.loads, (folder / "reasons.jsonl").read_bytes().splitlines())
        facts = np.load(folder / "facts.npy")
        notes = orjson.loads((folder / "notes.json").read_bytes())
        yield _Block(
            lines,
            {item["row"]: item["reasons"] for item in noted},
            facts,
            np.load(folder / "measures.npy"),
            notes,
            first,
        )
        first += int((~facts["dropped"]).sum())


def _numbers(block: _Block) -> list[int]:
    """Each row's number among those that no rule dropped; -1 where one did."""
    held = ~block.facts["dropped"]
    numbers: list[int] = np.where(held, np.cumsum(held) - 1 + block.first, -1).tolist()
    return numbers


def _first_reason(block: _Block, row: int, number: int, gone: Mapping[int, Duplicate]) -> str:
    if number < 0:
        return str(block.reasons[row][0]["rule"])
    return gone[number].rule if number in gone else ""


def _ids(folders: Sequence[Path], wanted: set[int]) -> dict[int, str]:
    """The ids of some rows, by their numbers among those that no rule dropped."""
    if not wanted:
        return {}
    return {
        number: orjson.loads(line)["id"]
        for block in _blocks(folders)
        for line, number in zip(block.lines, _numbers(block), strict=True)
        if number in wanted
    }


# ---------------------------------------------------------------- one row


def _with_size(line: bytes, cluster_size: int) -> bytes:
    return json_line({**orjson.loads(line), "cluster_size": cluster_size})


def _with_reasons(line: bytes, reasons: Sequence[Mapping[str, Any]]) -> bytes:
    return json_line({**orjson.loads(line), "reasons": reasons})


def _as_duplicate(line: bytes, repeat: Duplicate, names: Mapping[int, str]) -> bytes:
    similarity = round(repeat.similarity, 4)
    reason = Reason(repeat.rule, similarity, repeat.limit)
    row = {**orjson.loads(line), "reasons": [dataclasses.asdict(reason)], "similarity": similarity}
    if isinstance(repeat.of, str):
        return json_line({**row, "duplicate_of": repeat.of, "duplicate_in": repeat.place})
    return json_line({**row, "duplicate_of": names[repeat.of], "cluster_size": repeat.cluster_size})


def _show(funnel: Funnel, rule: str, line: bytes, facts: np.void) -> None:
    key = int(facts["id"])
    if not funnel.wants(rule, key):
        return
    row = orjson.loads(line)
    text = row_text(row)[:SHOWN_CHARACTERS]
    funnel.show(
        rule,
        Sample(key, row["id"], LANGUAGES[facts["language"]], text, tuple(row["reasons"]), row.get("duplicate_of", "")),
    )
