"""`ptft split`: clusters of near-duplicates, each whole to train, val or test; then every row as it came to its part.

Augmented rows decide nothing: originals are placed as if there were no copies, and each copy follows its source to train
or is left out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ptft.core.blocks import begin, committed, cut, folder_of
from ptft.core.contracts import Inputs, Output, Plan, Result
from ptft.core.dedup import Store, components, fingerprints
from ptft.core.errors import InputError
from ptft.core.examples import row_text, shape_of
from ptft.core.files import SPLITS, Source, json_line
from ptft.core.formats import read_rows
from ptft.core.minhash import I64, U8, Scheme, scheme
from ptft.core.origin import source_id
from ptft.core.progress import Progress, Step, table_of
from ptft.core.rows import RAW_KEPT, Rejected, RejectLog, Row, RowWriter, accepted, lacks
from ptft.core.sample import sampled
from ptft.core.workers import ordered_map
from ptft.stages.split.assign import assign
from ptft.stages.split.copies import LEFT_OUT, TRAIN, Rows, all_parts, near_held_out, numbers_of
from ptft.stages.split.recipe import SplitRecipe


@dataclass(frozen=True)
class Job:
    scheme: Scheme
    state: Path


def run(recipe: SplitRecipe, inputs: Inputs, out: Output, progress: Progress) -> Result:
    """Split the rows of `inputs.data` into the parts that have a share, each in the order of the input."""
    bands = scheme(recipe.shingle, recipe.permutations, recipe.threshold, recipe.seed)
    log = RejectLog(out.new / "rejected.jsonl", recipe.max_bad_rows)
    strata, rows = Strata(recipe.stratify), Rows()
    _fingerprint(recipe, inputs, Job(bands, out.state), log, strata, rows, progress)
    roots = _clusters(recipe, _folders(out.state), bands, progress)
    of_originals = assign(roots, strata.codes()[rows.originals()].tolist(), shares_of(recipe), recipe.seed)
    lost = _orphans_lost(recipe, inputs, Job(bands, out.state), rows, of_originals, progress)
    equal = _equal_to_held_out(out.state, rows, of_originals)
    parts = all_parts(rows, of_originals, np.union1d(lost, equal))
    _write(recipe, inputs, parts, out.new, progress)
    _report(recipe, strata.values, parts, rows, progress)
    return Result(_counts(log, roots, parts) | numbers_of(parts, rows))


def plan(recipe: SplitRecipe, inputs: Inputs, progress: Progress) -> Plan:
    """What `run` would write, by the shares asked for: near-duplicates are found only by reading it all."""
    sample = sampled(inputs.data, lambda source: good_or_rejected(recipe, [source]))
    if not sample.items:
        raise InputError("the input holds no rows", remedy="check that the files are not empty")
    copies = sum(1 for row in sample.rows if source_id(row.data) is not None)
    rows = (len(sample.rows) - copies) / len(sample.items) * sample.estimated_rows
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
            *((("augmented rows of the sample, to train or left out", copies),) if copies else ()),
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


class Strata:
    """Every row's value of the field to stratify by; one string a value, not one a row."""

    def __init__(self, name: str) -> None:
        self.name, self.values = name, list[str]()
        self._known: dict[str, str] = {}

    def note(self, data: dict[str, Any]) -> None:
        value = json_line(data[self.name]).decode().strip() if self.name else ""
        self.values.append(self._known.setdefault(value, value))

    def codes(self) -> I64:
        """A number for each row's value (n,), by the values' order."""
        codes = {value: code for code, value in enumerate(sorted(self._known))}
        return np.array([codes[value] for value in self.values], np.int64)


def _fingerprint(
    recipe: SplitRecipe, inputs: Inputs, job: Job, log: RejectLog, strata: Strata, rows: Rows, progress: Progress
) -> None:
    """Commit the fingerprints of every block of originals; note each row's id, source and stratum."""
    texts = _original_texts(accepted(good_or_rejected(recipe, inputs.data), log), strata, rows)
    with progress.step("reading") as step:
        _commit(recipe, job, texts, step)


def _original_texts(accepted_rows: Iterator[Row], strata: Strata, rows: Rows) -> Iterator[str]:
    for row in accepted_rows:
        strata.note(row.data)
        if rows.note(row.data):
            yield row_text(row.data)


def _commit(recipe: SplitRecipe, job: Job, texts: Iterator[str], step: Step) -> None:
    blocks = cut(((text, 4 * len(text)) for text in texts), begin(job.state, recipe.block_rows))
    pending = (block for block in blocks if not folder_of(job.state, block[0]).exists())
    for size in ordered_map(partial(fingerprint_block, job), pending, recipe.workers):
        step.advance(size)


def fingerprint_block(job: Job, block: tuple[int, tuple[str, ...]]) -> int:
    """Commit the fingerprints of one block of texts; returns how many there are."""
    number, texts = block
    with committed(folder_of(job.state, number)) as part:
        fingerprints(texts, job.scheme).save(part)
    return len(texts)


def _folders(state: Path) -> list[Path]:
    return [folder_of(state, number) for number in range(sum(1 for _ in state.glob("block-*")))]


# ---------------------------------------------------------------- clusters


def _clusters(recipe: SplitRecipe, folders: Sequence[Path], bands: Scheme, progress: Progress) -> I64:
    """For each row of these blocks the first of its cluster."""
    if not folders:
        return np.empty(0, np.int64)
    with progress.step("near-duplicates", total=bands.bands, unit="bands") as step:
        return components(Store(folders), bands.bands, recipe.threshold, step.advance)


def _orphans_lost(
    recipe: SplitRecipe, inputs: Inputs, job: Job, rows: Rows, of_originals: U8, progress: Progress
) -> I64:
    """Copies without their source that are near a row of val or test; read again, since few inputs have any.

    They are compared beside the originals, whose own clusters they do not join: no original moves for a copy.
    """
    orphans = rows.orphans()
    if not len(orphans) or not np.any(of_originals != TRAIN):
        return orphans[:0]
    mine = Job(job.scheme, job.state / "copies")
    mine.state.mkdir(exist_ok=True)
    wanted = set(orphans.tolist())
    good = (item for item in good_or_rejected(recipe, inputs.data) if isinstance(item, Row))
    with progress.step("copies without their source", total=len(orphans)) as step:
        _commit(recipe, mine, (row_text(row.data) for number, row in enumerate(good) if number in wanted), step)
    roots = _clusters(recipe, [*_folders(job.state), *_folders(mine.state)], job.scheme, progress)
    return near_held_out(roots, of_originals, orphans)


def _equal_to_held_out(state: Path, rows: Rows, of_originals: U8) -> I64:
    """Copies that say what a row of val or test says: rewording one row may give another."""
    folders = _folders(state)
    if not folders or rows.originals().all():
        return np.empty(0, np.int64)
    return rows.equal_to(Store(folders).exact()[of_originals != TRAIN])


# ---------------------------------------------------------------- writing


def _write(recipe: SplitRecipe, inputs: Inputs, parts: U8, new: Path, progress: Progress) -> None:
    rows = (item for item in good_or_rejected(recipe, inputs.data) if isinstance(item, Row))
    with ExitStack() as files, progress.step("writing", total=len(parts)) as step:
        writers = [
            files.enter_context(RowWriter(new / f"{name}.jsonl")) if share > 0 else None
            for name, share in zip(SPLITS, shares_of(recipe), strict=True)
        ]
        for row, part in zip(rows, parts.tolist(), strict=True):
            step.advance()
            if part == LEFT_OUT:
                continue
            writer = writers[part]
            assert writer is not None
            writer.write(row.data)


def _counts(log: RejectLog, roots: I64, parts: U8) -> dict[str, int]:
    sizes = np.bincount(roots)
    several = sizes[sizes > 1]
    return {
        "rows_read": log.rows,
        "rows_rejected": log.bad,
        **{name: int(np.sum(parts == number)) for number, name in enumerate(SPLITS)},
        "clusters": len(several),
        "rows_in_clusters": int(several.sum()),
        "largest_cluster": int(sizes.max(initial=0)),
    }


def _report(recipe: SplitRecipe, strata: Sequence[str], parts: U8, rows: Rows, progress: Progress) -> None:
    if copies := numbers_of(parts, rows):
        train, left_out = copies["augmented_train"], copies["augmented_left_out"]
        progress.note(
            f"{train:,} augmented rows go to train with their sources; {left_out:,} are left out, made from rows of val or test or equal to one"
        )
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
