"""export.json, of one export and of several, and the tables of the terminal."""

from __future__ import annotations

import importlib.metadata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ptft.core.models import NUMBER
from ptft.core.progress import Table, table_of
from ptft.stages.export.making import Cell, Made

if TYPE_CHECKING:
    from ptft.core.models import Loaded
    from ptft.core.quantising.statistics import Calibration
    from ptft.stages.export.rows import Texts
    from ptft.stages.export.verifying import Verified

MB = 1e6
SHOWN = ("perplexity", "macro_f1", "micro_f1", "mean_squared_error", "accuracy")  # the first of them that there is


@dataclass(frozen=True)
class Finished:
    """One export: what was asked for, what was written, and what its verification found."""

    cell: Cell
    made: Made
    verified: Verified

    @property
    def bytes(self) -> int:
        return sum(self.made.bytes.values())


@dataclass(frozen=True)
class Basis:
    """What all exports have in common. before: bytes of the checkpoint by class."""

    loaded: Loaded
    before: dict[str, int]
    parameters: int
    texts: Texts
    calibration: Calibration | None
    original: Verified

    @property
    def is_number(self) -> bool:
        """Whether the model predicts a number: it has no choices to compare."""
        return self.loaded.kind == "classifier" and self.loaded.problem == NUMBER

    @property
    def unlabelled(self) -> bool:
        return self.loaded.kind == "classifier" and self.texts.labels is None and not self.texts.built_in

    @property
    def compared_on(self) -> str:
        rows = len(self.texts.texts)
        return f"{rows} built-in sentences: name rows with --verify" if self.texts.built_in else f"{rows:,} rows"


def of_one(found: Finished, basis: Basis) -> dict[str, Any]:
    """export.json: the same bytes for the same model, rows and recipe, so times are in run.json alone."""
    cell, made = found.cell, found.made
    calibration = basis.calibration
    return {
        "format": cell.format.name, "to": cell.asked.name, "scheme": described(made, cell),
        "runtime": _versions(cell.format.packages), "load": cell.format.how_to_load(basis.loaded),
        "parameters": basis.parameters, "quantised_parameters": made.quantised,
        "bytes": {"before": _totalled(basis.before), "after": _totalled(made.bytes), "expected": _totalled(made.expected)},
        "bits_a_quantised_weight": made.bits, "plan": made.plan, "kept_in_full_precision": made.kept,
        "calibration": None if calibration is None else {"tokens": calibration.tokens},
        "verify": {"built_in": basis.texts.built_in, **found.verified.quality.as_json()},
        "claims": found.verified.claims, "notes": [note for note in (*made.notes, found.verified.note) if note],
    }  # fmt: skip


def of_several(found: Mapping[str, Finished], basis: Basis, best: str, rule: str) -> dict[str, Any]:
    exports = {
        name: {
            "format": one.cell.format.name, "to": one.cell.asked.name, "scheme": described(one.made, one.cell),
            "bytes": one.bytes, "bits_a_quantised_weight": one.made.bits, "verify": one.verified.quality.as_json(),
        } for name, one in found.items()
    }  # fmt: skip
    return {"best": best, "rule": rule, "bytes_before": sum(basis.before.values()), "exports": exports}


def described(made: Made, cell: Cell) -> str:
    """Its schemes, that of most weights first."""
    if not made.plan:
        return f"{cell.asked.precision}, nothing rounded to integers"
    return ", ".join(name for name, _ in Counter(made.plan.values()).most_common())


def _totalled(by_class: Mapping[str, int]) -> dict[str, int]:
    return {"total": sum(by_class.values()), **by_class}


def _versions(packages: Sequence[str]) -> dict[str, str]:
    found = {}
    for name in packages:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def metrics(found: Finished, basis: Basis) -> dict[str, Any]:
    """For the run record: figures of one export, times among them."""
    before, after = sum(basis.before.values()), found.bytes
    quality = found.verified.quality.as_json()
    numbers = {key: value for key, value in quality.items() if isinstance(value, float | dict)}
    speed = {} if found.verified.speed is None else {"speed": found.verified.speed.as_json()}
    return {
        "bytes_before": before, "bytes_after": after, "ratio": after / before, "bits_a_weight": found.made.bits,
        **numbers, **speed,
    }  # fmt: skip


# ---------------------------------------------------------------- tables


def tables(found: Mapping[str, Finished], basis: Basis, best: str) -> list[Table]:
    return [table for table in (_quality(found, basis, best), _sizes(found, basis), _speed(found, basis)) if table]


def _quality(found: Mapping[str, Finished], basis: Basis, best: str) -> Table:
    shown = next((name for name in SHOWN if name in next(iter(found.values())).verified.quality.scores), None)
    rows = [_row(name, one, basis, shown, name == best and len(found) > 1) for name, one in found.items()]
    title = f"exports of {sum(basis.before.values()) / MB:,.1f} MB, compared on {basis.compared_on}"
    return table_of(title, ["export", "MB", "bits", "loss", "KL", "same first", *([shown] if shown else [])], rows)


def _row(name: str, one: Finished, basis: Basis, shown: str | None, best: bool) -> list[object]:
    quality = one.verified.quality
    rise = None if quality.loss_increase is None else f"{quality.loss_increase:+.2%}"
    same = None if basis.is_number or quality.first_choice_equal is None else f"{quality.first_choice_equal:.1%}"
    row = [f"{name} (best)" if best else name, one.bytes / MB, one.made.bits or None, rise]
    row += [None if basis.is_number else quality.kl, same]
    return row if shown is None else [*row, "{:.4g} -> {:.4g}".format(*quality.scores[shown])]


def _sizes(found: Mapping[str, Finished], basis: Basis) -> Table:
    models = {"original": _totalled(basis.before), **{name: _totalled(one.made.bytes) for name, one in found.items()}}
    kinds = [kind for kind in _totalled(basis.before) if any(sizes[kind] for sizes in models.values())]
    rows = [[name, *(sizes[kind] / MB for kind in kinds)] for name, sizes in models.items()]
    return table_of("MB by kind of tensor", ("model", *kinds), rows)


def _speed(found: Mapping[str, Finished], basis: Basis) -> Table | None:
    first = basis.original.speed
    if first is None:
        return None
    generates = bool(first.tokens_per_second)
    unit = "tokens/s" if generates else "texts/s"
    rows = [_paces(name, speed, first, generates) for name, speed in _speeds(found, basis)]
    title = "speed on this machine, one text and eight at a time; MB of memory"
    latency = "first, ms" if generates else "text, ms"
    columns = ("model", unit, "times", f"{unit}, 8", "times", latency, "load, s", "MB")
    return table_of(title, columns, rows)


def _speeds(found: Mapping[str, Finished], basis: Basis) -> list[tuple[str, Any]]:
    return [("original", basis.original.speed), *((name, one.verified.speed) for name, one in found.items())]


def _paces(name: str, speed: Any, first: Any, generates: bool) -> list[object]:
    if speed is None:
        return [name, *[None] * 7]
    paces: list[object] = []
    for size in (1, 8):
        own, other = (pace(one, size, generates) for one in (speed, first))
        paces += [own, f"{own / other:.2f}x"]
    latency = (speed.first_token_seconds if generates else speed.seconds_a_text)[1]
    return [name, *paces, 1000 * latency, speed.load_seconds, speed.model_bytes / MB]


def pace(speed: Any, size: int, generates: bool) -> float:
    """Tokens or texts a second, of `size` texts together."""
    return float(speed.tokens_per_second[size] if generates else 1 / speed.seconds_a_text[size])


def notes(found: Mapping[str, Finished]) -> list[str]:
    """What must be known of exports, each once, with their names where there are several."""
    of: dict[str, list[str]] = {}
    for name, one in found.items():
        for note in filter(None, (*one.made.notes, one.verified.note)):
            of.setdefault(note, []).append(name)
    return [f"{', '.join(names)}: {note}" if len(found) > 1 else note for note, names in of.items()]


def larger(found: Mapping[str, Finished], basis: Basis) -> list[str]:
    """A sentence for each export that saves nothing."""
    before = sum(basis.before.values())
    return [
        f"{name} takes {one.bytes / before:.2f} times the original's bytes: what is not quantised is stored in "
        f"{one.cell.format.others(one.cell.asked, 'its own type')}"
        for name, one in found.items()
        if one.bytes >= before and one.made.plan
    ]


def slower(found: Mapping[str, Finished], basis: Basis) -> list[str]:
    """A sentence for each export that is slower than the original."""
    first = basis.original.speed
    if first is None:
        return []
    generates = bool(first.tokens_per_second)
    said = []
    for name, one in found.items():
        if one.verified.speed is not None:
            share = pace(one.verified.speed, 1, generates) / pace(first, 1, generates)
            if share < 0.9:
                said.append(
                    f"{name} runs at {share:.2f} times the original's speed on this machine, one text at a time"
                )
    return said
