"""How the folders of the table are made: ptft's by its command line, many schemes a call; the peers' by scripts, one at a time."""

from __future__ import annotations

import hashlib
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pretraining.data import ptft as command
from tools import Missing, note

import ptft
from exporting.measuring import LLAMA_CPP, ONNX, PEERS, TORCH, Bench, Runtime, script

Made = Path | Exception  # a folder, or why there is none
Maker = Callable[[Bench, Path, Mapping[str, Made]], Path]
BITS = 4.5  # of mixed


@dataclass(frozen=True)
class Row:
    """One line of the table. name: also of a peer's folder. make: (bench, folder to write, what is made) -> what the runtime reads.

    Of ptft's rows, in place of `make`: scheme and format as `--to` and `--format` say them, options: of `--set`. Of what is there
    already: where. needs: another row, which is made first.
    """

    name: str
    runtime: Runtime
    make: Maker | None = None
    scheme: str = ""
    format: str = ""
    options: tuple[str, ...] = ()
    needs: str = ""
    where: Callable[[Bench], Path] | None = None


def made(rows: Sequence[Row], known: Sequence[Row], bench: Bench) -> dict[str, Made]:
    """What became of each row, by name. known: all there are, where the rows that these need are found."""
    needed = [row for row in known if row.name in {row.needs for row in rows} and row not in rows]
    found: dict[str, Made] = {}
    ours = [row for row in (*rows, *needed) if row.format]
    for key in dict.fromkeys((row.format, row.options) for row in ours):
        found |= exported([row for row in ours if (row.format, row.options) == key], bench)
    for row in (*needed, *rows):
        if row.where is not None:
            found[row.name] = row.where(bench)
        elif row.make is not None:
            found[row.name] = _peer(row, row.make, bench, found)
    return found


# ---------------------------------------------------------------- ptft's own


def exported(rows: Sequence[Row], bench: Bench) -> dict[str, Made]:
    """Rows of one format by one call; one by one where that fails, so that each says for itself why."""
    try:
        return dict(zip((row.name for row in rows), _export(rows, bench), strict=True))
    except RuntimeError as error:
        if len(rows) == 1:
            return {rows[0].name: error}
        note(f"{rows[0].format}: {error}")
    alone: dict[str, Made] = {}
    for row in rows:
        alone |= exported([row], bench)
    return alone


def _export(rows: Sequence[Row], bench: Bench) -> list[Path]:
    out, key = _folder(rows, bench), _key([row.scheme for row in rows], bench, code=True)
    stamp = out.with_name(f"{out.name}.key")
    if not (stamp.exists() and stamp.read_text() == key):
        shutil.rmtree(out, ignore_errors=True)
        out.parent.mkdir(parents=True, exist_ok=True)
        stamp.write_text(key)
    given = arguments(rows, bench)
    note(f"ptft {' '.join(map(str, given))} -o {out}")
    started = time.monotonic()
    command(*given, "-o", out, threads=bench.threads)
    note(f"{len(rows)} exports in {time.monotonic() - started:.0f} s")
    return [folder_of(row, rows, out) for row in rows]


def arguments(rows: Sequence[Row], bench: Bench) -> list[object]:
    """Of the command. The rows are of one format and have the same options."""
    schemes = [row.scheme for row in rows]
    mixed = ("--bits-per-weight", BITS) if "mixed" in schemes else ()
    calibrated = ("--calibration", bench.held.texts, *_set(bench.held.calibrating), *_set(rows[0].options))
    to = ("--to", ",".join(schemes), "--format", rows[0].format)
    return ["export", bench.original, *to, *mixed, *calibrated, "--set", "speed=false"]


def _set(options: Sequence[str]) -> list[str]:
    return [word for option in options for word in ("--set", option)]


def folder_of(row: Row, rows: Sequence[Row], out: Path) -> Path:
    """Where `ptft export` puts one of several exports; the only one is in `out` itself."""
    return out if len(rows) == 1 else out / f"{row.scheme}-{row.format}"


def _folder(rows: Sequence[Row], bench: Bench) -> Path:
    """A folder for each format and options, and where there is but one row, for its scheme."""
    words = ["ptft", rows[0].format, *rows[0].options, *([rows[0].scheme] if len(rows) == 1 else [])]
    return _place(bench) / "-".join(words).replace("=", "-")


# ---------------------------------------------------------------- the peers'


def _peer(row: Row, make: Maker, bench: Bench, found: Mapping[str, Made]) -> Made:
    """Once; what is there already is taken, and nothing half-made stays."""
    out = _place(bench) / row.name.replace(" ", "-")
    done, key = out.with_name(f"{out.name}.done"), _key([row.name], bench, code=bool(row.needs))
    try:
        if not (done.exists() and done.read_text().split("\n")[0] == key):
            note(f"{row.name}: made")
            shutil.rmtree(out, ignore_errors=True)
            out.parent.mkdir(parents=True, exist_ok=True)
            done.write_text(f"{key}\n{make(bench, out, found)}")
        return Path(done.read_text().split("\n")[1])
    except (Missing, RuntimeError, OSError) as error:
        note(f"{row.name}: {error}")
        shutil.rmtree(out, ignore_errors=True)
        return error


def _place(bench: Bench) -> Path:
    return bench.cache / "export" / "made" / bench.original.name


def _key(names: Sequence[str], bench: Bench, code: bool) -> str:
    """Changes with the original, the calibration rows and, where ptft makes it, ptft."""
    source = Path(ptft.__file__).parent
    ours = (*sorted(source.glob("core/quantising/*.py")), *sorted(source.glob("stages/export/**/*.py"))) if code else ()
    stamps = [(str(path), path.stat().st_mtime_ns) for path in (*sorted(bench.original.glob("*.safetensors")), *ours)]
    rows = [hashlib.sha256(path.read_bytes()).hexdigest() for path in (bench.held.calibration, bench.held.texts)]
    return hashlib.sha256(f"{names} {stamps} {rows} {bench.held.calibrating}".encode()).hexdigest()


def by_script(name: str, environment: str, given: dict[str, Any], bench: Bench, out: Path) -> Path:
    """A script of export_peers/ writes `out`. Raises `Missing` or RuntimeError."""
    common = {"model": str(bench.original), "out": str(out), "calibration": str(bench.held.calibration)}
    script(PEERS / name, environment, {**common, "report": str(out.with_name(f"{out.name}.json")), **given}, bench)
    return out


# ---------------------------------------------------------------- rows


RUNS: dict[str, Runtime] = {"torchao": TORCH, "onnx": ONNX, "gguf": LLAMA_CPP}


def ours(scheme: str, form: str, runtime: Runtime | None = None, *options: str, name: str = "") -> Row:
    """What `ptft export --to SCHEME --format FORM` writes."""
    return Row(name or f"ptft {form} {scheme}", runtime or RUNS[form], None, scheme, form, options)
