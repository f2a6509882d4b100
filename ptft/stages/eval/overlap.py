"""Whether evaluation rows are in what a model was trained on: by lineage, by content, and by runs of words (Brown et al. 2020, C)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from ptft.core.files import Source, hash_file
from ptft.core.progress import Progress, Silent
from ptft.core.rows import Row
from ptft.core.shared_runs import Search, Shared, Wanted
from ptft.stages.eval import protected
from ptft.stages.eval.question import question
from ptft.stages.eval.searching import read
from ptft.stages.eval.trained_on import Training, named, trained_on

MOST_BYTES = 2**30  # of training text that is read
MOSTLY = 0.7  # of a row's runs: PaLM (Chowdhery et al. 2022, 8) calls such a row contaminated
EXAMPLES, NAMED = 10, 3  # rows of scores.json; files in a warning


@dataclass(frozen=True)
class Overlap:
    """What was looked at, and what was found.

    words: in a shared run. rows: looked for. found: those of which the text holds a run. unjudged: rows too short, or nothing
    but template. checked_bytes: of training text; complete: whether that was all of it. missing: training files that could not
    be read. same_files: evaluation files that are training files. unprotected: what lineage says.
    """

    words: int = 0
    rows: int = 0
    found: tuple[Shared, ...] = ()
    unjudged: int = 0
    files: tuple[str, ...] = ()
    checked_bytes: int = 0
    complete: bool = False
    missing: tuple[str, ...] = ()
    same_files: tuple[str, ...] = ()
    unprotected: str | None = None

    @property
    def share(self) -> float | None:
        """Of the rows, those found; None where no text was read."""
        return len(self.found) / self.rows if self.rows and self.checked_bytes else None

    @property
    def mostly(self) -> int:
        """Rows of which most is in the training text."""
        return sum(one.share >= MOSTLY for one in self.found)

    def as_json(self) -> dict[str, Any]:
        """The "overlap" of scores.json. rows: those with a hit; examples: those with the most of it."""
        worst = sorted(self.found, key=lambda one: -one.share)[:EXAMPLES]
        return {
            "words": self.words, "checked_bytes": self.checked_bytes, "complete": self.complete, "files": list(self.files),
            "missing": list(self.missing), "checked_rows": self.rows, "unjudged": self.unjudged, "rows": len(self.found),
            "share": self.share, "mostly": self.mostly, "same_files": list(self.same_files),
            "examples": [asdict(one) for one in worst], "warning": "; ".join(self.warnings()),
        }  # fmt: skip

    def warnings(self) -> list[str]:
        """Sentences for people, each with what to do. Lineage speaks only where the text itself has not settled it."""
        found = []
        if self.same_files:
            files = "are files" if len(self.same_files) > 1 else "is a file"
            remedy = "evaluate on rows that were held out (ptft split)"
            found.append(f"{_some(self.same_files)} {files} that the model was trained on: {remedy}")
        elif self.found and self.share is not None:
            most = (
                f"{self.mostly:,} of them most of what they ask" if self.mostly else "none of them most of what it asks"
            )
            found.append(
                f"{len(self.found):,} of {self.rows:,} rows ({self.share:.1%}) share {self.words} words in a row, or short "
                f"ones all of theirs, with the training text ({_some(self.files)}), {most}: keep them out with `ptft clean ... --protect FILE` and train "
                "again, or see overlap in scores.json"
            )
        if self.rows and self.unjudged == self.rows and self.checked_bytes:
            found.append(
                "no row holds a text that could be looked for in the training text: nothing is known of an overlap"
            )
        if self.unprotected and not found and not self._settled:
            found.append(self.unprotected)
        if self.checked_bytes and not self.complete:
            gone = f" (not read: {_some(self.missing)})" if self.missing else ""
            remedy = "name other parts of it with --train-data FILE"
            found.append(f"only {self.checked_bytes:,} bytes of the training text were looked at{gone}: {remedy}")
        return found

    @property
    def _settled(self) -> bool:
        """All training text was read, and every row could be looked for."""
        return bool(self.checked_bytes) and self.complete and not self.unjudged


def texts_of(rows: Iterable[Any]) -> Iterator[tuple[str, str]]:
    """Each row's id and what it asks, from rows as they are read; those that were rejected are passed over."""
    return ((str(row.data["id"]), question(row.data)) for row in rows if isinstance(row, Row))


def check(
    model: Path | None, data: Sequence[Source], rows: Iterable[tuple[str, str]], words: int = 13,
    train: Sequence[Source] = (), most_bytes: int = MOST_BYTES, progress: Progress | None = None,
) -> Overlap:  # fmt: skip
    """Look for evaluation rows in training text: that of `train`, else what the run records of `model` name.

    rows: ids and texts of what is asked, without answers. words: in a shared run, of Chinese, Japanese and Korean twice as many
    characters; 0 looks at lineage and whole files alone.
    """
    training = named(train) if train else trained_on(model) if model else Training()
    same = (source.path.name for source in data if source.path.is_file() and hash_file(source.path) in training.hashes)
    lineage = Overlap(
        words, missing=training.missing, same_files=tuple(same), unprotected=protected.warning(model, data) if model else None
    )  # fmt: skip
    return (
        _searched(lineage, training, rows, most_bytes, progress or Silent()) if words and training.sources else lineage
    )


def _searched(
    lineage: Overlap, training: Training, rows: Iterable[tuple[str, str]], most_bytes: int, progress: Progress
) -> Overlap:
    wanted = Wanted.of(rows, lineage.words)
    search = Search(wanted)
    size = sum(source.path.stat().st_size for source in training.sources)
    with progress.step("looking for the rows in the training text", size, "bytes") as step:
        size_read, whole = read(search, training.sources, most_bytes, step)
    return replace(
        lineage, rows=len(wanted.ids), found=search.found(), unjudged=wanted.unjudged,
        files=tuple(source.name for source in training.sources), checked_bytes=size_read,
        complete=whole and not training.missing,
    )  # fmt: skip


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:NAMED]) + (f" and {len(names) - NAMED:,} more" if len(names) > NAMED else "")
