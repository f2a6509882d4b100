"""Two runs over the same rows: how far apart their scores are, whether that may be chance, and which rows changed."""

from __future__ import annotations

import dataclasses
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ptft.core.errors import InputError, UsageError
from ptft.core.metrics import names
from ptft.core.metrics.changes import Flips, flips
from ptft.core.metrics.kinds import KINDS, Options, Rows, measures
from ptft.core.metrics.measure import RESAMPLES, Floats, Measure, of_mean, percentiles, resampled

_PLACE = re.compile(r".+:\d+")  # what a row without an id is called: its file and line
EXACT_BELOW = 25  # rows that only one of two runs got right: fewer, and the binomial is counted out
NAMED = 5  # ids in a message
RIGHT_OR_WRONG = ("accuracy", "acc", "acc_norm", "exact_match", "subset_accuracy", "top1", "preference")
_BY_NATURE = {  # kinds whose rows are right or wrong by nature, whatever is measured
    "labels": "accuracy", "many-labels": "subset_accuracy", "choices": "acc", "spans": "exact_match", "rankings": "top1",
    "preferences": "preference",
}  # fmt: skip
_KEPT = (
    "rouge1",
    "rouge2",
    "rougeL",
    "rougeLsum",
    "meteor",
    "bertscore",
    "flagged",
)  # means of rows' own scores: costly to make again, or of files that are not known any more


@dataclass(frozen=True)
class Difference:
    """score - other, with its 95 % interval and two-sided p; both None where nothing was resampled."""

    score: float
    other: float
    difference: float
    ci95: list[float] | None
    p: float | None


@dataclass(frozen=True)
class McNemar:
    """gained: rows that this run alone got right. lost: those that the other alone did. statistic: None where exact."""

    gained: int
    lost: int
    test: str  # "exact" or "chi-square"
    statistic: float | None
    p: float


@dataclass(frozen=True)
class Comparison:
    """n: rows compared. only_here, only_there: ids that one run alone has. aligned_by: "id", or "order" where no run names its rows."""

    n: int
    only_here: tuple[str, ...]
    only_there: tuple[str, ...]
    aligned_by: str
    metrics: dict[str, Difference]
    mcnemar: McNemar | None
    flips: Flips | None
    warnings: tuple[str, ...] = ()

    def as_json(self, name: str = "", run: str | None = None) -> dict[str, Any]:
        """The "comparison" of scores.json. name, run: of the other run."""
        found: dict[str, Any] = {
            "with": {"name": name, "run": run}, "n": self.n, "aligned_by": self.aligned_by,
            "only_here": len(self.only_here), "only_there": len(self.only_there), "warnings": list(self.warnings),
            "metrics": {key: dataclasses.asdict(value) for key, value in self.metrics.items()},
        }  # fmt: skip
        if self.mcnemar:
            found["mcnemar"] = dataclasses.asdict(self.mcnemar)
        if self.flips:
            found["flips"] = self.flips.as_json()
        return found


def compare(
    rows: Rows,
    other_rows: Rows,
    kind: str,
    metrics: Sequence[str],
    options: Options | None = None,
    resamples: int = RESAMPLES,
) -> Comparison:
    """Compare predictions row by row, aligned by id. metrics: of both runs.

    Raises `InputError` for ids that repeat, for rows that are not the same questions, and where no row is in both;
    `UsageError` for no metric.
    """
    if not metrics:
        remedy = "measure both alike: ptft eval ... --metrics NAME -o DIR"
        raise UsageError("the two runs have no metric in common", remedy=remedy)
    pairs = align(rows, other_rows)
    warnings = _questions(pairs.here, pairs.there, kind)
    warnings += _left_out(pairs)
    judged = _judge(kind, metrics)
    asked = tuple(dict.fromkeys([*metrics, *([judged] if judged else [])]))
    here, there = _measured(kind, pairs.here, asked, options), _measured(kind, pairs.there, asked, options)
    changed = flips(pairs.here, pairs.there, here, there, judged, metrics)
    tested = differences([here[name] for name in metrics], [there[name] for name in metrics], resamples)
    judgement = mcnemar(changed.gained, changed.lost) if changed and changed.right_or_wrong else None
    return Comparison(
        len(pairs.here), pairs.only_here, pairs.only_there, pairs.by, tested, judgement, changed, tuple(warnings)
    )


def _judge(kind: str, metrics: Sequence[str]) -> str | None:
    """The metric that says whether a row is right, where rows are right or wrong."""
    return next((name for name in metrics if name in RIGHT_OR_WRONG), _BY_NATURE.get(kind))


def _measured(kind: str, rows: Rows, asked: Sequence[str], options: Options | None) -> dict[str, Measure]:
    """The measures, those of `_KEPT` from what the rows hold where all hold it."""
    kept = [name for name in asked if name in _KEPT and all(isinstance(row.get(name), float) for row in rows)]
    made = {one.name: one for one in measures(kind, rows, [name for name in asked if name not in kept], options)}
    made |= {name: of_mean(name, np.array([row[name] for row in rows])) for name in kept}
    return made


# ---------------------------------------------------------------- alignment


@dataclass(frozen=True)
class Pairs:
    """Rows that belong together, in the order of the first run."""

    here: Rows
    there: Rows
    only_here: tuple[str, ...] = ()
    only_there: tuple[str, ...] = ()
    by: str = "id"


def align(rows: Rows, other_rows: Rows) -> Pairs:
    """The rows of two runs that have the same id.

    Rows without ids of their own were named after their file and line; so where no id is in both, as many rows with the same
    references (or inputs), in order, are aligned too. Raises `InputError` for ids that repeat, and where nothing can be aligned.
    """
    here, there = by_id(rows, "this run"), by_id(other_rows, "the other run")
    both = [ident for ident in here if ident in there]
    if both:
        only_here = tuple(ident for ident in here if ident not in there)
        only_there = tuple(ident for ident in there if ident not in here)
        return Pairs([here[ident] for ident in both], [there[ident] for ident in both], only_here, only_there)
    asked = [[_question(row) for row in side] for side in (rows, other_rows)]
    placed = all(_PLACE.fullmatch(ident) for side in (here, there) for ident in side)
    if placed and asked[0] == asked[1] and any(asked[0]):
        return Pairs(rows, other_rows, by="order")
    remedy = 'compare runs over the same rows; rows of other tools need the same "id" in both files'
    what = f"the two runs have no row in common: ids here are {_some(here)}, there {_some(there)}"
    raise InputError(what, remedy=remedy)


def by_id(rows: Rows, whose: str) -> dict[str, Mapping[str, Any]]:
    """Rows by their id. Raises `InputError` where ids repeat."""
    found = {str(row["id"]): row for row in rows}
    if len(found) < len(rows):
        times = Counter(str(row["id"]) for row in rows)
        repeated = [ident for ident, count in times.items() if count > 1]
        what = f"ids of {whose} repeat ({len(repeated):,}: {_some(repeated)}), so rows cannot be told apart"
        raise InputError(what, remedy="give every row an id of its own, then run `ptft eval` again")
    return found


def _question(row: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(row[field] for field in ("input", "reference") if row.get(field) is not None)


def _questions(here: Rows, there: Rows, kind: str) -> list[str]:
    """Raise `InputError` where rows with one id have other references (or, without those, inputs); warn of other inputs."""
    field = "reference" if any("reference" in row for row in here) else "input"
    if other := _unequal(here, there, field):
        what = f"{len(other):,} of {len(here):,} rows have another {field} in the other run, for example {_some(other)}"
        remedy = "compare runs over the same rows: evaluate both on the same file"
        raise InputError(what, remedy=remedy)
    if other := _unequal(here, there, "input"):
        return [f"{len(other):,} of {len(here):,} rows have another input in the other run, for example {_some(other)}"]
    return []


def _unequal(here: Rows, there: Rows, field: str) -> list[str]:
    pairs = zip(here, there, strict=True)
    return [str(a["id"]) for a, b in pairs if field in a and field in b and a[field] != b[field]]


def _left_out(pairs: Pairs) -> list[str]:
    if pairs.by == "order":
        return [
            "no row has an id of its own: rows are compared in their order, which has the same questions in both runs"
        ]
    sides = (("this run", pairs.only_here), ("the other run", pairs.only_there))
    return [f"{len(ids):,} rows are in {whose} alone and are not compared: {_some(ids)}" for whose, ids in sides if ids]


def _some(ids: Sequence[str] | Mapping[str, Any]) -> str:
    shown = list(ids)[:NAMED]
    return ", ".join(map(repr, shown)) + (", ..." if len(ids) > len(shown) else "") if shown else "none"


# ---------------------------------------------------------------- tests


def differences(here: Sequence[Measure], there: Sequence[Measure], resamples: int = RESAMPLES) -> dict[str, Difference]:
    """Each metric's difference over the same resamples of the rows of both runs (the paired bootstrap of Koehn 2004).

    p, two-sided, is how often the resampled difference strays as far from its mean as the difference itself is from 0: the
    bootstrap moved to where nothing differs, as sacrebleu estimates it (Koehn's own share of resamples that one run wins is
    one-sided, and no p-value: it is not computed where the null hypothesis holds). Ties count and one is added to both
    counts (Davison and Hinkley 1997, 4.11), so that equal runs have p = 1 and no p is 0.
    """
    both = [*here, *(dataclasses.replace(measure, name=f"other {measure.name}") for measure in there)]
    values = resampled(both, resamples) if resamples else {}
    found = {}
    for mine, other in zip(here, there, strict=True):
        score, against = mine.score(), other.score()
        moved = values[mine.name] - values[f"other {mine.name}"] if resamples else np.empty(0)
        difference = score - against
        found[mine.name] = Difference(score, against, difference, percentiles(moved), p_value(moved, difference))
    return found


def p_value(moved: Floats, difference: float) -> float | None:
    """moved: the resampled differences, shape (resamples,). None where fewer than half have a value."""
    finite = moved[np.isfinite(moved)]
    if not len(finite) or 2 * len(finite) < len(moved) or not math.isfinite(difference):
        return None
    rounding = 1e-12 * max(1.0, abs(difference))
    as_far = np.abs(finite - finite.mean()) >= abs(difference) - rounding
    return float((as_far.sum() + 1) / (len(finite) + 1))


def mcnemar(gained: int, lost: int) -> McNemar:
    """McNemar's test (1947) of rows that only one of two runs got right: exact for fewer than 25, else with Edwards's correction."""
    total = gained + lost
    if total < EXACT_BELOW:
        tail = sum(math.comb(total, count) for count in range(min(gained, lost) + 1))
        return McNemar(gained, lost, "exact", None, min(1.0, 2 * tail / 2**total))
    statistic = max(abs(gained - lost) - 1, 0) ** 2 / total
    return McNemar(gained, lost, "chi-square", statistic, math.erfc(math.sqrt(statistic / 2)))


def in_common(metrics: Sequence[str], other: Sequence[str], kind: str) -> tuple[str, ...]:
    """The metrics that two runs both have, and that follow from rows of this kind. Raises `UsageError` where there is none."""
    both = tuple(name for name in metrics if name in other and name in KINDS[kind].fits)
    if not both:
        what = f"no metric is in both runs: here {names.listed(metrics)}; there {names.listed(other)}"
        raise UsageError(what, remedy=f"measure one that the other has: --metrics {','.join(other) or 'NAME'}")
    return both
