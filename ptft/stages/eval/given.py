"""Predictions of any tool: which kind they are, what is wrong with a row, and references that lie in another file."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from ptft.core.errors import InputError, UsageError
from ptft.core.examples import shape_of, to_messages
from ptft.core.metrics import names
from ptft.core.metrics.kinds import KINDS, label_text
from ptft.core.rows import Rejected, Row
from ptft.stages.eval.rules import RULES

LOOKED_AT = 1000  # rows that tell which kind the predictions are
LONGEST_LABEL = 64  # characters
_SAID = (*names.TEXTS, *names.SPANS, *names.VARIETY, *names.SAFETY)
_LABELS = ("accuracy", *names.PROBABILITIES, *(name for name in names.LABELS if name not in names.MANY_LABELS))
_NEEDS = (
    ("probabilities", names.PROBABILITIES),
    ("prediction", _SAID),
    ("reference", _LABELS),
)  # beside what every row of the kind has


@dataclass(frozen=True)
class Given:
    """A way that has its predictions already. kind: of them. metrics: those asked for, which may need more of a row."""

    kind: str
    metrics: tuple[str, ...] = ()
    title: str = "reading"
    block: int = 4096
    seen: dict[str, str] = field(default_factory=dict)  # where each id was

    def problem(self, row: Row) -> str | None:
        """Why a row cannot be measured; an id that was there before is the second row's mistake."""
        place = f"{row.source}:{row.line}"
        before = self.seen.setdefault(row.data["id"], place)
        if before != place:
            return f"the id {row.data['id']!r} is already that of {before}"
        if found := RULES[self.kind](row.data):
            return found
        lacking = [name for name, metrics in _NEEDS if row.data.get(name) is None and {*metrics} & {*self.metrics}]
        return f"no field {lacking[0]!r}, which the metrics asked for need" if lacking else None

    def predict(self, rows: Sequence[Row]) -> list[dict[str, Any]]:
        return [_shown(row.data) for row in rows]

    def settings(self, predictions: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        return {}

    def remarks(self, predictions: Sequence[Mapping[str, Any]]) -> list[str]:
        if self.kind != "labels":
            return []
        wanted, made = ({label_text(row[side]) for row in predictions} for side in ("reference", "prediction"))
        if wanted & made:
            return []
        shown = [", ".join(map(repr, sorted(side)[:5])) for side in (made, wanted)]
        return [f"no predicted label ({shown[0]}) is one of the references' ({shown[1]})"]


def _shown(data: Mapping[str, Any]) -> dict[str, Any]:
    row = {name: value for name, value in data.items() if name not in ("id", "by") and value is not None}
    if "prediction" not in row and isinstance(row.get("probabilities"), dict):
        row["prediction"] = max(row["probabilities"], key=row["probabilities"].get)
    return row


# ---------------------------------------------------------------- which kind


def kind_of(rows: Iterator[Row | Rejected], asked: tuple[str, ...], named: str, stored: str | None) -> str:
    """The kind: `named`, else that of the run which wrote the file, else by the rows and the metrics asked for.

    Fields that only one kind has decide, also where every row is wrong: what is wrong must be said, not passed over. Raises
    `UsageError` for a name that is none, `InputError` where the rows are of no kind or none can be read.
    """
    if named != "auto":
        if named not in KINDS:
            raise UsageError(f"no kind {named!r} of predictions", remedy=f"--kind takes {', '.join(KINDS)}")
        return named
    if stored in KINDS and (not asked or all(name in KINDS[stored].fits for name in asked)):
        return stored
    sample = _sample(rows)
    fits = [name for name in _preferred(sample, asked) if all(metric in KINDS[name].fits for metric in asked)]
    whole = [name for name in fits if _mostly(sample, RULES[name])]
    told = [name for name in _told(sample) if name in fits]
    for name in (told[:1] if told and told[0] not in whole else whole) or whole:
        return name
    raise _unknown(sample, asked)


def _sample(rows: Iterator[Row | Rejected]) -> list[Row]:
    read = list(islice(rows, LOOKED_AT))
    found = [item for item in read if isinstance(item, Row)]
    first = next((item for item in read if isinstance(item, Rejected)), None)
    if not found and first is not None:
        where = f"{first.source}:{first.line}" if first.line else first.source
        raise InputError(f"none of the first rows can be read: {first.reason}", where=where, remedy="mend the file")
    if not found:
        raise InputError("the input holds no rows", remedy="check that the files are not empty")
    return found


def _mostly(sample: Sequence[Row], rule: Callable[[Mapping[str, Any]], str | None]) -> bool:
    return 2 * sum(rule(row.data) is None for row in sample) >= len(sample)


def _told(sample: Sequence[Row]) -> Iterator[str]:
    """Kinds that a field or a value gives away, whether or not the rest of the row is right."""
    fields = {name for row in sample for name, value in row.data.items() if value is not None}
    lists = any(isinstance(row.data.get("prediction"), list) for row in sample)
    if {"answer", "loglikelihoods"} <= fields:
        yield "choices"
    elif "loglikelihoods" in fields:
        yield "preferences"
    elif "probabilities" in fields:
        yield "many-labels" if lists else "labels"
    elif lists and any(_has_tags(row.data) for row in sample):
        yield "tags"
    elif any(_has_boxes(row.data) for row in sample):
        yield "boxes"


def _has_tags(data: Mapping[str, Any]) -> bool:
    sides = [data.get(side) for side in ("reference", "prediction")]
    tags = [tag for side in sides if isinstance(side, list) for tag in side]
    return all(isinstance(side, list) for side in sides) and any(
        isinstance(tag, str) and tag[:2] in ("B-", "I-", "E-", "S-") for tag in tags
    )


def _has_boxes(data: Mapping[str, Any]) -> bool:
    sides = [data.get(side) for side in ("reference", "prediction")]
    return any(isinstance(side, list) and side and isinstance(side[0], Mapping) for side in sides)


def _preferred(sample: Sequence[Row], asked: tuple[str, ...]) -> Iterator[str]:
    """Kinds that a row may be, the most telling first; between labels and texts their length and repetition decide."""
    predictions = [row.data.get("prediction") for row in sample]
    if any(_has_boxes(row.data) for row in sample):
        yield "boxes"
    yield from ("choices", "preferences", "answers", "language", "tags")
    if 2 * sum(isinstance(item, list) for item in predictions) > len(sample):
        yield from ("rankings", "many-labels") if _is_ranking(sample) else ("many-labels", "rankings")
        yield "plain-tags"
        return
    references = [row.data.get("reference") for row in sample]
    if any(isinstance(item, float) and not item.is_integer() for item in (*references, *predictions)):
        yield "numbers"
    if asked and asked[0] in names.SPANS:
        yield "spans"
    yield from ("labels", "texts") if _are_labels(references) else ("texts", "labels")
    yield "numbers"
    if not any("reference" in row.data for row in sample):
        yield "generations"


def _is_ranking(sample: Sequence[Row]) -> bool:
    """A list of many of which few are right, or of which one is."""
    return any(not isinstance(row.data.get("reference"), list) for row in sample)


def _are_labels(references: Sequence[Any]) -> bool:
    if all(isinstance(item, int | float) for item in references):
        return bool(references)
    short = all(isinstance(item, str) and len(item) <= LONGEST_LABEL and "\n" not in item for item in references)
    return short and len(set(references)) <= max(2, len(references) / 2)


def _unknown(sample: Sequence[Row], asked: tuple[str, ...]) -> InputError:
    row = sample[0]
    fields = ", ".join(repr(name) for name in row.data if name != "id")
    wanted = [name for name in KINDS if not asked or all(metric in KINDS[name].fits for metric in asked)]
    if not wanted:
        raise UsageError(
            f"no kind of predictions has {names.listed(asked)} together", remedy="ask for them one at a time"
        )
    takes = "; ".join(f"{name} ({KINDS[name].fields})" for name in wanted)
    reasons = {name: RULES[name](row.data) or "" for name in _preferred(sample, asked) if name in wanted}
    if not {"prediction", "reference", "probabilities"} & row.data.keys():
        reasons = {}  # other names than ours: the fields are what is wrong
    nearly = [f"as {name}, {reason}" for name, reason in reasons.items() if reason and "no field" not in reason]
    if nearly:
        what = f"the predictions cannot be scored: {'; '.join(nearly[:2])}"
        remedy = "mend the rows, or name their kind with --kind, so that the bad ones are told from the good"
        return InputError(what, where=f"{row.source}:{row.line}", remedy=remedy)
    what = f"predictions with the fields {fields} are of no kind that eval can score" + (" so" if asked else "")
    remedy = f"it takes {takes}; map fields with --set columns.prediction=NAME, name references with --references"
    return InputError(what, where=f"{row.source}:{row.line}", remedy=remedy)


# ---------------------------------------------------------------- references from another file


def joined(made: Sequence[Row], wanted: Sequence[Row]) -> Iterator[Row]:
    """Predictions with the references of the same ids. Raises `InputError` where one side lacks rows of the other.

    Where ids are only places in their files, the order counts, and the lengths must be equal.
    """
    have = [_have_ids(made), _have_ids(wanted)]
    if have == [None, None] or not (made and wanted):
        if len(made) != len(wanted):
            what = (
                f"{len(made):,} predictions and {len(wanted):,} references, without ids to tell which belong together"
            )
            raise InputError(what, remedy='give both an "id" field, or equal lengths')
        yield from (_with(row, other) for row, other in zip(made, wanted, strict=True))
        return
    if have != [True, True]:
        side = "predictions" if have[0] is not True else "references"
        what = f"not all {side} have an id, so they cannot be joined by it, and their order cannot be trusted"
        raise InputError(what, remedy='give every row of both files an "id", or none')
    by_id = {row.data["id"]: row for row in wanted}
    if len(by_id) < len(wanted):
        raise InputError("ids repeat among the references", remedy="give every row an id of its own")
    found = {row.data["id"] for row in made}
    lacking = [name for name in by_id if name not in found]
    extra = [row for row in made if row.data["id"] not in by_id]
    if lacking or extra:
        raise _unequal(lacking, extra)
    yield from (_with(row, by_id[row.data["id"]]) for row in made)


def _have_ids(rows: Sequence[Row]) -> bool | None:
    """True: all rows. None: no row, each of which was named after its place in the file. False: some."""
    own = sum(row.data["id"] != f"{row.source}:{row.line}" for row in rows)
    return None if not own else own == len(rows)


def _unequal(lacking: Sequence[str], extra: Sequence[Row]) -> InputError:
    parts = []
    if lacking:
        parts.append(f"{len(lacking):,} references have no prediction ({', '.join(map(repr, lacking[:3]))})")
    if extra:
        shown = ", ".join(repr(row.data["id"]) for row in extra[:3])
        parts.append(f"{len(extra):,} predictions have no reference ({shown})")
    return InputError("; ".join(parts), remedy="score what is whole: every row of both files must have its partner")


def _with(row: Row, other: Row) -> Row:
    reference = reference_of(other)
    if reference is None:
        where = f"{other.source}:{other.line}"
        raise InputError("this row has no reference", where=where, remedy="map it with --set columns.reference=NAME")
    if row.data.get("reference", reference) != reference:
        what = f"the prediction {row.data['id']!r} has another reference of its own"
        remedy = "leave out --references, or take the field out of the predictions"
        raise InputError(what, where=f"{row.source}:{row.line}", remedy=remedy)
    asked = {name: other.data[name] for name in ("text", "source", "question") if isinstance(other.data.get(name), str)}
    rest = {name: value for name, value in other.data.items() if name not in ("id", "prediction")}
    shown = {"input": next(iter(asked.values()))} if asked else {}
    return Row({**rest, **shown, **row.data, "reference": reference}, row.source, row.line)


def reference_of(row: Row) -> Any:
    """What is right, in whichever shape a labelled row says it; None where it does not."""
    data = row.data
    if "reference" in data:
        return data["reference"]
    shape = shape_of(data)
    if shape is None:
        return None
    if shape.name in ("messages", "sharegpt", "alpaca", "prompt-completion"):
        return next((m["content"] for m in reversed(to_messages(data, shape)) if m["role"] == "assistant"), None)
    if shape.name == "question-answer":
        from ptft.core.extracting import answers_of

        return [answer.text for answer in answers_of(data)]
    fields = ("label", "labels", "tags", "target")
    return next((data[name] for name in fields if name in data), None)
