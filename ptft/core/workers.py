"""A function over many tasks in processes of its own: results in order, nothing left behind however the parent ends."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import pickle
import signal
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing import connection, resource_tracker
from typing import Any, TypeVar

from ptft.core.errors import RunError

Task = TypeVar("Task")
Done = TypeVar("Done")


def cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def ordered_map(function: Callable[[Task], Done], tasks: Iterable[Task], workers: int) -> Iterator[Done]:
    """`function` of every task, in order. workers: processes (0: one a core; 1: none, the work is done here).

    function, tasks and results are pickled: a module's function, or a partial of one. A single task is done here too.
    Processes are spawned, never forked (the threads of other libraries survive no fork). An error of the function is
    raised here; a worker that dies (killed for memory) is a `RunError`.
    """
    tasks = iter(tasks)
    first = list(itertools.islice(tasks, 2))
    tasks = itertools.chain(first, tasks)
    workers = workers or cores()
    if workers == 1 or len(first) < 2:
        yield from map(function, tasks)
        return
    pool: list[_Worker] = []
    try:
        yield from _spread(function, tasks, workers, pool)
    finally:
        for worker in pool:
            worker.stop()


def _spread(
    function: Callable[[Task], Done], tasks: Iterator[Task], workers: int, pool: list[_Worker]
) -> Iterator[Done]:
    """A task to whoever is idle; a result that comes before its turn waits for it."""
    finished: dict[int, Done] = {}
    turn = 0
    for number, task in enumerate(tasks):
        if len(pool) < workers:
            pool.append(_Worker(function))
            idle = pool[-1]
        else:
            idle = _collect(pool, finished)
        idle.give(number, task)
        while turn in finished:
            yield finished.pop(turn)
            turn += 1
    while any(worker.number is not None for worker in pool):
        _collect(pool, finished)
        while turn in finished:
            yield finished.pop(turn)
            turn += 1


def _collect(pool: list[_Worker], finished: dict[int, Any]) -> _Worker:
    """Wait for one of the busy workers, keep its result, and return it: it is idle now."""
    busy = {worker.pipe: worker for worker in pool if worker.number is not None}
    worker = busy[connection.wait(list(busy))[0]]  # type: ignore[index]
    number, result = worker.result()
    finished[number] = result
    return worker


class _Worker:
    """One process behind a pipe, and the number of the task it has (None: idle)."""

    def __init__(self, function: Callable[[Any], Any]) -> None:
        context = multiprocessing.get_context("spawn")
        self.number: int | None = None
        self.pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, function), daemon=True)
        with _interrupts_held_back():
            self._process.start()
        theirs.close()

    def give(self, number: int, task: Any) -> None:
        self.number = number
        with _death_explained():
            self.pipe.send(task)

    def result(self) -> tuple[int, Any]:
        """The number of the task it had, and what came of it."""
        with _death_explained():
            done, value = self.pipe.recv()
        if not done:
            raise value
        assert self.number is not None
        number, self.number = self.number, None
        return number, value

    def stop(self) -> None:
        self._process.kill()
        self._process.join()
        self.pipe.close()


@contextmanager
def _interrupts_held_back() -> Iterator[None]:
    """Ctrl-C waits until afterwards, and then is the parent's alone: a process started meanwhile has it blocked from birth.

    Ignoring it would do that too, but in the main thread only, and would lose what comes meanwhile.
    """
    resource_tracker.ensure_running()  # it unblocks SIGINT where it starts its own process
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _death_explained() -> Iterator[None]:
    try:
        yield
    except (EOFError, ConnectionError) as error:
        remedy = "was it killed for memory? Use fewer --workers, or smaller blocks: --set block_rows=500"
        raise RunError("a worker process died", remedy=remedy) from error


# ---------------------------------------------------------------- in the worker


def _serve(pipe: connection.Connection, function: Callable[[Any], Any]) -> None:
    signal.signal(
        signal.SIGINT, signal.SIG_IGN
    )  # Ctrl-C reaches the whole group: the parent decides; blocked until here
    threading.Thread(target=_die_with_parent, daemon=True).start()
    with suppress(EOFError, ConnectionError):
        while True:
            task = pipe.recv()
            try:
                answer: tuple[bool, Any] = (True, function(task))
            except Exception as error:
                answer = (False, _portable(error))
            pipe.send(answer)


def _die_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _portable(error: Exception) -> Exception:
    """The error with its traceback as a note; one that cannot be pickled in its own words."""
    error.add_note("".join(traceback.format_exception(error)))
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError("".join(traceback.format_exception(error)))
    return error
