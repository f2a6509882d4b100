"""The logs of a run: they can go back, and what is made from them is the same however often the run was interrupted."""

from __future__ import annotations

import json

from ptft.core.training.logs import EVENTS, METRICS, SAMPLES, EventFile, StepLog, publish

ENTRIES = [{"step": step, "loss": 5.0 - step / 10, "lr": 1e-3, "grad_norm": 1.0} for step in range(1, 45)] + [
    {"step": 44, "val_loss": 1.5, "bits_per_byte": 0.9}
]


def test_it_forgets_what_will_come_again(tmp_path):
    log = StepLog(tmp_path / METRICS)
    for entry in ENTRIES:
        log.add(entry)
    with log.path.open("a") as file:
        file.write('{"step": 45, "lo')  # a kill in the middle of a line
    again = StepLog(tmp_path / METRICS)
    again.cut_after(30)
    assert again.entries == ENTRIES[:30]
    assert [json.loads(line) for line in log.path.read_text().splitlines()] == ENTRIES[:30]


def test_tensorboard_reads_the_events(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    with EventFile(tmp_path / EVENTS) as events:
        for entry in ENTRIES:
            events.add(entry)
    read = EventAccumulator(str(tmp_path / EVENTS))
    read.Reload()
    assert [event.step for event in read.Scalars("train/loss")] == list(range(1, 45))
    assert read.Scalars("validation/val_loss")[0].value == 1.5


def test_what_is_published_has_no_clock_in_it(tmp_path):
    for name in ("state", "a", "b"):
        (tmp_path / name).mkdir()
    log = StepLog(tmp_path / "state" / METRICS)
    for entry in ENTRIES:
        log.add(entry)
    StepLog(tmp_path / "state" / SAMPLES).add({"step": 44, "prompt": "", "text": "你好"})
    publish(tmp_path / "state", tmp_path / "a")
    publish(tmp_path / "state", tmp_path / "b")
    names = {path.relative_to(tmp_path / "a").as_posix() for path in (tmp_path / "a").rglob("*") if path.is_file()}
    assert names == {METRICS, SAMPLES, "loss.png", f"tensorboard/{EVENTS}"}
    assert all((tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes() for name in names)
    assert (tmp_path / "a" / "loss.png").read_bytes().startswith(b"\x89PNG")


def test_a_run_that_logged_nothing_publishes_nothing(tmp_path):
    (tmp_path / "new").mkdir()
    publish(tmp_path, tmp_path / "new")
    assert not list((tmp_path / "new").iterdir())
