from __future__ import annotations

from pathlib import Path

from ptft.core.training.checkpoints import checkpoints, publish, step_of


def steps(folder: Path, kind: str) -> list[int]:
    return [step_of(path) for path in checkpoints(folder, kind)]


def made(folder: Path, kind: str, step: int, needed: int | None = None) -> None:
    new = folder / "new"
    new.mkdir()
    (new / "weights").write_text(str(step))
    publish(new, folder, f"{kind}-{step}", needed)


def test_the_two_newest_stay(tmp_path: Path) -> None:
    for step in (2, 4, 6):
        made(tmp_path, "checkpoint", step)
    assert steps(tmp_path, "checkpoint") == [4, 6]


def test_the_best_that_a_resumed_run_begins_with_stays(tmp_path: Path) -> None:
    """Killed after step 9, it goes on at checkpoint 6: the bests after that are dropped then, and 5 must still be there."""
    for step in (3, 5, 7, 8, 9):
        made(tmp_path, "best", step, needed=6)
    assert steps(tmp_path, "best") == [5, 8, 9]
