"""Whether evaluation data was kept out of what a model was trained on, as far as the model's own run records tell."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ptft.core.files import Source, hash_file
from ptft.core.record import Ancestor, made


def warning(model: Path, data: Sequence[Source]) -> str | None:
    """A sentence that names the files of `data` which nothing protected; None where all were, or no record can tell.

    A file is protected if a `clean` run that the model descends from read it, by its content (`--protect`; lineage does not
    tell that from a file which was cleaned itself), or if it comes from a `split` that the model descends from too.
    Models without records, or with no `clean` run among their ancestors, say nothing.
    """
    ancestors = _family(model)
    read = {content for ancestor in ancestors if ancestor.stage == "clean" for content in ancestor.files}
    if not read:
        return None
    splits = _splits(ancestors)
    bare = [
        str(source.path) for source in data if not (_splits(_family(_folder(source))) & splits or _in(source, read))
    ]
    if not bare:
        return None
    were = "were" if len(bare) > 1 else "was"
    return (
        f"nothing in the run records of {model} shows that {', '.join(bare)} {were} kept out of its training data: "
        "clean that again with `ptft clean ... --protect FILE`"
    )


def _family(folder: Path) -> tuple[Ancestor, ...]:
    """The run that made a folder, and those it descends from."""
    run = made(folder)
    if run is None:
        return ()
    return (*run.lineage, Ancestor(run.run, run.stage, tuple(entry.hash for entry in run.inputs)))


def _splits(ancestors: Sequence[Ancestor]) -> set[str]:
    return {ancestor.run for ancestor in ancestors if ancestor.stage == "split"}


def _folder(source: Source) -> Path:
    return source.path if source.path.is_dir() else source.path.parent


def _in(source: Source, hashes: set[str]) -> bool:
    return source.path.is_file() and hash_file(source.path) in hashes
