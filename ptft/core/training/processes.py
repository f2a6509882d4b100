"""Training in several processes: rank 0 is the process that the user started, the others do the same work beside it.

Two ways lead here and end alike. `--nproc N` starts N - 1 processes of its own. Under `torchrun` every process is a whole
`ptft` command: rank 0 goes its usual way, and the others `follow`. Those read their job from standard input; under torchrun
it comes through torchrun's store, after hours perhaps, while rank 0 packs a corpus. Only then do they form a group.
"""

from __future__ import annotations

import importlib
import os
import pickle
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist

from ptft.core.errors import PtftError, RunError, UsageError
from ptft.core.workers import cores

PATIENCE = timedelta(days=7)  # how long the others wait for the job
JOB = "ptft/job"
FAILED = 4
_VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "OMP_NUM_THREADS")


def world_size() -> int:
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    return dist.get_rank() if dist.is_initialized() else 0


def under_torchrun() -> bool:
    return int(os.environ.get("WORLD_SIZE", "1")) > 1 and "MASTER_PORT" in os.environ


def summed(values: Sequence[float]) -> list[float]:
    """Each value added up over all processes, in float64."""
    if world_size() == 1:
        return [float(value) for value in values]
    device = "cuda" if torch.cuda.is_available() else "cpu"
    total = torch.tensor(values, dtype=torch.float64, device=device)
    dist.all_reduce(total)
    return [float(value) for value in total]


def agreed(figures: dict[str, float]) -> dict[str, float]:
    """Those of the first process, in all: what is decided by them must not hang on how each rounds."""
    if world_size() == 1:
        return figures
    held = [figures]
    dist.broadcast_object_list(held, src=0, device=torch.device("cpu"))
    return held[0]


def barrier() -> None:
    if world_size() > 1:
        dist.barrier()


@contextmanager
def spread(work: Callable[[Any], None], job: Any, nproc: int) -> Iterator[None]:
    """While the body runs here as rank 0, `work(job)` runs in the other processes: one group, same collectives.

    work: a module's function; job: what it needs, pickled. Raises `RunError` where another process dies.
    """
    if under_torchrun():
        if nproc > 1 and nproc != int(os.environ["WORLD_SIZE"]):
            raise UsageError("--nproc differs from torchrun's processes", remedy="leave out --nproc under torchrun")
        store = _store(is_master=os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True")
        store.set(JOB, _packed(work, job))
        with _group(store):
            yield
    elif nproc > 1:
        with _own_processes(nproc, _packed(work, job)) as (store, others), _group(store), _deaths_explained(others):
            yield
    else:
        yield


def _packed(work: Callable[[Any], None], job: Any) -> bytes:
    return pickle.dumps((work.__module__, work.__qualname__, job))


@contextmanager
def _group(store: Any) -> Iterator[None]:
    _join(store)
    try:
        yield
    finally:
        _leave()


def _store(*, is_master: bool) -> Any:
    address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    return dist.TCPStore(address, port, is_master=is_master, timeout=PATIENCE, wait_for_workers=False)


def _join(store: Any) -> None:
    number, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    backend = "gloo"
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
        backend = "cpu:gloo,cuda:nccl"
    dist.init_process_group(backend, store=dist.PrefixStore("ptft", store), rank=number, world_size=size)


def _leave() -> None:
    from accelerate.state import AcceleratorState

    AcceleratorState._reset_state(reset_partial_state=True)
    if dist.is_initialized():
        dist.destroy_process_group()


# ---------------------------------------------------------------- processes of our own


@contextmanager
def _own_processes(nproc: int, job: bytes) -> Iterator[tuple[Any, list[_Other]]]:
    if torch.cuda.is_available() and nproc > torch.cuda.device_count():
        what = f"--nproc {nproc}, and {torch.cuda.device_count()} GPUs"
        raise UsageError(what, remedy="take at most one process a GPU")
    before = {name: os.environ.get(name) for name in _VARIABLES}
    threads, mine = torch.get_num_threads(), max(1, cores() // nproc)
    store = dist.TCPStore("127.0.0.1", 0, is_master=True, timeout=PATIENCE, wait_for_workers=False)
    os.environ.update(_environment(0, nproc, store.port, mine))
    torch.set_num_threads(mine)
    others: list[_Other] = []
    try:
        others.extend(_Other(number, nproc, store.port, mine, job) for number in range(1, nproc))
        yield store, others
        for other in others:
            other.wait()
    finally:
        for other in others:
            other.kill()
        torch.set_num_threads(threads)
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _environment(number: int, size: int, port: int, threads: int) -> dict[str, str]:
    place = {"RANK": number, "WORLD_SIZE": size, "LOCAL_RANK": number, "LOCAL_WORLD_SIZE": size}
    rest = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "OMP_NUM_THREADS": threads}
    return {name: str(value) for name, value in {**place, **rest}.items()}


class _Other:
    """One of the other processes. Its standard input brings the job; it ends when this one does, for the input closes then."""

    def __init__(self, number: int, size: int, port: int, threads: int, job: bytes) -> None:
        self.name = f"process {number + 1} of {size}"
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `kill`
        self._process = subprocess.Popen(
            [sys.executable, "-c", f"from {__name__} import serve; serve()"],
            stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=self._said,
            env={**os.environ, **_environment(number, size, port, threads)},
        )  # fmt: skip
        assert self._process.stdin
        with suppress(BrokenPipeError):  # it is dead already; whoever waits for it will say so
            self._process.stdin.write(job)
            self._process.stdin.flush()

    def death(self) -> str | None:
        """What it said last, where it failed."""
        code = self._process.poll()
        if code in (None, 0):
            return None
        if code < 0:
            return f"it was killed by signal {-code}" + (" (for memory, often)" if code == -signal.SIGKILL else "")
        self._said.seek(0)
        lines = self._said.read().decode("utf-8", "replace").strip().splitlines()
        return lines[-1] if lines else f"it ended with {self._process.returncode}"

    def wait(self) -> None:
        self._process.wait()

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()
        with suppress(BrokenPipeError):
            self._process.stdin.close()  # type: ignore[union-attr]
        self._said.close()


@contextmanager
def _deaths_explained(others: Sequence[_Other]) -> Iterator[None]:
    """A collective fails in this process when another dies; say which, and of what."""
    try:
        yield
    except (PtftError, KeyboardInterrupt):
        raise
    except Exception as error:
        dead = [(other.name, other.death()) for other in others if _soon(other.death)]
        if not dead:
            raise
        name, last = dead[0]
        remedy = "the same command goes on from the last checkpoint; --nproc 1 needs the least memory"
        raise RunError(f"{name} failed: {last}", remedy=remedy) from error


def _soon(look: Callable[[], Any], seconds: float = 3.0) -> Any:
    """What `look` finds, asked again for a while: a process that broke a connection may not quite be gone."""
    import time

    end = time.monotonic() + seconds
    while not (found := look()) and time.monotonic() < end:
        time.sleep(0.05)
    return found


# ---------------------------------------------------------------- in the other processes


def follow() -> None:
    """Wait for rank 0's job, and do it; return at once where there is none."""
    store = _store(is_master=False)
    store.wait([JOB], PATIENCE)
    packed = store.get(JOB)
    if packed:
        _do(store, *pickle.loads(packed))


def _do(store: Any, module: str, name: str, job: Any) -> None:
    _join(store)
    try:
        getattr(importlib.import_module(module), name)(job)
    finally:
        _leave()


def release() -> None:
    """Under torchrun, let the others go where rank 0 turned out to have nothing to train. Harmless otherwise."""
    if not under_torchrun():
        return
    store = _store(is_master=os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True")
    if not store.check([JOB]):
        store.set(JOB, b"")


def serve() -> None:
    """What a process beside the first does: take the job from standard input, do it, say in one line why it could not."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group: rank 0 decides
    work = pickle.load(sys.stdin.buffer)
    threading.Thread(target=_die_with_parent, daemon=True).start()
    try:
        _do(_store(is_master=False), *work)
    except PtftError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(FAILED)


def _die_with_parent() -> None:
    sys.stdin.buffer.read()
    os._exit(1)
