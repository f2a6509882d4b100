"""What `ptft eval` wrote, read back: scores, and the predictions that they follow from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from ptft.core.contracts import SCORES
from ptft.core.errors import InputError
from ptft.core.files import unreadable
from ptft.core.metrics.comparison import Comparison, compare, in_common
from ptft.core.metrics.kinds import KINDS, Options, measures
from ptft.core.metrics.measure import RESAMPLES, Measure

SCORES_FILE, ROWS_FILE = "scores.json", "predictions.jsonl"
_AGAIN = "measure it again: ptft eval ... -o DIR --force"
_NEEDS_MORE = ("bertscore", "meteor", "flagged")  # than the rows: a model, WordNet, lists of words


@dataclass(frozen=True)
class Stored:
    """A result. rows: of predictions.jsonl."""

    folder: Path
    scores: dict[str, Any]
    rows: list[dict[str, Any]]

    @property
    def kind(self) -> str:
        """The kind of its predictions. Raises `InputError` for a result of a ptft that did not say it."""
        kind = self.scores.get("kind")
        if kind not in KINDS:
            what = "this result does not say what kind its predictions are"
            raise InputError(what, where=str(self.folder), remedy=_AGAIN)
        return str(kind)

    @property
    def metrics(self) -> tuple[str, ...]:
        return tuple(self.scores["metrics"])

    @property
    def options(self) -> Options:
        """As far as the settings of the run say them."""
        return Options(positive=str(self.scores.get("settings", {}).get("positive") or ""))

    def measures(self, metrics: Sequence[str] = ()) -> list[Measure]:
        """The metrics (all of the run's where none is named), made again from the rows."""
        return measures(self.kind, self.rows, metrics or self.metrics, self.options)


def load(folder: Path) -> Stored:
    """Read a Scores folder. Raises `InputError` where it is none, or where a file is missing or broken."""
    scores = load_scores(folder)
    path = folder / ROWS_FILE
    rows: list[dict[str, Any]] = []
    try:
        for number, line in enumerate(path.read_bytes().splitlines(), 1):
            rows.append(_row(line, f"{path}:{number}"))
    except OSError as error:
        raise unreadable(path, error) from error
    return Stored(folder, scores, rows)


def load_scores(folder: Path) -> dict[str, Any]:
    """The scores.json of a Scores folder. Raises `InputError`."""
    path = SCORES.require(folder) / SCORES_FILE
    try:
        found = orjson.loads(path.read_bytes())
    except OSError as error:
        raise unreadable(path, error) from error
    except orjson.JSONDecodeError as error:
        raise _broken(str(path)) from error
    if not isinstance(found, dict) or not isinstance(found.get("metrics"), dict):
        raise _broken(str(path))
    return found


def _row(line: bytes, where: str) -> dict[str, Any]:
    try:
        row = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise _broken(where) from error
    if not isinstance(row, dict) or "id" not in row:
        raise _broken(where)
    return row


def _broken(where: str) -> InputError:
    return InputError("not what `ptft eval` wrote", where=where, remedy=_AGAIN)


def comparable(kind: str, metrics: Sequence[str], other: Stored) -> tuple[str, ...]:
    """The metrics that predictions of this kind can be compared with another result by. Raises `InputError` or `UsageError`."""
    if kind != other.kind:
        what = f"predictions of the kind {kind} cannot be compared with those of the kind {other.kind}"
        remedy = "compare results of one kind of task; ptft show DIR says which it is"
        raise InputError(what, where=str(other.folder), remedy=remedy)
    return in_common(metrics, other.metrics, kind)


def comparison(stored: Stored, other: Stored, resamples: int = RESAMPLES, options: Options | None = None) -> Comparison:
    """Two results, by the metrics in both. Raises `InputError` or `UsageError` where they cannot be compared."""
    both = comparable(stored.kind, stored.metrics, other)
    can = [name for name in both if name not in _NEEDS_MORE or _in_rows(name, stored, other)]
    try:
        return compare(stored.rows, other.rows, stored.kind, can, options or stored.options, resamples)
    except KeyError as error:  # rows that were edited, or of an older ptft
        raise InputError(
            f"a row lacks {error}, which its metrics need", where=str(other.folder), remedy=_AGAIN
        ) from error


def _in_rows(name: str, *results: Stored) -> bool:
    """Whether every row has its own score, so that what made it is not needed again."""
    return all(isinstance(row.get(name), float) for result in results for row in result.rows)
