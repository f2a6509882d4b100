"""Workers: Ctrl-C is the parent's to answer, from a worker's first moment."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest

from ptft.core.workers import ordered_map


def can_be_interrupted(task: int) -> bool:
    return signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, [])


def test_workers_are_born_with_ctrl_c_blocked_and_the_parent_is_as_before() -> None:
    before, handler = signal.pthread_sigmask(signal.SIG_BLOCK, []), signal.getsignal(signal.SIGINT)
    found: list[bool] = []
    thread = threading.Thread(target=lambda: found.extend(ordered_map(can_be_interrupted, range(3), 2)))
    thread.start()
    thread.join()
    assert found == list(ordered_map(can_be_interrupted, range(3), 2)) == [False] * 3
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == before and signal.getsignal(signal.SIGINT) == handler


@pytest.mark.parametrize("delay", [0.03, 0.1])
def test_ctrl_c_while_workers_start_leaves_no_traceback_of_theirs(tmp_path: Path, delay: float) -> None:
    """Everything in the process group gets it, as from a terminal, while the workers are still starting."""
    script = tmp_path / "main.py"
    script.write_text(
        textwrap.dedent("""
            import signal, time
            from ptft.core.workers import ordered_map

            if __name__ == "__main__":
                def late(*_):  # as a parent that is busy: its workers have the time to say something
                    time.sleep(0.5)
                    raise KeyboardInterrupt

                signal.signal(signal.SIGINT, late)
                print("ready", flush=True)
                try:
                    list(ordered_map(time.sleep, [60, 60], 2))
                except KeyboardInterrupt:
                    raise SystemExit(130)
        """)
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen(
        [sys.executable, str(script)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True, env=environment
    )  # fmt: skip
    assert process.stdout is not None and process.stdout.readline() == b"ready\n"
    time.sleep(delay)
    os.killpg(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=30)
    assert (process.returncode, said.decode()) == (130, "")
