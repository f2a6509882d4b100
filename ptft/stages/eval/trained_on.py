"""The text that a model was trained on, as far as run records name it and it is still on disk."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ptft.core.contracts import MODEL
from ptft.core.errors import PtftError
from ptft.core.files import Source, expand, hash_file
from ptft.core.record import FileEntry, made

HASHED = 2**31  # bytes; a larger file is taken for unchanged where its size is
_TEXT = ("data", "general")  # inputs of a run that are learnt from
_BASES = ("model", "from_checkpoint")  # those that learnt before
_NOT_LEARNT = ("eval", "show", "generate", "export", "finetune merge")  # stages whose data no weight follows from


@dataclass(frozen=True)
class Training:
    """sources: text to read. hashes: of every file that was learnt from, also where it is gone. missing: files that cannot be read.

    known: whether some run record said what the model learnt from.
    """

    sources: tuple[Source, ...] = ()
    hashes: frozenset[str] = frozenset()
    missing: tuple[str, ...] = ()
    known: bool = False


def trained_on(folder: Path) -> Training:
    """What run records name, from the folder's own to those of the models and packed tokens it was made from."""
    return _walked([folder])


def named(sources: Sequence[Source]) -> Training:
    """The user's own training files; of packed tokens, and of a model, the text that their records name."""
    made_of = {_made(source) for source in sources} - {None}
    packed = _walked([folder for folder in made_of if folder is not None])
    texts = tuple(source for source in sources if _made(source) is None)
    hashes = {hash_file(source.path) for source in texts if source.path.stat().st_size <= HASHED}
    return Training((*texts, *packed.sources), packed.hashes | hashes, packed.missing, True)


def _made(source: Source) -> Path | None:
    """The folder of packed tokens or of a model that a source is part of."""
    if source.form == "tokens":
        return source.path
    return source.path.parent if MODEL.is_valid(source.path.parent) else None


def _walked(folders: Iterable[Path]) -> Training:
    todo, seen = list(folders), set[Path]()
    texts: dict[Path, str] = {}
    hashes, missing, known = set[str](), dict[str, None](), False
    while todo:
        folder = todo.pop(0).resolve()
        run = None if folder in seen else made(folder)
        seen.add(folder)
        for entry in run.inputs if run else ():
            path = located(entry, folder)
            if entry.role in _TEXT and run is not None and run.stage not in _NOT_LEARNT:
                known = True
                hashes.add(entry.hash)
                if path is not None and (packed := _packed(path)):
                    todo.append(packed)
                elif path is None:
                    missing[entry.path] = None
                else:
                    texts[path] = entry.path
            elif entry.role in _BASES and path is not None:
                todo.append(path.parent)
    sources, unreadable = _sources(texts)
    return Training(sources, frozenset(hashes), (*missing, *unreadable), known)


def _packed(path: Path) -> Path | None:
    """The folder of packed tokens that a file is part of; their tokenizer lies in a folder of its own there."""
    return next((folder for folder in path.parents[:2] if (folder / "tokens.json").is_file()), None)


def _sources(paths: Mapping[Path, str]) -> tuple[tuple[Source, ...], list[str]]:
    """Those that hold rows or text, called as their records call them; and the names of those that do not."""
    found: list[Source] = []
    unreadable = []
    for path, name in paths.items():
        try:
            found += [replace(source, name=name) for source in expand([str(path)])]
        except PtftError:
            unreadable.append(name)
    return tuple(found), unreadable


def located(entry: FileEntry, folder: Path) -> Path | None:
    """Where the file of a record is now: records name files as the command did, from wherever it ran. None where it changed or is gone.

    folder: that the record is in; the file is looked for from here, and from each folder above that one.
    """
    for base in (Path(), *folder.resolve().parents):
        path = base / entry.path
        same_size = path.is_file() and path.stat().st_size == entry.bytes
        if same_size and (entry.bytes > HASHED or hash_file(path) == entry.hash):
            return path.resolve()
    return None
