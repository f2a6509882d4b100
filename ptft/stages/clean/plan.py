"""What `ptft clean --dry-run` says: the size of the work, and what would go of a sample, with examples."""

from __future__ import annotations

import time
import unicodedata
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ptft.core.contracts import Inputs, Plan
from ptft.core.dedup import fingerprints
from ptft.core.errors import InputError
from ptft.core.examples import row_text
from ptft.core.progress import Progress, table_of
from ptft.core.sample import Sample, sampled
from ptft.core.workers import cores
from ptft.stages.clean import reapply
from ptft.stages.clean.block import facts_of, scheme_of, sizes_of
from ptft.stages.clean.edits import Editor
from ptft.stages.clean.funnel import Funnel
from ptft.stages.clean.items import TEXT, expected_shape, read_items
from ptft.stages.clean.judge import Measured, judge, measured, problem_of
from ptft.stages.clean.protect import protected
from ptft.stages.clean.recipe import CleanRecipe
from ptft.stages.clean.rules import Reason

SHOWN_COLUMNS = 72  # of an example's text; a Han character takes two


@dataclass(frozen=True)
class _Look:
    """A sample, measured. bytes_in: of each row's text before any edit."""

    found: Measured
    bytes_in: npt.NDArray[np.uint32]
    lines: tuple[tuple[str, object], ...]
    rows_in_all: int


def planned(recipe: CleanRecipe, inputs: Inputs, progress: Progress) -> Plan:
    """Duplicates are not estimated: a sample of a corpus holds almost none of them."""
    clock = time.monotonic()
    look = _earlier_rows(recipe, inputs) if recipe.reapply else _rows(recipe, inputs)
    reasons = judge(recipe, look.found)
    scheme = scheme_of(recipe)
    if recipe.duplicates.enabled:
        fingerprints(look.found.texts, scheme, look.found.tokens)
    seconds = (time.monotonic() - clock) / max(1, len(reasons))
    workers = recipe.workers or cores()
    _show(look, reasons, progress)
    gone = sum(1 for why in reasons if why)
    return Plan(
        (
            *look.lines,
            ("languages of the sample", _listed(look.found.languages)),
            ("dropped of the sample, by rules", f"{gone:,} ({gone / max(1, len(reasons)):.1%})"),
            ("duplicates", _found_by(recipe, scheme.bands, scheme.rows)),
            ("augmentation", ", ".join(recipe.augment.kinds) or "none"),
            ("workers", workers),
            ("time", f"about {max(1, round(look.rows_in_all * seconds / workers)):,} s, augmentation aside"),
        )
    )


def _rows(recipe: CleanRecipe, inputs: Inputs) -> _Look:
    sample = sampled(inputs.data, lambda source: read_items(recipe, [source]), recipe.sample)
    if not sample.items:
        raise InputError("the input holds no rows", remedy="check that the files are not empty")
    expected = expected_shape(sample.items)
    rows = [row for row in sample.rows if problem_of(row, expected) is None]
    words = tuple(source.path for source in inputs.rows.get("sensitive.files", ()))
    evaluation = inputs.rows.get("protect.files", ())
    editor = Editor(recipe, words)
    guarded = protected(evaluation, recipe.protect, editor.normalised) if evaluation else None
    found = measured(rows, recipe, editor, guarded)
    return _Look(found, sizes_of(rows), _sample_lines(sample, expected.name, len(rows)), sample.estimated_rows)


def _sample_lines(sample: Sample, shape: str, good: int) -> tuple[tuple[str, object], ...]:
    return (
        ("files", sample.files), ("bytes", sample.bytes), ("rows", sample.in_all()), ("shape", shape),
        ("sample", len(sample.items)), ("rejected of the sample", len(sample.items) - good),
    )  # fmt: skip


def _earlier_rows(recipe: CleanRecipe, inputs: Inputs) -> _Look:
    folder = inputs.folders["reapply"]
    reapply.measuring_at(recipe, folder)
    block = next(reapply.blocks_of(folder, recipe.sample), None)
    if block is None:
        raise InputError("the earlier result holds no rows", where=str(folder), remedy="clean the input again")
    lines = (("earlier result", str(folder)), ("shape", TEXT.name), ("sample", len(block.lines)))
    bytes_in = np.asarray(block.signals.bytes_in, np.uint32)
    return _Look(reapply.measured_of(block), bytes_in, lines, reapply.rows_in(folder))


def _show(look: _Look, reasons: list[list[Reason]], progress: Progress) -> None:
    """What would go, and the first row that each rule takes."""
    funnel = Funnel()
    first = [why[0].rule if why else "" for why in reasons]
    funnel.add(first, facts_of(look.found, reasons, look.bytes_in))
    if not funnel.rules():
        return
    progress.table(funnel.rule_table("would be dropped of the sample, by first reason"))
    examples = []
    for rule in funnel.rules():
        row = first.index(rule)
        why, data = reasons[row][0], look.found.data[row]
        examples.append((rule, f"{why.value} ({why.limit})", data["id"], _shortened(row_text(data))))
    progress.table(table_of("an example of each", ("rule", "value (limit)", "id", "text"), examples))


def _shortened(text: str) -> str:
    columns = 0
    for end, char in enumerate(text[:SHOWN_COLUMNS]):
        columns += 2 if unicodedata.east_asian_width(char) in "WF" else 1
        if columns > SHOWN_COLUMNS:
            return " ".join(text[:end].split())
    return " ".join(text[:SHOWN_COLUMNS].split())


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in Counter(names).most_common())


def _found_by(recipe: CleanRecipe, bands: int, rows: int) -> str:
    options = recipe.duplicates
    if not options.enabled:
        return "kept"
    return f"dropped from a Jaccard of {options.threshold:g} on ({bands} bands of {rows} values), {options.keep} kept"
