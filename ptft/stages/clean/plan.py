"""What `ptft clean --dry-run` says: the size of the work, and what the rules would drop of a sample."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable

from ptft.core.contracts import Inputs, Plan
from ptft.core.dedup import fingerprints
from ptft.core.errors import InputError
from ptft.core.minhash import scheme
from ptft.core.sample import sampled
from ptft.core.workers import cores
from ptft.stages.clean.items import expected_shape, read_items
from ptft.stages.clean.judge import judge, problem_of
from ptft.stages.clean.recipe import CleanRecipe


def planned(recipe: CleanRecipe, inputs: Inputs) -> Plan:
    """Duplicates among rows are not estimated: a sample of a corpus holds almost none of them."""
    clock = time.monotonic()
    sample = sampled(inputs.data, lambda source: read_items(recipe, [source]))
    if not sample.items:
        raise InputError("the input holds no rows", remedy="check that the files are not empty")
    expected = expected_shape(sample.items)
    rows = [row for row in sample.rows if problem_of(row, expected) is None]
    judged = judge(recipe, rows)
    options = recipe.duplicates
    bands = scheme(options.shingle, options.permutations, options.threshold, recipe.seed)
    fingerprints(judged.texts, bands, judged.tokens)
    seconds = (time.monotonic() - clock) / len(sample.items)
    workers = recipe.workers or cores()
    dropped = [reasons[0].rule for reasons in judged.reasons if reasons]
    return Plan(
        (
            ("files", sample.files),
            ("bytes", sample.bytes),
            ("rows", sample.in_all()),
            ("shape", expected.name),
            ("languages of the sample", _listed(judged.languages)),
            ("sample", len(sample.items)),
            ("rejected of the sample", len(sample.items) - len(rows)),
            ("dropped of the sample, by rules", f"{len(dropped):,} ({_listed(dropped)})" if dropped else 0),
            ("duplicates", _found_by(recipe, bands.bands, bands.rows)),
            ("workers", workers),
            ("time", f"about {max(1, round(sample.estimated_rows * seconds / workers)):,} s"),
        )
    )


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in Counter(names).most_common())


def _found_by(recipe: CleanRecipe, bands: int, rows: int) -> str:
    options = recipe.duplicates
    if not options.enabled:
        return "kept"
    return f"dropped from a Jaccard of {options.threshold:g} on ({bands} bands of {rows} values), {options.keep} kept"
