"""Files: atomic writing, content hashes, and which files an argument means."""

from __future__ import annotations

import glob
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import orjson
import xxhash

from ptft.core.errors import InputError, UsageError

FORMS = {
    ".txt": "text", ".md": "text", ".html": "html", ".htm": "html", ".jsonl": "jsonl", ".json": "json",
    ".csv": "csv", ".tsv": "tsv", ".parquet": "parquet",
}  # fmt: skip
COMPRESSIONS = (".gz", ".zst", ".bz2", ".xz")
_NUMPY = orjson.OPT_SERIALIZE_NUMPY  # else a numpy number would be written as text
STATE = ".ptft"  # inside an output folder while it is being made
NOT_DATA = ("run.json", "tokens.json", "scores.json", "export.json", "report.json")
SIDE_FILES = ("dropped", "rejected", "metrics", "predictions", "signals", "report")  # what ptft writes beside a corpus
SIDE_FOLDERS = ("index",)
SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Source:
    """One input: where it is, what rows are called after, and how to read it."""

    path: Path
    name: str  # relative to the argument that named it, without the compression's suffix
    form: str  # text, html, jsonl, json, csv, tsv, parquet, or tokens (a folder made by `ptft pack`)
    compression: str = ""  # ".gz", ".zst", ".bz2", ".xz" or ""


# ---------------------------------------------------------------- writing


@contextmanager
def atomic_write(path: Path) -> Iterator[IO[bytes]]:
    """Open a temporary file beside `path`; it takes that name only once it is whole and on disk."""
    part = path.with_name(f".{path.name}.part")
    with part.open("wb") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)


def write_json(path: Path, value: Any) -> None:
    with atomic_write(path) as file:
        file.write(orjson.dumps(value, option=_NUMPY | orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))


def json_line(row: Any) -> bytes:
    return orjson.dumps(row, default=str, option=_NUMPY | orjson.OPT_APPEND_NEWLINE)


def hash_file(path: Path) -> str:
    """xxh3-128 of the file's bytes, in hexadecimal: as fast as the disk, and stable across machines."""
    digest = xxhash.xxh3_128()
    try:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    except OSError as error:
        raise unreadable(path, error) from error
    return digest.hexdigest()


def hash_value(value: Any) -> str:
    """xxh3-128 of a JSON-able value with its keys in order."""
    return xxhash.xxh3_128_hexdigest(orjson.dumps(value, option=orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS))


def count_lines(path: Path) -> int:
    with path.open("rb") as file:
        return sum(block.count(b"\n") for block in iter(lambda: file.read(1 << 20), b""))


def unreadable(path: Path, error: OSError) -> InputError:
    gone = isinstance(error, FileNotFoundError)
    what = "no such file or folder" if gone else f"cannot be read: {error.strerror or error}"
    remedy = "check the path" if gone else "check that it is a readable file"
    return InputError(what, where=str(path), remedy=remedy)


# ---------------------------------------------------------------- which files an argument means


def expand(arguments: Sequence[str], spool: Path | None = None) -> tuple[Source, ...]:
    """The input files that arguments mean: files, folders, globs, "-" (JSONL on standard input), "hf:NAME".

    Folders are walked in sorted order; what ptft writes beside a corpus (run records, dropped and rejected rows) is not
    data. `spool` is where standard input and hub data sets are kept as JSONL for the length of the run.
    Raises `InputError` for a path that is not there, holds nothing readable, or is an unfinished output.
    """
    sources: list[Source] = []
    for argument in arguments:
        sources.extend(_expand_one(argument, spool or Path(tempfile.gettempdir())))
    if len({source.name for source in sources}) < len(
        sources
    ):  # a/x.txt b/x.txt: tell the rows apart by the whole path
        sources = [Source(s.path, _bare(s.path.as_posix()), s.form, s.compression) for s in sources]
    seen: set[Path] = set()
    for source in sources:
        resolved = source.path.resolve()
        if resolved in seen:
            raise UsageError("this input is named twice", where=str(source.path), remedy="name it once")
        seen.add(resolved)
    return tuple(sources)


def _expand_one(argument: str, spool: Path) -> list[Source]:
    if not argument:
        raise UsageError("an input is named by an empty text", remedy="check the shell variable it comes from")
    if argument == "-":
        return [Source(_spool_stdin(spool), "stdin.jsonl", "jsonl")]
    if argument.startswith("hf:"):
        return [Source(_spool_dataset(argument[3:], spool), f"{argument}.jsonl", "jsonl")]
    path = Path(argument)
    if path.is_dir():
        return _expand_folder(path)
    if path.exists():
        return [_source(path, path.name)]
    matches = sorted(Path(match) for match in glob.glob(argument, recursive=True))
    if not matches:
        remedy = "no file matches the pattern" if glob.has_magic(argument) else _missing_remedy(path)
        raise InputError("no such file or folder", where=argument, remedy=remedy)
    found = [_source(match, match.name) for match in matches if match.is_file() and _form(match) and _is_data(match)]
    if not found:
        raise InputError("the pattern matches no file that can be read", where=argument, remedy=_readable())
    _refuse_whole_splits(found)
    return found


def _missing_remedy(path: Path) -> str:
    if is_unfinished(path.parent):
        return f"{path.parent} is not finished: run the command that makes it again, it goes on where it stopped"
    return "check the path, or run the stage that makes it"


def _expand_folder(folder: Path) -> list[Source]:
    if is_unfinished(folder):
        remedy = "run the command that makes it again: it goes on where it stopped"
        raise InputError("this folder is not finished", where=str(folder), remedy=remedy)
    if (folder / "tokens.json").is_file():
        return [Source(folder, folder.name, "tokens")]
    found = [
        _source(path, path.relative_to(folder).as_posix())
        for path in sorted(folder.rglob("*"))
        if path.is_file() and _form(path) and _is_data(path) and not _hidden(path.relative_to(folder))
    ]
    if not found:
        raise InputError("the folder holds no file that can be read", where=str(folder), remedy=_readable())
    _refuse_whole_splits(found)
    return found


def _refuse_whole_splits(sources: Sequence[Source]) -> None:
    """Test rows named in one breath with training rows were not meant to be trained on."""
    parts: dict[Path, set[str]] = {}
    for source in sources:
        parts.setdefault(source.path.parent, set()).add(Path(source.name).stem)
    for folder, names in parts.items():
        if "test" in names and len(names) > 1 and (folder / "run.json").is_file():
            remedy = f"name the part, for example {folder / 'train.jsonl'}, so that no test row is trained on"
            raise UsageError("this folder is a split: it holds test rows", where=str(folder), remedy=remedy)


def begun(folder: Path) -> dict[str, Any] | None:
    """What a stage noted when it began to make this folder; None where none is under way.

    A note that is missing or broken (the disk was full, say) says only that something was begun: it may be begun anew.
    """
    if not (folder / STATE).is_dir():
        return None
    try:
        found = orjson.loads((folder / STATE / "started.json").read_bytes())
        if isinstance(found, dict) and "fingerprint" in found:
            return found
    except (OSError, orjson.JSONDecodeError):
        pass
    return {"may_change": True}


def is_unfinished(folder: Path) -> bool:
    """A folder that a stage began and has not published yet."""
    return (folder / STATE).is_dir() and not (folder / "run.json").is_file()


def _readable() -> str:
    return f"readable are {', '.join(FORMS)}, each also with {', '.join(COMPRESSIONS)}"


def _hidden(relative: Path) -> bool:
    return any(part.startswith(".") for part in relative.parts)


def _is_data(path: Path) -> bool:
    if path.name in NOT_DATA:
        return False
    folder = path.parent
    aside = path.name.split(".")[0] in SIDE_FILES and (folder / "run.json").exists()
    return not aside and not (folder.name in SIDE_FOLDERS and (folder.parent / "run.json").exists())


def _bare(name: str) -> str:
    suffix = Path(name).suffix
    return name[: -len(suffix)] if suffix.lower() in COMPRESSIONS else name


def _form(path: Path) -> str | None:
    return FORMS.get(Path(_bare(path.name)).suffix.lower())


def _source(path: Path, name: str) -> Source:
    form = _form(path)
    if form is None:
        raise InputError(
            f"cannot tell how to read a {path.suffix or 'file without a suffix'}", where=str(path), remedy=_readable()
        )
    return Source(path, _bare(name), form, path.suffix.lower() if path.suffix.lower() in COMPRESSIONS else "")


def _spool_stdin(spool: Path) -> Path:
    if sys.stdin is None or sys.stdin.isatty():
        raise UsageError("'-' reads JSONL from standard input, and nothing is piped in", remedy="pipe a file into it")
    spool.mkdir(exist_ok=True)
    path = spool / "stdin.jsonl"
    if path.exists():
        raise UsageError("'-' is named twice", remedy="standard input can be read once")
    with atomic_write(path) as file:
        while block := sys.stdin.buffer.read(1 << 20):
            file.write(block)
    return path


def _spool_dataset(name: str, spool: Path) -> Path:
    """hf:NAME, hf:NAME:SPLIT — a hub data set (or a local folder in its layout), loaded by `datasets`."""
    import datasets

    name, _, split = name.partition(":")
    spool.mkdir(exist_ok=True)
    path = spool / f"{name.replace('/', '--')}-{split or 'train'}.jsonl"
    try:
        rows = datasets.load_dataset(name, split=split or "train")
    except Exception as error:  # datasets raises its own, the hub's and pyarrow's errors alike
        remedy = "check the name, the split (hf:NAME:SPLIT) and the network"
        raise InputError(
            f"datasets cannot load it: {str(error).splitlines()[0]}", where=f"hf:{name}", remedy=remedy
        ) from error
    with atomic_write(path) as file:
        for row in rows:
            file.write(orjson.dumps(row, default=str, option=_NUMPY | orjson.OPT_APPEND_NEWLINE))
    return path
