"""What the tokenizer does to the corpus: every row encoded, decoded and compared, and counted by language, in processes."""

from __future__ import annotations

import functools
import multiprocessing
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ptft.core import blocks
from ptft.core.contracts import Inputs
from ptft.core.formats import read_rows
from ptft.core.language import language
from ptft.core.progress import Progress
from ptft.core.rows import Row, lacks
from ptft.core.tokenizer_report import UNSPACED, Tally, cut, figures, raw_token, shown_token, tally
from ptft.core.workers import ordered_map
from ptft.stages.tokenizer.recipe import TokenizerRecipe
from ptft.stages.tokenizer.sampling import Sample, clipped

ROWS = 256  # of a block
LISTED, TOKENS, EXAMPLES = 20, 12, 3  # failures, tokens of a kind, example texts in report.json


@dataclass(frozen=True, slots=True)
class Measurable:
    """A row to measure. learnt: bytes of it that were learnt from."""

    text: str
    source: str
    line: int
    learnt: int


@dataclass(frozen=True)
class Block:
    """tokenizer: its file, and when that was written. rows: to encode, decode and count."""

    tokenizer: tuple[str, int]
    rows: tuple[Measurable, ...]


@dataclass(frozen=True)
class Measured:
    """by_language: sums and bytes learnt from. used: (vocabulary,) int64, how often each token. failed: file, line. examples: texts."""

    by_language: dict[str, tuple[Tally, int]]
    used: npt.NDArray[np.int64]
    failed: tuple[tuple[str, int], ...]
    examples: dict[str, str]


def report(recipe: TokenizerRecipe, inputs: Inputs, sample: Sample, folder: Path, progress: Progress) -> dict[str, Any]:
    """All of report.json. folder: where tokenizer.json is."""
    rows = ((row, len(row.text)) for row in _measurable(recipe, inputs, sample))
    file = folder / "tokenizer.json"
    key = (str(file), file.stat().st_mtime_ns)
    tasks = (Block(key, held) for _, held in blocks.cut(rows, ROWS))
    tokenizer = _loaded(*key)
    sums: dict[str, tuple[Tally, int]] = {}
    used: npt.NDArray[np.int64] = np.zeros(tokenizer.get_vocab_size(), np.int64)
    failed: list[tuple[str, int]] = []
    examples: dict[str, str] = {}
    with progress.step("measuring", unit="documents") as step:
        for done in ordered_map(measure, tasks, recipe.workers):
            for name, (one, learnt) in done.by_language.items():
                before = sums.get(name, (Tally(), 0))
                sums[name] = before[0] + one, before[1] + learnt
            used += done.used
            failed += done.failed
            examples = done.examples | examples
            step.advance(sum(one.documents for one, _ in done.by_language.values()))
    ordered = dict(sorted(sums.items(), key=lambda item: (-item[1][0].bytes, item[0])))
    return {**_figures(ordered, used, failed, tokenizer), **_lists(ordered, used, failed, examples, tokenizer)}


def _measurable(recipe: TokenizerRecipe, inputs: Inputs, sample: Sample) -> Iterator[Measurable]:
    for row in read_rows(inputs.data, columns=recipe.columns):
        if not isinstance(row, Row) or lacks(row, ("text",)):
            continue  # counted and kept when it was learnt from
        text, chosen = row.data["text"], sample.has(row.data["id"], recipe.seed)
        if chosen or recipe.measure == "all":
            yield Measurable(text, row.source, row.line, len(clipped(text, recipe).encode()) if chosen else 0)


# ---------------------------------------------------------------- one block, in a worker


@functools.lru_cache(maxsize=1)
def _loaded(file: str, written: int) -> Any:
    """The tokenizer with text that spells a special token taken for text, as `ptft pack` takes it."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(file)
    tokenizer.encode_special_tokens = True
    return tokenizer


def measure(block: Block) -> Measured:
    if multiprocessing.parent_process():  # a process a core is enough: no threads within
        os.environ["TOKENIZERS_PARALLELISM"] = "false"
    tokenizer = _loaded(*block.tokenizer)
    texts = [row.text for row in block.rows]
    ids = [encoding.ids for encoding in tokenizer.encode_batch_fast(texts, add_special_tokens=False)]
    back = tokenizer.decode_batch(ids, skip_special_tokens=False)
    failed = [(row.source, row.line) for row, text in zip(block.rows, back, strict=True) if row.text != text]
    sums: dict[str, tuple[Tally, int]] = {}
    examples: dict[str, str] = {}
    for row, tokens in zip(block.rows, ids, strict=True):
        name = language(row.text)
        before = sums.get(name, (Tally(), 0))
        sums[name] = before[0] + tally(row.text, len(tokens)), before[1] + row.learnt
        if name not in examples and (line := _example(row.text, name)):
            examples[name] = line
    flat = np.concatenate([np.asarray(tokens, np.int64) for tokens in ids])
    used = np.bincount(flat, minlength=tokenizer.get_vocab_size())
    return Measured(sums, used, tuple(failed), examples)


def _example(text: str, name: str) -> str:
    """The beginning of the text's first line that is long enough to be a sentence; "" if none is."""
    least, most = (16, 40) if name in UNSPACED else (40, 100)
    return next((line.strip()[:most] for line in text.split("\n") if len(line.strip()) >= least), "")


# ---------------------------------------------------------------- what comes of it


def _figures(
    sums: dict[str, tuple[Tally, int]], used: npt.NDArray[np.int64], failed: list[tuple[str, int]], tokenizer: Any
) -> dict[str, Any]:
    whole = sum((one for one, _ in sums.values()), Tally())
    by_language = {name: {**figures(one, name), "bytes_learnt": learnt} for name, (one, learnt) in sums.items()}
    spaced = [one for one in by_language.values() if one["tokens_per_word"]]
    ordinary = _ordinary(tokenizer)
    zh = by_language.get("zh")
    return {
        "bytes_per_token": whole.bytes / max(whole.tokens, 1),
        "tokens_per_word": sum(one["tokens"] for one in spaced) / sum(one["words"] for one in spaced)
        if spaced
        else None,
        "tokens_per_character_zh": zh["tokens_per_character"] if zh else None,
        "characters_per_token_zh": zh["characters"] / max(zh["tokens"], 1) if zh else None,
        "unused_share": float(np.mean(used[ordinary] == 0)),
        "round_trip_failures": len(failed),
        "documents_measured": whole.documents,
        "bytes_learnt": sum(learnt for _, learnt in sums.values()),
        "by_language": by_language,
    }


def _ordinary(tokenizer: Any) -> npt.NDArray[np.int64]:
    """Ids of the bytes and the merges, in order."""
    special = tokenizer.get_added_tokens_decoder()
    return np.array([ident for ident in range(tokenizer.get_vocab_size()) if ident not in special], np.int64)


def _lists(
    sums: dict[str, tuple[Tally, int]],
    used: npt.NDArray[np.int64],
    failed: list[tuple[str, int]],
    examples: dict[str, str],
    tokenizer: Any,
) -> dict[str, Any]:
    ordinary = _ordinary(tokenizer)
    raw = {int(ident): raw_token(tokenizer.id_to_token(int(ident)), True) for ident in ordinary}
    merges = [ident for ident, token in raw.items() if len(token) > 1]
    longest = sorted(merges, key=lambda ident: (-len(raw[ident].decode(errors="replace")), ident))
    often = sorted(raw, key=lambda ident: (-int(used[ident]), ident))
    seldom = sorted(merges, key=lambda ident: (int(used[ident]), -ident))
    return {
        "longest": [shown_token(raw[ident]) for ident in longest[:TOKENS]],
        "most_frequent": [(shown_token(raw[ident]), int(used[ident])) for ident in often[:TOKENS]],
        "rarest": [(shown_token(raw[ident]), int(used[ident])) for ident in seldom[:TOKENS]],
        "round_trip_failed": [{"file": file, "line": line} for file, line in failed[:LISTED]],
        "examples": [
            {"language": name, "text": examples[name], "cut": cut(tokenizer, examples[name])}
            for name in [name for name in sums if name in examples][:EXAMPLES]
        ],
    }
