"""`ptft split`: clusters of near-duplicates, each whole to train, val or test; then every row as it came to its part."""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from ptft.core.blocks import begin, committed, cut, folder_of
from ptft.core.contracts import Inputs, Output, Plan, Result
from ptft.core.dedup import Store, components, fingerprints
from ptft.core.errors import InputError
from ptft.core.examples import row_text, shape_of
from ptft.core.files import SPLITS, Source, json_line
from ptft.core.formats import read_rows
from ptft.core.minhash import I64, U8, Scheme, scheme
from ptft.core.progress import Progress, table_of
from ptft.core.rows import RAW_KEPT, Rejected, RejectLog, Row, RowWriter, accepted, lacks
from ptft.core.sample import sampled
from ptft.core.workers import ordered_map
from ptft.stages.split.assign import assign
from ptft.stages.split.recipe import SplitRecipe


@dataclass(frozen=True)
class Job:
    scheme: Scheme
    state: Path


def run(recipe: SplitRecipe, inputs: Inputs, out: Output, progress: Progress) -> Result:
    """Split the rows of `inputs.data` into the parts that have a share, each in the order of the input."""
    bands = scheme(recipe.shingle, recipe.permutations, recipe.threshold, recipe.seed)
    log = RejectLog(out.new / "rejected.jsonl", recipe.max_bad_rows)
    strata: list[str] = []
    _fingerprint(recipe, inputs, Job(bands, out.state), log, strata, progress)
    count = sum(1 for _ in out.state.glob("block-*"))
    store = Store([folder_of(out.state, number) for number in range(count)])
    with progress.step("near-duplicates", total=bands.bands, unit="bands") as step:
        roots = components(store, bands.bands, recipe.threshold, step.advance)
    codes = {value: code for code, value in enumerate(sorted(set(strata)))}
    parts = assign(roots, [codes[value] for value in strata], shares_of(recipe), recipe.seed)
    _write(recipe, inputs, parts, out.new, progress)
    _report(recipe, strata, parts, progress)
    return Result(_counts(log, roots, parts))


def plan(recipe: SplitRecipe, inputs: Inputs, progress: Progress) -> Plan:
    """What `run` would write, by the shares asked for: near-duplicates are found only by reading it all."""
    sample = sampled(inputs.data, lambda source: good_or_rejected(recipe, [source]))
    if not sample.items:
        raise InputError("the input holds no rows", remedy="check that the files are not empty")
    rows = len(sample.rows) / len(sample.items) * sample.estimated_rows
    shared = tuple(
        (name, f"about {round(rows * share):,} rows")
        for name, share in zip(SPLITS, shares_of(recipe), strict=True)
        if share
    )
    values = (
        sorted({json_line(row.data[recipe.stratify]).decode().strip() for row in sample.rows})
        if recipe.stratify
        else []
    )
    strata = ((f"values of {recipe.stratify}", ", ".join(values[:20])),) if recipe.stratify else ()
    return Plan(
        (
            ("files", sample.files),
            ("bytes", sample.bytes),
            ("rows", sample.in_all()),
            ("rejected of the sample", len(sample.items) - len(sample.rows)),
            *strata,
            *shared,
        )
    )


def shares_of(recipe: SplitRecipe) -> tuple[float, float, float]:
    return 1 - recipe.val - recipe.test, recipe.val, recipe.test


# ---------------------------------------------------------------- reading


def good_or_rejected(recipe: SplitRecipe, sources: Iterable[Source]) -> Generator[Row | Rejected, None, None]:
    """The rows, those that cannot be placed as `Rejected`: the same in every pass."""
    for item in read_rows(sources, columns=recipe.columns):
        yield item if isinstance(item, Rejected) else (_problem(item, recipe.stratify) or item)


def _problem(row: Row, stratify: str) -> Rejected | None:
    shape = shape_of(row.data)
    if shape is None:
        return lacks(row, ["text"])
    unlabelled = "label" in row.data and row.data["label"] is None  # text all the same
    reason = shape.problem({**row.data, "label": ""} if unlabelled else row.data)
    if reason is None and stratify and row.data.get(stratify) is None:
        reason = f"no field {stratify!r} to stratify by; the row has {', '.join(map(repr, row.data))}"
    return Rejected(row.source, row.line, reason, json_line(row.data).decode()[:RAW_KEPT]) if reason else None


def _fingerprint(
    recipe: SplitRecipe, inputs: Inputs, job: Job, log: RejectLog, strata: list[str], progress: Progress
) -> None:
    """Commit the fingerprints of every block of rows; note each row's stratum."""
    rows = accepted(good_or_rejected(recipe, inputs.data), log)
    blocks = cut(_texts(rows, recipe.stratify, strata), begin(job.state, recipe.block_rows))
    pending = (block for block in blocks if not folder_of(job.state, block[0]).exists())
    with progress.step("reading") as step:
        for size in ordered_map(partial(fingerprint_block, job), pending, recipe.workers):
            step.advance(size)


def _texts(rows: Iterator[Row], stratify: str, strata: list[str]) -> Iterator[tuple[str, int]]:
    values: dict[str, str] = {}  # one string a value, not one a row
    for row in rows:
        value = json_line(row.data[stratify]).decode().strip() if stratify else ""
        strata.append(values.setdefault(value, value))
        text = row_text(row.data)
        yield text, 4 * len(text)


def fingerprint_block(job: Job, block: tuple[int, tuple[str, ...]]) -> int:
    """Commit the fingerprints of one block of texts; returns how many there are."""
    number, texts = block
    with committed(folder_of(job.state, number)) as part:
        fingerprints(texts, job.scheme).save(part)
    return len(texts)


# ---------------------------------------------------------------- writing


def _write(recipe: SplitRecipe, inputs: Inputs, parts: U8, new: Path, progress: Progress) -> None:
    rows = (item for item in good_or_rejected(recipe, inputs.data) if isinstance(item, Row))
    with ExitStack() as files, progress.step("writing", total=len(parts)) as step:
        writers = [
            files.enter_context(RowWriter(new / f"{name}.jsonl")) if share > 0 else None
            for name, share in zip(SPLITS, shares_of(recipe), strict=True)
        ]
        for row, part in zip(rows, parts.tolist(), strict=True):
            writer = writers[part]
            assert writer is not None
            writer.write(row.data)
            step.advance()


def _counts(log: RejectLog, roots: I64, parts: U8) -> dict[str, int]:
    sizes = np.bincount(roots)
    several = sizes[sizes > 1]
    return {
        "rows_read": log.rows,
        "rows_rejected": log.bad,
        **{name: int(np.sum(parts == number)) for number, name in enumerate(SPLITS)},
        "clusters": len(several),
        "rows_in_clusters": int(several.sum()),
        "largest_cluster": int(sizes.max()),
    }


def _report(recipe: SplitRecipe, strata: Sequence[str], parts: U8, progress: Progress) -> None:
    shares = dict(zip(SPLITS, shares_of(recipe), strict=True))
    asked = [(number, name) for number, name in enumerate(SPLITS) if shares[name] > 0]
    for number, name in asked:
        if not np.any(parts == number):
            progress.warn(
                f"{name} is empty: too few rows (or clusters of near-duplicates) for a share of {shares[name]:g}"
            )
    if recipe.stratify:
        counts = Counter(zip(strata, parts.tolist(), strict=True))
        lines = [(value, *(counts[value, number] for number, _ in asked)) for value in sorted(set(strata))]
        progress.table(table_of(f"rows by {recipe.stratify}", ("", *(name for _, name in asked)), lines[:50]))
