"""recipe -> check inputs -> skip, resume or run -> run record.

An output folder goes through these states, each entered atomically, so that a kill at any moment leaves one of them:

    (absent) -> .ptft/started.json        being made; the same command goes on
             -> .ptft/result.json         made; being published (files moved from .ptft/new into the folder)
             -> run.json, no .ptft        complete
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

from ptft.core import recipes, record
from ptft.core.contracts import Inputs, Output, Plan, Result, Stage
from ptft.core.errors import Diverged, GateError, InputError, Interrupted, PtftError, RunError, UsageError
from ptft.core.files import STATE, atomic_write, begun, count_lines, hash_file, hash_value, write_json
from ptft.core.inputs import Found, find
from ptft.core.progress import Progress
from ptft.core.record import FileEntry, RunRecord

REJECTED = "rejected.jsonl"
REPLACED = "replaced.json"  # in the state: the record of the result that is being replaced
DONE = f"{STATE}-done"  # the state on its way out


@dataclass(frozen=True)
class Request:
    """One command, as the command line understood it."""

    stage: Stage
    recipe: Any
    arguments: Mapping[str, tuple[str, ...]]  # positional, by argument name
    command: tuple[str, ...]
    out: Path | None = None
    force: bool = False
    dry_run: bool = False


@dataclass(frozen=True)
class Outcome:
    """record: of a finished run. plan: of a dry run."""

    record: RunRecord | None = None
    plan: Plan | None = None
    up_to_date: bool = False


def execute(request: Request, progress: Progress) -> Outcome:
    """Carry out a request. Raises a `PtftError` for everything that is the user's to mend."""
    if not request.dry_run and _in_a_group(request.stage):
        return _execute_in_group(request, progress)
    return _execute(request, progress)


def _in_a_group(stage: Stage) -> bool:
    """Whether torchrun started this and other processes for a stage that trains."""
    trains = any(knob.name == "nproc" for knob in recipes.knobs(stage.recipe))
    return trains and int(os.environ.get("WORLD_SIZE", "1")) > 1 and "MASTER_PORT" in os.environ


def _execute_in_group(request: Request, progress: Progress) -> Outcome:
    """Under torchrun rank 0 goes the usual way; the others wait for the work it shares out, and go when there is none."""
    from ptft.core.training import processes

    if int(os.environ.get("RANK", "0")) > 0:
        processes.follow()
        return Outcome()
    try:
        return _execute(request, progress)
    finally:
        processes.release()


def _execute(request: Request, progress: Progress) -> Outcome:
    spool = Path(tempfile.gettempdir()) / f"ptft-{uuid.uuid4().hex}"  # made only where an input must be kept
    try:
        found = find(request.stage, request.recipe, request.arguments, spool)
        if request.dry_run:
            return Outcome(plan=request.stage.load().plan(request.recipe, found.inputs, progress))
        if request.out is None:
            raise UsageError("no output folder", remedy="name one with -o DIR")
        _refuse_overlap(request.out, request, found.inputs)
        fingerprint = _fingerprint(request, found)
        finished = _finished(request, fingerprint, found.entries, progress)
        if finished is not None:
            _check_gates(finished)
            return Outcome(record=finished, up_to_date=True)
        with _locked(request.out):
            made = _make(request, found, fingerprint, progress)
    finally:
        shutil.rmtree(spool, ignore_errors=True)
    _check_gates(made)
    return Outcome(record=made)


def _check_gates(finished: RunRecord) -> None:
    if finished.gates:
        remedy = "the output is complete and kept as evidence; change the model or the gate"
        raise GateError("; ".join(finished.gates), remedy=remedy)


# ---------------------------------------------------------------- the same, or not


def _fingerprint(request: Request, found: Found) -> str:
    """Decides "the same": stage, recipe, and the inputs' contents and names (names go into ids), not their places."""
    names = {role: [source.name for source in sources] for role, sources in found.inputs.rows.items()}
    contents = [(entry.role, Path(entry.path).name, entry.hash) for entry in found.entries]
    return hash_value([request.stage.name, recipes.identity_of(request.recipe), names, contents])


def _refuse_overlap(out: Path, request: Request, inputs: Inputs) -> None:
    """An output must not be an input, hold one, or lie within one: it would be overwritten, or read next time."""
    target = out.resolve()
    sources = [source.path for group in inputs.rows.values() for source in group]
    for path in [*sources, *inputs.folders.values()]:
        resolved = path.resolve()
        if target == resolved or target in resolved.parents:
            raise UsageError(f"the output folder holds the input {path}", where=str(out), remedy="name another --out")
    for value in (value for values in request.arguments.values() for value in values):
        if Path(value).is_dir() and Path(value).resolve() in target.parents:
            what = f"the output folder lies within the input {value}"
            raise UsageError(what, where=str(out), remedy="name an --out beside it")


# ---------------------------------------------------------------- what is there already


def _finished(request: Request, fingerprint: str, entries: Sequence[FileEntry], progress: Progress) -> RunRecord | None:
    """The record of a finished, unchanged, equal run; else None, with the folder ready to be made or refused."""
    out = request.out
    assert out is not None
    if out.exists() and not out.is_dir():
        raise UsageError("the output is a file", where=str(out), remedy="name a folder with --out")
    shutil.rmtree(out / DONE, ignore_errors=True)
    started, done = begun(out), record.read(out) if out.is_dir() else None
    changed = _changed_outputs(out, done) if done else []
    same = done is not None and done.stage == request.stage.name and done.fingerprint == fingerprint and not changed
    publishing = started is not None and started.get("fingerprint") == fingerprint
    if same and not publishing and not request.force:
        return done
    if started is not None:
        _accept_started(request, started, fingerprint, progress)
    elif done is None:
        if out.is_dir() and any(path.name not in (REJECTED, STATE) for path in out.iterdir()):
            remedy = "name a new or empty folder: ptft never deletes what it did not make"
            raise UsageError("this folder holds files that ptft did not make", where=str(out), remedy=remedy)
    elif not request.force:
        what = _difference(request, done, entries, changed)
        remedy = "--force makes it again; or name another --out"
        raise UsageError(f"holds a finished {done.stage} that differs: {what}", where=str(out), remedy=remedy)
    return None  # with --force the old result stays until the new one is whole


def _accept_started(request: Request, started: dict[str, Any], fingerprint: str, progress: Progress) -> None:
    """An interrupted run of the same thing goes on; of another thing it is refused, or with --force begun anew."""
    out = request.out
    assert out is not None
    if started.get("fingerprint") == fingerprint and not request.force:
        if any((out / STATE / "state").glob("*")) or any(out.glob("checkpoint-*")):
            progress.note(f"{out}: going on where the last run stopped")
        return
    if not request.force and not started.get("may_change"):
        remedy = "run that command again to finish it, or --force to begin anew"
        what = f"holds an unfinished {started.get('stage', 'run')} with other inputs or settings"
        raise UsageError(what, where=str(out), remedy=remedy)
    with _locked(out):
        keep = ("lock", REPLACED)
        for path in [*out.glob("checkpoint-*"), *(path for path in (out / STATE).iterdir() if path.name not in keep)]:
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def _changed_outputs(out: Path, done: RunRecord) -> list[str]:
    changed = []
    for entry in done.outputs:
        path = out / entry.path
        if not path.is_file() or path.stat().st_size != entry.bytes or hash_file(path) != entry.hash:
            changed.append(entry.path)
    return changed


def _difference(request: Request, done: RunRecord, entries: Sequence[FileEntry], changed: list[str]) -> str:
    """In words, the first things that differ between the finished run and this one."""
    if done.stage != request.stage.name:
        return f"this is {request.stage.name}"
    if changed:
        return f"{', '.join(changed[:3])} changed since it was written"
    old, new = (_telling(recipe, type(request.recipe)) for recipe in (done.recipe, recipes.as_dict(request.recipe)))
    knobs = [
        f"{key} {old.get(key)!r} -> {new.get(key)!r}"
        for key in sorted(old.keys() | new.keys())
        if old.get(key) != new.get(key)
    ]
    before = {entry.hash for entry in done.inputs}
    files = [entry.path for entry in entries if entry.hash not in before]
    if files or not knobs:
        knobs.insert(0, f"the input {', '.join(files[:3]) or 'files'} changed")
    return ", ".join(knobs[:4]) + (f" and {len(knobs) - 4} more" if len(knobs) > 4 else "")


def _telling(recipe: Any, kind: type) -> dict[str, Any]:
    """Of a recipe, what the result depends on."""
    idle = {leaf.name for leaf in recipes.knobs(kind) if not leaf.meta.get("identity", True)}
    return {name: value for name, value in recipes.flat(recipe).items() if name not in idle}


# ---------------------------------------------------------------- making


@contextlib.contextmanager
def _locked(out: Path) -> Iterator[None]:
    """Only one process makes a folder; the lock goes with the process, however it ends."""
    state = out / STATE
    state.mkdir(parents=True, exist_ok=True)
    with (state / "lock").open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            remedy = "wait for it, or name another --out"
            raise UsageError("another ptft is making this folder", where=str(out), remedy=remedy) from error
        yield


def _make(request: Request, found: Found, fingerprint: str, progress: Progress) -> RunRecord:
    assert request.out is not None
    out = Output(request.out, request.out / STATE / "new", request.out / STATE / "state")
    started = {"stage": request.stage.name, "fingerprint": fingerprint, "command": request.command}
    write_json(request.out / STATE / "started.json", started)
    result_file = request.out / STATE / "result.json"
    if not result_file.exists():
        shutil.rmtree(out.new, ignore_errors=True)
        out.new.mkdir(parents=True)
        out.state.mkdir(exist_ok=True)
        try:
            made = _run(request, found.inputs, out, progress)
            found.refuse_if_changed()
            write_json(result_file, made)
        except (
            InputError,
            UsageError,
            Diverged,
        ):  # what mends these is another input or setting: it must not need --force
            kept = any(request.out.glob("checkpoint-*"))  # which would be lost
            half_replaced = (request.out / STATE / REPLACED).exists()
            if kept or half_replaced or any(path.is_file() for path in out.state.rglob("*")):
                write_json(request.out / STATE / "started.json", {**started, "may_change": not kept})
            else:
                _forget(request.out)
            raise
    saved = orjson.loads(result_file.read_bytes())
    draft = RunRecord(
        run="", stage=request.stage.name, status="complete", fingerprint=fingerprint, command=request.command,
        recipe=recipes.as_dict(request.recipe), seed=request.recipe.seed, inputs=found.entries,
        outputs=tuple(FileEntry(**entry) for entry in saved.pop("outputs")), lineage=found.lineage,
        versions=record.versions(), device=record.device(), **{**saved, "gates": tuple(saved["gates"])},
    )  # fmt: skip
    finished = replace(draft, run=hash_value([fingerprint, [(entry.path, entry.hash) for entry in draft.outputs]])[:16])
    _publish(out, finished)
    return finished


def _forget(out: Path) -> None:
    """A run that was refused before it made anything leaves no folder, unless it holds something else."""
    shutil.rmtree(out / STATE, ignore_errors=True)
    with contextlib.suppress(OSError):  # it holds something
        out.rmdir()


def _run(request: Request, inputs: Inputs, out: Output, progress: Progress) -> dict[str, Any]:
    """Run the stage; return what the record needs of it. Its rejected rows are kept even where it fails."""
    started, clock = _now(), time.monotonic()
    try:
        result: Result = request.stage.load().run(request.recipe, inputs, out, progress)
    except KeyboardInterrupt as error:
        raise Interrupted from error
    except MemoryError as error:
        raise RunError("out of memory", remedy="lower the batch or the number of workers") from error
    except PtftError:
        for kept in (out.new / REJECTED, out.state / REJECTED, out.state / "tokens-rejected.jsonl"):
            if kept.exists():
                shutil.copy(kept, out.final / REJECTED)
        raise
    return {
        "counts": result.counts, "metrics": result.metrics, "gates": list(result.gates),
        "outputs": [asdict(entry) for entry in _outputs(out.new)],
        "started": started, "ended": _now(), "seconds": round(time.monotonic() - clock, 3),
    }  # fmt: skip


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _outputs(new: Path) -> list[FileEntry]:
    entries = []
    os.umask(mask := os.umask(0o022))
    for path in sorted(path for path in new.rglob("*") if path.is_file()):
        path.chmod(0o666 & ~mask)  # safetensors makes files that only their owner can read
        with path.open("rb") as file:
            os.fsync(file.fileno())
        rows = count_lines(path) if path.suffix == ".jsonl" else None
        entries.append(FileEntry(path.relative_to(new).as_posix(), path.stat().st_size, hash_file(path), rows=rows))
    return entries


def _publish(out: Output, finished: RunRecord) -> None:
    """Set the old result aside, move the files in, write the record, drop the state: repeatable from any point."""
    names = {entry.path for entry in finished.outputs}
    _set_aside(out.final, finished.run, names)
    if REJECTED not in names:
        (out.final / REJECTED).unlink(missing_ok=True)  # of an earlier, failed try
    for name in sorted(names):
        target = out.final / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if (out.new / name).exists():
            (out.new / name).replace(target)
    with atomic_write(out.final / record.NAME) as file:
        file.write(record.to_json(finished))
    for checkpoint in out.final.glob("checkpoint-*"):
        shutil.rmtree(checkpoint)
    # renamed first: a folder half deleted must not look like one half made
    shutil.rmtree(out.final / DONE, ignore_errors=True)
    (out.final / STATE).rename(out.final / DONE)
    shutil.rmtree(out.final / DONE, ignore_errors=True)


def _set_aside(final: Path, run: str, names: set[str]) -> None:
    """Of a result that is being replaced, remove what its record lists and the new one does not have, and nothing else."""
    replaced = final / STATE / REPLACED
    if (final / record.NAME).exists():
        old = record.read(final)
        if old is None or old.run == run:
            return
        (final / record.NAME).replace(replaced)
    if not replaced.exists():
        return
    for entry in orjson.loads(replaced.read_bytes())["outputs"]:
        if entry["path"] not in names and record.is_inside(entry["path"]):
            (final / entry["path"]).unlink(missing_ok=True)
    for folder in sorted(
        (path for path in final.rglob("*") if path.is_dir() and STATE not in path.parts), reverse=True
    ):
        with contextlib.suppress(OSError):  # still holds something
            folder.rmdir()
